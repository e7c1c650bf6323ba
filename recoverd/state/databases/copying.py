"""Copying a database into a file of our own. Runs in the child, with the rights of the database's owner.

A file that SQLite has open here must not be opened and closed besides: that would drop SQLite's locks (POSIX locks
belong to the process). So everything is looked at before SQLite opens anything, and by `stat` from then on.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

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
    what_it_is,
)
from recoverd.values import dataclass

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_BUSY_S = 5.0  # how long a lock of a writer is waited for
_PIECE = 1 << 20
_AT_ONCE = 1 << 30
_TRIES = 6
_MOMENT_S = 0.005
_AGAIN_S = 0.0005
_QUIET_NS = 20_000_000  # kernels keep file times in ticks: a write so short before a look may not show
Stats = dict[str, os.stat_result]  # by ending; "" is the database
_COOKIE = 40  # offset of the schema cookie
_BESIDE = ("-wal", "-journal")
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_NOT_LIVE = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL})


@dataclass(frozen=True, slots=True)
class Copied:
    """What the copy holds: `damage` is a sentence when it is no whole database but mere bytes."""

    how: How
    damage: str | None = None


class Unreadable(Exception):
    """It can't be copied, which says nothing about what it holds."""


def copy_database(name: str, target: str) -> Copied:
    """Copy the database `name` of the current directory, with what lies in its -wal or hot journal, into the existing
    file `target`. Nothing beside the target's directory is written. Raises Unreadable, OSError (FileNotFoundError)."""
    for last in (*(False for _ in range(_TRIES - 1)), True):
        before = _stats(name)
        try:
            with _opened(name) as fd:
                files = _files(name, before, fd=fd)
            return _copy(files, before, name, target)
        except sqlite3.Error as error:
            if code_of(error) in _DAMAGED:
                return _raw(name, target, f"is damaged: {error}")
            if code_of(error) not in _NOT_LIVE:
                raise Unreadable(f"can't be read: {error}") from error
        except _Changed:
            pass
        try:  # somebody holds it for himself, or it can't be opened here: as it lies there, then
            return _image(name, target)
        except _Changed:
            if last:
                raise Unreadable("is locked, or kept changing while it was read") from None
    raise AssertionError("the last try returns or raises")


def copy_file(source: int, target: str) -> Copied:
    """The same for an open file that nobody writes to, and beside which nothing lies."""
    _fill(source, target)
    return _judged_bytes(source)


@contextmanager
def opened_in_place(name: str) -> Iterator[sqlite3.Connection | None]:
    """The database `name` of the current directory as it lies there, without a lock: what is read through it is what
    was committed, as long as the file stays as it is. None where it must be copied. Raises OSError, sqlite3.Error."""
    try:
        before = _stats(name)
        with _opened(name) as fd:
            files = _files(name, before, fd=fd)
            header = Header.parse(files.head)
            whole = header is not None and header.truncated(files.size) is None
            if not whole or files.wal or files.hot or _is_locked(fd, RESERVED_BYTE):
                yield None
                return
            with closing(sqlite3.connect(f"file:{_quoted(name)}?mode=ro&immutable=1", uri=True)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
                yield (
                    database if _is_open_twice(fd) else None
                )  # SQLite goes by the path: it may have been led elsewhere
    except Unreadable:
        yield None


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class _Changed(Exception):
    """Somebody wrote meanwhile."""


def _copy(files: Files, before: Stats, name: str, target: str) -> Copied:
    how = files.how()
    if how is How.RAW:
        return _raw(name, target)
    if how is How.IMAGE:
        return _image(name, target)
    if how is How.QUIET:
        _still(before)
        with _opened(name) as source:
            _fill(source, target)
        if not _same(before, _stats(name)):
            raise _Changed
        return _settled(how, target)
    with _opened(name) as source:
        if how is How.LOCKED:
            _share(source)
            now = _files(name, _stats(name), fd=source)
            if now.how() is not How.LOCKED:
                raise _Changed
            _fill(source, target)
            return _settled(how, target)
        # closed before its file: that would drop its locks
        with closing(sqlite3.connect(f"file:{_quoted(name)}?mode=ro", uri=True, timeout=_BUSY_S)) as reader:
            reader.isolation_level = None
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if not _is_open_twice(source):
                raise _Changed  # SQLite goes by the path: it may have been led elsewhere
            _backup(reader, target)
            (cookie,) = reader.execute("PRAGMA schema_version").fetchone()
    with _writable(target) as out:
        os.pwrite(out, (cookie & 0xFFFFFFFF).to_bytes(4, "big"), _COOKIE)  # the backup has its own
    return _settled(how, target)


def _backup(source: sqlite3.Connection, target: str) -> None:
    """In one step: in several it would begin anew whenever somebody writes."""
    until = time.monotonic() + _BUSY_S

    def told(_status: int, remaining: int, _total: int) -> None:
        if remaining and time.monotonic() > until:
            raise Unreadable("is locked")

    os.truncate(target, 0)
    with closing(sqlite3.connect(target)) as copy:
        copy.execute("PRAGMA journal_mode=OFF")
        copy.execute("PRAGMA synchronous=OFF")
        source.backup(copy, pages=-1, progress=told)


def _settled(how: How, target: str) -> Copied:
    """The copy, with what only counts changes set to what it is in every copy: the same content is the same bytes."""
    with _writable(target) as out:
        head, size = os.pread(out, HEADER_BYTES, 0), os.fstat(out).st_size
        header = Header.parse(head)
        damage = what_it_is(head, size, blank=False) if header is None else header.truncated(size)
        if header is not None and damage is None:
            pages = header.pages or size // header.page_size
            os.ftruncate(out, pages * header.page_size)
            os.pwrite(out, header.settled(head, pages, sqlite3.sqlite_version_info), 0)
    return Copied(how, damage)


def _image(name: str, target: str) -> Copied:
    """The database and what lies beside it, as after a crash: SQLite then recovers that copy. Raises _Changed."""
    image = f"{target}.image"
    before = _stats(name)
    _still(before)
    try:
        for ending in before:
            with _opened(name + ending) as source, _created(image + ending) as out:
                _pour(source, out)
    except FileNotFoundError:  # what lay beside it; without the database there is nothing to copy
        os.stat(name, follow_symlinks=False)
        raise _Changed from None
    if not _same(before, _stats(name)):
        raise _Changed
    try:
        with closing(sqlite3.connect(image, timeout=0)) as copy:
            copy.isolation_level = None
            copy.execute("PRAGMA synchronous=OFF")
            copy.execute("SELECT count(*) FROM sqlite_master").fetchone()  # rolls a hot journal back
            copy.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with _opened(image) as source:
            if os.fstat(source).st_size:
                _fill(source, target)
                return _settled(How.IMAGE, target)
        damage = what_it_is(b"", 0, blank=False)
    except sqlite3.Error as error:
        if code_of(error) not in _DAMAGED:
            raise Unreadable(f"can't be recovered on a copy: {error}") from error
        damage = f"is damaged: {error}"
    finally:
        for ending in ("", *_BESIDE, "-shm"):
            if os.path.lexists(image + ending):
                os.unlink(image + ending)
    return _raw(name, target, damage)


def _raw(name: str, target: str, damage: str | None = None) -> Copied:
    """Its bytes, as evidence. `damage`: what is wrong with it, where that is known."""
    with _opened(name) as source:
        _fill(source, target)
        found = _judged_bytes(source)
    return Copied(How.RAW, damage or found.damage or "is damaged")


def _judged_bytes(source: int) -> Copied:
    head, size = os.pread(source, HEADER_BYTES, 0), os.fstat(source).st_size
    header = Header.parse(head)
    if header is None:
        return Copied(How.RAW, what_it_is(head, size, blank=_is_blank(source)))
    return Copied(How.RAW, header.truncated(size))


def _is_blank(source: int) -> bool:
    at = 0
    while piece := os.pread(source, _PIECE, at):
        if piece.count(0) != len(piece):
            return False
        at += len(piece)
    return True


# --- files


def _files(name: str, before: Stats, *, fd: int) -> Files:
    """What lies there; `fd` is the database."""
    sizes = {ending: one.st_size for ending, one in before.items()}
    head, writing = os.pread(fd, HEADER_BYTES, 0), _is_locked(fd, RESERVED_BYTE)
    hot = not writing and _is_left(name, before)
    in_use = False
    with suppress(OSError, Unreadable), _opened(f"{name}-shm") as shm:
        in_use = _is_locked(shm, USE_BYTE)
    return Files(head, sizes[""], sizes.get("-wal", 0), hot, in_use)


def _share(fd: int) -> None:
    """Lock a database against writers as SQLite's readers do, until it is closed. Raises _Changed when that can't be.

    Not by SQLite: that asks ten times a second, and finds the database of a busy writer locked each time.
    """
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            _lock(fd, fcntl.F_RDLCK, PENDING_BYTE, 1)  # no writer gets any further now
            _lock(fd, fcntl.F_RDLCK, SHARED_BYTES, SHARED_LENGTH)
            return
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            if time.monotonic() > until:
                raise _Changed from None
        finally:
            _lock(fd, fcntl.F_UNLCK, PENDING_BYTE, 1)
        time.sleep(_AGAIN_S)


def _lock(fd: int, kind: int, start: int, length: int) -> None:
    fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi", kind, os.SEEK_SET, start, length, 0))


def _is_left(name: str, before: Stats) -> bool:
    """Whether a journal lies beside it that nobody will finish. One that is done with may be kept, and begins with
    zeros; and where writers come and go, the one that was seen is gone a moment later."""
    if not before.get("-journal") or not before["-journal"].st_size:
        return False
    with suppress(FileNotFoundError), _opened(f"{name}-journal") as fd:
        if os.pread(fd, 1, 0) in {b"", b"\0"} or not os.path.samestat(os.fstat(fd), before["-journal"]):
            return False
        time.sleep(_MOMENT_S)
        return _same(before, _stats(name))
    return False


def _is_locked(fd: int, byte: int) -> bool:
    """Whether some process holds a lock on one byte of a file."""
    asked = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    return bool(struct.unpack_from("h", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))[0] != fcntl.F_UNLCK)


def _stats(name: str) -> Stats:
    """The database and what there is beside it, by ending. Raises FileNotFoundError, Unreadable."""
    found = {"": os.stat(name, follow_symlinks=False)}
    for ending in _BESIDE:
        try:
            found[ending] = os.stat(name + ending, follow_symlinks=False)
        except FileNotFoundError:
            pass
    for ending, one in found.items():
        if not stat.S_ISREG(one.st_mode):
            raise Unreadable(f"{name}{ending} is no regular file")
    return found


def _same(before: Stats, after: Stats) -> bool:
    return {ending: _mark(one) for ending, one in before.items()} == {
        ending: _mark(one) for ending, one in after.items()
    }


def _mark(one: os.stat_result) -> tuple[int, ...]:
    return one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns


def _still(before: Stats) -> None:
    """Raises _Changed, after a while, where a write may have been too short a time ago to show."""
    if any(-_QUIET_NS < time.time_ns() - one.st_ctime_ns < _QUIET_NS for one in before.values()):
        time.sleep(1.5 * _QUIET_NS / 1e9)
        raise _Changed


def _is_open_twice(mine: int) -> bool:
    """Whether this process has an open file open once more."""
    wanted, found = os.fstat(mine), 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += os.path.samestat(os.fstat(int(number)), wanted)
        except OSError:
            pass  # that of the listing itself
    return found > 1


@contextmanager
def _opened(name: str) -> Iterator[int]:
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
def _writable(target: str) -> Iterator[int]:
    fd = os.open(target, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _created(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


def _fill(source: int, target: str) -> None:
    """Make the target what an open file holds."""
    with _writable(target) as out:
        os.ftruncate(out, 0)
        _pour(source, out)


def _pour(source: int, out: int) -> None:
    """All bytes of one open file into another, which is empty; by the kernel, where it can."""
    at = 0
    with suppress(OSError):  # of two file systems, or one that can't: what is missing is read and written
        while copied := os.copy_file_range(source, out, _AT_ONCE, at, at):
            at += copied
    os.lseek(out, at, os.SEEK_SET)
    while piece := os.pread(source, _PIECE, at):
        done = 0
        while done < len(piece):
            done += os.write(out, piece[done:])
        at += len(piece)


def _quoted(name: str) -> str:
    """A file name as SQLite's URIs have it; never mistaken for an option or a host."""
    letters = (chr(byte) for byte in os.fsencode(name))
    plain = (one if one.isascii() and (one.isalnum() or one in "-._") else f"%{ord(one):02x}" for one in letters)
    return "./" + "".join(plain)
