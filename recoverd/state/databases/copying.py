"""Copying a database into a file of our own. Runs in the child, with the rights of the database's owner."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from recoverd.state.databases.copies import Copied, code_of, judged_bytes, raw, settled
from recoverd.state.databases.files import (
    WAIT_S,
    Changed,
    Stats,
    Unreadable,
    fill,
    has_journal,
    is_at,
    is_locked,
    is_open_twice,
    opened,
    quoted,
    same,
    stats,
    still,
    warm,
)
from recoverd.state.databases.header import (
    HEADER_BYTES,
    PENDING_BYTE,
    RESERVED_BYTE,
    SHARED_BYTES,
    SHARED_LENGTH,
    USE_BYTE,
    Files,
    Header,
    How,
)
from recoverd.state.databases.images import DAMAGED, image, live_image

_TRIES = 6
_MOMENT_S = 0.005
_AGAIN_S = 0.0005
_NOT_LIVE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL})


def copy_database(name: str, target: str) -> Copied:
    """Copy the database `name` of the current directory, with what lies in its -wal or hot journal, into the existing
    file `target`. Nothing beside the target's directory is written. Raises Unreadable, OSError (FileNotFoundError)."""
    for last in (*(False for _ in range(_TRIES - 1)), True):
        before = stats(name)
        try:
            with opened(name) as fd:
                files = _files(name, before, fd=fd)
            return _copy(files, before, name, target)
        except sqlite3.Error as error:
            if code_of(error) in DAMAGED:
                return raw(name, target, f"is damaged: {error}")
            if code_of(error) not in _NOT_LIVE:
                raise Unreadable(f"can't be read: {error}") from error
        except Changed:
            pass
        try:  # somebody holds it for himself, or it can't be opened here: as it lies there, then
            return image(name, target)
        except Changed:
            if last:
                raise Unreadable("is locked, or kept changing while it was read") from None
    raise AssertionError("the last try returns or raises")


def copy_file(source: int, target: str) -> Copied:
    """The same for an open file that nobody writes to, and beside which nothing lies."""
    fill(source, target)
    return judged_bytes(source)


@contextmanager
def opened_in_place(name: str) -> Iterator[sqlite3.Connection | None]:
    """The database `name` of the current directory as it lies there, without a lock: what is read through it is what
    was committed, as long as the file stays as it is. None where it must be copied. Raises OSError, sqlite3.Error."""
    try:
        before = stats(name)
        with opened(name) as fd:
            files = _files(name, before, fd=fd)
            header = Header.parse(files.head)
            whole = header is not None and header.truncated(files.size) is None
            if not whole or files.wal or files.hot or is_locked(fd, RESERVED_BYTE):
                yield None
                return
            with closing(sqlite3.connect(f"file:{quoted(name)}?mode=ro&immutable=1", uri=True)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
                # SQLite goes by the path: it may have been led elsewhere
                yield database if is_open_twice(fd) else None
    except Unreadable:
        yield None


def _copy(files: Files, before: Stats, name: str, target: str) -> Copied:
    how = files.how()
    if how is How.RAW:
        return raw(name, target)
    if how is How.IMAGE:
        return image(name, target)
    if how is How.QUIET:
        still(before)
        with opened(name) as source:
            fill(source, target)
        if not same(before, stats(name)):
            raise Changed
        return settled(how, target)
    with opened(name) as source:
        if how is How.LOCKED:
            warm(source)
            _share(source)
            if _files(name, stats(name), fd=source, held=True).how() is not How.LOCKED or not is_at(name, source):
                raise Changed
            fill(source, target)
            return settled(how, target)
        # closed before its file: that would drop its locks
        with closing(sqlite3.connect(f"file:{quoted(name)}?mode=ro", uri=True, timeout=WAIT_S)) as reader:
            reader.isolation_level = None
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not is_open_twice(source):
                raise Changed  # SQLite goes by the path: it may have been led elsewhere
            return live_image(name, source, target)


# --- looked at and locked


def _files(name: str, before: Stats, *, fd: int, held: bool = False) -> Files:
    """What lies there; `fd` is the database, `held` under the lock of readers."""
    sizes = {ending: one.st_size for ending, one in before.items()}
    head, writing = os.pread(fd, HEADER_BYTES, 0), is_locked(fd, RESERVED_BYTE)
    hot = not writing and (has_journal(name) if held else _is_left(name, before))
    in_use = False
    with suppress(OSError, Unreadable), opened(f"{name}-shm") as shm:
        in_use = is_locked(shm, USE_BYTE) and not is_locked(fd, SHARED_BYTES, fcntl.F_RDLCK)
    return Files(head, sizes[""], sizes.get("-wal", 0), hot, in_use)


def _is_left(name: str, before: Stats) -> bool:
    """Whether a journal lies beside it that nobody will finish. Where writers come and go, the one that was seen is
    gone a moment later, and no longer there under a lock."""
    if "-journal" not in before or not has_journal(name):
        return False
    time.sleep(_MOMENT_S)
    return same(before, stats(name))


def _share(fd: int) -> None:
    """Lock a database against writers as SQLite's readers do, until it is closed. Raises Changed when that can't be.

    Not by SQLite: that asks ten times a second, and finds the database of a busy writer locked each time.
    """
    until = time.monotonic() + WAIT_S
    while True:
        try:
            _lock(fd, fcntl.F_RDLCK, PENDING_BYTE, 1)  # no writer gets any further now
            _lock(fd, fcntl.F_RDLCK, SHARED_BYTES, SHARED_LENGTH)
            return
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            if time.monotonic() > until:
                raise Changed from None
        finally:
            _lock(fd, fcntl.F_UNLCK, PENDING_BYTE, 1)
        time.sleep(_AGAIN_S)


def _lock(fd: int, kind: int, start: int, length: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi", kind, os.SEEK_SET, start, length, 0))
