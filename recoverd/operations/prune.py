"""`recoverd prune`: apply retention, and free the data that only deleted snapshots used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from recoverd.config.model import EMPTY, Service
from recoverd.errors import LockHeld, RepositoryError
from recoverd.operations import bounding, growth
from recoverd.operations.bounding import Bounded
from recoverd.operations.context import Context
from recoverd.repository import layout, pruning, retention
from recoverd.repository.bounds import MIN_FREE, Unmet
from recoverd.repository.pruning import PackChanges, Pruned
from recoverd.repository.records import Marks, Snapshot
from recoverd.repository.reserve import Reserve
from recoverd.repository.store import Repository
from recoverd.system import clock
from recoverd.values import dataclass, field, replace

RETENTION = "retention"  # why a snapshot went, where it was not for a bound


@dataclass(frozen=True, slots=True)
class PruneRequest:
    services: tuple[str, ...] = ()  # empty: all declared ones
    dry_run: bool = False
    if_due: bool = False  # look for data to free only if a snapshot goes, or a bound is not met
    held: frozenset[str] = frozenset()  # services whose lock the caller holds
    most_new_packs: int | None = None  # what is rewritten beyond waits for the next prune; see repository.pruning


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What is kept and by which rules; what was (or with `dry_run` would be) removed."""

    kept: tuple[tuple[str, tuple[str, ...]], ...]  # (snapshot id, rules)
    removed: tuple[str, ...]
    freed_bytes: int
    notes: tuple[str, ...] = ()  # why something was put off
    dry_run: bool = False
    bounded: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: EMPTY
    )  # which of `removed` retention would have kept -> bounds
    unmet: tuple[Unmet, ...] = ()  # bounds that are not met even so
    packs: PackChanges = PackChanges()

    @property
    def exit_status(self) -> int:
        """1 when the repository is not within its bounds."""
        return 1 if self.unmet and not self.dry_run else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": [{"id": snapshot, "rules": list(rules)} for snapshot, rules in self.kept],
            "removed": [{"id": one, "because": list(self.bounded.get(one, (RETENTION,)))} for one in self.removed],
            "freed_bytes": self.freed_bytes,
            "packs": {
                "removed": self.packs.removed,
                "rewritten": self.packs.rewritten,
                "written": self.packs.written,
                "written_bytes": self.packs.written_bytes,
            },
            "notes": list(self.notes),
            "unmet": [
                {"bound": one.bound, "limit_bytes": one.limit_bytes, "found_bytes": one.found_bytes}
                for one in self.unmet
            ],
            "dry_run": self.dry_run,
        }


def prune(context: Context, request: PruneRequest) -> PruneResult:
    """Apply the retention of each service, then the bounds of the repository, to all services. A service that another
    recoverd works on is left for next time. A full disk is pruned with the room of the space reserve.

    Raises UsageError, LockHeld (another writer), RepositoryError.
    """
    repository = context.repository()
    came_home: tuple[str, ...] = ()
    if context.config.repository.spare is not None and not request.dry_run:
        from recoverd.operations.spare import tidy

        came_home = tidy(context, repository, request.held)
    earlier: list[str] = []  # what went before the disk was full; the second try finds it gone
    if request.dry_run:
        return _prune(context, repository, request, Reserve(()), earlier)
    reserve = Reserve.of(context.state_dir, repository.path)
    result = reserve.spend(lambda: _prune(context, repository, request, reserve, earlier))
    with suppress(OSError):
        layout.remove_leftovers(context.runtime_dir)
    growth.note_size(repository)
    return replace(result, notes=(*came_home, *result.notes)) if came_home else result


def _prune(
    context: Context, repository: Repository, request: PruneRequest, reserve: Reserve, earlier: list[str]
) -> PruneResult:
    services, began_s = context.select(request.services, enabled_only=False), clock.monotonic_s()
    notes: list[str] = []
    with ExitStack() as locks:
        locks.enter_context(context.state_changes)
        if not request.dry_run:
            writer = locks.enter_context(repository.writer(wait_s=context.wait_s, what="the repository"))
        over = bounding.unmet(context, repository)
        if over:  # that concerns all of them
            services = context.select((), enabled_only=False)
        decided: dict[str, list[retention.Decision]] = {}
        for service in services:
            try:
                if not request.dry_run and service.name not in request.held:
                    what = f"service {service.name}"
                    locks.enter_context(repository.service_lock(service.name, wait_s=0, what=what))
            except LockHeld as error:
                notes.append(f"{service.name} is left for next time: {error.message}")
                continue
            decided[service.name] = decisions(context, repository, service)
        doomed = {name: [one.sequence for one in found if not one.keep] for name, found in decided.items()}
        removed = tuple(f"{name}/{sequence}" for name, sequences in doomed.items() for sequence in sequences)
        if request.dry_run:
            bounded = bounding.foreseen(context, repository, decided)
            with repository.reader() as reader:
                told = pruning.foresee(repository, reader, _with(doomed, bounded.removed))
            return _result(decided, removed, bounded, told, notes, dry_run=True)
        if request.if_due and not removed and not over:
            _tell_unmet(context, ())
            return _result(decided, removed, Bounded(), Pruned((), 0), notes)
        if removed or over:
            reserve.release_if_full()
        if not request.if_due:
            _forget_undeclared(context, repository)
        try:
            pruned = pruning.prune(
                repository,
                writer,
                doomed,
                automatic=request.if_due and not over,
                most_new_packs=request.most_new_packs,
            )
        except RepositoryError:
            earlier += [one for one in removed if not _is_there(repository, one)]
            raise
        if pruned.kept_data is not None:
            bounded = Bounded(unmet=bounding.unmet(context, repository))
        else:
            bounded = bounding.enforce(context, repository, writer, decided)
    if bounded.kept_data is not None:
        notes.append(bounded.kept_data)
    freed_bytes = pruned.freed_bytes + bounded.freed_bytes
    pruned = replace(pruned, freed_bytes=freed_bytes, packs=pruned.packs.plus(bounded.packs))
    removed = (*earlier, *removed)
    gone = len(removed) + len(bounded.removed)
    if gone:
        seconds = round(clock.monotonic_s() - began_s, 3)
        context.events.emit(
            "prune.finished", path=repository.path, removed=gone, freed_bytes=freed_bytes, seconds=seconds
        )
    _tell_unmet(context, bounded.unmet)
    return _result(decided, removed, bounded, pruned, notes)


def _result(
    decided: Mapping[str, Sequence[retention.Decision]],
    removed: tuple[str, ...],
    bounded: Bounded,
    pruned: Pruned,
    notes: Sequence[str],
    *,
    dry_run: bool = False,
) -> PruneResult:
    kept = tuple(
        (snapshot, one.rules)
        for name, found in decided.items()
        for one in found
        if one.keep and (snapshot := f"{name}/{one.sequence}") not in bounded.removed
    )
    told = (*pruned.notes, *([pruned.kept_data] if pruned.kept_data is not None else []))
    waits = pruned.kept_data is not None or bounded.kept_data is not None
    return PruneResult(
        kept,
        (*removed, *bounded.removed),
        pruned.freed_bytes,
        (*notes, *told, *(bounding.sentence(one, waits=waits) for one in bounded.unmet)),
        dry_run,
        bounded.removed,
        bounded.unmet,
        pruned.packs,
    )


def _is_there(repository: Repository, snapshot: str) -> bool:
    service, _, sequence = snapshot.rpartition("/")
    return int(sequence) in repository.sequences(service)


def _forget_undeclared(context: Context, repository: Repository) -> None:
    """The catalog does not remember state for ever that nobody declares any more."""
    from recoverd.recovery.item_survey import item_key  # late: `list` needs the decisions of this module only

    services = context.config.services.values()
    repository.catalog.keep_stat_cache({item_key(service.name, item) for service in services for item in service.state})


def _with(doomed: Mapping[str, Sequence[int]], more: Iterable[str]) -> dict[str, list[int]]:
    """These sequences by service, and those of more snapshots by id."""
    found = {service: list(sequences) for service, sequences in doomed.items()}
    for service, _, sequence in (one.rpartition("/") for one in more):
        found.setdefault(service, []).append(int(sequence))
    return found


def _tell_unmet(context: Context, unmet: Sequence[Unmet]) -> None:
    """One event for each bound that is not met any more; the next one after it was met again."""
    context.told_low &= {one.bound for one in unmet}
    for one in unmet:
        if one.bound not in context.told_low:
            context.told_low.add(one.bound)
            message = bounding.sentence(one)
            room = one.bound == MIN_FREE
            context.events.emit(
                "disk.low",
                message=message,
                path=context.config.repository.path,
                bound=one.bound,
                bytes=None if room else one.found_bytes,
                free_bytes=one.found_bytes if room else None,
            )


def decisions(context: Context, repository: Repository, service: Service) -> list[retention.Decision]:
    """What retention says of each snapshot of one service, newest first."""
    marks = repository.all_marks(service.name)
    snapshots = repository.snapshots(service.name)
    restores = bounding.named_by_restores(context, repository, service.name, [one.sequence for one in snapshots])
    found = retention.decide(
        service.retention,
        [candidate(snapshot, marks.get(snapshot.sequence)) for snapshot in snapshots],
        now_ns=clock.now_ns(),
        zone=context.config.timezone,
        protected=_carriers(snapshots, marks) | dict.fromkeys(restores, "restore"),
    )
    return [replace(one, rules=tuple(dict.fromkeys(one.rules))) for one in found]


def candidate(snapshot: Snapshot, marks: Marks | None) -> retention.Candidate:
    """A snapshot as retention sees it."""
    marks = marks or Marks()
    return retention.Candidate(
        sequence=snapshot.sequence,
        time_ns=snapshot.time_ns,
        counts=snapshot.verdict.counts and not marks.unhealthy,
        tags=snapshot.tags,
        pinned=marks.pinned,
        migrated=bool(marks.migrated),
        proven=marks.is_proven,
        imported=snapshot.imported,
    )


def _carriers(snapshots: list[Snapshot], marks: Mapping[int, Marks]) -> dict[int, str]:
    """The newest snapshot that carries a known-good version of each item: never deleted, whatever its verdict.

    Usually that is the newest one that counts, which retention keeps anyway. It is another one when only
    snapshots of an unhealthy service, or a single damaged item, are left. What was declared at another path, or as
    another kind, is another item: a restore takes from its own records alone. Imports come
    after all others.
    """
    result: dict[int, str] = {}
    carried: set[tuple[str, str, str]] = set()
    for snapshot in sorted(snapshots, key=lambda one: (not one.imported, one.sequence), reverse=True):
        mark = marks.get(snapshot.sequence, Marks())
        for name, item in snapshot.items.items():
            key = name, item.kind, item.path
            if item.good is not None and name not in mark.rejected and key not in carried:
                carried.add(key)
                result[snapshot.sequence] = "known-good"
    return result
