"""Files of a database, without SQLite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoverd.state.databases.files import warm

PIECE = 1 << 20


def held(fd: int) -> list[bool]:
    """Whether the kernel holds the first page of each piece."""
    found = []
    for at in range(0, os.fstat(fd).st_size, PIECE):
        try:
            os.preadv(fd, [bytearray(1)], at, os.RWF_NOWAIT)
            found.append(True)
        except BlockingIOError:
            found.append(False)
    return found


def test_a_lock_waits_for_no_disk(tmp_path: Path) -> None:
    """Writers wait for as long as a copy under their lock takes: what only the disk holds is read before."""
    path = tmp_path / "store.db"
    path.write_bytes(os.urandom(6 * PIECE + 1))
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        try:
            cold = held(fd)
        except OSError:
            pytest.skip("this file system can't say what the kernel holds of a file")
        if all(cold):
            pytest.skip("this file system keeps its files in memory")
        warm(fd)
        assert all(held(fd))
    finally:
        os.close(fd)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch()
    fd = os.open(path, os.O_RDONLY)
    try:
        warm(fd)
        assert held(fd) == []
    finally:
        os.close(fd)
