from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from recoverd.system import mounts, swap


def refuse_flags(monkeypatch: pytest.MonkeyPatch, number: int = errno.EINVAL) -> None:
    """As a file system that does not know the flags of renameat2 answers."""
    monkeypatch.setattr(swap, "_renameat2", lambda: lambda *_: number)


@pytest.fixture(params=["disk", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory on the disk's file system and one on tmpfs."""
    if request.param == "memory":
        tmpfs: Path = request.getfixturevalue("tmpfs")
        return tmpfs
    return tmp_path


def test_exchange_swaps_inodes(place: Path) -> None:
    """RENAME_EXCHANGE: both names keep existing, each is the other's inode; also a file with a directory."""
    (place / "a").write_text("a")
    (place / "b").mkdir()
    fd = os.open(place, os.O_RDONLY)
    inodes = os.stat(place / "a").st_ino, os.stat(place / "b").st_ino
    swap.exchange(fd, "a", fd, "b")
    assert (os.stat(place / "b").st_ino, os.stat(place / "a").st_ino) == inodes
    os.symlink("nowhere", place / "link")
    swap.exchange(fd, "b", fd, "link")
    assert os.readlink(place / "b") == "nowhere"
    os.close(fd)


def test_exchange_with_nothing_is_refused(tmp_path: Path, dir_fd: int) -> None:
    """An absent side is FileNotFoundError, whichever it is, and nothing moved."""
    (tmp_path / "a").touch()
    for one, other in (("a", "b"), ("b", "a")):
        with pytest.raises(FileNotFoundError):
            swap.exchange(dir_fd, one, dir_fd, other)
    assert os.listdir(tmp_path) == ["a"]


def test_between_file_systems_exchange_is_refused(tmp_path: Path, dir_fd: int, tmpfs: Path) -> None:
    """EXDEV is told apart from real errors, so that the caller can use two renames."""
    (tmp_path / "a").write_text("a")
    (tmpfs / "b").write_text("b")
    other = os.open(tmpfs, os.O_RDONLY)
    with pytest.raises(swap.ExchangeRefused):
        swap.exchange(dir_fd, "a", other, "b")
    with pytest.raises(OSError) as caught:
        swap.move(dir_fd, "a", other, "c")
    assert caught.value.errno == errno.EXDEV
    assert not mounts.same_mount(dir_fd, other)
    os.close(other)


def test_an_ancestor_can_not_be_exchanged(tmp_path: Path, dir_fd: int) -> None:
    """EINVAL is a refusal, other errors are not."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    below = os.open(tmp_path / "a", os.O_RDONLY)
    with pytest.raises(swap.ExchangeRefused):
        swap.exchange(dir_fd, "a", below, "b")
    os.close(below)
    with pytest.raises(OSError) as caught:
        swap.exchange(99_999, "a", dir_fd, "a")
    assert caught.value.errno == errno.EBADF


@pytest.mark.parametrize("flags_known", [True, False])
@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_move_never_replaces(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, kind: str, flags_known: bool
) -> None:
    """A file that appears at the target between plan and move is never lost, with or without RENAME_NOREPLACE."""
    if not flags_known:
        refuse_flags(monkeypatch)
    if kind == "file":
        (tmp_path / "a").write_text("a")
    elif kind == "directory":
        (tmp_path / "a").mkdir()
    else:
        (tmp_path / "a").symlink_to("nowhere")
    inode = os.lstat(tmp_path / "a").st_ino
    (tmp_path / "b").write_text("mine")
    with pytest.raises(FileExistsError):
        swap.move(dir_fd, "a", dir_fd, "b")
    assert (tmp_path / "b").read_text() == "mine"
    swap.move(dir_fd, "a", dir_fd, "c")
    assert os.lstat(tmp_path / "c").st_ino == inode
    assert sorted(os.listdir(tmp_path)) == ["b", "c"]
    with pytest.raises(FileNotFoundError):
        swap.move(dir_fd, "a", dir_fd, "d")


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP, errno.EIO])
def test_move_where_there_are_no_hard_links(
    tmp_path: Path, dir_fd: int, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """vfat knows neither flags nor hard links; a real error is passed on."""
    refuse_flags(monkeypatch)

    def no_links(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", no_links)
    (tmp_path / "a").write_text("a")
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output"):
            swap.move(dir_fd, "a", dir_fd, "b")
        assert os.listdir(tmp_path) == ["a"]
    else:
        swap.move(dir_fd, "a", dir_fd, "b")
        assert os.listdir(tmp_path) == ["b"]


def test_odd_names(tmp_path: Path, dir_fd: int) -> None:
    """Names are bytes to the kernel: what is not UTF-8 is moved all the same."""
    name = os.fsdecode(b"\xff\n")
    (tmp_path / "a").write_text("a")
    swap.move(dir_fd, "a", dir_fd, name)
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\n"]


def test_mounts(dir_fd: int, tmpfs: Path) -> None:
    """Memory file systems are told from disks; free space is what the file system says."""
    memory = os.open(tmpfs, os.O_RDONLY)
    assert mounts.file_system_type(memory) == "tmpfs"
    assert mounts.is_memory_file_system(memory)
    assert mounts.free_bytes(memory) == (4 << 20, 4 << 20)
    os.close(memory)


def test_the_mount_of_a_plain_directory(dir_fd: int) -> None:
    """Two descriptors of one directory share their mount; its type is one that the kernel knows."""
    again = os.dup(dir_fd)
    assert mounts.same_mount(dir_fd, again)
    os.close(again)
    with open("/proc/filesystems", encoding="ascii") as file:
        assert mounts.file_system_type(dir_fd) in file.read().split()
    free, total = mounts.free_bytes(dir_fd)
    assert 0 <= free <= total
    with pytest.raises(OSError):
        mounts.mount_id(99_999)
