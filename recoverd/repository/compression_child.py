"""The process that compresses, `python -m recoverd.repository.compression_child LEVEL DESCRIPTOR`: see `compression`.

It ends with its parent's end of the pipe.
"""

from __future__ import annotations

import mmap
import os
import sys

from recoverd.repository.compression import LENGTH, PLACE, READY
from recoverd.repository.zstandard import Compressor


def main() -> None:
    level, shared = int(sys.argv[1]), mmap.mmap(int(sys.argv[2]), 0)
    compressor = Compressor(level)
    os.write(1, READY)
    waiting = b""
    with memoryview(shared) as whole:
        while told := os.read(0, 65536):
            waiting += told
            while len(waiting) >= PLACE.size:
                at, size = PLACE.unpack_from(waiting)
                waiting = waiting[PLACE.size :]
                frame = compressor.compress(whole[at : at + size])
                whole[at + size : at + size + len(frame)] = frame
                os.write(1, LENGTH.pack(len(frame)))


if __name__ == "__main__":
    main()
