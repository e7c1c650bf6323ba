"""Content for a restore that is in no repository: what was found beside a document, rebuilt, declared or salvaged.

It is kept for the length of one restore and read like a repository: by hash, verified on the way out. Small content
is held in memory; of large files the descriptor is held, and their blocks are read again when they are needed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from blake3 import blake3

from recoverd.errors import DamagedObject
from recoverd.recovery.extraction import Source
from recoverd.repository.blocks import hash_blocks
from recoverd.repository.trees import BLOCK_SIZE, BLOCK_THRESHOLD, Entry
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class _Block:
    fd: int
    offset: int
    size: int


class Gathered:
    """What one restore has gathered. A context manager: the files that it holds are closed at its end."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._blocks: dict[str, _Block] = {}
        self._lists: dict[str, Sequence[str | None]] = {}  # blocks of large files, None for a hole
        self._fds: list[int] = []

    def __enter__(self) -> Gathered:
        return self

    def __exit__(self, *_: object) -> None:
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()

    def put(self, like: Entry, data: bytes) -> Entry:
        """A file entry with these bytes and all else as `like` has it."""
        if len(data) <= BLOCK_THRESHOLD:
            content = blake3(data).hexdigest()
            self._contents[content] = data
            return replace(like, type="file", size=len(data), hash=content, blocks=None, block_size=0, sparse=False)
        hashes: list[str | None] = []
        for at in range(0, len(data), BLOCK_SIZE):
            piece = data[at : at + BLOCK_SIZE]
            hashes.append(_content(piece))
            self._contents[hashes[-1] or ""] = piece
        return self._listed(like, hashes, len(data))

    def put_file(self, like: Entry, fd: int, size: int) -> Entry:
        """The same with the first `size` bytes of an open file, which belongs to this object when this returns.

        Raises OSError, EOFError when the file is shorter; then it is still the caller's.
        """
        if size <= BLOCK_THRESHOLD:
            data = os.pread(fd, size, 0)
            if len(data) != size:
                raise EOFError
            os.close(fd)
            return self.put(like, data)
        hashes: list[str | None] = []
        blocks: dict[str, _Block] = {}
        for offset in range(0, size, BLOCK_SIZE):
            length = min(BLOCK_SIZE, size - offset)
            data = os.pread(fd, length, offset)
            if len(data) != length:
                raise EOFError
            hashes.append(_content(data))
            blocks[hashes[-1] or ""] = _Block(fd, offset, length)
        self._fds.append(fd)
        self._blocks |= blocks
        return self._listed(like, hashes, size)

    def _listed(self, like: Entry, hashes: Sequence[str | None], size: int) -> Entry:
        blocks = hash_blocks(hashes, BLOCK_SIZE, size)
        self._lists[blocks] = hashes
        return replace(
            like, type="file", size=size, hash=None, blocks=blocks, block_size=BLOCK_SIZE, sparse=False, hard_link=None
        )

    def over(self, below: Source) -> Source:
        """What was gathered, before what is in `below`."""
        return _Overlay(self, below)

    def holds(self, entry: Entry) -> bool:
        return entry.hash in self._contents or entry.blocks in self._lists

    def chunks(self, entry: Entry) -> Iterator[bytes | int]:
        """The content of an entry that it `holds`: bytes, or a number: the length of a hole.

        Raises DamagedObject when a held file has changed.
        """
        if entry.hash is not None:
            yield self._read(entry.hash)
        elif entry.blocks is not None:
            for number, content in enumerate(self._lists[entry.blocks]):
                left = entry.size - number * BLOCK_SIZE
                yield min(left, BLOCK_SIZE) if content is None else self._read(content)

    def content(self, entry: Entry) -> bytes:
        """The whole content of an entry that it `holds` as one object."""
        return self._read(entry.hash or "")

    def _read(self, content: str) -> bytes:
        if content in self._contents:
            return self._contents[content]
        block = self._blocks[content]
        data = os.pread(block.fd, block.size, block.offset)
        if blake3(data).hexdigest() != content:
            raise DamagedObject(content, "it was changed while it was being restored")
        return data


def _content(block: bytes) -> str | None:
    """The hash of a block; None for a hole."""
    return blake3(block).hexdigest() if block.count(0) != len(block) else None


class Nothing:
    """The source where nothing was ever saved."""

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        raise DamagedObject(tree_hash, "nothing was ever saved")

    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]:
        raise DamagedObject(entry.hash or "", "nothing was ever saved")

    def contents(self, entries: Sequence[Entry]) -> list[bytes]:
        raise DamagedObject(entries[0].hash or "", "nothing was ever saved")


class _Overlay:
    """See `Gathered.over`."""

    def __init__(self, gathered: Gathered, below: Source) -> None:
        self._gathered = gathered
        self._below = below

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        return self._below.tree(tree_hash)

    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]:
        yield from (self._gathered if self._gathered.holds(entry) else self).chunks(entry)

    def chunks(self, entry: Entry) -> Iterator[bytes | int]:
        return self._below.file_chunks(entry)

    def contents(self, entries: Sequence[Entry]) -> list[bytes]:
        theirs = [entry for entry in entries if not self._gathered.holds(entry)]
        found = iter(self._below.contents(theirs) if theirs else ())
        return [self._gathered.content(entry) if self._gathered.holds(entry) else next(found) for entry in entries]
