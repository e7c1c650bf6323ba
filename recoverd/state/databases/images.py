"""A database copied file by file with what lies beside it, as after a crash: SQLite then recovers that copy.

Such an image is of one instant where no file changed while they were copied. A -wal need not stand still, for what is
committed in it stays where it is until all of it is in the database; then the -wal is begun anew, from the front, with
another header first (SQLite's file format, "WAL reset"). So while one -wal keeps its name and its header,

- what a checkpoint writes to the database had been committed to that -wal before. Whatever is in the copy of the
  database of it, old, new or torn: the copy of the -wal, made after it, has those pages, and SQLite takes them there;
- every other page of the database is as it was when the -wal was begun;
- what is written to the -wal while it is copied adds commits, or ends the chain of its checksums.

The result is what one commit has left, and no older than the beginning of the copy. It needs no lock, so it holds for
a process that keeps a database in WAL mode for itself (`locking_mode=EXCLUSIVE`).
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing

from recoverd.state.databases.copies import Copied, code_of, raw, settled
from recoverd.state.databases.files import (
    BESIDE,
    Changed,
    Unreadable,
    created,
    fill,
    has_journal,
    is_at,
    is_open_twice,
    opened,
    pour,
    same,
    stats,
    still,
)
from recoverd.state.databases.header import HEADER_BYTES, WAL_HEADER_BYTES, Header, How, is_wal_header

_TRIED_S = 2.0  # a process that begins its -wal anew faster than its database is copied, goes on doing so
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def image(name: str, target: str) -> Copied:
    """Copy the database `name` and what lies beside it, recovered, into the existing file `target`.

    Raises Changed where somebody wrote meanwhile, Unreadable, FileNotFoundError, OSError.
    """
    try:
        if not _with_log(name, target):
            _at_rest(name, target)
        return _recovered(How.IMAGE, name, target)
    finally:
        _clear_beside(target)


def live_image(name: str, source: int, target: str) -> Copied:
    """The same of one that is open at `source` and of which this process has begun to read in WAL mode.

    Nobody waits for that reader. A -wal that holds what is in no database yet stays while it reads. Another one may be
    begun anew, once: the reader is of the database alone then, and nothing is written to that.
    Raises as `image`.
    """
    try:
        try:
            _copy_live(name, source, target)
        except Changed:
            _clear_beside(target)
            _copy_live(name, source, target)
        return _recovered(How.LIVE, name, target)
    except FileNotFoundError:
        raise Changed from None
    finally:
        _clear_beside(target)


def _copy_live(name: str, source: int, target: str) -> None:
    with opened(f"{name}-wal") as log:
        if not is_open_twice(log):
            raise Changed  # the reader has another one
        begun = os.pread(log, WAL_HEADER_BYTES, 0)
        if is_wal_header(begun):
            _copy_pair(name, source, log, begun, target)
        else:
            fill(source, target)


def _clear_beside(target: str) -> None:
    for ending in (*BESIDE, "-shm"):
        if os.path.lexists(target + ending):
            os.unlink(target + ending)


def _with_log(name: str, target: str) -> bool:
    """Copy a database and its -wal while others may write; False where there is no such -wal."""
    until = time.monotonic() + _TRIED_S
    while True:
        try:
            with opened(name) as source, opened(f"{name}-wal") as log:
                begun = os.pread(log, WAL_HEADER_BYTES, 0)
                header = Header.parse(os.pread(source, HEADER_BYTES, 0))
                if header is None or not header.is_wal or not is_wal_header(begun) or has_journal(name):
                    return False
                _copy_pair(name, source, log, begun, target)
                return True
        except FileNotFoundError:
            os.stat(name, follow_symlinks=False)  # without the database there is nothing to copy
            return False
        except Changed:
            if time.monotonic() > until:
                why = "is kept by one process for itself, which begins its -wal anew faster than it can be copied"
                raise Unreadable(why) from None


def _copy_pair(name: str, source: int, log: int, begun: bytes, target: str) -> None:
    def watch() -> None:
        if os.pread(log, WAL_HEADER_BYTES, 0) != begun:
            raise Changed

    fill(source, target, watch=watch)
    with created(f"{target}-wal") as out:
        pour(log, out, most=os.fstat(log).st_size)  # it may grow as fast as it is read
    if not is_at(name, source) or not is_at(f"{name}-wal", log):
        raise Changed
    watch()


def _at_rest(name: str, target: str) -> None:
    before = stats(name)
    still(before)
    _clear_beside(target)  # of a -wal that was there a moment ago
    try:
        for ending in before:
            with opened(name + ending) as source:
                if not ending:
                    fill(source, target)
                    continue
                with created(target + ending) as out:
                    pour(source, out)
    except FileNotFoundError:  # what lay beside it; without the database there is nothing to copy
        os.stat(name, follow_symlinks=False)
        raise Changed from None
    if not same(before, stats(name)):
        raise Changed


def _recovered(how: How, name: str, target: str) -> Copied:
    """Let SQLite bring the image in order; where it can't, what lies there is copied as it is."""
    try:
        with closing(sqlite3.connect(target, timeout=0)) as copy:
            copy.isolation_level = None
            copy.execute("PRAGMA synchronous=OFF")
            copy.execute("SELECT count(*) FROM sqlite_master").fetchone()  # rolls a hot journal back
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        if code_of(error) not in DAMAGED:
            raise Unreadable(f"can't be recovered on a copy: {error}") from error
        return raw(name, target, f"is damaged: {error}")
    return settled(how, target)
