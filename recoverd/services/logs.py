"""The log of a service that recoverd starts: opened by recoverd, appended to by the service."""

from __future__ import annotations

import fcntl
import os
import stat

from recoverd.errors import ServiceError
from recoverd.system.walk import open_parent

ROTATE_BYTES = 10 * 1024 * 1024
KEPT = 3  # rotated logs beside the current one
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def open_log(path: str, *, rotate_bytes: int = ROTATE_BYTES) -> int:
    """Open a log for appending, made with mode 0640; one larger than `rotate_bytes` becomes PATH.1, PATH.1
    becomes PATH.2, up to PATH.3. The caller closes the descriptor.

    The directory may belong to the service's user, so nothing but a plain file with one name is written to:
    never what a symlink or a hard link leads to, a FIFO or a device. Raises ServiceError.
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
        raise ServiceError(
            f"the log {path} can't be opened: {why}", hint="correct run.log, or create its directory"
        ) from error


def _rotate(directory: int, name: str, rotate_bytes: int) -> None:
    try:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(found.st_mode) or found.st_size <= rotate_bytes:
        return
    for number in range(KEPT, 0, -1):
        older = f"{name}.{number - 1}" if number > 1 else name
        try:
            os.rename(older, f"{name}.{number}", src_dir_fd=directory, dst_dir_fd=directory)
        except FileNotFoundError:
            pass


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
