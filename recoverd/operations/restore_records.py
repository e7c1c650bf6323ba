"""What a restore leaves in records: blocked or not, what is proven, what is not yet, and a snapshot of the outcome."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.config.model import Service
from recoverd.operations import blocking, unproven
from recoverd.operations.context import Context
from recoverd.operations.processes import Up
from recoverd.operations.snapshot import SnapshotRequest, capture_locked
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.values import replace


def remember_blocked(context: Context, service: str, why: str | None) -> None:
    """Why the service must not start, or None: durable, and for systemd."""
    repository = context.repository()
    if repository.record(service).blocked != why:
        repository.update_record(service, lambda record: replace(record, blocked=why))
    if why is not None:
        blocking.block(context.runtime_dir, service, why)
    else:
        blocking.unblock(context.runtime_dir, service)


def remember_emptied(context: Context, service: str, survey: ServiceSurvey) -> None:
    """What somebody asked for, and a guard calls emptied, is left alone as long as its content does not change.

    `survey`: live state, of a service that accepts resets.
    """
    emptied = {name: item.accepted for name, item in survey.items.items() if item.accepted}
    if emptied:
        context.repository().update_record(
            service,
            lambda record: replace(
                record,
                accepted={
                    **record.accepted,
                    **{name: {**record.accepted.get(name, {}), **found} for name, found in emptied.items()},
                },
            ),
        )


def remember_left(context: Context, service: str, survey: ServiceSurvey) -> int:
    """Exactly what is damaged in `survey`, which holds some of the items, is left alone from now on; how much it is."""
    found = {
        name: {one.document: one.content for one in item.findings if one.content is not None}
        for name, item in survey.items.items()
    }
    context.repository().update_record(
        service,
        lambda record: replace(
            record,
            accepted={name: documents for name, documents in {**record.accepted, **found}.items() if documents},
        ),
    )
    return sum(len(documents) for documents in found.values())


def keep(
    context: Context,
    service: Service,
    sequences: set[int],
    up: Up,
    now_ns: int,
    *,
    seen: ServiceSurvey | None,
    whole: bool = True,
    reason: str = "restore",
    ask_dumps: bool = False,
) -> None:
    """Not blocked any more; a snapshot of what is there now; proven what it came from, if it is.

    Without `whole` other state stays damaged: that still blocks the service, and nothing is proven. `ask_dumps`: they
    were loaded too; else that comes later, if at all.
    """
    if whole:
        remember_blocked(context, service.name, None)
        unproven.save(context.repository(), service.name, None)
    saved = _capture(context, service, up, seen, reason, ask_dumps=ask_dumps)
    if up.healthy and whole:
        mark_proven(context, service.name, sequences | ({saved} if saved is not None else set()), now_ns)


def mark_proven(context: Context, service: str, sequences: Iterable[int], now_ns: int) -> None:
    """The service was healthy on these snapshots for its time: durable on return. Raises RepositoryError."""
    for sequence in sorted(sequences):
        context.repository().set_marks(
            service, sequence, lambda marks: replace(marks, proven_ns=now_ns, unhealthy=False, tries_left=None)
        )


def _capture(
    context: Context, service: Service, up: Up, seen: ServiceSurvey | None, reason: str, *, ask_dumps: bool
) -> int | None:
    """Snapshot what was restored and started; the sequence of the new snapshot, if there is one.

    Where nothing runs, and the last look (`seen`) has found exactly what the newest snapshot holds, another one would
    tell nothing new.
    """
    newest = context.repository().newest(service.name)
    if up.pid is None and not up.started and newest is not None and seen is not None and not ask_dumps:
        found = seen.items
        if found.keys() == newest.items.keys() and all(
            (item.root, item.good, item.verdict.value) == (record.root, record.good, record.verdict)
            for item, record in ((item, newest.items[name]) for name, item in found.items())
        ):
            return None
    whole = replace(service, state=context.config.services.get(service.name, service).state)
    return _captured(context, whole, ask_dumps=ask_dumps, reason=reason)


def keep_loaded(context: Context, service: Service, sequences: set[int], up: Up, now_ns: int) -> None:
    """A snapshot of what is there after dumps were loaded; proven what they came from, if the service is healthy."""
    saved = _captured(context, service, ask_dumps=True)
    if up.healthy:
        mark_proven(context, service.name, sequences | ({saved} if saved is not None else set()), now_ns)


def _captured(context: Context, service: Service, *, ask_dumps: bool, reason: str = "restore") -> int | None:
    request = SnapshotRequest(reason=reason, prune=False, ask_dumps=ask_dumps)
    saved = capture_locked(context, [service], request)[service.name].id
    return int(saved.rpartition("/")[2]) if saved is not None else None
