"""What the catalog knows of damage: copies of objects that were found damaged are not counted as stored.

A damaged copy keeps its place in the catalog: prune never takes its pack for one that nobody needs, and a
reader tries it after all others, for a disk may have a good day. But whoever stores such an object stores it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from recoverd.repository.database import Database, Unwritable

if TYPE_CHECKING:
    import sqlite3

    from recoverd.repository.packs import Index

_log = logging.getLogger("recoverd.repository")
_CHUNK = 500  # parameters of one statement
_ROWS_TOGETHER = 100  # put in by one statement: in half the time of one each

TRUSTED = "NOT EXISTS (SELECT 1 FROM distrusted AS d WHERE d.hash = objects.hash AND d.pack = objects.pack)"
FREE_NUMBER = "SELECT ifnull(max(id), 0) + 1 FROM packs"  # the numbers of packs tell in which order they came
_DISTRUST = "INSERT OR IGNORE INTO distrusted VALUES (?, ?, ?)"
_DISTRUSTED = "SELECT hash, name FROM distrusted JOIN packs ON packs.id = distrusted.pack"
_NO_PACK = 0  # packs are numbered from 1
_ROWS_OF = (
    "SELECT hash, frame_offset, frame_length, frame_size, offset, objects.size"
    " FROM objects JOIN packs ON packs.id = objects.pack WHERE name = ?"
)


class Trust:
    """The catalog's memory of damage. `ready` sees to it that the catalog knows the packs."""

    def __init__(self, database: Database, ready: Callable[[], None]) -> None:
        self._database = database
        self._ready = ready

    def distrust(self, copies: Iterable[tuple[str, str]], now_ns: int) -> None:
        """Note copies of objects, (hash, pack), that were found damaged."""
        rows = [(bytes.fromhex(key), name) for key, name in copies]

        def work(db: sqlite3.Connection) -> None:
            for key, name in rows:
                known = db.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()
                if known is not None:
                    db.execute(_DISTRUST, (key, known[0], now_ns))

        if rows:
            self._try(work)

    def suspect(self, pack: str, now_ns: int) -> None:
        """Note that a pack is not what it should be, though all that is known of it can be read."""
        self.distrust([(pack, pack)], now_ns)  # no object has the hash of its pack

    def miss(self, hashes: Iterable[str], now_ns: int) -> None:
        """Note objects that something refers to and no pack holds."""
        rows = [(bytes.fromhex(key), _NO_PACK, now_ns) for key in hashes]
        if rows:
            self._try(lambda db: db.executemany(_DISTRUST, rows))

    def missing(self) -> set[str]:
        """The objects that are known to be in no pack."""
        query = "SELECT hash FROM distrusted WHERE pack = ?"
        return {key.hex() for (key,) in self._database.read(lambda db: db.execute(query, (_NO_PACK,)).fetchall())}

    def set_missing(self, hashes: Iterable[str], now_ns: int) -> None:
        """Exactly these are missing: what else was, nothing refers to any more, or somebody has stored it."""
        rows = [(bytes.fromhex(key), _NO_PACK, now_ns) for key in hashes]
        known = self.missing()
        gone = [(bytes.fromhex(key), _NO_PACK) for key in known - {row[0].hex() for row in rows}]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM distrusted WHERE hash = ? AND pack = ?", gone)
            db.executemany(_DISTRUST, rows)

        if rows or gone:
            self._try(work)

    def known_damage(self) -> set[str]:
        """The objects that were found damaged or missing; other copies of some may be intact."""
        rows = self._database.read(lambda db: db.execute("SELECT DISTINCT hash FROM distrusted").fetchall())
        return {key.hex() for (key,) in rows}

    def distrusted(self) -> dict[str, set[str]]:
        """The copies that were found damaged: object -> packs."""
        found: dict[str, set[str]] = {}
        for key, name in self._database.read(lambda db: db.execute(_DISTRUSTED).fetchall()):
            if key.hex() != name:
                found.setdefault(key.hex(), set()).add(name)
        return found

    def objects_of(self, packs: Iterable[str]) -> dict[str, str]:
        """The objects that the catalog has of some packs, and in which."""
        found: dict[str, str] = {}

        def work(db: sqlite3.Connection) -> None:
            for name in packs:
                found.update((row[0].hex(), name) for row in db.execute(_ROWS_OF, (name,)))

        self._database.read(work)
        return found

    def distrusted_packs(self) -> set[str]:
        """The packs in which something was found damaged: what else is wrong with them nobody knows."""
        query = "SELECT name FROM packs WHERE id IN (SELECT pack FROM distrusted)"
        return {name for (name,) in self._database.read(lambda db: db.execute(query).fetchall())}

    def distrusted_ns(self) -> int | None:
        """When damage was found last, in copies that are still there; None when none is known."""
        query = "SELECT max(time_ns) FROM distrusted"
        time_ns: int | None = self._database.read(lambda db: db.execute(query).fetchone())[0]
        return time_ns

    def of_pack(self, name: str) -> set[str]:
        """The objects in a pack that were found damaged; its own name among them where it is suspect."""
        query = _DISTRUSTED + " WHERE name = ?"
        return {key.hex() for key, _ in self._database.read(lambda db: db.execute(query, (name,)).fetchall())}

    def agrees(self, name: str, index: Index) -> bool:
        """Whether the catalog says of the objects in a pack what `index` says."""
        rows = self._database.read(lambda db: db.execute(_ROWS_OF, (name,)).fetchall())
        return len(rows) == len(index) and all(index.get(row[0].hex()) == row[1:] for row in rows)

    def correct(self, name: str, size: int, index: Index, damaged: Iterable[str], now_ns: int) -> None:
        """Say exactly this of a pack from now on. `damaged`: as `of_pack`."""
        bad = [bytes.fromhex(key) for key in damaged]

        def work(db: sqlite3.Connection) -> None:
            db.execute(f"INSERT OR IGNORE INTO packs VALUES (({FREE_NUMBER}), ?, ?)", (name, size))  # noqa: S608 - a constant
            number = db.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()[0]
            db.execute("DELETE FROM objects WHERE pack = ?", (number,))
            db.execute("DELETE FROM distrusted WHERE pack = ?", (number,))
            add_objects(db, number, index)
            db.executemany(_DISTRUST, ((key, number, now_ns) for key in bad))

        self._try(work)

    def sizes(self, hashes: Iterable[str]) -> dict[str, int]:
        """The bytes of each object that is stored, as far as anybody knows intact."""
        self._ready()
        found: dict[str, int] = {}
        keys = [bytes.fromhex(value) for value in hashes]

        def work(db: sqlite3.Connection) -> None:
            for chunk in chunks(keys):
                marks = ",".join("?" * len(chunk))
                query = f"SELECT hash, size FROM objects WHERE hash IN ({marks}) AND {TRUSTED}"  # noqa: S608 - question marks
                found.update((key.hex(), size) for key, size in db.execute(query, chunk))

        self._database.read(work)
        return found

    def examine(self) -> None:
        """Look at the whole file; if SQLite finds it damaged, it is begun anew from the packs."""

        def work(db: sqlite3.Connection) -> None:
            import sqlite3

            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)

        self._database.read(work)
        self._ready()

    def _try(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        try:
            self._database.write(work)
        except Unwritable as error:
            _log.debug("what is damaged was not noted: %s", error)


def add_objects(db: sqlite3.Connection, number: int, index: Index) -> None:
    """Note where the objects of a pack lie. What it holds is not missing any more."""
    values: list[bytes | int] = []
    for key in sorted(index):
        values += (bytes.fromhex(key), number, *index[key])
    alone = len(index) % _ROWS_TOGETHER * 7
    for rows, given in ((1, values[:alone]), (_ROWS_TOGETHER, values[alone:])):
        width, marks = 7 * rows, ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * rows)
        query = f"INSERT OR REPLACE INTO objects VALUES {marks}"  # noqa: S608 - question marks
        db.executemany(query, [given[at : at + width] for at in range(0, len(given), width)])
    query = "DELETE FROM distrusted WHERE pack = ? AND hash IN (SELECT hash FROM objects WHERE pack = ?)"
    if db.execute("SELECT 1 FROM distrusted WHERE pack = ? LIMIT 1", (_NO_PACK,)).fetchone():
        db.execute(query, (_NO_PACK, number))


def all_packs(db: sqlite3.Connection) -> list[tuple[int, str, int]]:
    return db.execute("SELECT id, name, size FROM packs").fetchall()


def chunks(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[start : start + _CHUNK] for start in range(0, len(keys), _CHUNK))
