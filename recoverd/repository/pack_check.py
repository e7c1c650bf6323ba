"""One pack looked at from end to end, and what can be saved of one whose index is lost.

Nothing here believes the catalog: what a pack holds is what its own index says, or, where that is damaged, what the
headers in its frames say, and both only as far as the hash of each object agrees.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter

from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.repository.packs import (
    HASH,
    MOST_FRAME_BYTES,
    Index,
    Location,
    UnknownPackVersion,
    read_frame,
    read_index,
)
from recoverd.repository.zstandard import ZstdError, first_frame
from recoverd.system.reading import read_exactly
from recoverd.values import dataclass, field

_CHUNK_BYTES = 1024 * 1024
_TAR_BLOCK = 512
_FRAME_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1: what each zstd frame begins with


@dataclass(frozen=True, slots=True)
class PackReport:
    """What one pack file is worth. `index` holds the intact objects, wherever they were found."""

    name: str
    size_bytes: int
    index: Index
    damaged: dict[str, str]  # object -> why, for those that its index names
    problem: str | None = None  # of the file as a whole
    everything: Index = field(default_factory=dict)  # also what is damaged, as far as its index tells
    unknown_version: bool = False  # what is in it is for a newer recoverd to say
    out_of_reach: bool = False  # its permissions or its disk keep it from being read: nobody knows what is in it

    @property
    def intact(self) -> bool:
        return self.problem is None and not self.damaged


def check_pack(
    fd: int, name: str, *, look: Callable[[str, bytes], None] | None = None, read: Callable[[int], None] | None = None
) -> PackReport:
    """Read all of a pack: its hash against its name, footer, index, every frame, every object.

    `look` gets each intact object, `read` the number of bytes of each step. Never raises for what is in the file.
    """
    size = os.fstat(fd).st_size
    problem = _file_problem(fd, name, read)
    try:
        index = read_index(fd, name)
    except (RepositoryError, OSError) as error:
        why = error.message if isinstance(error, RepositoryError) else f"it can't be read: {error.strerror or error}"
        if isinstance(error, UnknownPackVersion) and problem is None:
            return PackReport(name, size, {}, {}, why, unknown_version=True)
        found = {}
        for object_hash, location, data in salvage(fd):
            found[object_hash] = location
            if look is not None:
                look(object_hash, data)
        return PackReport(name, size, found, {}, why, found, out_of_reach=isinstance(error, OSError))
    intact: Index = {}
    damaged: dict[str, str] = {}
    listed = sorted(index.items(), key=itemgetter(1))
    for _, group in groupby(listed, key=lambda one: one[1].frame_offset):
        objects = list(group)
        try:
            frame = read_frame(fd, objects[0][1])
        except (OSError, ZstdError, ValueError, OverflowError, MemoryError) as error:
            damaged.update(dict.fromkeys((key for key, _ in objects), f"its frame can't be read: {error}"))
            continue
        for key, location in objects:
            data = frame[location.offset : location.offset + location.size]
            if location.frame_size != len(frame) or blake3(data).hexdigest() != key:
                damaged[key] = "it has other bytes"
                continue
            intact[key] = location
            if look is not None:
                look(key, data)
    return PackReport(name, size, intact, damaged, problem, index)


def _file_problem(fd: int, name: str, read: Callable[[int], None] | None) -> str | None:
    hasher = blake3()
    offset = 0
    try:
        while data := os.pread(fd, _CHUNK_BYTES, offset):
            hasher.update(data)
            offset += len(data)
            if read is not None:
                read(len(data))
    except OSError as error:
        return f"it can't be read: {error.strerror or error}"
    return None if hasher.hexdigest() == name else "its bytes are not those that it is named after"


def index_of(fd: int, name: str) -> tuple[Index, bool]:
    """The index of a pack and True; where it is damaged, what the frames themselves hold, and False.

    Raises RepositoryError when nothing in it can be used, UnknownPackVersion when another recoverd wrote it, OSError.
    """
    try:
        return read_index(fd, name), True
    except RepositoryError as error:
        if isinstance(error, UnknownPackVersion) and _file_problem(fd, name, None) is None:
            raise
        found = {object_hash: location for object_hash, location, _ in salvage(fd)}
        if not found:
            raise
        return found, False


def salvage(fd: int) -> Iterator[tuple[str, Location, bytes]]:
    """Every intact object in the frames of a pack, without its index: the headers of the archive name them."""
    offset = 0
    while True:
        try:
            found = first_frame(lambda at, length: read_exactly(fd, at, length), offset, MOST_FRAME_BYTES)
        except OSError:
            return  # what can't be read holds nothing
        if found is not None:
            data, length = found
            for object_hash, at, size in _members(data):
                yield object_hash, Location(offset, length, len(data), at, size), data[at : at + size]
            offset += length
            continue
        try:
            after = _next_frame(fd, offset + 1)
        except OSError:
            return
        if after is None:
            return
        offset = after


def _members(data: bytes) -> Iterator[tuple[str, int, int]]:
    """The objects in a frame: hash, offset and size; those whose bytes have the hash that they are named by."""
    at = 0
    while at + _TAR_BLOCK <= len(data):
        header = data[at : at + _TAR_BLOCK]
        name = header[:64].decode("latin-1")
        try:
            size = int(header[124:135], 8)
        except ValueError:
            return
        at += _TAR_BLOCK
        if HASH.fullmatch(name) and blake3(data[at : at + size]).hexdigest() == name:
            yield name, at, size
        at += size + -size % _TAR_BLOCK


def _next_frame(fd: int, offset: int) -> int | None:
    """Where the next frame may begin."""
    while data := os.pread(fd, _CHUNK_BYTES, offset):
        at = data.find(_FRAME_MAGIC)
        if at >= 0:
            return offset + at
        if len(data) < len(_FRAME_MAGIC):
            return None
        offset += len(data) - len(_FRAME_MAGIC) + 1
    return None
