"""Writes that are on the disk when they return, and names that tell a leftover from a live file."""

from __future__ import annotations

import errno
import functools
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from recoverd.system.clock import boot_id
from recoverd.system.processes import ProcessIdentity, is_alive, own_identity

TEMPORARY_PREFIX = ".tmp-"
_SETTLED_S = 600  # no kernel keeps names back for so long: 30 s are usual, vm.dirty_expire_centisecs

_TEMPORARY = re.compile(
    re.escape(TEMPORARY_PREFIX) + r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})-(\d{1,10})-(\d{1,20})-[0-9a-f]+",
    re.ASCII,
)


def fsync_directory(dir_fd: int) -> None:
    """Make the names in a directory durable. Raises OSError."""
    os.fsync(dir_fd)


def settle_directory(path: str) -> None:
    """Make the names in one of recoverd's own directories durable, if they changed lately.

    Called before building on what somebody else may have left: who was killed between a rename and the sync after it
    leaves names that are to be seen and that the next power cut takes back. Absence is fine. Raises OSError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if time.time() - os.fstat(fd).st_mtime < _SETTLED_S:  # a time in the future counts as late, too
            fsync_directory(fd)
    finally:
        os.close(fd)


def syncfs(fd: int) -> None:
    """Write out everything of the file system that `fd` is on. Raises OSError, also when an earlier write failed."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).syncfs(ctypes.c_int(fd)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@functools.cache
def _own_stamp(pid: int) -> str:
    # keyed by pid: a forked child must not inherit its parent's stamp
    identity = own_identity()
    return f"{TEMPORARY_PREFIX}{identity.boot_id}-{pid}-{identity.start_ticks}-"


def temporary_name() -> str:
    """A fresh name `.tmp-<boot id>-<pid>-<start ticks>-<random>`, so that leftovers can be told from live files."""
    return _own_stamp(os.getpid()) + os.urandom(8).hex()


def is_leftover(name: str) -> bool:
    """Whether a name is a temporary one of another boot, or of a process that is gone."""
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return False
    boot, pid, ticks = match.groups()
    return boot != boot_id() or not is_alive(ProcessIdentity(boot, int(pid), int(ticks)))


def write_all(fd: int, *parts: bytes | memoryview) -> None:
    """Write all of the parts (1,000 at most), whatever the kernel takes at a time. Raises OSError."""
    done = os.write(fd, parts[0]) if len(parts) == 1 else os.writev(fd, parts)
    for part in parts:
        if done < len(part):
            view = memoryview(part)[done:]
            while view:
                view = view[os.write(fd, view) :]
        done = max(0, done - len(part))


def write_file(dir_fd: int, name: str, data: bytes, *, mode: int = 0o600) -> None:
    """Create or replace a file so that at any instant it has its old content or all of the new one.

    Durable on return. On an error the old content stays and nothing is left behind; only when the last
    fsync fails may the new content be in place without being durable. Raises OSError.
    """
    replace_file(dir_fd, name, data, mode=mode)
    fsync_directory(dir_fd)


def replace_file(dir_fd: int, name: str, data: bytes, *, mode: int = 0o600) -> None:
    """The same without the last step: until the directory is synced, a power cut may bring the old content back."""
    temporary = temporary_name()
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=dir_fd)
    try:
        try:
            os.fchmod(fd, mode)
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(temporary, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        try:
            os.unlink(temporary, dir_fd=dir_fd)
        except FileNotFoundError:
            pass  # the rename was done: an interruption arrived right after it
        raise


def write_path(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """`write_file` for recoverd's own files, named by path. Never for paths that a service user can change."""
    with _opened(os.path.dirname(path) or ".") as dir_fd:
        write_file(dir_fd, os.path.basename(path), data, mode=mode)


def replace_path(path: str, data: bytes, *, mode: int = 0o600) -> None:
    """`replace_file`, likewise."""
    with _opened(os.path.dirname(path) or ".") as dir_fd:
        replace_file(dir_fd, os.path.basename(path), data, mode=mode)


def sync_directory(path: str) -> None:
    """`fsync_directory` for recoverd's own directories, named by path. Raises OSError."""
    with _opened(path) as dir_fd:
        fsync_directory(dir_fd)


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def open_own_fd(path: str) -> int:
    """Open one of recoverd's own files for reading. What lies there instead of it is not followed, nor waited for.

    Raises OSError, also for anything but a regular file.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, "it is a link", path) from None
        raise
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode):
        os.close(fd)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise OSError(errno.EINVAL, "it is no regular file", path)
    return fd


def open_own(path: str) -> BinaryIO:
    """The same, as a file."""
    return os.fdopen(open_own_fd(path), "rb")


def make_directories(path: str, *, mode: int = 0o700) -> None:
    """Create recoverd's own directory and what is missing above it; every new name is durable on return.

    So nothing lies in a directory whose own name is not durable; and one that is empty may be what a killed process
    left before it could see to that. Raises NotADirectoryError when something else is in the way, and OSError.
    """
    missing: list[str] = []
    above = os.path.abspath(path)
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    if _is_empty(above):
        _sync_above(above)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, mode)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise NotADirectoryError(f"{directory} is in the way and not a directory") from None
        _sync_above(directory)


def _is_empty(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except PermissionError:
        return False  # not one that we made


def _sync_above(directory: str) -> None:
    sync_directory(os.path.dirname(directory))
