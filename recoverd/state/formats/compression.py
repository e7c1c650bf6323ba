"""Seeing through gzip (RFC 1952) and zstd (RFC 8878): by their first bytes, whatever the name.

Both may hold several members or frames one after the other, zstd skippable frames as well. What is unpacked comes in
pieces of bounded size, and how much it may come to is bounded by what it is unpacked from: a few kilobytes can't fill
memory or keep a boot waiting. Data that is damaged or cut is a problem, at the place where the damage shows.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Generator, Iterator
from enum import StrEnum
from typing import Any

from recoverd.state.formats.text import Unjudgeable, nul_tail
from recoverd.state.verdicts import Problem
from recoverd.values import dataclass


class Compression(StrEnum):
    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"


HEAD_BYTES = 4
"""So many bytes of a document tell how it is compressed."""

PIECE_BYTES = 1024 * 1024
_SLICE_BYTES = 16 * 1024
_NEAR = f"here or in the {_SLICE_BYTES // 1024} KiB that follow"
_FREE_BYTES = 256 * 1024 * 1024
_MOST_RATIO = 100
"""What is unpacked may come to `_FREE_BYTES`, or to so many times what it is unpacked from: real logs pack 10 to 30
times smaller, zeros 1000 times (gzip) and more (zstd)."""

_GZIP = b"\x1f\x8b\x08"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_GZIP_WINDOW = 31  # zlib: the largest window, and gzip's header and trailer
_MOST_WINDOW_BYTES = 1 << 27  # what zstd itself grants to a frame, unless asked


def find(head: bytes) -> Compression:
    """How a document with these first bytes (`HEAD_BYTES`, or all) is compressed."""
    if head.startswith(_GZIP):
        return Compression.GZIP
    if head.startswith(_ZSTD) or _SKIPPABLE.match(head):
        return Compression.ZSTD
    return Compression.NONE


def is_certain(head: bytes) -> bool:
    """Whether nothing else begins so. Skippable frames are zstd's and lz4's, and text could begin like one."""
    return head.startswith((_GZIP, _ZSTD))


class Unpacker:
    """Takes compressed bytes block by block, gives what was in them piece by piece.

    After `finish`, or as soon as the damage shows, `problem` says what is wrong with the compressed data, if anything.
    """

    def __init__(self, kind: Compression) -> None:
        self._kind = kind
        self._zstd = _zstd() if kind is Compression.ZSTD else None
        self._damage: tuple[type[Exception], ...] = (zlib.error, *((self._zstd.ZstdError,) if self._zstd else ()))
        self._member: Any = None  # the decompressor of the member under way
        self._held = b""  # of a header that is not whole yet
        self._skip_bytes = 0  # what is left of a skippable frame
        self._padding_bytes = 0  # NUL bytes behind the last member
        self._taken_bytes = 0
        self._given_bytes = 0
        self._members = 0
        self.problem: Problem | None = None

    def feed(self, block: bytes) -> Iterator[bytes]:
        """What `block` unpacks to. Raises Unjudgeable when it comes to more than is unpacked, or needs what is not
        there (a dictionary, a window of more than 128 MiB). To be exhausted before the next call."""
        for start in range(0, len(block), _SLICE_BYTES):
            part = block[start : start + _SLICE_BYTES]
            self._taken_bytes += len(part)
            yield from self._take(self._held + part)

    def _take(self, data: bytes) -> Iterator[bytes]:
        self._held = b""
        while data and self.problem is None:
            if self._skip_bytes:
                skipped = min(self._skip_bytes, len(data))
                self._skip_bytes -= skipped
                data = data[skipped:]
            elif self._padding_bytes:
                self._pad(data)
                return
            elif self._member is None:
                data = self._begin(data)
            else:
                data = yield from self._unpack(data)

    def finish(self) -> None:
        """There is no more: what is not whole by now is damaged."""
        if self._padding_bytes and self.problem is None:
            sentence = nul_tail(bytes(self._padding_bytes))
            assert sentence is not None
            self._report(self._taken_bytes - self._padding_bytes, f"behind its compressed data it {sentence[1]}")
        if self.problem is None and (self._member is not None or self._held or self._skip_bytes or not self._members):
            self._report(self._taken_bytes, f"ends in the middle of its compressed data ({self._kind})")

    def _report(self, position: int, sentence: str) -> None:
        self.problem = Problem(f"byte {position}", sentence)
        self._member = None

    def _at(self, rest: bytes) -> int:
        """The offset in the file of `rest`, what has not been looked at of all that was taken."""
        return self._taken_bytes - len(rest)

    def _begin(self, data: bytes) -> bytes:
        """The beginning of a member, a frame, or of something that does not belong here; what is behind its header."""
        if self._kind is Compression.GZIP and len(data) >= len(_GZIP):
            if data.startswith(_GZIP):
                self._member = zlib.decompressobj(_GZIP_WINDOW)
                return data
        elif self._kind is Compression.ZSTD and data.startswith(_ZSTD):
            return self._begin_frame(data)
        elif self._kind is Compression.ZSTD and _SKIPPABLE.match(data):
            if len(data) < 8:
                self._held = data
                return b""
            self._skip_bytes = int.from_bytes(data[4:8], "little")
            return data[8:]
        if self._could_begin(data):
            self._held = data
            return b""
        if self._members and data[0] == 0:
            self._pad(data)
            return b""
        what = "goes on after the end of its compressed data" if self._members else "is not what its first bytes claim"
        self._report(self._at(data), f"{what} ({self._kind})")
        return b""

    def _could_begin(self, data: bytes) -> bool:
        if self._kind is Compression.GZIP:
            return _GZIP.startswith(data)
        return _ZSTD.startswith(data) or (
            len(data) < 4 and 0x50 <= data[0] <= 0x5F and b"\x2a\x4d".startswith(data[1:])
        )

    def _begin_frame(self, data: bytes) -> bytes:
        """A frame whose header says what reading it takes; the decompressor would refuse without saying why."""
        assert self._zstd is not None
        header = _frame_header(data)
        if header is None:
            self._held = data
            return b""
        window_bytes, dictionary = header
        if dictionary:
            raise Unjudgeable(f"is compressed with the dictionary {dictionary}, which is not at hand")
        if window_bytes > _MOST_WINDOW_BYTES:
            raise Unjudgeable(
                f"needs a window of {window_bytes >> 20} MiB to be unpacked; at most {_MOST_WINDOW_BYTES >> 20} MiB are"
            )
        self._member = self._zstd.ZstdDecompressor()
        return data

    def _unpack(self, data: bytes) -> Generator[bytes, None, bytes]:
        """Everything that `data` holds of the member under way; returns what is behind it."""
        member = self._member
        while True:
            try:
                piece = member.decompress(data, PIECE_BYTES)
            except self._damage:
                self._report(self._at(data), f"holds damaged compressed data ({self._kind}), {_NEAR}")
                return b""
            if piece:
                self._give(len(piece))
                yield piece
            if member.eof:
                self._member = None
                self._members += 1
                return bytes(member.unused_data)
            data = bytes(member.unconsumed_tail) if self._kind is Compression.GZIP else b""
            if self._kind is Compression.GZIP:
                # what zlib still holds back comes when it is asked again, also with nothing new
                if not data and len(piece) < PIECE_BYTES:
                    return b""
            elif member.needs_input:
                return b""

    def _give(self, count: int) -> None:
        self._given_bytes += count
        if self._given_bytes > max(_FREE_BYTES, _MOST_RATIO * self._taken_bytes):
            raise Unjudgeable(
                f"unpacks to more than {_FREE_BYTES >> 20} MiB and {_MOST_RATIO} times its size: it is not read on"
            )

    def _pad(self, data: bytes) -> None:
        """NUL bytes, up to the end or to what is not one."""
        if data.strip(b"\0"):
            start = self._at(data) - self._padding_bytes
            self._report(start, f"goes on after the end of its compressed data ({self._kind})")
        self._padding_bytes += len(data)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A document as it is under its compression: all of it, or what comes before the damage."""

    data: bytes
    compression: Compression
    problem: Problem | None = None


def unpack(data: bytes, most_bytes: int) -> Unpacked:
    """A whole document, seen through. What is not compressed comes back as it is.

    Raises Unjudgeable for one that unpacks to more than `most_bytes`, and as `Unpacker.feed`.
    """
    kind = find(data[:HEAD_BYTES])
    if kind is Compression.NONE:
        return Unpacked(data, kind)
    unpacker = Unpacker(kind)
    pieces = []
    size_bytes = 0
    for piece in unpacker.feed(data):
        size_bytes += len(piece)
        if size_bytes > most_bytes:
            raise Unjudgeable(f"unpacks to more than {most_bytes} bytes, more than is parsed")
        pieces.append(piece)
    unpacker.finish()
    return Unpacked(b"".join(pieces), kind, unpacker.problem)


def pack(data: bytes, compression: Compression, level: int | None = None) -> bytes:
    """`data` compressed; the same bytes for the same input: a gzip header with neither name nor time.

    `level` None is the usual one. zstd frames have a content checksum, which gzip always has.
    """
    if compression is Compression.GZIP:
        packer = zlib.compressobj(6 if level is None else level, zlib.DEFLATED, _GZIP_WINDOW)
        return packer.compress(data) + packer.flush()
    if compression is Compression.ZSTD:
        module = _zstd()
        options = {module.CompressionParameter.checksum_flag: 1}
        if level is not None:
            options[module.CompressionParameter.compression_level] = level
        return bytes(module.compress(data, options=options))
    return data


def level_of(data: bytes) -> int | None:
    """The level that a gzip header tells (9, 1, or None for anything between); zstd tells none."""
    if find(data[:HEAD_BYTES]) is not Compression.GZIP or len(data) < 9:
        return None
    return {2: 9, 4: 1}.get(data[8])  # RFC 1952, 2.3.1: XFL


def _frame_header(data: bytes) -> tuple[int, int] | None:
    """(window in bytes, dictionary id) of a zstd frame (RFC 8878, 3.1.1.1); None while its header is not whole."""
    if len(data) < 5:
        return None
    descriptor = data[4]
    single_segment = descriptor >> 5 & 1
    dictionary_bytes = (0, 1, 2, 4)[descriptor & 3]
    size_flag = descriptor >> 6
    size_bytes = (single_segment, 2, 4, 8)[size_flag]
    window_at = 5
    dictionary_at = window_at + (1 - single_segment)
    size_at = dictionary_at + dictionary_bytes
    if len(data) < size_at + size_bytes:
        return None
    dictionary = int.from_bytes(data[dictionary_at:size_at], "little")
    if single_segment:
        window = int.from_bytes(data[size_at : size_at + size_bytes], "little") + (256 if size_flag == 1 else 0)
    else:
        base = 1 << (10 + (data[window_at] >> 3))
        window = base + base // 8 * (data[window_at] & 7)
    return window, dictionary


def _zstd() -> Any:
    """The module; imported when the first document needs it."""
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd
