"""Files of a database: looked at, opened and copied without SQLite.

A file that SQLite has open in this process must not be opened and closed besides: that would drop SQLite's locks
(POSIX locks belong to the process). So all is looked at before SQLite opens anything, and by `stat` from then on.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_PIECE = 1 << 20
_AT_ONCE = 16 << 20
_NO_END = 1 << 62
_QUIET_NS = 20_000_000  # kernels keep file times in ticks: a write so short before a look may not show
WAIT_S = 5.0  # how long writers are waited for
BESIDE = ("-wal", "-journal")
Stats = dict[str, os.stat_result]  # by ending; "" is the database


class Unreadable(Exception):
    """It can't be copied, which says nothing about what it holds."""


class Changed(Exception):
    """Somebody wrote meanwhile."""


# --- looked at


def stats(name: str) -> Stats:
    """The database and what there is beside it, by ending. Raises FileNotFoundError, Unreadable."""
    found = {"": os.stat(name, follow_symlinks=False)}
    for ending in BESIDE:
        try:
            found[ending] = os.stat(name + ending, follow_symlinks=False)
        except FileNotFoundError:
            pass
    for ending, one in found.items():
        if not stat.S_ISREG(one.st_mode):
            raise Unreadable(f"{name}{ending} is no regular file")
    return found


def same(before: Stats, after: Stats) -> bool:
    return {ending: _mark(one) for ending, one in before.items()} == {
        ending: _mark(one) for ending, one in after.items()
    }


def _mark(one: os.stat_result) -> tuple[int, ...]:
    return one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns


def still(before: Stats) -> None:
    """Raises Changed, after a while, where a write may have been too short a time ago to show."""
    if any(-_QUIET_NS < time.time_ns() - one.st_ctime_ns < _QUIET_NS for one in before.values()):
        time.sleep(1.5 * _QUIET_NS / 1e9)
        raise Changed


def has_journal(name: str) -> bool:
    """Whether a journal lies beside it that is not done with: one that is may be kept, and begins with zeros."""
    with suppress(FileNotFoundError), opened(f"{name}-journal") as fd:
        return os.pread(fd, 1, 0) not in {b"", b"\0"}
    return False


def is_at(path: str, fd: int) -> bool:
    """Whether an open file is still the one of that name. Raises FileNotFoundError."""
    return os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(fd))


def is_locked(fd: int, byte: int, kind: int = fcntl.F_WRLCK) -> bool:
    """Whether the lock of some process on one byte of a file is in the way of one of this kind."""
    asked = struct.pack("hhqqi", kind, os.SEEK_SET, byte, 1, 0)
    return bool(struct.unpack_from("h", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)


def is_open_twice(mine: int) -> bool:
    """Whether this process has an open file open once more."""
    wanted, found = os.fstat(mine), 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.path.samestat(os.fstat(int(number)), wanted)
        except OSError:
            pass  # that of the listing itself
    return found > 1


# --- opened


@contextmanager
def opened(name: str) -> Iterator[int]:
    """A regular file, opened for reading. Raises FileNotFoundError, Unreadable, OSError."""
    if not stat.S_ISREG(os.stat(name, follow_symlinks=False).st_mode):
        raise Unreadable(f"{name} is no regular file")
    fd = os.open(name, _OPEN)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Unreadable(f"{name} is no regular file")
        yield fd
    finally:
        os.close(fd)


@contextmanager
def writable(target: str) -> Iterator[int]:
    fd = os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def created(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


# --- copied


def fill(source: int, target: str, *, watch: Callable[[], None] = lambda: None) -> None:
    """Make the target what an open file holds; `watch` is called after every piece."""
    with writable(target) as out:
        os.ftruncate(out, 0)
        pour(source, out, watch=watch)


def warm(source: int) -> None:
    """Have the kernel read what it does not hold of a file: who copies it under a lock then waits for no disk. One page
    is asked for in each piece; of what does not fit into memory it would hold nothing for long."""
    size = os.fstat(source).st_size
    if size > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2:
        return
    page = bytearray(1)
    with suppress(OSError):  # a file system that can't say
        for at in range(0, size, _PIECE):
            try:
                os.preadv(source, [page], at, os.RWF_NOWAIT)
            except BlockingIOError:
                os.pread(source, _PIECE, at)


def pour(source: int, out: int, *, most: int = _NO_END, watch: Callable[[], None] = lambda: None) -> None:
    """All bytes of one open file, or so many, into another, which is empty; by the kernel, where it can. `watch` is
    called after every piece."""
    at = 0
    with suppress(OSError):  # of two file systems, or one that can't: what is missing is read and written
        while copied := os.copy_file_range(source, out, min(_AT_ONCE, most - at), at, at):
            at += copied
            watch()
    os.lseek(out, at, os.SEEK_SET)
    while piece := os.pread(source, min(_PIECE, most - at), at):
        done = 0
        while done < len(piece):
            done += os.write(out, piece[done:])
        at += len(piece)
        watch()


def quoted(name: str) -> str:
    """A file name as SQLite's URIs have it; never mistaken for an option or a host."""
    letters = (chr(byte) for byte in os.fsencode(name))
    plain = (one if one.isascii() and (one.isalnum() or one in "-._") else f"%{ord(one):02x}" for one in letters)
    return "./" + "".join(plain)
