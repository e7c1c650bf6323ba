"""Zstandard frames: compressed with a checksum, decompressed within a bound."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterable
from typing import Any


def _zstd() -> Any:
    # Late: most captures find nothing changed, and neither compress nor decompress anything.
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


class ZstdError(Exception):
    """A frame is not what it should be."""


class Compressor:
    """Makes frames that carry their size and a checksum of their content. One thread at a time."""

    def __init__(self, level: int) -> None:
        zstd = _zstd()
        parameter = zstd.CompressionParameter
        self._compressor = zstd.ZstdCompressor(
            options={parameter.compression_level: level, parameter.checksum_flag: 1, parameter.content_size_flag: 1}
        )
        self._flush = zstd.ZstdCompressor.FLUSH_FRAME
        self._buffer = io.BytesIO()

    def frame(self, parts: Iterable[bytes]) -> bytes:
        """One whole frame of all the parts."""
        # one buffer for all frames: a new one for each costs more in the kernel than the copying
        self._buffer.seek(0)
        self._buffer.writelines(parts)
        with self._buffer.getbuffer() as whole, whole[: self._buffer.tell()] as content:
            return self.compress(content)

    def compress(self, content: bytes | memoryview) -> bytes:
        """One whole frame."""
        frame: bytes = self._compressor.compress(content, self._flush)
        return frame


def decompress(frame: bytes, size: int, *, alone: bool = True) -> bytes:
    """The content of one frame, which must be `size` bytes; never takes more memory than that.

    Raises ZstdError when the frame is damaged, of another size, or, where it must be `alone`, followed by something: a
    flipped bit in its header can make a checksum such a thing, and the hashes of what is in it may still be right.
    """
    zstd = _zstd()
    decompressor = zstd.ZstdDecompressor()
    try:
        data: bytes = decompressor.decompress(frame, max_length=size)
        if not decompressor.eof and decompressor.decompress(b"", max_length=1):
            raise ZstdError("a frame is larger than it should be")
    except EOFError as error:
        raise ZstdError("a frame is cut") from error
    except zstd.ZstdError as error:
        raise ZstdError(str(error)) from error
    if not decompressor.eof:
        raise ZstdError("a frame is cut")
    if len(data) != size or (alone and decompressor.unused_data):
        raise ZstdError("a frame is not of the size it should be")
    return data


_PIECE_BYTES = 256 * 1024


def first_frame(read: Callable[[int, int], bytes], offset: int, most: int) -> tuple[bytes, int] | None:
    """The content of the frame that begins at `offset`, and its length, where nobody knows either.

    `read` gives so many bytes at an offset, fewer at the end. None when no intact frame begins there, or its content is
    larger than `most` bytes.
    """
    zstd = _zstd()
    decompressor = zstd.ZstdDecompressor()
    parts: list[bytes] = []
    have = taken = 0
    try:
        while not decompressor.eof:
            piece = read(offset + taken, _PIECE_BYTES) if decompressor.needs_input else b""
            if decompressor.needs_input and not piece:
                return None
            taken += len(piece)
            parts.append(decompressor.decompress(piece, max_length=most + 1 - have))
            have += len(parts[-1])
            if have > most:
                return None
    except (zstd.ZstdError, EOFError, MemoryError):
        return None
    return b"".join(parts), taken - len(decompressor.unused_data)
