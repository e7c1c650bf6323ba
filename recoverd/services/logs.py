"""The log of a service that recoverd starts: opened by recoverd, appended to by the service."""

from __future__ import annotations

import fcntl
import os
import stat

from recoverd.errors import ServiceError, StartError, StateError
from recoverd.system.durable import temporary_name
from recoverd.system.walk import open_parent

ROTATE_BYTES = 10 * 1024 * 1024
_BLOCK_BYTES = 1 << 20
KEPT = 3  # rotated logs beside the current one
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_log(path: str, *, rotate_bytes: int = ROTATE_BYTES) -> int:
    """Open a log for appending, made with mode 0640; one larger than `rotate_bytes` becomes PATH.1, PATH.1
    becomes PATH.2, up to PATH.3. The caller closes the descriptor.

    The directory may belong to the service's user, so nothing but a plain file with one name is written to:
    never what a symlink or a hard link leads to, a FIFO or a device. Raises StartError, ServiceError.
    """
    try:
        directory, name = open_parent(path)
        try:
            _rotate(directory, name, rotate_bytes)
            return _open_plain(directory, name, path)
        finally:
            os.close(directory)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise StartError(
            f"the log {path} can't be opened: {why}", hint="correct run.log, or create its directory"
        ) from error


def bound_log(path: str, *, most_bytes: int = ROTATE_BYTES) -> bool:
    """Rotate a log that a process has open: its newest `most_bytes` are copied into PATH.1, then it is emptied, as
    it is appended to. Whether there was anything to do. What is written between the two is lost.

    As in `open_log`, nothing that somebody planted is read or written. Raises ServiceError.
    """
    try:
        directory, name = open_parent(path)
        try:
            return _cut(directory, name, path, most_bytes)
        finally:
            os.close(directory)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, StateError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ServiceError(
            f"the log {path} can't be rotated: {why}", hint="see what is there, and make room on its file system"
        ) from error


def _cut(directory: int, name: str, path: str, most_bytes: int) -> bool:
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=directory)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise ServiceError(f"the log {path} is not a plain file with one name", hint="move away what is there")
        if found.st_size <= most_bytes:
            return False
        temporary = temporary_name()
        copy = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
        )
        try:
            try:
                os.fchmod(copy, found.st_mode & 0o666)
                if os.geteuid() == 0:
                    os.fchown(copy, found.st_uid, found.st_gid)
                _copy(fd, copy, found.st_size - most_bytes)
            finally:
                os.close(copy)
            for number in range(KEPT, 1, -1):
                _rename(directory, f"{name}.{number - 1}", f"{name}.{number}")
            os.rename(temporary, f"{name}.1", src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            _unlink(directory, temporary)
            raise
        os.ftruncate(fd, 0)
        return True
    finally:
        os.close(fd)


def _copy(source: int, target: int, begin: int) -> None:
    """What a file has from `begin` on, up to its end, but not for ever: somebody may write faster than we read."""
    end = begin + 2 * (os.fstat(source).st_size - begin)
    while begin < end and (data := os.pread(source, min(_BLOCK_BYTES, end - begin), begin)):
        begin += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(target, view) :]


def _rename(directory: int, old: str, new: str) -> None:
    try:
        os.rename(old, new, src_dir_fd=directory, dst_dir_fd=directory)
    except FileNotFoundError:
        pass


def _unlink(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _rotate(directory: int, name: str, rotate_bytes: int) -> None:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_size <= rotate_bytes:
        return
    for number in range(KEPT, 0, -1):
        _rename(directory, f"{name}.{number - 1}" if number > 1 else name, f"{name}.{number}")


def _open_plain(directory: int, name: str, path: str) -> int:
    fd = os.open(name, _FLAGS, 0o640, dir_fd=directory)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise ServiceError(f"the log {path} is not a plain file with one name", hint="move away what is there")
        # O_NONBLOCK was only for the open, which waits for ever on a FIFO; the service inherits the flags
        fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NONBLOCK)
    except BaseException:
        os.close(fd)
        raise
    return fd
