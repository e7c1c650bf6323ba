"""Zstandard frames: compressed with a checksum, decompressed within a bound."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZstdError = zstd.ZstdError


class Compressor:
    """Makes frames that carry their size and a checksum of their content. One thread at a time."""

    def __init__(self, level: int) -> None:
        parameter = zstd.CompressionParameter
        self._compressor = zstd.ZstdCompressor(
            options={parameter.compression_level: level, parameter.checksum_flag: 1, parameter.content_size_flag: 1}
        )

    def frame(self, data: bytes) -> bytes:
        """One whole frame."""
        return self._compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME)


def decompress(frame: bytes, size: int) -> bytes:
    """The content of exactly one frame, which must be `size` bytes; never takes more memory than that.

    Raises ZstdError when the frame is damaged, of another size, or followed by something.
    """
    decompressor = zstd.ZstdDecompressor()
    try:
        data = decompressor.decompress(frame, max_length=size)
        if not decompressor.eof and decompressor.decompress(b"", max_length=1):
            raise ZstdError("a frame is larger than it should be")
    except EOFError as error:
        raise ZstdError("a frame is cut") from error
    if not decompressor.eof:
        raise ZstdError("a frame is cut")
    if len(data) != size or decompressor.unused_data:
        raise ZstdError("a frame is not of the size it should be")
    return data
