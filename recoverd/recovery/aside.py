"""What a dump replaces, put aside: a dump of what was there goes to quarantine before another one is loaded.

It is taken into a directory that nobody sees as a quarantine, and becomes one, durably, only when something is about to
be loaded over it. What a killed process leaves is removed with the quarantines that are going.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO

from blake3 import blake3

from recoverd.errors import DamagedObject, StateError, os_hint
from recoverd.recovery.dump_looks import Take
from recoverd.recovery.evidence import EVIDENCE, GOING_PREFIX, Quarantined, next_quarantine
from recoverd.recovery.intents import encode
from recoverd.recovery.places import remove_tree
from recoverd.system import durable
from recoverd.values import dataclass

KIND = "dump"  # of a quarantine: what a load replaced
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Kept:
    """One dump in a quarantine, or on its way there."""

    item: str
    path: str
    size_bytes: int
    content: str  # BLAKE3 of its bytes

    def to_json(self) -> dict[str, Any]:
        return {"item": self.item, "bytes": str(self.size_bytes), "blake3": self.content}

    def verify(self) -> None:
        """Raises DamagedObject when it is not what was put there, OSError when it can't be read."""
        hasher = blake3()
        with durable.open_own(self.path) as file:
            while piece := file.read(_PIECE_BYTES):
                hasher.update(piece)
        if hasher.hexdigest() != self.content:
            raise DamagedObject(self.content, f"{self.path} is not what was put there")


class Aside:
    """A private directory for one load; removed at the end of the block, unless it became a quarantine."""

    def __init__(self, state_dir: str, service: str) -> None:
        self._state_dir = state_dir
        self._service = service
        self._above = os.path.join(state_dir, "quarantine", service)
        self._transaction = os.urandom(6).hex()
        self._name = f"{GOING_PREFIX}{self._transaction}"
        self._file: BinaryIO | None = None
        self._hasher = blake3()
        self._size_bytes = 0
        self._made_above = False
        self.quarantine: str | None = None  # its path, once it is one

    @property
    def path(self) -> str:
        return self.quarantine or os.path.join(self._above, self._name)

    def __enter__(self) -> Aside:
        self._made_above = not os.path.isdir(self._above)
        durable.make_directories(self._above)
        os.mkdir(self.path, 0o700)
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        if self.quarantine is None:
            fd = os.open(self._above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                remove_tree(fd, self._name)
            finally:
                os.close(fd)
            if self._made_above:
                with suppress(OSError):  # others have put something there meanwhile
                    os.rmdir(self._above)

    def begin(self, name: str) -> Callable[[], Take]:
        """For a look at dumps: what it saves goes here too, under `name`."""

        def fresh() -> Take:
            self._close()
            self._file = open(os.path.join(self.path, name), "wb", opener=_private)  # noqa: SIM115 - see _close
            self._hasher, self._size_bytes = blake3(), 0
            return self._take

        return fresh

    def write(self, name: str, pieces: Iterator[bytes | int]) -> Kept:
        """A file of these bytes; a number is that many zeros. Raises StateError, and what `pieces` does."""
        take = self.begin(name)()
        for piece in pieces:
            if isinstance(piece, bytes):
                take(piece)
                continue
            for at in range(0, piece, _PIECE_BYTES):
                take(bytes(min(piece - at, _PIECE_BYTES)))
        return self.kept(name)

    def kept(self, name: str) -> Kept:
        """What was taken last, in a file that is complete and durable. Raises StateError."""
        assert self._file is not None, "something was taken"
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._failed(error) from error
        self._close()
        return Kept(name, os.path.join(self.path, name), self._size_bytes, self._hasher.hexdigest())

    def commit(self, dumps: list[Kept], evidence: Mapping[str, Any]) -> str:
        """Make it the quarantine of these dumps; durable on return. Its id. Raises StateError."""
        path, sequence, time_ns = next_quarantine(self._state_dir, self._service, self._transaction)
        document = {
            "format": 1,
            "id": self._transaction,
            "service": self._service,
            "kind": KIND,
            "time": str(time_ns),
            "sequence": sequence,
            "places": [{"path": path, "inode": str(os.stat(self.path).st_ino)}],
            "steps": [],
            "dumps": [one.to_json() for one in dumps],
            "evidence": dict(evidence),
        }
        try:
            durable.write_path(os.path.join(self.path, EVIDENCE), encode(document))
            os.rename(self.path, path)
            fd = os.open(self._above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                durable.fsync_directory(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise self._failed(error) from error
        self.quarantine = path
        return os.path.basename(path)

    def _take(self, data: bytes) -> None:
        assert self._file is not None, "it was begun"
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error
        self._hasher.update(data)
        self._size_bytes += len(data)

    def _close(self) -> None:
        if self._file is not None:
            try:
                self._file.close()
            except OSError:
                pass  # what could not be written was told before
            self._file = None

    def _failed(self, error: OSError) -> StateError:
        sentence = f"a dump can't be kept in {self._above}: {error.strerror or error}"
        return StateError(sentence, hint=os_hint(error) or "nothing was loaded")


def dumps_in(found: Quarantined) -> list[Kept]:
    """The dumps that a quarantine holds; empty for those of other restores. Raises StateError for damaged evidence."""
    if found.evidence.get("kind") != KIND:
        return []
    try:
        return [
            Kept(str(one["item"]), os.path.join(found.path, str(one["item"])), int(one["bytes"]), str(one["blake3"]))
            for one in found.evidence["dumps"]
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise StateError(f"{found.path}: its evidence is damaged: {error!r}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
