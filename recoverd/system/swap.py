"""Renames that never lose anything: exchange two names, or move to a name that is free (renameat2(2))."""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable

_RENAME_NOREPLACE = 1
_RENAME_EXCHANGE = 2

# what file systems answer when they do not know the flag, or can't do it between these two places
_REFUSALS = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_UNKNOWN_FLAG = _REFUSALS - {errno.EXDEV}


class ExchangeRefused(OSError):
    """The file system can't exchange these two names; nothing was changed."""


@functools.cache
def _renameat2() -> Callable[[int, bytes, int, bytes, int], int]:
    """The call, giving the error number, 0 when it worked."""
    import ctypes

    # CDLL, not PyDLL: the interpreter's lock is released during the call
    function = ctypes.CDLL(None, use_errno=True).renameat2
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    function.restype = ctypes.c_int

    def call(dir_a: int, name_a: bytes, dir_b: int, name_b: bytes, flags: int) -> int:
        return 0 if function(dir_a, name_a, dir_b, name_b, flags) == 0 else ctypes.get_errno()

    return call


def exchange(dir_a: int, name_a: str, dir_b: int, name_b: str) -> None:
    """Exchange two existing names atomically; symlinks are exchanged, not followed.

    Raises FileNotFoundError when one of them is absent, ExchangeRefused where the file system (or the
    pair of file systems) can't, and OSError.
    """
    number = _renameat2()(dir_a, os.fsencode(name_a), dir_b, os.fsencode(name_b), _RENAME_EXCHANGE)
    if number in _REFUSALS:
        raise ExchangeRefused(number, os.strerror(number), name_a, None, name_b)
    if number:
        raise OSError(number, os.strerror(number), name_a, None, name_b)


def move(src_dir: int, src: str, dst_dir: int, dst: str) -> None:
    """Rename to a name that must be free; nothing is ever replaced.

    Where the file system lacks RENAME_NOREPLACE, files are moved by link and unlink, which is as safe, and
    directories by rename, which replaces at most an empty directory. Raises FileExistsError, OSError (EXDEV
    between two file systems).
    """
    number = _renameat2()(src_dir, os.fsencode(src), dst_dir, os.fsencode(dst), _RENAME_NOREPLACE)
    if number in _UNKNOWN_FLAG:
        _move_without_flag(src_dir, src, dst_dir, dst)
    elif number:
        raise OSError(number, os.strerror(number), src, None, dst)


def _move_without_flag(src_dir: int, src: str, dst_dir: int, dst: str) -> None:
    is_directory = stat.S_ISDIR(os.stat(src, dir_fd=src_dir, follow_symlinks=False).st_mode)
    if not is_directory:
        try:
            os.link(src, dst, src_dir_fd=src_dir, dst_dir_fd=dst_dir, follow_symlinks=False)
        except OSError as error:
            # vfat and the like have no hard links; fs.protected_hardlinks refuses those of others
            if error.errno not in {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}:
                raise
        else:
            os.unlink(src, dir_fd=src_dir)
            return
    try:
        os.stat(dst, dir_fd=dst_dir, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(src, dst, src_dir_fd=src_dir, dst_dir_fd=dst_dir)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), src, None, dst)
