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
    opened,
    pour,
    same,
    stats,
    still,
)
from recoverd.state.databases.header import HEADER_BYTES, WAL_HEADER_BYTES, Header, How, is_wal_header, what_it_is

_TRIED_S = 2.0  # a process that begins its -wal anew faster than its database is copied, goes on doing so
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def image(name: str, target: str) -> Copied:
    """Copy the database `name` and what lies beside it, recovered, into the existing file `target`.

    Raises Changed where somebody wrote meanwhile, Unreadable, FileNotFoundError, OSError.
    """
    made = f"{target}.image"
    try:
        if not _with_log(name, made):
            _at_rest(name, made)
        damage = _recovered(made, target)
    finally:
        _cleared(made)
    return settled(How.IMAGE, target) if damage is None else raw(name, target, damage)


def _cleared(made: str) -> None:
    for ending in ("", *BESIDE, "-shm"):
        if os.path.lexists(made + ending):
            os.unlink(made + ending)


def _with_log(name: str, made: str) -> bool:
    """Copy a database and its -wal while others may write; False where there is no such -wal."""
    until = time.monotonic() + _TRIED_S
    while True:
        try:
            with opened(name) as source, opened(f"{name}-wal") as log:
                begun = os.pread(log, WAL_HEADER_BYTES, 0)
                header = Header.parse(os.pread(source, HEADER_BYTES, 0))
                if header is None or not header.is_wal or not is_wal_header(begun) or has_journal(name):
                    return False
                _copy_pair(name, source, log, begun, made)
                return True
        except FileNotFoundError:
            os.stat(name, follow_symlinks=False)  # without the database there is nothing to copy
            return False
        except Changed:
            if time.monotonic() > until:
                why = "is kept by one process for itself, which begins its -wal anew faster than it can be copied"
                raise Unreadable(why) from None


def _copy_pair(name: str, source: int, log: int, begun: bytes, made: str) -> None:
    def watch() -> None:
        if os.pread(log, WAL_HEADER_BYTES, 0) != begun:
            raise Changed

    with created(made) as out:
        pour(source, out, watch=watch)
    with created(f"{made}-wal") as out:
        pour(log, out, most=os.fstat(log).st_size)  # it may grow as fast as it is read
    if not is_at(name, source) or not is_at(f"{name}-wal", log):
        raise Changed
    watch()


def _at_rest(name: str, made: str) -> None:
    before = stats(name)
    still(before)
    _cleared(made)  # of a -wal that was there a moment ago
    try:
        for ending in before:
            with opened(name + ending) as source, created(made + ending) as out:
                pour(source, out)
    except FileNotFoundError:  # what lay beside it; without the database there is nothing to copy
        os.stat(name, follow_symlinks=False)
        raise Changed from None
    if not same(before, stats(name)):
        raise Changed


def _recovered(made: str, target: str) -> str | None:
    """Let SQLite bring the image in order, into the target; a sentence where it can't."""
    try:
        with closing(sqlite3.connect(made, timeout=0)) as copy:
            copy.isolation_level = None
            copy.execute("PRAGMA synchronous=OFF")
            copy.execute("SELECT count(*) FROM sqlite_master").fetchone()  # rolls a hot journal back
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.Error as error:
        if code_of(error) not in DAMAGED:
            raise Unreadable(f"can't be recovered on a copy: {error}") from error
        return f"is damaged: {error}"
    with opened(made) as source:
        if not os.fstat(source).st_size:
            return what_it_is(b"", 0, blank=False)
        fill(source, target)
    return None
