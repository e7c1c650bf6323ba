"""Dumps that are taken before the repository is asked for: each waits in a file without a name, and holds nobody.

The file goes with the last descriptor of it, however recoverd ends; a dump that failed gives its room back at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress

from blake3 import blake3

from recoverd.config.model import StateItem
from recoverd.errors import ServiceError
from recoverd.recovery.dump_looks import Take
from recoverd.recovery.dump_saving import NoDump, Saved, judge, save
from recoverd.system import durable, mounts

_PIECE_BYTES = 1 << 18
_LOOK_EVERY_BYTES = 4 << 20  # how much is written between two looks at the room that is left
_SPARE_BYTES = 64 << 20  # of the file system, left to others
_SPARE_FRACTION = 20  # but of a small one no more than this part of it
_NO_SUCH_FILES = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL})  # open(2), O_TMPFILE


class DumpFile:
    """One dump of one item, or why there is none. Closed at the end of the block; only one thread has to do with it."""

    def __init__(self, item: StateItem) -> None:
        self._item = item
        self._fd = -1
        self._saved: Saved | None = None
        self._failure: NoDump | ServiceError = NoDump("nobody has asked for it")
        self._content = ""  # BLAKE3 of what was written
        self.unwritten: OSError | None = None  # why there is none, where the disk was at fault

    def __enter__(self) -> DumpFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def fill(self, directory: str) -> None:
        """Ask for the dump, which goes to this directory, and for what the item's own tool says of it. Whatever happens
        is no error: `replay` tells. Takes as long as the tools do."""
        self._close()
        self._saved = self.unwritten = None
        try:
            self._fd = _nameless(directory)
            hasher = blake3()
            saved = save(self._item, _Writing(self._fd, hasher.update).take)
            self._content = hasher.hexdigest()
            self._saved = judge(self._item, saved, self._pieces())
        except (NoDump, ServiceError) as error:
            self._failure = error
        except _Unwritten as error:
            self.unwritten = error.error
            self._failure = NoDump(f"it can't be put into {directory}: {error.error.strerror or error}")
        except OSError as error:
            self._failure = NoDump(f"it can't be read again: {error.strerror or error}")
        if self._saved is None:
            self._close()

    def replay(self, take: Take) -> Saved:
        """Hand all of the dump to `take`, as often as it is asked for. Raises NoDump or ServiceError where there is
        none, and what `take` does."""
        if self._saved is None:
            raise self._failure
        hasher = blake3()
        pieces = self._pieces()
        while True:
            try:
                piece = next(pieces, b"")
            except OSError as error:
                raise NoDump(f"it can't be read again: {error.strerror or error}") from error
            if not piece:
                break
            hasher.update(piece)
            take(piece)
        if hasher.hexdigest() != self._content:
            raise NoDump("it was damaged on the disk where it waited")
        return self._saved

    def _pieces(self) -> Iterator[bytes]:
        at = 0
        while piece := os.pread(self._fd, _PIECE_BYTES, at):
            at += len(piece)
            yield piece

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):  # what could not be written was told before
                os.close(fd)


class _Unwritten(Exception):
    """`error`: why what came could not be written. Not an OSError itself: those are of the command."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


class _Writing:
    """Writes what comes, as long as enough room is left for others. Raises _Unwritten."""

    def __init__(self, fd: int, also: Callable[[bytes], object]) -> None:
        self._fd, self._also = fd, also
        self._unseen_bytes = 0

    def take(self, data: bytes) -> None:
        try:
            if not self._unseen_bytes:
                self._look()
            durable.write_all(self._fd, data)
        except OSError as error:
            raise _Unwritten(error) from error
        self._unseen_bytes += len(data)
        if self._unseen_bytes >= _LOOK_EVERY_BYTES:
            self._unseen_bytes = 0
        self._also(data)

    def _look(self) -> None:
        free_bytes, total_bytes = mounts.free_bytes(self._fd)
        if total_bytes and free_bytes < min(_SPARE_BYTES, total_bytes // _SPARE_FRACTION):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _nameless(directory: str) -> int:
    """A new file that only its descriptor leads to. Raises _Unwritten."""
    try:
        try:
            return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NO_SUCH_FILES:
                raise
        path = os.path.join(directory, durable.temporary_name())
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return fd
    except OSError as error:
        raise _Unwritten(error) from error
