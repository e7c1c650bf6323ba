"""Packs: many objects in one file, which `tar --zstd -xf` reads (docs/repository-format.md).

A pack is a tar archive cut into zstd frames, with an index of its objects as the last member and, behind the
end of the archive, a footer in a skippable frame which leads to the index. It is named by the BLAKE3 of the file.
"""

from __future__ import annotations

import json
import os
import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from zlib import adler32

from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.repository.zstandard import Compressor, ZstdError, decompress
from recoverd.system.durable import write_all

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

T = TypeVar("T")

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
_AFTER_NAME = {length: _TEMPLATE[length:124] for length in (len(INDEX_NAME), 64)}


def tar_header(name: bytes, size: int) -> bytes:
    """The 512 bytes before a member. `name` is a hash or the index's name, in ASCII; size below 8 GiB."""
    octal = b"%011o\0" % size
    # the lower half of Adler-32 is one more than the sum of so few bytes: a tenth of the time of `sum`
    checksum = _TEMPLATE_SUM + (adler32(octal, adler32(name)) & 0xFFFF) - 1
    return b"%b%b%b%b%06o\0 %b" % (name, _AFTER_NAME[len(name)], octal, _TEMPLATE[136:148], checksum, _TEMPLATE[156:])


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
    """Writes one pack to an open, empty file. Compression and writing happen in a second thread.

    A pack of the same objects in the same order and at the same level is the same file.
    """

    def __init__(self, fd: int, *, compression: int) -> None:
        self._fd = fd
        self._compressor = Compressor(compression)
        self._hasher = blake3()
        self._written = 0
        self._failed: OSError | None = None
        self._handed_out = 0  # of `_written`: for which the disk was told to begin
        self._frames: list[tuple[Future[tuple[int, int]], int, list[tuple[str, int, int]]]] = []
        self._thread: ThreadPoolExecutor | None = None
        self._parts: list[bytes] = []  # the open frame
        self._open_size = 0
        self._open_objects: list[tuple[str, int, int]] = []
        self._where: dict[str, tuple[int, int, int]] = {}  # of the first `_looked` frames
        self._looked = 0
        self._measured = 0  # frames, when `reaches` was last asked

    def add(self, object_hash: str, data: bytes) -> None:
        """Append an object, which must not be in the pack yet. Raises OSError when writing fails, perhaps later."""
        size = len(data)
        if size >= FRAME_BYTES:
            self.flush()
        at = self._open_size + _BLOCK
        self._open_objects.append((object_hash, at, size))
        self._parts += (tar_header(object_hash.encode("ascii"), size), data, _PADDING[-size % _BLOCK])
        self._open_size = at = at + size + -size % _BLOCK
        if at >= FRAME_BYTES:
            self.flush()

    def flush(self) -> None:
        """Close the open frame, so that what was added can be located."""
        if self._parts:
            self._frames.append((self._submit(self._write_frame, self._parts), self._open_size, self._open_objects))
            self._parts, self._open_size, self._open_objects = [], 0, []

    def add_frame(self, frame: bytes, size: int, objects: Sequence[tuple[str, int, int]]) -> None:
        """Append a whole frame of another pack: `size` bytes of archive, with objects (hash, offset, size) that must
        not be in the pack yet. Raises OSError when writing fails, perhaps later."""
        self.flush()
        self._frames.append((self._submit(self._write_compressed, frame), size, list(objects)))

    def reaches(self, size: int) -> bool:
        """Whether the frames closed so far take `size` bytes or more. The same objects give the same answer.

        Raises OSError when writing failed.
        """
        if len(self._frames) == self._measured:
            return False
        self._measured = len(self._frames)
        waiting = sum(x + x // 128 + 512 for future, x, _ in self._frames[-_MOST_WAITING:] if not future.done())
        if self._written + waiting < size:
            return False
        self._frames[-1][0].result()
        return self._written >= size

    def locate(self, object_hash: str) -> Location:
        """Where an object that was added lies. Raises OSError when writing it failed, KeyError."""
        self.flush()
        while self._looked < len(self._frames):
            for name, at, size in self._frames[self._looked][2]:
                self._where[name] = (self._looked, at, size)
            self._looked += 1
        number, at, size = self._where[object_hash]
        future, frame_size, _ = self._frames[number]
        return Location(*future.result(), frame_size, at, size)

    def index(self) -> Index:
        """Where all objects added so far lie. Raises OSError when writing them failed."""
        self.flush()
        index: Index = {}
        for future, size, objects in self._frames:
            offset, length = future.result()
            for object_hash, at, object_size in objects:
                index[object_hash] = Location(offset, length, size, at, object_size)
        return index

    def finish(self, *, sync: bool = False) -> tuple[str, Index]:
        """Write index and footer. Returns the pack's name (BLAKE3 of the file, in hex) and its index.

        With `sync` the file is on the disk on return, else nothing is synced. Raises OSError.
        """
        self.flush()
        document = encode_index([(*future.result(), size, objects) for future, size, objects in self._frames])
        name = self._submit(self._write_end, document, sync)
        index = self.index()  # while the disk works
        result = name.result(), index
        self.close()
        return result

    def close(self) -> None:
        """End the second thread; what it has in hand is finished first."""
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
            self._thread = None

    def _submit(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        if self._thread is None:
            from concurrent.futures import ThreadPoolExecutor

            self._thread = ThreadPoolExecutor(1, thread_name_prefix="recoverd-pack")
        if len(self._frames) >= _MOST_WAITING:
            self._frames[-_MOST_WAITING][0].result()
        return self._thread.submit(work, *arguments)

    def _write_frame(self, parts: list[bytes]) -> tuple[int, int]:
        return self._write_compressed(self._compressor.frame(b"".join(parts)))

    def _write_compressed(self, frame: bytes) -> tuple[int, int]:
        offset = self._written
        self._append(frame)
        if self._written - self._handed_out >= _WRITE_OUT_BYTES:
            # The disk begins now what the sync at the end would wait for. Advice only: no error of it matters.
            with suppress(OSError):
                os.posix_fadvise(self._fd, self._handed_out, self._written - self._handed_out, os.POSIX_FADV_DONTNEED)
            self._handed_out = self._written
        return offset, self._written - offset

    def _write_end(self, document: bytes, sync: bool) -> str:
        """Index, end of the archive and footer; the name that the pack gets."""
        header = tar_header(INDEX_NAME.encode(), len(document))
        offset, length = self._write_frame([header, document, padding(len(document)), _END_OF_ARCHIVE])
        digest = blake3(document).digest()
        footer = (_FOOTER_FRAME, _FOOTER.size - 8, _FOOTER_WHAT, offset, length, len(document), digest)
        self._append(_FOOTER.pack(*footer))
        if sync:
            os.fsync(self._fd)
        return self._hasher.hexdigest()

    def _append(self, data: bytes) -> None:
        if self._failed is not None:  # a part of that may be in the file: nothing behind it would be where it seems
            raise OSError(self._failed.errno, self._failed.strerror)
        try:
            write_all(self._fd, data)
        except OSError as error:
            self._failed = error
            raise
        self._hasher.update(data)
        self._written += len(data)


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


def read_exactly(fd: int, offset: int, length: int) -> bytes:
    """Up to `length` bytes at `offset`; fewer only at the end of the file. Raises OSError."""
    data = os.pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    done = len(data)
    while done < length and (data := os.pread(fd, length - done, offset + done)):
        parts.append(data)
        done += len(data)
    return b"".join(parts)


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
