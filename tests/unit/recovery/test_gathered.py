"""What a restore gathers from elsewhere: read by hash, closed once, and never another file's descriptor."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoverd.errors import DamagedObject
from recoverd.recovery.gathered import Gathered, Nothing
from recoverd.repository.trees import BLOCK_SIZE, Entry

LIKE = Entry("x", "file", 0o640, 1, 2, "", "", 0, 5)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def content(gathered: Gathered, entry: Entry) -> bytes:
    pieces = gathered.over(Nothing()).file_chunks(entry)
    return b"".join(piece if isinstance(piece, bytes) else b"\0" * piece for piece in pieces)


@pytest.mark.parametrize("size", [0, 1, BLOCK_SIZE, BLOCK_SIZE + 1, 3 * BLOCK_SIZE], ids=str)
@pytest.mark.parametrize("byte", [b"a", b"\0"])
def test_a_file_is_read_by_its_hashes_and_closed_once(size: int, byte: bytes, tmp_path: Path) -> None:
    """Also one with holes; small ones are not kept open, for there may be thousands."""
    path = tmp_path / "file"
    path.write_bytes(byte * size)
    fd = os.open(path, os.O_RDONLY)
    with Gathered() as gathered:
        entry = gathered.put_file(LIKE, fd, size)
        assert (entry.size, entry.mode, entry.mtime_ns) == (size, 0o640, 5)
        assert content(gathered, entry) == byte * size == content(gathered, gathered.put(LIKE, byte * size))
        assert is_open(fd) is (size > BLOCK_SIZE)
    assert not is_open(fd)


@pytest.mark.parametrize("size", [10, 2 * BLOCK_SIZE], ids=str)
def test_a_file_that_shrinks_stays_the_callers(size: int, tmp_path: Path) -> None:
    """It would be closed twice, the second time perhaps as another file's descriptor."""
    path = tmp_path / "file"
    path.write_bytes(b"a" * (size - 1))
    fd = os.open(path, os.O_RDONLY)
    with Gathered() as gathered, pytest.raises(EOFError):
        gathered.put_file(LIKE, fd, size)
    assert is_open(fd)
    os.close(fd)


def test_a_file_that_changes_is_damage(tmp_path: Path) -> None:
    """Promise 7: what is read later must be what was hashed."""
    path = tmp_path / "file"
    path.write_bytes(b"a" * 2 * BLOCK_SIZE)
    with Gathered() as gathered:
        entry = gathered.put_file(LIKE, os.open(path, os.O_RDONLY), 2 * BLOCK_SIZE)
        path.write_bytes(b"b" * 2 * BLOCK_SIZE)
        with pytest.raises(DamagedObject):
            content(gathered, entry)
