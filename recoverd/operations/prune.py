"""`recoverd prune`: apply retention, and free the data that only deleted snapshots used."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import LockHeld
from recoverd.operations.context import Context
from recoverd.repository import pruning, retention
from recoverd.repository.records import Marks, Snapshot
from recoverd.repository.store import Repository
from recoverd.system import clock
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class PruneRequest:
    services: tuple[str, ...] = ()  # empty: all declared ones
    dry_run: bool = False
    if_due: bool = False  # look for data to free only if a snapshot goes


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What is kept and by which rules; what was (or with `dry_run` would be) removed."""

    kept: tuple[tuple[str, tuple[str, ...]], ...]  # (snapshot id, rules)
    removed: tuple[str, ...]
    freed_bytes: int
    notes: tuple[str, ...] = ()  # why something was put off
    dry_run: bool = False

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": [{"id": snapshot, "rules": list(rules)} for snapshot, rules in self.kept],
            "removed": [{"id": snapshot} for snapshot in self.removed],
            "freed_bytes": self.freed_bytes,
            "notes": list(self.notes),
            "dry_run": self.dry_run,
        }


def prune(context: Context, request: PruneRequest) -> PruneResult:
    """Apply the retention of each service. A service that another recoverd works on is left for next time.

    Raises UsageError, LockHeld (another writer), RepositoryError.
    """
    services = context.select(request.services, enabled_only=False)
    repository = context.repository()
    kept: list[tuple[str, tuple[str, ...]]] = []
    doomed: dict[str, list[int]] = {}
    notes: list[str] = []
    with ExitStack() as locks:
        locks.enter_context(context.state_changes)
        if not request.dry_run:
            writer = locks.enter_context(repository.writer(wait_s=context.wait_s, what="the repository"))
        for service in services:
            try:
                if not request.dry_run:
                    what = f"service {service.name}"
                    locks.enter_context(repository.service_lock(service.name, wait_s=0, what=what))
            except LockHeld as error:
                notes.append(f"{service.name} is left for next time: {error.message}")
                continue
            for decision in decisions(context, repository, service):
                if decision.keep:
                    kept.append((f"{service.name}/{decision.sequence}", decision.rules))
                else:
                    doomed.setdefault(service.name, []).append(decision.sequence)
        removed = tuple(f"{name}/{sequence}" for name, sequences in doomed.items() for sequence in sequences)
        if request.dry_run or (request.if_due and not removed):
            return PruneResult(tuple(kept), removed, 0, tuple(notes), dry_run=request.dry_run)
        pruned = pruning.prune(repository, writer, doomed)
    if pruned.kept_data is not None:
        notes.append(pruned.kept_data)
    if removed:
        context.events.emit("prune.finished", removed=len(removed), freed_bytes=pruned.freed_bytes)
    return PruneResult(tuple(kept), removed, pruned.freed_bytes, tuple(notes))


def decisions(context: Context, repository: Repository, service: Service) -> list[retention.Decision]:
    """What retention says of each snapshot of one service, newest first."""
    marks = repository.all_marks(service.name)
    snapshots = repository.snapshots(service.name)
    found = retention.decide(
        service.retention,
        [candidate(snapshot, marks.get(snapshot.sequence)) for snapshot in snapshots],
        now_ns=clock.now_ns(),
        zone=context.config.timezone,
        protected=_carriers(snapshots, marks),
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
        proven=marks.proven_ns is not None,
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
