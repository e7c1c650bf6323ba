"""Pruning: records first, then the packs that nothing needs any more; sparse and small ones are rewritten.

Interrupted anywhere, it leaves a valid repository, and the next one finishes: a new pack is on the disk before an old
one goes, and that the same object lies in two packs harms nobody.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from recoverd.errors import LockHeld, RepositoryError, os_hint
from recoverd.repository.packs import SUFFIX
from recoverd.repository.reach_memory import Needed
from recoverd.repository.reachability import Unknowable, needed_by_all
from recoverd.repository.repack_plan import PackFigures, RepackLimits, plan
from recoverd.repository.repacking import holds_needed, repack
from recoverd.values import dataclass

if TYPE_CHECKING:
    from recoverd.repository.objects import Reader
    from recoverd.repository.store import Repository
    from recoverd.repository.writer import Writer

THOROUGH = RepackLimits(waste_share=0)
AUTOMATIC = RepackLimits()
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class PackChanges:
    """Packs that nothing needed; packs of which new ones hold what is needed; these new ones, and their bytes."""

    removed: int = 0
    rewritten: int = 0
    written: int = 0
    written_bytes: int = 0

    def plus(self, other: PackChanges) -> PackChanges:
        return PackChanges(
            self.removed + other.removed,
            self.rewritten + other.rewritten,
            self.written + other.written,
            self.written_bytes + other.written_bytes,
        )


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did, or would do (then all that concerns packs is an estimate of its first step).

    `kept_data` says why packs that are not needed were left alone, if they were; `notes` what else there is to say.
    """

    removed: tuple[str, ...]  # ids of snapshots: service/sequence
    freed_bytes: int  # of files that were deleted, less those that were written
    packs: PackChanges = PackChanges()
    kept_data: str | None = None
    notes: tuple[str, ...] = ()


def prune(
    repository: Repository,
    writer: Writer,
    doomed: Mapping[str, Sequence[int]],
    *,
    automatic: bool = False,
    most_new_packs: int | None = None,
    limits: RepackLimits | None = None,
) -> Pruned:
    """Delete the records of the doomed snapshots, and every pack that no remaining snapshot needs; rewrite others.

    `doomed` holds sequences by service; one that is gone already is no error. Data is deleted only when every
    remaining record and tree can be read and nobody reads: else it waits for the next prune. `most_new_packs` bounds
    what one prune rewrites: 32 MiB for each. `automatic`: nobody asked for it, so that packs are left alone until
    enough has changed, and one new one is written at most. Raises RepositoryError.
    """
    if writer.busy:
        raise RepositoryError("a prune can't run between putting objects and committing them")
    with _explained():
        repository = repository.place_to_prune(doomed)
        going, removed, freed = _records(repository, doomed)
        repository.remove_leftovers()
        for service, sequences in going.items():
            if sequences:
                repository.delete_records(service, sequences)
        if automatic and not repository.catalog.reach.is_due():
            return Pruned(removed, freed)
        unknown: str | None = None
        try:
            needed = needed_by_all(repository, writer, going)
        except Unknowable as error:  # small packs are merged all the same, with everything in them
            needed, unknown = Needed(everything=True), str(error)
        work = _Work(repository, writer, needed, limits or (AUTOMATIC if automatic else THOROUGH))
        work.run(1 if automatic else most_new_packs)
        repository.catalog.shrink()
    return Pruned(removed, freed + work.freed_bytes, work.changes, unknown or work.kept_data, work.notes)


def foresee(repository: Repository, reader: Reader, doomed: Mapping[str, Sequence[int]]) -> Pruned:
    """What `prune` would do; changes nothing. Raises RepositoryError."""
    with _explained():
        repository = repository.place_to_prune({})
        going, removed, freed = _records(repository, doomed)
        try:
            needed = needed_by_all(repository, reader, going)
        except Unknowable as error:
            return Pruned(removed, freed, kept_data=str(error))
        figures = repository.catalog.reach.figures(needed)
    step = plan(figures, THOROUGH)
    packs = {pack.name: pack for pack in figures}
    written = sum(packs[one.name].live_bytes for one in step.sources)
    freed += sum(packs[one.name].size_bytes for one in (*step.dead, *step.sources)) - written
    changes = PackChanges(len(step.dead), len(step.sources), int(written > 0), written)
    return Pruned(removed, freed, changes, notes=tuple(_held(figures).values()))


def _records(
    repository: Repository, doomed: Mapping[str, Sequence[int]]
) -> tuple[dict[str, list[int]], tuple[str, ...], int]:
    """Those of the doomed that are there: sequences by service, ids, and the bytes of their records."""
    going = {
        service: sorted(set(sequences) & set(repository.sequences(service))) for service, sequences in doomed.items()
    }
    removed = tuple(f"{service}/{sequence}" for service in sorted(going) for sequence in going[service])
    paths = (repository.record_path(service, sequence) for service in going for sequence in going[service])
    return going, removed, sum(os.stat(path).st_size for path in paths)


def _held(figures: Sequence[PackFigures]) -> dict[str, str]:
    """The packs that can't be rewritten, and why."""
    return {one.name: f"pack {one.name} stays: what snapshots need of it is damaged" for one in figures if one.held}


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RepositoryError(
            f"the repository can't be pruned: {error.strerror or error}", hint=os_hint(error)
        ) from error


class _Work:
    """One prune of packs, and what came of it so far."""

    def __init__(self, repository: Repository, writer: Writer, needed: Needed, limits: RepackLimits) -> None:
        self._repository = repository
        self._writer = writer
        self._needed = needed
        self._limits = limits
        self.freed_bytes = 0
        self.changes = PackChanges()
        self.kept_data: str | None = None
        self._stay: dict[str, str] = {}  # packs that can't be dealt with, and why
        self._left: str | None = None  # why packs were not rewritten

    def run(self, most_new_packs: int | None) -> None:
        """Delete, rewrite, look again, until nothing is left to do or enough is done."""
        going_on, stopped = True, False
        while going_on:
            figures = self._repository.catalog.reach.figures(self._needed)
            step = plan(figures, self._limits)
            gone = self._delete([one.name for one in step.dead if self._is_dead(one.name)])
            self.changes = self.changes.plus(PackChanges(removed=len(gone)))
            going_on = (
                bool(step.sources) and self.kept_data is None and self._rewrite([one.name for one in step.sources])
            )
            if going_on and most_new_packs is not None and self.changes.written >= most_new_packs:
                going_on, stopped = False, True
        self._stay = _held(figures) | self._stay
        if self.kept_data is None and not stopped:
            self._repository.catalog.reach.note_looked()

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._stay.values(), *([self._left] if self._left is not None else []))

    def _is_dead(self, name: str) -> bool:
        """Asks the pack itself: what the catalog says is checked before anything is deleted."""
        catalog = self._repository.catalog
        try:
            if not holds_needed(self._repository.packs_path, name, self._needed):
                return True
            catalog.correct([name])
        except FileNotFoundError:
            return True
        except (RepositoryError, OSError):  # nobody knows what else it holds
            if not catalog.reach.lacks_any(self._needed, without=name):
                return True
            self._stay[name] = f"pack {name} stays: it can't be read, and something that snapshots need is missing"
        return False

    def _rewrite(self, sources: Sequence[str]) -> bool:
        """Whether it is worth looking again."""
        try:
            self._repository.exclusive_readers_lock().release()
        except LockHeld as error:
            self.kept_data = f"the next prune rewrites {len(sources)} packs, because {error.message}"
            return False
        try:
            done = repack(self._repository.packs_path, self._repository.catalog, self._writer, sources, self._needed)
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            self._left = (
                f"{len(sources)} packs could not be rewritten, because there is no room for it; nothing is lost"
            )
            return False
        except RepositoryError as error:
            self._left = f"{len(sources)} packs are left as they are: {error.message}"
            return False
        self._stay.update(done.held)
        self.freed_bytes -= done.new_bytes
        gone = self._delete(done.emptied)
        written = PackChanges(0, len(gone), int(done.new_pack is not None), done.new_bytes)
        self.changes = self.changes.plus(written)
        return bool(gone)

    def _delete(self, names: Collection[str]) -> list[str]:
        """Delete packs unless somebody reads; returns those that are gone."""
        if not names:
            return []
        try:
            lock = self._repository.exclusive_readers_lock()
        except LockHeld as error:
            self.kept_data = f"the next prune deletes {len(names)} packs, because {error.message}"
            return []
        gone: list[str] = []
        try:
            self._repository.settle_records()  # no record comes back whose packs are gone
            for name in names:
                path = f"{self._repository.packs_path}/{name[:2]}/{name}{SUFFIX}"
                try:
                    size = os.stat(path, follow_symlinks=False).st_size
                    os.unlink(path)
                    self.freed_bytes += size
                except FileNotFoundError:
                    pass
                gone.append(name)
        finally:
            lock.release()
            self._writer.forget_files()
            self._repository.catalog.drop_packs(gone)
        return gone
