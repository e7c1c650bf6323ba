"""What the catalog knows for pruning: what each tree refers to, and how much of each pack is needed."""

from __future__ import annotations

import logging
import sys
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from blake3 import blake3

from recoverd.repository.database import Database, Unwritable
from recoverd.repository.repack_plan import PackFigures
from recoverd.repository.trust import TRUSTED, chunks
from recoverd.values import dataclass

if TYPE_CHECKING:
    import sqlite3

MARK_BYTES = 8
HASH_BYTES = 32
_CHECK_BYTES = 16

_log = logging.getLogger("recoverd.repository")
_OBJECTS_PER_PACK = 4096
_MOST_NEW_PACKS = 32
_NEW_PACKS = "SELECT count(*), total(size) FROM packs WHERE id > ?"
# What an object takes of its pack, before index and footer; 512 is for its header in the archive.
_WEIGHT = "CAST(frame_length AS REAL) * (size + 512) / max(frame_size, 1)"
_WEIGHTS = f"SELECT pack, sum({_WEIGHT}) FROM objects GROUP BY pack"  # noqa: S608 - a constant
_OBJECTS = f"SELECT hash, pack, {_WEIGHT} FROM objects"  # noqa: S608 - a constant
_COPIED = "SELECT hash FROM objects GROUP BY hash HAVING count(*) > 1"
_COPIES = f"SELECT pack, {_WEIGHT}, NOT {TRUSTED} FROM objects WHERE hash = ? ORDER BY pack"  # noqa: S608 - constants
_INTACT_ELSEWHERE = f"SELECT hash FROM objects WHERE pack NOT IN (SELECT id FROM packs WHERE name = ?) AND {TRUSTED}"  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class References:
    """What one tree, list of parts or block list refers to. `nodes`: hashes of those that refer further, one after
    the other; `leaves`: the first 8 bytes of the hashes of all others."""

    nodes: bytes
    leaves: bytes

    @property
    def below(self) -> list[bytes]:
        return [self.nodes[start : start + HASH_BYTES] for start in range(0, len(self.nodes), HASH_BYTES)]


def mark_of(object_hash: bytes) -> int:
    """The first 8 bytes of a hash, as a number."""
    return int.from_bytes(object_hash[:MARK_BYTES], sys.byteorder)


class Needed:
    """A set of objects, of each of which the first 8 bytes of the hash are kept: an eighth of the memory.

    Two objects that agree in these are taken for one, so that at worst something is kept that nobody needs.
    `everything`: what is needed can't be told, so all there is counts as needed.
    """

    def __init__(self, *, everything: bool = False) -> None:
        self.marks: set[int] = set()
        self.everything = everything

    def __contains__(self, object_hash: bytes) -> bool:
        return self.everything or mark_of(object_hash) in self.marks

    def add(self, leaves: bytes) -> None:
        """Add objects by the first 8 bytes of their hashes, one after the other."""
        marks = array("Q")
        marks.frombytes(leaves)
        self.marks.update(marks)


@dataclass(slots=True)
class _Pack:
    name: str
    size: int
    age: int
    all_weight: float = 0.0
    live_weight: float = 0.0
    shared_weight: float = 0.0  # of needed objects that lie elsewhere too
    copies: bool = False
    held: bool = False


class ReachMemory:
    """Part of the catalog. `ready` sees to it that the catalog knows the packs."""

    def __init__(self, database: Database, ready: Callable[[], None]) -> None:
        self._database = database
        self._ready = ready

    def references(self, nodes: Collection[bytes]) -> dict[bytes, References]:
        """What is remembered of trees and block lists, by hash; a row that is damaged is left out."""
        found: dict[bytes, References] = {}

        def work(db: sqlite3.Connection) -> None:
            for chunk in chunks(list(nodes)):
                marks = ",".join("?" * len(chunk))
                query = f"SELECT node, nodes, leaves, checksum FROM reach WHERE node IN ({marks})"  # noqa: S608 - question marks
                for node, below, leaves, checksum in db.execute(query, chunk):
                    if checksum == _checksum(node, below, leaves):
                        found[node] = References(below, leaves)

        self._database.read(work)
        return found

    def remember(self, fresh: Mapping[bytes, References], *, keep: Collection[bytes] | None) -> None:
        """Add what was found out, and forget all but `keep`; None: nothing."""

        def work(db: sqlite3.Connection) -> None:
            if keep is not None:
                gone = [(node,) for (node,) in db.execute("SELECT node FROM reach") if node not in keep]
                db.executemany("DELETE FROM reach WHERE node = ?", gone)
            db.executemany(
                "INSERT OR REPLACE INTO reach VALUES (?, ?, ?, ?)",
                sorted((node, x.nodes, x.leaves, _checksum(node, x.nodes, x.leaves)) for node, x in fresh.items()),
            )

        self._try(work)

    def figures(self, needed: Needed) -> list[PackFigures]:
        """How much of each pack is needed. Of several intact copies of an object one counts: that in the pack of which
        the most is needed. Damaged copies count only where there is no other."""
        self._ready()
        return self._database.read(lambda db: _figures(db, needed))

    def is_due(self) -> bool:
        """Whether enough was stored since `note_looked` that figures are worth what they cost: a look at all objects.

        So that this follows what changed: a look for each new pack up to 4096 objects, for each 32 packs at most.
        """
        self._ready()

        def work(db: sqlite3.Connection) -> bool:
            row = db.execute("SELECT newest_pack, bytes, objects FROM looked").fetchone()
            if row is None:
                return True
            newest, size, objects = row
            packs, added = db.execute(_NEW_PACKS, (newest,)).fetchone()
            return bool(packs >= min(1 + objects // _OBJECTS_PER_PACK, _MOST_NEW_PACKS) or added * 8 >= size)

        return self._database.read(work)

    def note_looked(self) -> None:
        """All was looked at, and done."""

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM looked")
            db.execute(
                "INSERT INTO looked SELECT ifnull(max(id), 0), total(size), (SELECT count(*) FROM objects) FROM packs"
            )

        self._try(work)

    def _try(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            self._database.write(work)
        except Unwritable as error:
            _log.debug("what prune found out was not remembered: %s", error)

    def lacks_any(self, needed: Needed, without: str) -> bool:
        """Whether something is needed of which no intact copy is known but in the pack `without`."""
        self._ready()

        def work(db: sqlite3.Connection) -> bool:
            missing = set(needed.marks)
            for (object_hash,) in db.execute(_INTACT_ELSEWHERE, (without,)):
                missing.discard(mark_of(object_hash))
            return bool(missing)

        return needed.everything or self._database.read(work)


def _figures(db: sqlite3.Connection, needed: Needed) -> list[PackFigures]:
    listed = db.execute("SELECT id, name, size FROM packs ORDER BY id DESC").fetchall()
    packs = {number: _Pack(name, size, age) for age, (number, name, size) in enumerate(listed)}
    for number, weight in db.execute(_WEIGHTS):
        if number in packs:
            packs[number].all_weight = weight
    special = {object_hash for (object_hash,) in db.execute(_COPIED)}
    special.update(object_hash for (object_hash,) in db.execute("SELECT hash FROM distrusted"))
    live = dict.fromkeys(packs, 0.0)
    marks, everything, order, number_of = needed.marks, needed.everything, sys.byteorder, int.from_bytes
    for object_hash, number, weight in db.execute(
        _OBJECTS
    ):  # a look at every object there is: nothing more than needed
        if (everything or number_of(object_hash[:MARK_BYTES], order) in marks) and object_hash not in special:
            live[number] = live.get(number, 0.0) + weight
    for number, pack in packs.items():
        pack.live_weight = live[number]
    _share_out(packs, [db.execute(_COPIES, (x,)).fetchall() for x in sorted(special) if x in needed])
    return [
        PackFigures(pack.name, pack.size, _share(pack), pack.age, pack.copies, pack.held) for pack in packs.values()
    ]


def _share_out(packs: Mapping[int, _Pack], objects: Sequence[Sequence[tuple[int, float, int]]]) -> None:
    """Decide which pack provides each object of which there are several copies, or a damaged one.

    A copy is the number of its pack, its weight, and whether it is known to be damaged.
    """
    shared: list[list[tuple[_Pack, float]]] = []
    for copies in objects:
        there = [(packs[number], weight, damaged) for number, weight, damaged in copies if number in packs]
        intact = [(pack, weight) for pack, weight, damaged in there if not damaged]
        shared.append(intact)
        for pack, weight in intact:
            pack.shared_weight += weight
        for pack, _, damaged in there:
            pack.copies |= len(there) > 1
            pack.held |= bool(damaged) and not intact
    by_need = sorted(packs.values(), key=lambda one: (-one.live_weight - one.shared_weight, one.name))
    places = {pack.name: place for place, pack in enumerate(by_need)}
    for intact in shared:
        if intact:
            pack, weight = min(intact, key=lambda one: places[one[0].name])
            pack.live_weight += weight


def _share(pack: _Pack) -> int:
    """The bytes of the file that its live objects stand for; all of them where all are live."""
    if not pack.live_weight:
        return 0
    return max(1, min(pack.size, round(pack.size * pack.live_weight / pack.all_weight)))


def _checksum(node: bytes, nodes: bytes, leaves: bytes) -> bytes:
    return blake3(b"%b%d\n%b%b" % (node, len(nodes), nodes, leaves)).digest(_CHECK_BYTES)
