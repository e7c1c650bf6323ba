"""Renames for who is not root, in and of directories that are read-only: their owner may lift that, for as long as the
rename takes. A kill in between leaves such a directory writable for its owner, and nothing else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from recoverd.system import swap


def exchange(dir_a: int, name_a: str, dir_b: int, name_b: str) -> None:
    """As `swap.exchange`."""
    try:
        swap.exchange(dir_a, name_a, dir_b, name_b)
    except PermissionError:
        with _lifted(dir_a, name_a, dir_b, name_b):
            swap.exchange(dir_a, name_a, dir_b, name_b)


def move(src_dir: int, src: str, dst_dir: int, dst: str) -> None:
    """As `swap.move`."""
    try:
        swap.move(src_dir, src, dst_dir, dst)
    except PermissionError:
        with _lifted(src_dir, src, dst_dir, dst):
            swap.move(src_dir, src, dst_dir, dst)


@contextmanager
def _lifted(dir_a: int, name_a: str, dir_b: int, name_b: str) -> Iterator[None]:
    """Both directories, and what is moved if that is one, writable."""
    with ExitStack() as stack:
        for directory, name in ((dir_a, "."), (dir_b, "."), (dir_a, name_a), (dir_b, name_b)):
            stack.enter_context(_writable(directory, name))
        yield


@contextmanager
def _writable(dir_fd: int, name: str) -> Iterator[None]:
    """A directory of ours, writable; anything else as it is."""
    handle = -1
    with suppress(OSError):
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    if handle < 0:
        yield
        return
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or status.st_mode & 0o300 == 0o300:
            yield
            return
        path = f"/proc/self/fd/{handle}"  # through the handle: what is changed is what was looked at
        os.chmod(path, stat.S_IMODE(status.st_mode) | 0o300)
        try:
            yield
        finally:
            os.chmod(path, stat.S_IMODE(status.st_mode))
    finally:
        os.close(handle)
