"""Packs: many objects in one file, which `tar --zstd -xf` reads (docs/repository-format.md).

A pack is a tar archive cut into zstd frames, with an index of its objects as the last member and, behind the
end of the archive, a footer in a skippable frame which leads to the index. It is named by the BLAKE3 of the file.
"""

from __future__ import annotations

import json
import os
import re
import struct
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import adler32

from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.repository.side_thread import SideThread
from recoverd.repository.zstandard import Compressor, ZstdError, decompress
from recoverd.system.durable import write_all
from recoverd.system.reading import read_exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from recoverd.repository.compression import CompressionProcess

PACK_VERSION = 1
SUFFIX = ".tar.zst"
INDEX_NAME = "index.json"
FRAME_BYTES = 128 * 1024  # small objects share a frame of about this many bytes of tar archive
PACK_BYTES = 64 * 1024 * 1024  # a pack is closed when it has grown to this
MOST_FRAME_BYTES = 8 * 1024**3  # the largest member a ustar header can hold
_MOST_WAITING = 16  # frames that wait for compression, to bound memory
_WRITE_OUT_BYTES = 1024 * 1024  # so much is handed to the disk at a time while the pack grows

_BLOCK = 512
_END_OF_ARCHIVE = bytes(2 * _BLOCK)
_FOOTER = struct.Struct("<II16sQQQ32s")  # frame magic, bytes that follow, what, offset and length, index size, hash
_FOOTER_FRAME = 0x184D2A5E
_FOOTER_WHAT = b"recoverd pack %d\n" % PACK_VERSION
_FOOTER_KIN = re.compile(rb"recoverd pack [0-9]+\n")
HASH = re.compile(r"[0-9a-f]{64}")
PACK_NAME = re.compile(r"([0-9a-f]{64})\.tar\.zst")


class Location(NamedTuple):
    """Where an object lies in a pack file. All but `size` and `offset` describe the zstd frame.

    A tuple, because there is one for each object of a capture: it is made in a fifth of the time.
    """

    frame_offset: int  # in the file
    frame_length: int  # compressed
    frame_size: int  # decompressed
    offset: int  # of the object in the decompressed frame
    size: int


Index = dict[str, Location]


# --- writing


def _header_template() -> tuple[bytes, int]:
    header = bytearray(_BLOCK)
    for offset, text in (
        (100, b"0000600\0"),  # mode
        (108, b"0000000\0"),  # uid
        (116, b"0000000\0"),  # gid
        (136, b"00000000000\0"),  # mtime: packs of the same objects are the same bytes
        (148, b" " * 8),  # the checksum counts as blanks while it is computed
        (156, b"0"),  # a regular file
        (257, b"ustar\x0000"),
        (329, b"0000000\0"),
        (337, b"0000000\0"),
    ):
        header[offset : offset + len(text)] = text
    return bytes(header), sum(header)


_TEMPLATE, _TEMPLATE_SUM = _header_template()
_BEHIND = _TEMPLATE[156:]  # the checksum


def tar_header(name: bytes, size: int) -> bytes:
    """The 512 bytes before a member. `name` is a hash or the index's name, in ASCII; size below 8 GiB."""
    between, summed = _of_size(size, len(name))
    return b"%b%b%06o\0 %b" % (name, between, summed + (adler32(name) & 0xFFFF), _BEHIND)


@lru_cache(maxsize=4)  # the blocks of a large file are of one size
def _of_size(size: int, name_length: int) -> tuple[bytes, int]:
    """What stands between name and checksum, and the checksum less that of the name by Adler-32."""
    octal = b"%011o\0" % size
    # the lower half of Adler-32 is one more than the sum of so few bytes: a tenth of the time of `sum`
    summed = _TEMPLATE_SUM + (adler32(octal) & 0xFFFF) - 2
    return b"%b%b%b" % (_TEMPLATE[name_length:124], octal, _TEMPLATE[136:148]), summed


_PADDING = tuple(bytes(length) for length in range(_BLOCK))


def padding(size: int) -> bytes:
    return _PADDING[-size % _BLOCK]


def encode_index(frames: Sequence[tuple[int, int, int, Sequence[tuple[str, int, int]]]]) -> bytes:
    """The index as it lies in a pack. A frame is offset, length and size, and its objects: hash, offset, size."""
    lines = []
    for offset, length, size, objects in frames:
        listed = ",".join([f'{{"hash":"{name}","offset":{at},"size":{of}}}' for name, at, of in objects])
        lines.append(f'{{"offset":{offset},"length":{length},"size":{size},"objects":[{listed}]}}')
    return f'{{"pack":{PACK_VERSION},"frames":[{",".join(lines)}]}}'.encode("ascii")


class PackWriter:
    """Writes one pack to an open, empty file. A second thread compresses and writes, or, where there is much to do, a
    `process` compresses and the caller's thread writes.

    A pack of the same objects in the same order and at the same level is the same file.
    """

    def __init__(self, fd: int, *, compression: int, process: CompressionProcess | None = None) -> None:
        self._fd = fd
        self._compressor = Compressor(compression)
        self._hasher = blake3()
        self._written = 0
        self._handed_out = 0  # of `_written`: for which the disk was told to begin
        self._thread = SideThread(_MOST_WAITING)
        self._process = process
        self._failed: BaseException | None = None  # what this thread met when it wrote
        self._frames: list[tuple[int, list[tuple[str, int, int]]]] = []  # size and objects of those closed
        self._places: list[tuple[int, int]] = []  # offset and length of those written
        self._parts: list[bytes] = []  # the open frame
        self._open_size = 0
        self._open_objects: list[tuple[str, int, int]] = []
        self._where: dict[str, tuple[int, int, int]] = {}  # of the first `_looked` frames
        self._looked = 0
        self._measured = 0  # frames, when `reaches` was last asked
        self.is_full = False
        self.ended = False  # nothing can be added any more
        self._name = ""

    def add(self, object_hash: str, data: bytes) -> None:
        """Append an object, which must not be in the pack yet. Raises OSError when writing fails, perhaps later."""
        self.add_all([(object_hash, data)], MOST_FRAME_BYTES)

    def add_all(self, objects: Iterable[tuple[str, bytes]], most: int) -> int:
        """The same with objects (hash, data), until the file is full, which means that it has `most` bytes. Returns how
        many it took. The same objects fill the same packs, however many are given at a time.
        """
        count = 0
        for object_hash, data in objects:
            count += 1
            size = len(data)
            if size >= FRAME_BYTES:
                self.flush()
            at = self._open_size + _BLOCK
            self._open_objects.append((object_hash, at, size))
            self._parts += (tar_header(object_hash.encode("ascii"), size), data, _PADDING[-size % _BLOCK])
            self._open_size = at = at + size + -size % _BLOCK
            if at >= FRAME_BYTES:
                self.flush()
                self.is_full = self.reaches(most)
                if self.is_full:
                    break
        return count

    def flush(self) -> None:
        """Close the open frame, so that what was added can be located."""
        if self._parts:
            parts, self._parts = self._parts, []
            size, self._open_size = self._open_size, 0
            self._frames.append((size, self._open_objects))
            self._open_objects = []
            if self._process is not None and self._process.takes(size):
                self._thread.wait()  # it may have frames from before
                with self._here():
                    self._process.give(parts, size, self._write_compressed)
            else:
                self._give(self._write_frame, parts)

    def add_frame(self, frame: bytes, size: int, objects: Sequence[tuple[str, int, int]]) -> None:
        """Append a whole frame of another pack: `size` bytes of archive, with objects (hash, offset, size) that must
        not be in the pack yet. Raises OSError when writing fails, perhaps later."""
        self.flush()
        self._frames.append((size, list(objects)))
        self._give(self._write_compressed, [frame])

    def reaches(self, size: int) -> bool:
        """Whether the frames closed so far take `size` bytes or more. The same objects give the same answer.

        Raises OSError when writing failed.
        """
        if len(self._frames) == self._measured:
            return False
        self._measured = len(self._frames)
        done = len(self._places)  # first: meanwhile there may be more, and more bytes with them
        if self._written + sum(x + x // 128 + 512 for x, _ in self._frames[done:]) < size:
            return False
        self._wait()
        return self._written >= size

    def locate(self, object_hash: str) -> Location:
        """Where an object that was added lies. Raises OSError when writing it failed, KeyError."""
        self.flush()
        while self._looked < len(self._frames):
            for name, at, size in self._frames[self._looked][1]:
                self._where[name] = (self._looked, at, size)
            self._looked += 1
        number, at, size = self._where[object_hash]
        if number >= len(self._places):
            self._wait()
        return Location(*self._places[number], self._frames[number][0], at, size)

    def index(self) -> Index:
        """Where all objects added so far lie. Raises OSError when writing them failed."""
        self.flush()
        self._wait()
        return {
            name: Location(offset, length, frame_size, at, size)
            for (offset, length), (frame_size, objects) in zip(self._places, self._frames, strict=True)
            for name, at, size in objects
        }

    def end(self, *, sync: bool = False) -> None:
        """Have index and footer written; nothing can be added from now on. With `sync` all of it goes to the disk.

        Raises OSError when writing failed.
        """
        if not self.ended:
            self.flush()
            self.ended = True
            self._give(self._write_end, sync)
            self._process = None  # from now on it is the next pack's

    def finish(self, *, sync: bool = False) -> tuple[str, Index]:
        """The same, and wait for it. Returns the pack's name (BLAKE3 of the file, in hex) and its index.

        Raises OSError.
        """
        self.end(sync=sync)
        index = self.index()  # while the disk works
        self._thread.wait()
        self.close()
        return self._name, index

    def close(self) -> None:
        """End the thread; what it has in hand is finished first."""
        self._thread.close()

    def _give(self, work: Callable[..., None], *arguments: object) -> None:
        """To the thread, behind all that the process has in hand."""
        self._finish_process()
        self._thread.give(work, *arguments)

    def _wait(self) -> None:
        """Until all frames are written. Raises OSError when that failed."""
        self._finish_process()
        self._thread.wait_for(self._thread.given - self.ended)

    def _finish_process(self) -> None:
        if self._process is not None:
            with self._here():
                self._process.finish(self._write_compressed)

    @contextmanager
    def _here(self) -> Iterator[None]:
        """For what is written by the caller's thread. Behind what fails there nothing more is written."""
        if self._failed is not None:
            raise self._failed
        try:
            yield
        except BaseException as error:
            self._failed = error
            raise

    def _write_frame(self, parts: list[bytes]) -> None:
        self._write_compressed([self._compressor.frame(parts)])

    def _write_compressed(self, frames: Sequence[bytes | memoryview]) -> None:
        offset = self._written
        self._append(frames)
        for frame in frames:
            self._places.append((offset, len(frame)))
            offset += len(frame)
        if self._written - self._handed_out >= _WRITE_OUT_BYTES:
            # The disk begins now what the sync at the end would wait for. Advice only: no error of it matters.
            with suppress(OSError):
                os.posix_fadvise(self._fd, self._handed_out, self._written - self._handed_out, os.POSIX_FADV_DONTNEED)
            self._handed_out = self._written

    def _write_end(self, sync: bool) -> None:
        """Index, end of the archive and footer."""
        listed = zip(self._places, self._frames, strict=True)
        document = encode_index([(*place, size, objects) for place, (size, objects) in listed])
        offset = self._written
        header = tar_header(INDEX_NAME.encode(), len(document))
        self._append([self._compressor.frame([header, document, padding(len(document)), _END_OF_ARCHIVE])])
        digest = blake3(document).digest()
        length = self._written - offset
        footer = (_FOOTER_FRAME, _FOOTER.size - 8, _FOOTER_WHAT, offset, length, len(document), digest)
        self._append([_FOOTER.pack(*footer)])
        if sync:
            os.fsync(self._fd)
        self._name = self._hasher.hexdigest()

    def _append(self, parts: Sequence[bytes | memoryview]) -> None:
        write_all(self._fd, *parts)
        for part in parts:
            self._hasher.update(part)
            self._written += len(part)


# --- reading


def read_index(fd: int, pack: str) -> Index:
    """The index of a pack file, found through its footer. Raises RepositoryError when it is damaged, OSError."""
    size = os.fstat(fd).st_size
    footer = read_exactly(fd, max(size - _FOOTER.size, 0), min(size, _FOOTER.size))
    if len(footer) < _FOOTER.size:
        raise _damaged(pack, "it is too short")
    magic, following, what, offset, length, index_size, digest = _FOOTER.unpack(footer)
    if magic == _FOOTER_FRAME and what != _FOOTER_WHAT and _FOOTER_KIN.fullmatch(what):
        raise _unknown(pack, f"its footer has version {what.split()[-1].decode()[:8]}")
    if (magic, following) != (_FOOTER_FRAME, _FOOTER.size - 8) or what != _FOOTER_WHAT:
        raise _damaged(pack, "it has no footer")
    room = size - _FOOTER.size
    if offset + length != room or index_size > MOST_FRAME_BYTES:
        raise _damaged(pack, "its footer does not fit its size")
    try:
        frame = decompress(read_exactly(fd, offset, length), _BLOCK + index_size + -index_size % _BLOCK + 2 * _BLOCK)
    except ZstdError as error:
        raise _damaged(pack, f"its index does not decompress ({error})") from None
    document = frame[_BLOCK : _BLOCK + index_size]
    if blake3(document).digest() != digest:
        raise _damaged(pack, "its index is not what its footer says")
    return _parse_index(document, offset, pack)


def read_frame(fd: int, location: Location) -> bytes:
    """One decompressed frame; the hashes of its objects decide what it is worth. Raises ZstdError when it is damaged or
    not of the size it should be, OSError."""
    frame = read_exactly(fd, location.frame_offset, location.frame_length)
    return decompress(frame, location.frame_size, alone=False)


def _parse_index(document: bytes, room: int, pack: str) -> Index:
    index: Index = {}
    try:
        parsed = json.loads(document)
        if parsed["pack"] != PACK_VERSION:
            raise _unknown(pack, f"its index has version {parsed['pack']!r}")
        for frame in parsed["frames"]:
            offset, length, size = (_whole(frame[key]) for key in ("offset", "length", "size"))
            if offset + length > room or size > MOST_FRAME_BYTES:
                raise ValueError("a frame lies outside the file")
            for entry in frame["objects"]:
                at, object_size = _whole(entry["offset"]), _whole(entry["size"])
                if at + object_size > size or not HASH.fullmatch(entry["hash"]):
                    raise ValueError("an object lies outside its frame")
                index[entry["hash"]] = Location(offset, length, size, at, object_size)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(pack, f"its index is not what recoverd writes ({error})") from None
    return index


def _whole(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a number is expected")
    return value


class UnknownPackVersion(RepositoryError):
    """A pack that another recoverd wrote: nobody can say here what it holds."""


def _unknown(pack: str, found: str) -> UnknownPackVersion:
    return UnknownPackVersion(
        f"pack {pack}{SUFFIX} can't be used: {found}, and this recoverd understands {PACK_VERSION}",
        hint="use the recoverd that wrote it, or a newer one",
    )


def _damaged(pack: str, why: str) -> RepositoryError:
    return RepositoryError(f"pack {pack}{SUFFIX} can't be used: {why}", hint="other packs and snapshots still work")
