"""Reading with what the caller has already seen, and extended attributes of the same instant."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoverd.system.reading import attributes_of, read_stable


@pytest.fixture
def directory(tmp_path: Path) -> int:
    (tmp_path / "one").write_bytes(b"first")
    os.utime(tmp_path / "one")
    return os.open(tmp_path, os.O_RDONLY)


def test_an_earlier_look_hides_no_change(directory: int, tmp_path: Path) -> None:
    """The file changed between the caller's look and the read: what is read is the new one, whole, with its stat."""
    try:
        found = os.stat("one", dir_fd=directory)
        (tmp_path / "fresh").write_bytes(b"another, longer one")
        (tmp_path / "fresh").rename(tmp_path / "one")
        read = read_stable(directory, "one", found=found)
    finally:
        os.close(directory)
    assert (read.data, read.torn) == (b"another, longer one", False)
    assert read.stat.st_ino == (tmp_path / "one").stat().st_ino != found.st_ino


def test_attributes_come_with_the_bytes(directory: int, tmp_path: Path) -> None:
    """Sorted by name, those of the link itself where it is one."""
    try:
        for name in (b"user.b", b"user.a"):
            try:
                os.setxattr(tmp_path / "one", name, name)
            except OSError as error:
                pytest.skip(f"no extended attributes here: {error}")
        attributes = tuple(x for x in read_stable(directory, "one").attributes if x[0].startswith("user."))
    finally:
        os.close(directory)
    assert attributes == (("user.a", b"user.a"), ("user.b", b"user.b"))
    (tmp_path / "link").symlink_to("one")
    assert not [x for x in attributes_of(str(tmp_path / "link")) if x[0].startswith("user.")]
    assert attributes_of(str(tmp_path / "none")) == ()


def test_attributes_are_bounded(tmp_path: Path) -> None:
    """Promise 12: some file systems take hundreds of megabytes of them, and who owns a file sets what he likes."""
    fd = os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        try:
            for number in range(40):
                os.setxattr(fd, f"user.{number:02}", bytes(60_000))
        except OSError as error:
            pytest.skip(f"no such attributes here: {error}")
        found = [(name, value) for name, value in attributes_of(fd) if name.startswith("user.")]
    finally:
        os.close(fd)
    assert [name for name, _ in found] == [f"user.{number:02}" for number in range(len(found))]
    assert 900_000 < sum(len(value) for _, value in found) <= 1 << 20
