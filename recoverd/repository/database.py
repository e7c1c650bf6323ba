"""The SQLite file under the catalog: opened, repaired by starting anew, and never in anybody's way.

Journal and syncs: WAL with `synchronous=NORMAL`. A transaction then costs no fsync (flash is thankful), and the
checksums in the WAL see to it that after a power loss the catalog is an older one, never a torn one; catching up
by listing does the rest. With `synchronous=OFF` a torn catalog could say that an object is stored when it is not.

On a disk that is nearly full the file is left alone, and a copy in memory takes its place: SQLite maps the shared
memory of a WAL, and where a file system allocates on the first write to a page (ext4 with blocks of 1 KiB, btrfs), a
write that finds no block is a SIGBUS, which ends the process.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from recoverd.errors import RepositoryError
from recoverd.system import durable, mounts

if TYPE_CHECKING:
    import sqlite3

T = TypeVar("T")
SCHEMA_VERSION = 2
_FREE_PAGES = 256  # of 4 KiB: so many may be free, and so many are given back at a time
_LEAST_ROOM_BYTES = 1024**2
PATIENCE_MS = 10_000  # how long a write waits for that of another process

_SCHEMA = """
CREATE TABLE about (repository TEXT NOT NULL, instance TEXT NOT NULL);
CREATE TABLE packs (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size INTEGER NOT NULL);
CREATE TABLE objects (
    hash BLOB NOT NULL, pack INTEGER NOT NULL, frame_offset INTEGER NOT NULL, frame_length INTEGER NOT NULL,
    frame_size INTEGER NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (hash, pack)
) WITHOUT ROWID;
CREATE INDEX objects_by_pack ON objects (pack);
CREATE TABLE distrusted (hash BLOB NOT NULL, pack INTEGER NOT NULL, time_ns INTEGER NOT NULL, PRIMARY KEY (hash, pack))
    WITHOUT ROWID;
CREATE TABLE reach (node BLOB PRIMARY KEY, nodes BLOB NOT NULL, leaves BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE looked (newest_pack INTEGER NOT NULL, bytes INTEGER NOT NULL, objects INTEGER NOT NULL);
CREATE TABLE snapshots (
    service TEXT NOT NULL, sequence INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    record BLOB NOT NULL, PRIMARY KEY (service, sequence)
);
CREATE TABLE stat_cache (item TEXT NOT NULL, directory BLOB NOT NULL, row BLOB NOT NULL, PRIMARY KEY (item, directory));
CREATE TABLE memo (hash BLOB NOT NULL, judge TEXT NOT NULL, verdict BLOB NOT NULL, UNIQUE (hash, judge));
CREATE TABLE runs (
    id INTEGER PRIMARY KEY, service TEXT NOT NULL, kind TEXT NOT NULL, time_ns INTEGER NOT NULL,
    seconds REAL NOT NULL, outcome TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX runs_of ON runs (service, kind, id);
"""

_log = logging.getLogger("recoverd.repository")


class Unwritable(Exception):
    """The catalog can't be written now (busy, full, read-only): nothing is lost by going on without."""


class Database:
    """One connection, opened when first needed and used by one thread at a time."""

    def __init__(self, path: str, repository_id: str) -> None:
        self.path = path
        self._repository_id = repository_id
        self._connection: sqlite3.Connection | None = None
        self._closing: Callable[[], object] = int  # does nothing
        self._inode: tuple[int, int] | None = None
        self._distrusted = False  # the file is damaged, and may not be copied
        self._in_memory = False  # a copy stands for the file,
        self._detached = False  # until that can be written again
        self._lock = threading.RLock()
        self.generation = 0  # counts how often this object has started with an empty catalog

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work`, which only reads. A damaged catalog is replaced by an empty one, and `work` done on that.

        Raises RepositoryError when even that fails.
        """
        with self._lock:
            import sqlite3

            for last in (False, True):
                try:
                    return work(self._open())
                except sqlite3.DatabaseError as error:
                    if last or _code(error) in {5, 6}:  # SQLITE_BUSY, SQLITE_LOCKED: after the time-out
                        raise RepositoryError(f"the catalog {self.path} can't be read: {error}") from None
                    self._start_anew(f"it is damaged: {error}")
            raise AssertionError  # pragma: no cover - the loop returns or raises

    def write(self, work: Callable[[sqlite3.Connection], T], *, patient: bool = True) -> T:
        """Do `work` in one transaction. Raises Unwritable when the catalog can't be written, or, unless `patient`,
        when somebody else is writing."""
        with self._lock:
            import sqlite3

            for last in (False, True):
                try:
                    connection = self._open()
                    if not self._in_memory and not self._has_room():
                        raise Unwritable("its disk is nearly full")
                    connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS if patient else 0}")
                    with _transaction(connection):
                        return work(connection)
                except sqlite3.DatabaseError as error:
                    if last or _code(error) in {5, 6, 8, 13}:  # BUSY, LOCKED, READONLY, FULL
                        raise Unwritable(str(error)) from None
                    self._start_anew(f"it is damaged: {error}")
            raise AssertionError  # pragma: no cover - the loop returns or raises

    def shrink(self) -> None:
        """Give some free pages back to the file system, where a quarter of the file is free. A bounded pause."""
        with self._lock:
            import sqlite3

            try:
                connection = self._open()
                if not self._in_memory and not self._has_room():
                    return
                free, pages = (
                    connection.execute(f"PRAGMA {x}").fetchone()[0] for x in ("freelist_count", "page_count")
                )
                if free > _FREE_PAGES and 4 * free > pages:
                    # `execute` would give back one page: it takes no further step of what returns no columns
                    connection.executescript(f"PRAGMA incremental_vacuum({_FREE_PAGES})")
            except sqlite3.DatabaseError as error:
                _log.debug("the catalog was not shrunk: %s", error)

    def detach(self) -> None:
        """Go on with a copy in memory, because the file can't be told something that must be known."""
        with self._lock:
            import sqlite3

            copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            _prepare(copy)
            try:
                self._open().backup(copy)
            except sqlite3.Error:  # then everything is found out anew
                with _transaction(copy):
                    self._create(copy)
            self.close()
            self._use(copy)
            self._in_memory = self._detached = True

    def attach(self) -> None:
        """Go back to the file if it can be written again; it knows nothing of what happened meanwhile."""
        with self._lock:
            if self._detached and self._has_room():
                self.close()

    def _has_room(self) -> bool:
        try:
            return mounts.writable_bytes(os.path.dirname(self.path)) >= _LEAST_ROOM_BYTES
        except OSError:
            return False

    def close(self) -> None:
        with self._lock:
            self._in_memory = self._detached = False
            self._connection = None
            self._closing()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            import sqlite3

            try:
                return self._use(self._open_file())
            except (sqlite3.Error, OSError) as error:
                if isinstance(error, sqlite3.DatabaseError) and _code(error) in {11, 26}:  # CORRUPT, NOTADB
                    self._start_anew(f"it is damaged: {error}")
                    return self._open()
                _log.debug("the catalog %s can't be written, so a copy in memory is used: %s", self.path, error)
                self._use(self._open_in_memory())
                self._in_memory = True
                self._detached = isinstance(error, OSError) and error.errno == errno.ENOSPC
        assert self._connection is not None
        return self._connection

    def _use(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        # at the end of the process too, whoever holds us then: SQLite takes its journal into the file
        self._connection, self._closing = connection, weakref.finalize(self, connection.close)
        return connection

    def _open_file(self) -> sqlite3.Connection:
        import sqlite3

        directory = os.path.dirname(self.path)
        durable.make_directories(directory)
        if os.path.lexists(self.path) and not stat.S_ISREG(os.lstat(self.path).st_mode):
            self._move_aside("it is no regular file")  # SQLite would follow a link, and wait for a FIFO
        if not os.path.exists(self.path):
            os.close(os.open(self.path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
        if not (os.access(directory, os.W_OK) and os.access(self.path, os.W_OK)):
            raise PermissionError(errno.EACCES, "not allowed to write", self.path)
        if not self._has_room():
            raise OSError(errno.ENOSPC, "its disk is nearly full", self.path)
        timeout_s = PATIENCE_MS / 1000
        connection = sqlite3.connect(self.path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        try:
            _prepare(connection)
            problem = self._unusable(connection)
            if problem == "it is empty":
                connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # can't be had later
                connection.execute("PRAGMA journal_mode = WAL")
                with _transaction(connection):
                    problem = self._unusable(connection)  # another process may have been faster
                    if problem == "it is empty":
                        self._create(connection)
        except BaseException:
            connection.close()
            raise
        if problem not in {None, "it is empty"}:
            connection.close()
            self._move_aside(str(problem))
            return self._open_file()
        status = os.stat(self.path)
        self._inode = status.st_dev, status.st_ino
        return connection

    def _open_in_memory(self) -> sqlite3.Connection:
        """For a disk that is full or can't be written. What the file holds is used if it can be copied."""
        import sqlite3
        from urllib.parse import quote

        original_file = f"file:{quote(self.path)}?mode=ro&immutable=1"
        for source in (None,) if self._distrusted else (original_file, None):
            connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            try:
                if source is not None:
                    original = sqlite3.connect(source, uri=True)
                    try:
                        original.backup(connection)
                    finally:
                        original.close()
                _prepare(connection)
                problem = self._unusable(connection)
                if problem is None:
                    return connection
                if problem == "it is empty":
                    with _transaction(connection):
                        self._create(connection)
                    return connection
            except sqlite3.Error:
                pass  # a damaged or absent file: begin with nothing
            connection.close()
        raise AssertionError  # pragma: no cover - an empty database in memory can always be created

    def _unusable(self, connection: sqlite3.Connection) -> str | None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not version and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            return "it is empty"
        if version != SCHEMA_VERSION:
            return f"its schema has version {version}, and this recoverd understands {SCHEMA_VERSION}"
        if connection.execute("SELECT repository FROM about").fetchall() != [(self._repository_id,)]:
            return "it belongs to another repository"
        return None

    def _create(self, connection: sqlite3.Connection) -> None:
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        connection.execute("INSERT INTO about VALUES (?, ?)", (self._repository_id, os.urandom(16).hex()))
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self.generation += 1

    def _start_anew(self, why: str) -> None:
        self.close()
        self._distrusted = True
        self._move_aside(why)

    def _move_aside(self, why: str) -> None:
        """Keep one damaged catalog for those who want to know; nothing reads it again."""
        try:
            status = os.stat(self.path)
            if self._inode is not None and self._inode != (status.st_dev, status.st_ino):
                return  # another process has done so already
            _log.warning("the catalog %s is rebuilt, because %s", self.path, why)
            for companion in ("-wal", "-shm"):
                if os.path.exists(self.path + companion):
                    os.unlink(self.path + companion)
            os.replace(self.path, self.path + ".damaged")
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("the catalog %s can't be moved aside: %s", self.path, error)
        finally:
            self._inode = None


def _prepare(connection: sqlite3.Connection) -> None:
    for pragma in (
        "synchronous = NORMAL",
        "cell_size_check = ON",
        "temp_store = MEMORY",
        "cache_size = -8000",
        "journal_size_limit = 4194304",  # what a large transaction made of the journal is given back
    ):
        connection.execute(f"PRAGMA {pragma}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _code(error: sqlite3.Error) -> int:
    """The primary result code of SQLite; 0 where the module itself raised."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
