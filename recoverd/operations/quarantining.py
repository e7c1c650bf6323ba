"""Keeping the quarantine within its bounds, at most hourly: counting what it takes costs a walk through it."""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from recoverd.config.model import Service
from recoverd.errors import LockHeld, RecoverdError
from recoverd.operations.context import Context
from recoverd.recovery import intents
from recoverd.recovery.evidence import Quarantined, list_quarantine
from recoverd.recovery.quarantine_bounds import Bounds, Kept, decide
from recoverd.repository.store import Repository
from recoverd.system import clock
from recoverd.values import dataclass

if TYPE_CHECKING:
    from recoverd.health.facts import QuarantineFacts

QUARANTINE = "quarantine"  # in the run history: the detail is how many bytes there are
_AGAIN_NS = 3600 * 1_000_000_000
_log = logging.getLogger("recoverd.operations")


@dataclass(frozen=True, slots=True)
class Tended:
    """What went (service/id, with the rule that it went by), and what stays."""

    removed: tuple[tuple[str, str], ...] = ()
    freed_bytes: int = 0
    kept_bytes: int = 0
    notes: tuple[str, ...] = ()


def services_with_quarantine(state_dir: str) -> list[str]:
    try:
        return sorted(os.listdir(os.path.join(state_dir, "quarantine")))
    except OSError:
        return []


def count_quarantine(state_dir: str) -> int:
    """How many quarantines there are, as far as they can be listed."""
    count = 0
    for name in services_with_quarantine(state_dir):
        try:
            count += len(os.listdir(os.path.join(state_dir, "quarantine", name)))
        except OSError:
            pass  # no directory, or not ours to read
    return count


def tend_if_due(context: Context) -> None:
    """`tend` once an hour, where there is any quarantine. What goes wrong is told and fails nothing else."""
    names = services_with_quarantine(context.state_dir)
    repository = context.repository_if_any() if names else None
    if repository is None:
        return
    last = repository.catalog.runs("", QUARANTINE, 1)
    if last and 0 <= clock.now_ns() - last[0].time_ns < _AGAIN_NS:
        return
    try:
        tend(context)
    except (OSError, RecoverdError) as error:  # what came before it, a capture or restore, is done
        message = f"the quarantine can't be kept within its bounds: {error}"
        context.events.emit("prune.failed", message=message, path=os.path.join(context.state_dir, "quarantine"))


def tend(context: Context, *, dry_run: bool = False) -> Tended:
    """Remove what the bounds let go. A service that another recoverd works on is left for next time.

    Raises RepositoryError, and OSError for what could not be counted or removed, once all else is done.
    """
    repository = context.repository()
    found: dict[tuple[str, str], Quarantined] = {}
    kept: list[Kept] = []
    failed: list[OSError] = []
    started, notes = time.monotonic(), list[str]()
    with ExitStack() as locks, context.state_changes:
        for name in services_with_quarantine(context.state_dir):
            try:
                if not _settled(context, repository, name, locks, notes, dry_run=dry_run):
                    continue
                for one in list_quarantine(context.state_dir, name):
                    found[name, one.id] = one
                    kept.append(_kept(context, repository, name, one))
            except OSError as error:
                failed.append(error)
        rules, now_ns = context.config.quarantine, clock.now_ns()
        bounds = decide(kept, keep_s=rules.keep_s, max_bytes=rules.max_bytes, now_ns=now_ns)
        freed = sum(one.size_bytes for one, _ in bounds.going)
        total = sum(one.size_bytes for one in kept) - freed
        if not dry_run:
            from recoverd.recovery.quarantine_removing import remove

            for going, _ in bounds.going:
                try:
                    remove(found[going.service, going.id])
                    _log.info("the quarantine %s/%s was removed", going.service, going.id)
                except OSError as error:
                    failed.append(error)
            repository.catalog.record_run("", QUARANTINE, now_ns, time.monotonic() - started, "done", str(total))
    if failed:
        raise failed[0]
    removed = tuple((f"{one.service}/{one.id}", rule) for one, rule in bounds.going)
    return Tended(removed, freed, total, (*notes, *_excess(bounds, rules.max_bytes)))


def _settled(
    context: Context, repository: Repository, name: str, locks: ExitStack, notes: list[str], *, dry_run: bool
) -> bool:
    """Whether nobody else is at the service's quarantine, and no intent needs it; from then on it is locked."""
    if dry_run:
        return True
    from recoverd.recovery.quarantine_removing import finish_removals

    try:
        locks.enter_context(repository.service_lock(name, wait_s=0, what=f"service {name}"))
    except LockHeld as error:
        notes.append(f"the quarantine of {name} is left for next time: {error.message}")
        return False
    if os.path.lexists(intents.intent_path(context.state_dir, name)):
        notes.append(f"the quarantine of {name} is left alone: a restore of it is unfinished")
        return False
    finish_removals(context.state_dir, name)
    return True


def _kept(context: Context, repository: Repository, name: str, one: Quarantined) -> Kept:
    from recoverd.recovery.quarantine_removing import size_of

    time_ns = one.time_ns or _time_in(one.id)
    proven = time_ns is not None and _proven_after(repository, name, context.config.services.get(name), time_ns)
    return Kept(name, one.id, time_ns or 0, one.sequence, size_of(one), proven)


def _time_in(quarantine_id: str) -> int | None:
    """When it was made, from its name, where the evidence can't tell; None when that can't either."""
    import calendar  # late: `check` imports this module

    try:
        return calendar.timegm(time.strptime(quarantine_id.partition("-")[0], "%Y%m%dT%H%M%SZ")) * 1_000_000_000
    except ValueError:
        return None


def _proven_after(repository: Repository, name: str, service: Service | None, time_ns: int) -> bool:
    """Whether the service was proven on a snapshot since; one that runs nothing and has no probe, was ok since.

    Not while a restore waits for its proof: what it replaced may have to come back.
    """
    from recoverd.operations import unproven  # late: `check` imports this module

    if unproven.load(repository, name) is not None:
        return False
    if any((marks.proven_ns or 0) > time_ns for marks in repository.all_marks(name).values()):
        return True
    if service is None or service.run is not None or service.health.probes:
        return False
    newest = next(
        (one for one in reversed(repository.snapshots(name)) if one.verdict.counts and not one.imported), None
    )
    return newest is not None and newest.time_ns > time_ns


def _excess(bounds: Bounds, max_bytes: int | None) -> list[str]:
    if not bounds.excess_bytes:
        return []
    return [
        f"the quarantine takes {bounds.excess_bytes} bytes more than quarantine.max_bytes ({max_bytes}): "
        "the newest of each service stays, and so does what no proven snapshot follows"
    ]


def quarantine_facts(context: Context, repository: Repository | None) -> QuarantineFacts | None:
    """What `check` tells of it; None where there is none."""
    from recoverd.health.facts import QuarantineFacts

    if not (count := count_quarantine(context.state_dir)):
        return None
    runs = repository.catalog.runs("", QUARANTINE, 1) if repository is not None else []
    return QuarantineFacts(count, int(runs[0].detail) if runs else None, context.config.quarantine.max_bytes)
