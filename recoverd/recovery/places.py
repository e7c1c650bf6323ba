"""Places: the private directories where a transaction keeps what it stages and what it replaced.

One place is recoverd's own (below the state directory); another lies beside a target on each other file
system, as a rename can't leave its mount. All are 0700 and held open: nobody else can enter them, and
whoever renames them under us gains nothing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from recoverd.system.mounts import mount_id
from recoverd.system.walk import lstat_at, open_directory_at, open_parent
from recoverd.values import dataclass

PLACE_PREFIX = ".recoverd-"
_DEEPEST = 100  # levels that are removed at once: one descriptor and two stack frames are held for each


@dataclass(frozen=True, slots=True)
class Place:
    """An open private directory. `path` is absolute, for people and for the next run."""

    path: str
    fd: int
    device: int
    inode: int

    def close(self) -> None:
        os.close(self.fd)


def opened(path: str, fd: int) -> Place:
    """A place from a descriptor of it."""
    status = os.fstat(fd)
    return Place(path, fd, status.st_dev, status.st_ino)


def same_file_system(fd_a: int, fd_b: int) -> bool:
    """Whether renames between two directories can work: one mount, and one btrfs subvolume of it."""
    return os.fstat(fd_a).st_dev == os.fstat(fd_b).st_dev and mount_id(fd_a) == mount_id(fd_b)


def create_at(dir_fd: int, name: str) -> int:
    """Make a private directory and open it. Raises OSError."""
    os.mkdir(name, 0o700, dir_fd=dir_fd)
    fd = open_directory_at(dir_fd, name)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid():
        os.close(fd)
        raise PermissionError(f"{name} was replaced while it was made")
    os.fchmod(fd, 0o700)  # a default ACL may have added bits
    return fd


def reopen(path: str, inode: int | None) -> Place | None:
    """A place of an earlier run; None when it is gone or something else is there. Raises OSError."""
    try:
        parent, name = open_parent(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fd = open_directory_at(parent, name)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(parent)
    status = os.fstat(fd)
    if status.st_uid != os.geteuid() or (inode is not None and status.st_ino != inode):
        os.close(fd)
        return None
    return Place(path, fd, status.st_dev, status.st_ino)


@contextmanager
def parent_of(path: str) -> Iterator[tuple[int, str]]:
    """`open_parent` that closes by itself."""
    fd, name = open_parent(path)
    try:
        yield fd, name
    finally:
        os.close(fd)


def remove_tree(dir_fd: int, name: str) -> None:
    """Delete a name and all below it, however deep, never through a link; absence is fine. Raises OSError."""
    try:
        status = lstat_at(dir_fd, name)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=dir_fd)
        return
    fd = _opened_up(dir_fd, name, status)
    try:
        empty(fd)
    finally:
        os.close(fd)
    os.rmdir(name, dir_fd=dir_fd)


def empty(fd: int, *, last: str | None = None) -> None:
    """Delete all below an open directory; the name `last` goes after everything else.

    Services nest directories as deep as they like, and there are only so many descriptors and stack frames: what lies
    deeper is moved up into this directory, and has its turn there.
    """
    _open_up(fd)
    moved_up: list[str] = []
    _empty(fd, fd, moved_up, 1, last)
    while moved_up:
        _remove(fd, moved_up.pop(), fd, moved_up, 1)
    if last is not None:
        remove_tree(fd, last)


def _empty(fd: int, top: int, moved_up: list[str], depth: int, last: str | None = None) -> None:
    for name in os.listdir(fd):
        if name != last:
            _remove(fd, name, top, moved_up, depth)


def _remove(dir_fd: int, name: str, top: int, moved_up: list[str], depth: int) -> None:
    try:
        status = lstat_at(dir_fd, name)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=dir_fd)
        return
    fd = _opened_up(dir_fd, name, status)
    try:
        if depth < _DEEPEST:
            _empty(fd, top, moved_up, depth + 1)
        else:
            moved_up.append(f".deep-{os.urandom(8).hex()}")
            os.rename(name, moved_up[-1], src_dir_fd=dir_fd, dst_dir_fd=top)
    finally:
        os.close(fd)
    if depth < _DEEPEST:
        os.rmdir(name, dir_fd=dir_fd)


def _opened_up(dir_fd: int, name: str, status: os.stat_result) -> int:
    """A directory that is to be removed, opened."""
    try:
        fd = open_directory_at(dir_fd, name)
    except PermissionError:
        if status.st_uid != os.geteuid():
            raise
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)  # it may have come back with a mode that keeps its owner out
        finally:
            os.close(handle)
        fd = open_directory_at(dir_fd, name)
    _open_up(fd)
    return fd


def _open_up(fd: int) -> None:
    if os.fstat(fd).st_uid == os.geteuid():
        os.fchmod(fd, 0o700)  # a restored directory may be read-only


def remove_place(place: Place, *, last: str | None = None) -> None:
    """Empty a place and remove its name, if that still is the place. The descriptor stays open. Raises OSError."""
    empty(place.fd, last=last)
    try:
        with parent_of(place.path) as (parent, name):
            if lstat_at(parent, name).st_ino == place.inode:
                os.rmdir(name, dir_fd=parent)
                os.fsync(parent)
    except FileNotFoundError:
        pass  # somebody moved or removed the empty directory: nothing of ours is left in it
