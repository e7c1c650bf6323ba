"""Pruning: records first, then the packs that nothing needs any more; sparse and small ones are rewritten.

Interrupted anywhere, it leaves a valid repository, and the next one finishes: a new pack is on the disk before an old
one goes, and that the same object lies in two packs harms nobody.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from recoverd.errors import LockHeld, RepositoryError
from recoverd.repository.packs import SUFFIX
from recoverd.repository.reachability import Unknowable, needed_by_all
from recoverd.repository.repack_plan import PackFigures, RepackLimits, RepackPlan, plan
from recoverd.repository.repacking import holds_needed, repack
from recoverd.values import dataclass

if TYPE_CHECKING:
    from recoverd.repository.reach_memory import Needed
    from recoverd.repository.store import Repository
    from recoverd.repository.writer import Writer

THOROUGH = RepackLimits(waste_share=0)
AUTOMATIC = RepackLimits()
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did, or with `dry_run` would do (then `freed_bytes` is an estimate where packs are rewritten).

    `kept_data` says why packs that are not needed were left alone, if they were; `notes` what else there is to say.
    """

    removed: tuple[str, ...]  # ids of snapshots: service/sequence
    freed_bytes: int  # of files that were deleted, less those that were written
    packs_removed: int  # nothing needed them
    kept_data: str | None = None
    packs_rewritten: int = 0  # what was needed of them is in new packs
    packs_written: int = 0
    written_bytes: int = 0  # of these new packs
    notes: tuple[str, ...] = ()


def prune(
    repository: Repository,
    writer: Writer,
    doomed: Mapping[str, Sequence[int]],
    *,
    dry_run: bool = False,
    automatic: bool = False,
    limits: RepackLimits | None = None,
) -> Pruned:
    """Delete the records of the doomed snapshots, and every pack that no remaining snapshot needs; rewrite others.

    `doomed` holds sequences by service; one that is gone already is no error. Packs are deleted only when every
    remaining record and tree can be read and nobody reads: else they wait for the next prune. `automatic`: nobody asked
    for it, so packs are left alone until enough has changed, and one new pack is written at most.
    Raises RepositoryError.
    """
    if writer.busy:
        raise RepositoryError("a prune can't run between putting objects and committing them")
    going = {
        service: sorted(set(sequences) & set(repository.sequences(service))) for service, sequences in doomed.items()
    }
    removed = tuple(f"{service}/{sequence}" for service in sorted(going) for sequence in going[service])
    try:
        freed = sum(_record_size(repository, service, n) for service, numbers in going.items() for n in numbers)
        if not dry_run:
            repository.remove_leftovers()
            for service, sequences in going.items():
                if sequences:
                    repository.delete_records(service, sequences)
        if automatic and not repository.catalog.reach.is_due():
            return Pruned(removed, freed, 0)
        try:
            needed = needed_by_all(repository, writer, going)
        except Unknowable as error:
            return Pruned(removed, freed, 0, str(error))
        work = _Work(repository, writer, needed, limits or (AUTOMATIC if automatic else THOROUGH))
        if dry_run:
            work.foresee()
        else:
            work.run(once=automatic)
            repository.catalog.shrink()
    except OSError as error:
        raise RepositoryError(f"the repository can't be pruned: {error.strerror or error}") from error
    return Pruned(
        removed,
        freed + work.freed_bytes - work.written_bytes,
        work.packs_removed,
        work.kept_data,
        work.packs_rewritten,
        work.packs_written,
        work.written_bytes,
        tuple(work.notes),
    )


def _record_size(repository: Repository, service: str, sequence: int) -> int:
    return os.stat(repository.record_path(service, sequence)).st_size


class _Work:
    """One prune of packs, and what came of it so far."""

    def __init__(self, repository: Repository, writer: Writer, needed: Needed, limits: RepackLimits) -> None:
        self._repository = repository
        self._writer = writer
        self._needed = needed
        self._limits = limits
        self.freed_bytes = self.packs_removed = self.packs_rewritten = self.packs_written = self.written_bytes = 0
        self.kept_data: str | None = None
        self.notes: list[str] = []

    def foresee(self) -> None:
        """What `run` would begin with."""
        figures, step = self._plan()
        sizes = {pack.name: pack for pack in figures}
        self.packs_removed, self.packs_rewritten = len(step.dead), len(step.sources)
        self.freed_bytes = sum(sizes[one.name].size_bytes for one in (*step.dead, *step.sources))
        self.written_bytes = sum(sizes[one.name].live_bytes for one in step.sources)
        self.packs_written = bool(self.written_bytes)

    def run(self, *, once: bool) -> None:
        """Delete, rewrite, look again, until nothing is left to do; or once."""
        going_on = True
        while going_on:
            figures, step = self._plan()
            dead = [one.name for one in step.dead]
            gone = self._delete([name for name in dead if self._is_dead(name)])
            self.packs_removed += len(gone)
            going_on = False
            if step.sources and self.kept_data is None and self._rewrite([one.name for one in step.sources]):
                going_on = not once
        if self.kept_data is None:
            self._repository.catalog.reach.note_looked()
        self.notes += [f"pack {one.name} stays: what snapshots need of it is damaged" for one in figures if one.held]

    def _plan(self) -> tuple[list[PackFigures], RepackPlan]:
        figures = self._repository.catalog.reach.figures(self._needed)
        return figures, plan(figures, self._limits)

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
            self._note(f"pack {name} stays: it can't be read, and something that snapshots need is missing")
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
            self._note(f"{len(sources)} packs could not be rewritten, because there is no room for it; nothing is lost")
            return False
        except RepositoryError as error:
            self._note(f"{len(sources)} packs are left as they are: {error.message}")
            return False
        if done.new_pack is not None:
            self.packs_written += 1
            self.written_bytes += done.new_bytes
        for _, sentence in done.held:
            self._note(sentence)
        gone = self._delete(done.emptied)
        self.packs_rewritten += len(gone)
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
            self._repository.catalog.drop_packs(gone)
        return gone

    def _note(self, sentence: str) -> None:
        if sentence not in self.notes:
            self.notes.append(sentence)
