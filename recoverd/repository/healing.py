"""Heal: what is damaged gets an intact copy in a new pack, from wherever somebody still has the same bytes.

Nothing is written in place and nothing is lost: what is found is written to new packs, and a damaged file is moved to
`damaged/` in the repository only when all that is needed of it lies elsewhere. Whatever is offered as a copy of an
object is believed by its hash alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from blake3 import blake3

from recoverd.errors import DamagedObject, LockHeld, RepositoryError
from recoverd.repository.layout import SNAPSHOTS
from recoverd.repository.marks import decode_marks
from recoverd.repository.new_packs import NewPack
from recoverd.repository.pack_check import PackReport
from recoverd.repository.packs import PACK_BYTES, SUFFIX, Location, read_frame
from recoverd.repository.references import Kind
from recoverd.repository.snapshots import decode_snapshot, sequence_of
from recoverd.repository.store import Repository
from recoverd.repository.verify_record import Damage
from recoverd.repository.verifying import Verified
from recoverd.repository.writer import Writer, explained
from recoverd.repository.zstandard import ZstdError
from recoverd.system import clock, durable
from recoverd.system.durable import open_own, open_own_fd
from recoverd.values import dataclass, replace

DIRECTORY = "damaged"  # in the repository: damaged files that were replaced


@dataclass(frozen=True, slots=True)
class Healed:
    """One thing that is whole again, and where the intact bytes came from."""

    what: str
    origin: str
    object: str | None = None
    pack: str | None = None
    path: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known once all is healed that can be; `healed` in the order in which it happened."""

    first: Verified  # what was found when everything was read
    found: Verified  # what is known now
    healed: tuple[Healed, ...] = ()
    notes: tuple[str, ...] = ()


class Healer:
    """Takes intact copies of what `found` says is lost. `close` forgets what was not finished."""

    def __init__(self, repository: Repository, writer: Writer, found: Verified) -> None:
        self._repository = repository
        self._catalog = repository.catalog
        self._writer = writer
        self._found = found
        self._bad_packs = {report.name for report in found.reports}
        self._packs: list[NewPack] = []
        self._added: set[str] = set()
        self.wanted = set(found.lost)
        self.healed: list[Healed] = []
        self.notes: list[str] = []

    def offer(self, data: bytes, origin: str) -> str:
        """Take these bytes if they are those of a lost object; their hash either way. Raises RepositoryError."""
        object_hash = blake3(data).hexdigest()
        if object_hash in self.wanted:
            self.wanted.remove(object_hash)
            with explained("written"):
                self._add(object_hash, data)
            self.healed.append(Healed(f"object {object_hash}", origin, object=object_hash))
        return object_hash

    def rescue(self) -> None:
        """Copy what is needed of damaged packs, as far as it can be read and lies nowhere else. Raises OSError.

        Comes after all offers: a pack of which something needed is still lost stays, and with it what else is in it.
        """
        for report in self._found.reports:
            if report.unknown_version or not self.wanted.isdisjoint(report.damaged):
                continue
            wanted = [key for key in report.index if key in self._found.needed and key not in self._added]
            lonely = [key for key in wanted if not self._is_elsewhere(key)]
            if lonely:
                self._copy(report, lonely)

    def _copy(self, report: PackReport, keys: Iterable[str]) -> None:
        try:
            fd = open_own_fd(self._path(report.name))
        except OSError:
            return  # it went bad since; what is missing stays missing
        try:
            at: tuple[int, bytes] | None = None
            for key in sorted(keys, key=lambda one: report.index[one]):
                location = report.index[key]
                if at is None or at[0] != location.frame_offset:
                    at = location.frame_offset, _frame(fd, location)
                data = at[1][location.offset : location.offset + location.size]
                if blake3(data).hexdigest() == key:
                    self._add(key, data)
        finally:
            os.close(fd)

    def finish(self) -> tuple[str, ...]:
        """Bring what was taken to the disk, and tell the catalog; the names of the new packs. Raises OSError."""
        for pack in self._packs:
            pack.finish()
        names = tuple(pack.name for pack in self._packs)
        for pack in self._packs:
            pack.place()  # where it is a damaged one once more, byte by byte as it was, it takes its place
            self._catalog.add_packs({pack.name: (pack.size, pack.index or {})})
            self._catalog.trust.correct(pack.name, pack.size, pack.index or {}, (), clock.now_ns())
        self._packs.clear()
        return names

    def close(self) -> None:
        for pack in self._packs:
            pack.discard()
        self._packs.clear()

    def replace_packs(self, new: Iterable[str]) -> None:
        """Move damaged packs aside of which nothing is needed that does not lie elsewhere. Raises OSError.

        While a tree or a record is lost nobody knows all that is needed: then everything must lie elsewhere.
        """
        unsure = any(self._found.lost[key].kind in {Kind.TREE, Kind.LIST} for key in self.wanted)
        unsure = unsure or any((one.path or "").startswith(f"{SNAPSHOTS}/") for one in self._found.damage)
        same = set(new)
        for report in self._found.reports:
            if report.name in same:
                self._bad_packs.discard(report.name)
                self.healed.append(Healed(f"pack {report.name}", "its own frames and copies", pack=report.name))
        for report in self._found.reports:
            if report.name in same or report.unknown_version or report.out_of_reach:
                continue
            needed = [key for key in {*report.index, *report.damaged} if unsure or key in self._found.needed]
            if all(self._is_elsewhere(key) for key in needed) and self._move_aside(report.name):
                self.healed.append(Healed(f"pack {report.name}", f"moved to {DIRECTORY}/", pack=report.name))

    def _move_aside(self, name: str) -> bool:
        try:
            lock = self._repository.exclusive_readers_lock()
        except LockHeld as error:
            self.notes.append(f"the damaged pack {name} stays until the next heal, because {error.message}")
            return False
        try:
            self._keep_evidence(f"packs/{name[:2]}/{name}{SUFFIX}", name + SUFFIX)
        except FileNotFoundError:
            return False
        finally:
            lock.release()
        self._catalog.drop_packs([name])
        return True

    def _keep_evidence(self, path: str, name: str) -> None:
        """Move a file of the repository to `damaged/`, durably."""
        place = f"{self._repository.path}/{DIRECTORY}"
        durable.make_directories(place)
        source = f"{self._repository.path}/{path}"
        os.rename(source, f"{place}/{name}")
        for directory in (place, os.path.dirname(source)):
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                durable.fsync_directory(fd)
            finally:
                os.close(fd)

    def _is_elsewhere(self, key: str) -> bool:
        """Whether an intact copy lies in a pack that is not damaged; looks at it."""
        return any(
            pack not in self._bad_packs and self._writer.is_intact(key, pack, location)
            for pack, location in self._catalog.locations(key)
        )

    def _add(self, object_hash: str, data: bytes) -> None:
        pack = self._packs[-1] if self._packs else None
        if pack is None or pack.writer is None:
            pack = self._writer.new_pack()
            self._packs.append(pack)
        assert pack.writer is not None
        pack.writer.add(object_hash, data)
        self._added.add(object_hash)
        if pack.writer.reaches(PACK_BYTES):
            pack.finish()

    def _path(self, name: str) -> str:
        return f"{self._repository.packs_path}/{name[:2]}/{name}{SUFFIX}"


def heal_records(repository: Repository, damage: Iterable[Damage]) -> list[Healed]:
    """Write damaged records anew from the catalog's copy, where that is whole, and damaged marks as `pinned`.

    What was there is kept in `damaged/`. Raises OSError, RepositoryError.
    """
    healed = []
    for one in damage:
        if one.path is None:
            continue
        kind, service, name = one.path.split("/")
        sequence = sequence_of(name)
        if sequence is None:
            continue
        evidence = f"{repository.path}/{DIRECTORY}/{kind}-{service}-{name}"
        path = f"{repository.path}/{one.path}"
        if kind == "snapshots":
            data = _intact_record(repository, service, sequence)
            if data is None or not _is_torn(path, service, sequence):
                continue
            _copy_evidence(path, evidence)
            durable.write_path(path, data)
            healed.append(Healed(f"the record of {service}/{sequence}", "the catalog's copy", path=one.path))
        elif _are_torn_marks(path):
            _copy_evidence(path, evidence)
            repository.set_marks(service, sequence, lambda marks: replace(marks, pinned=True))
            healed.append(Healed(f"the marks of {service}/{sequence}", "it counts as pinned", path=one.path))
    return healed


def _intact_record(repository: Repository, service: str, sequence: int) -> bytes | None:
    row = repository.catalog.cached_records(service).get(sequence)
    if row is None:
        return None
    try:
        decode_snapshot(row.record, service, sequence)
    except RepositoryError:
        return None
    return row.record


def _is_torn(path: str, service: str, sequence: int) -> bool:
    """Whether a record is damaged, and not one that a newer recoverd wrote."""
    try:
        with open_own(path) as file:
            decode_snapshot(file.read(), service, sequence)
    except RepositoryError as error:
        return "is damaged" in error.message
    return False


def _are_torn_marks(path: str) -> bool:
    """The same of marks."""
    try:
        with open_own(path) as file:
            decode_marks(file.read())
    except ValueError:
        return True
    except RepositoryError:
        return False
    return False


def _copy_evidence(path: str, evidence: str) -> None:
    durable.make_directories(os.path.dirname(evidence))
    with open_own(path) as file:
        durable.write_path(evidence, file.read())


def _frame(fd: int, location: Location) -> bytes:
    try:
        return read_frame(fd, location)
    except (OSError, ZstdError, ValueError, OverflowError, MemoryError) as error:
        raise DamagedObject("", f"a frame that could be read a moment ago can't be: {error}") from None
