"""The database that is saved and restored: rows of half random bytes, half text, one to a page."""

from __future__ import annotations

import hashlib
import random
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.measure import Failed

PAGE = 4096
MOST_NEW_BYTES = 10_000_000  # what a snapshot may add to a repository when 1 % of 200 MB has changed

_EACH_S = 0.1  # between two rows of who writes all the time


class Database:
    """`pages` rows in `root`/store.db, each of which fills a page."""

    def __init__(self, root: Path, pages: int, seed: int = 1) -> None:
        self.root, self.pages = root, pages
        self._chance = random.Random(seed)

    @property
    def path(self) -> Path:
        return self.root / "store.db"

    def write(self) -> None:
        self.root.mkdir(parents=True)
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute(f"PRAGMA page_size={PAGE}")
            database.execute("CREATE TABLE documents (id INTEGER PRIMARY KEY, body BLOB)")
            database.executemany("INSERT INTO documents VALUES (?, ?)", self._rows(range(1, self.pages + 1)))

    def change(self, pages: int) -> None:
        """Write so many rows anew, at random."""
        chosen = self._chance.sample(range(1, self.pages + 1), pages)
        with closing(sqlite3.connect(self.path)) as database, database:
            database.executemany("REPLACE INTO documents VALUES (?, ?)", self._rows(chosen))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Somebody has it open in WAL mode, and writes a row ten times a second."""
        done = threading.Event()

        def write() -> int:
            written = 0
            with closing(sqlite3.connect(self.path, isolation_level=None, timeout=60)) as database:
                database.execute("PRAGMA journal_mode=WAL")
                while not done.wait(_EACH_S):
                    row = next(self._rows([self._chance.randint(1, self.pages)]))
                    database.execute("REPLACE INTO documents VALUES (?, ?)", row)
                    written += 1
                database.execute("PRAGMA journal_mode=DELETE")
            return written

        with ThreadPoolExecutor(1) as pool:
            writer = pool.submit(write)
            try:
                time.sleep(2 * _EACH_S)
                yield
            finally:
                done.set()
            if not writer.result():
                raise Failed("nobody has written while the tools saved")

    def _rows(self, numbers: range | list[int]) -> Iterator[tuple[int, bytes]]:
        for number in numbers:
            text = b"a document with the number %d " % number
            yield number, self._chance.randbytes(1700) + text * (1900 // len(text))


def fingerprint(root: Path) -> str:
    """A hash of all rows: a restore that brings less or others back counts for nothing."""
    total = hashlib.sha256()
    with closing(sqlite3.connect(next(root.rglob("store.db")))) as database:
        for number, body in database.execute("SELECT id, body FROM documents ORDER BY id"):
            total.update(b"%d" % number + body)
    return total.hexdigest()


def bytes_below(place: Path) -> int:
    """What all files below a directory take."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
