"""The catalog: where objects lie, and what makes looking again cheap. Derived or expendable, never the truth.

What it says of objects is checked by hash whenever one is read; what it says of snapshots carries the record's own
checksum. It is caught up by listing the packs, and rebuilt from their indexes when it is lost or damaged.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recoverd.errors import RepositoryError
from recoverd.repository.database import Database, Unwritable
from recoverd.repository.reach_memory import ReachMemory
from recoverd.repository.trust import FREE_NUMBER as _FREE_NUMBER
from recoverd.repository.trust import TRUSTED as _TRUSTED
from recoverd.repository.trust import Trust, add_objects, all_packs, chunks
from recoverd.system.clock import now_ns
from recoverd.system.durable import open_own_fd, settle_directory
from recoverd.values import dataclass

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from recoverd.repository.packs import Index, Location

MOST_RUNS = 200  # kept of each service and kind
MOST_VERDICTS = 500_000  # of judges, kept in the memo

_log = logging.getLogger("recoverd.repository")


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an operation, for figures and trends."""

    service: str
    kind: str
    time_ns: int
    seconds: float
    outcome: str
    detail: str


@dataclass(frozen=True, slots=True)
class CachedRecord:
    """The bytes of a snapshot record, valid while the file still has this size and mtime."""

    size: int
    mtime_ns: int
    record: bytes


class Catalog:
    """Every write may be skipped when the file can't be written; every read copes with an empty catalog."""

    def __init__(self, path: str, packs_path: str, repository_id: str) -> None:
        self._database = Database(path, repository_id)
        self._packs_path = packs_path
        self.trust = Trust(self._database, self._ready)
        self.reach = ReachMemory(self._database, self._ready)
        self._caught_up = -1  # the database's generation when it last was
        self._warned: set[str] = set()

    def close(self) -> None:
        self._database.close()

    def shrink(self) -> None:
        """Give free space back to the file system, a bounded piece at a time."""
        self._database.shrink()

    # --- objects

    def locations(self, object_hash: str) -> list[tuple[str, Location]]:
        """(pack, location) of every copy of an object; usually one, none when it is not stored."""
        from recoverd.repository.packs import Location

        self._ready()
        rows = self._database.read(lambda db: db.execute(_LOCATIONS, (bytes.fromhex(object_hash),)).fetchall())
        return [(row[0], Location._make(row[1:])) for row in rows]

    def all_locations(self, hashes: Sequence[str]) -> dict[str, list[tuple[str, Location]]]:
        """The same for many objects; those that are not stored are left out."""
        from recoverd.repository.packs import Location

        self._ready()
        found: dict[str, list[tuple[str, Location]]] = {}
        keys = [bytes.fromhex(value) for value in hashes]

        def work(db: sqlite3.Connection) -> None:
            for chunk in chunks(keys):
                query = _ALL_LOCATIONS.format(",".join("?" * len(chunk)))
                for key, pack, *place in db.execute(query, chunk):
                    found.setdefault(key.hex(), []).append((pack, Location._make(place)))

        self._database.read(work)
        return found

    def knows(self, object_hash: str) -> bool:
        """Whether an object is stored, as far as anybody knows intact."""
        self._ready()
        key = (bytes.fromhex(object_hash),)
        return self._database.read(lambda db: db.execute(_KNOWN, key).fetchone()) is not None

    def known(self, hashes: Collection[str]) -> set[str]:
        """Those of many objects that are stored, as far as anybody knows intact."""
        self._ready()
        found: set[str] = set()

        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM objects LIMIT 1").fetchone() is None:
                return
            for chunk in chunks([bytes.fromhex(value) for value in hashes]):
                marks = ",".join("?" * len(chunk))
                query = f"SELECT hash FROM objects WHERE hash IN ({marks}) AND {_TRUSTED}"  # noqa: S608 - question marks
                found.update(key.hex() for (key,) in db.execute(query, chunk))

        self._database.read(work)
        return found

    def packs(self) -> dict[str, int]:
        """The packs that the catalog knows, and their bytes."""
        return {name: size for _, name, size in self._database.read(all_packs)}

    def add_packs(self, packs: Mapping[str, tuple[int, Index]], *, found: bool = False) -> None:
        """Add packs by name: (bytes of the file, index). What can't be added now is found by listing later; what was
        `found` by listing is added to a copy in memory then: who looks for something must find it."""

        def work(db: sqlite3.Connection) -> None:
            for name, (size, index) in packs.items():
                number = db.execute(_FREE_NUMBER).fetchone()[0]
                if db.execute("INSERT OR IGNORE INTO packs VALUES (?, ?, ?)", (number, name, size)).rowcount != 1:
                    continue  # another process was faster
                add_objects(db, number, index)

        (self._surely if found else self._try)(work)

    def drop_packs(self, names: Iterable[str]) -> None:
        """Forget packs that are gone, and all that was concluded from them."""

        def work(db: sqlite3.Connection) -> None:
            for name in names:
                row = db.execute("SELECT id FROM packs WHERE name = ?", (name,)).fetchone()
                if row is not None:
                    db.execute(_FORGET_VERDICTS, row)
                    db.execute("DELETE FROM objects WHERE pack = ?", row)
                    db.execute("DELETE FROM distrusted WHERE pack = ?", row)
                    db.execute("DELETE FROM packs WHERE id = ?", row)

        self._surely(work)

    def catch_up(self) -> None:
        """Compare with the packs that exist: add what is new, forget what is gone.

        Raises OSError when they can't be listed.
        """
        self._database.attach()
        known = {name: size for _, name, size in self._database.read(all_packs)}  # first: packs come before rows
        generation = self._database.generation
        on_disk = self.listed()
        gone = [name for name, size in known.items() if on_disk.get(name) != size]
        if gone:
            self.drop_packs(gone)
        for name in sorted(on_disk.keys() - (known.keys() - set(gone))):
            self._add_from_file(name, on_disk[name])
        self._caught_up = generation

    def listed(self) -> dict[str, int]:
        """The packs that exist now, and their bytes, whatever the catalog says. Raises OSError."""
        from recoverd.repository.packs import PACK_NAME

        found: dict[str, int] = {}
        with os.scandir(self._packs_path) as directories:
            for directory in directories:
                if len(directory.name) == 2 and directory.is_dir(follow_symlinks=False):
                    with os.scandir(directory.path) as files:
                        for file in files:
                            match = PACK_NAME.fullmatch(file.name)
                            if match and match[1].startswith(directory.name):
                                found[match[1]] = file.stat(follow_symlinks=False).st_size
        return found

    def correct(self, names: Iterable[str]) -> None:
        """Compare what is known of some packs with their own indexes, and believe those."""
        known = {name: size for _, name, size in self._database.read(all_packs)}
        for name in names:
            index = self._index_of(name) if name in known else None
            if index is None:
                continue
            if not self.trust.agrees(name, index[0]):
                _log.warning("the catalog was wrong about the pack %s, and is corrected", name)
                self.trust.correct(name, known[name], index[0], self.trust.of_pack(name), now_ns())

    def _add_from_file(self, name: str, size: int) -> None:
        found = self._index_of(name)
        if found is not None:
            index, whole = found
            self.add_packs({name: (size, index)}, found=True)
            if not whole:
                self.trust.suspect(name, now_ns())

    def _index_of(self, name: str) -> tuple[Index, bool] | None:
        """What a pack holds by its own index, or (then False) by its frames; None, told once, when neither says it."""
        from recoverd.repository.pack_check import index_of
        from recoverd.repository.packs import SUFFIX

        try:
            # who wrote it may have been killed before its name was durable; from now on snapshots rely on it
            settle_directory(f"{self._packs_path}/{name[:2]}")
            fd = open_own_fd(f"{self._packs_path}/{name[:2]}/{name}{SUFFIX}")
            try:
                return index_of(fd, name)
            finally:
                os.close(fd)
        except (OSError, RepositoryError) as error:
            if name not in self._warned:
                self._warned.add(name)
                _log.warning("the pack %s can't be read: %s", name, error)
            return None

    def _ready(self) -> None:
        """A catalog that was empty when it was opened is filled before it is asked."""
        if self._caught_up < 0:
            self._database.read(all_packs)  # opens it, and so tells whether it is a new one
            self._caught_up = 0
        if self._caught_up < self._database.generation:
            self.catch_up()

    # --- snapshot records

    def cached_records(self, service: str) -> dict[int, CachedRecord]:
        rows = self._database.read(
            lambda db: db.execute(
                "SELECT sequence, size, mtime_ns, record FROM snapshots WHERE service = ?", (service,)
            ).fetchall()
        )
        return {row[0]: CachedRecord(*row[1:]) for row in rows}

    def cache_records(self, service: str, records: Mapping[int, CachedRecord], gone: Iterable[int] = ()) -> None:
        def work(db: sqlite3.Connection) -> None:
            db.executemany("DELETE FROM snapshots WHERE service = ? AND sequence = ?", [(service, n) for n in gone])
            db.executemany(
                "INSERT OR REPLACE INTO snapshots VALUES (?, ?, ?, ?, ?)",
                [(service, number, x.size, x.mtime_ns, x.record) for number, x in records.items()],
            )

        self._try(work, patient=False)  # who lists shall not wait for who writes

    # --- memory of the other rooms

    def memo(self, judge: str, hashes: Sequence[str]) -> dict[str, bytes]:
        """What `judge` said of contents, by content hash; those it has not seen are left out."""
        found: dict[str, bytes] = {}

        def work(db: sqlite3.Connection) -> None:
            for chunk in chunks([bytes.fromhex(value) for value in hashes]):
                marks = ",".join("?" * len(chunk))
                query = f"SELECT hash, verdict FROM memo WHERE judge = ? AND hash IN ({marks})"  # noqa: S608 - question marks
                found.update((key.hex(), verdict) for key, verdict in db.execute(query, [judge, *chunk]))

        self._database.read(work)
        return found

    def remember(self, judge: str, verdicts: Mapping[str, bytes]) -> None:
        """Keep what `judge` says of contents, as opaque bytes. When there are too many, the oldest are forgotten."""
        rows = [(bytes.fromhex(value), judge, verdict) for value, verdict in verdicts.items()]

        def work(db: sqlite3.Connection) -> None:
            db.executemany("INSERT OR REPLACE INTO memo VALUES (?, ?, ?)", rows)
            db.execute("DELETE FROM memo WHERE rowid <= (SELECT max(rowid) FROM memo) - ?", (MOST_VERDICTS,))

        if rows:
            self._try(work)

    def stat_cache(self, item_key: str, directories: Collection[str] | None = None) -> dict[str, bytes]:
        """The packed stat rows of an item, by directory below it: all of them, or those of some directories."""
        query = "SELECT directory, row FROM stat_cache WHERE item = ?"
        if directories is None:
            rows = self._database.read(lambda db: db.execute(query, (item_key,)).fetchall())
            return {os.fsdecode(directory): row for directory, row in rows}
        found: dict[str, bytes] = {}

        def work(db: sqlite3.Connection) -> None:
            for directory in directories:
                key = (item_key, os.fsencode(directory))
                row = db.execute(f"{query} AND directory = ?", key).fetchone()
                if row is not None:
                    found[directory] = row[1]

        self._database.read(work)
        return found

    def save_stat_cache(self, item_key: str, rows: Mapping[str, bytes | None]) -> None:
        """Replace the rows of some directories; None deletes one."""

        def work(db: sqlite3.Connection) -> None:
            for directory, row in rows.items():
                if row is None:
                    db.execute(
                        "DELETE FROM stat_cache WHERE item = ? AND directory = ?", (item_key, os.fsencode(directory))
                    )
                else:
                    db.execute(
                        "INSERT OR REPLACE INTO stat_cache VALUES (?, ?, ?)", (item_key, os.fsencode(directory), row)
                    )

        if rows:
            self._try(work)

    def keep_stat_cache(self, item_keys: Collection[str]) -> None:
        """Forget the rows of all other items."""

        def work(db: sqlite3.Connection) -> None:
            gone = [row for row in db.execute("SELECT DISTINCT item FROM stat_cache") if row[0] not in item_keys]
            db.executemany("DELETE FROM stat_cache WHERE item = ?", gone)

        self._try(work)

    def record_run(self, service: str, kind: str, time_ns: int, seconds: float, outcome: str, detail: str) -> None:
        """Note a run; only the newest of each service and kind are kept."""
        # bytes that are not UTF-8 in names of files: SQLite holds none of them in text
        detail = detail.encode("utf-8", "backslashreplace").decode()

        def work(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT INTO runs (service, kind, time_ns, seconds, outcome, detail) VALUES (?, ?, ?, ?, ?, ?)",
                (service, kind, time_ns, seconds, outcome, detail),
            )
            db.execute(
                "DELETE FROM runs WHERE service = ?1 AND kind = ?2 AND id <= (SELECT id FROM runs"
                " WHERE service = ?1 AND kind = ?2 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
                (service, kind, MOST_RUNS),
            )

        self._try(work)

    def runs(self, service: str, kind: str, limit: int) -> list[Run]:
        """The newest runs, newest first."""
        query = (
            "SELECT service, kind, time_ns, seconds, outcome, detail FROM runs"
            " WHERE service = ? AND kind = ? ORDER BY id DESC LIMIT ?"
        )
        rows = self._database.read(lambda db: db.execute(query, (service, kind, limit)).fetchall())
        return [Run(*row) for row in rows]

    def _surely(self, work: Callable[[sqlite3.Connection], Any]) -> None:
        """What is gone must be known: who took it for stored would lose data. So must what is there."""
        try:
            self._database.write(work)
        except Unwritable as error:
            _log.debug("the catalog was not updated, and a copy in memory is used: %s", error)
            self._database.detach()
            self._database.write(work)

    def _try(self, work: Callable[[sqlite3.Connection], Any], *, patient: bool = True) -> None:
        try:
            self._database.write(work, patient=patient)
        except Unwritable as error:
            _log.debug("the catalog was not updated: %s", error)


_LOCATIONS = (
    "SELECT name, frame_offset, frame_length, frame_size, offset, objects.size"
    " FROM objects JOIN packs ON packs.id = objects.pack WHERE hash = ?"
    " ORDER BY (SELECT count(*) FROM distrusted AS d WHERE d.hash = objects.hash AND d.pack = objects.pack)"
)
_ALL_LOCATIONS = (
    "SELECT hash, name, frame_offset, frame_length, frame_size, offset, objects.size"
    " FROM objects JOIN packs ON packs.id = objects.pack WHERE hash IN ({})"
)
_FORGET_VERDICTS = (  # of what lies in no other pack
    "DELETE FROM memo WHERE hash IN (SELECT hash FROM objects AS a WHERE pack = ?1"
    " AND NOT EXISTS (SELECT 1 FROM objects AS b WHERE b.hash = a.hash AND b.pack != ?1))"
)
_KNOWN = f"SELECT 1 FROM objects WHERE hash = ? AND {_TRUSTED} LIMIT 1"  # noqa: S608 - constants
