"""What a restore leaves in records: blocked or not, what is proven, what is not yet, and a snapshot of the outcome."""

from __future__ import annotations

from recoverd.config.model import Service
from recoverd.operations import blocking, unproven
from recoverd.operations.context import Context
from recoverd.operations.processes import Up
from recoverd.operations.snapshot import SnapshotRequest, capture_locked
from recoverd.recovery.choices import Choice
from recoverd.recovery.survey import ServiceSurvey
from recoverd.recovery.swapping import Applied
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


def keep_unproven(context: Context, service: str, choice: Choice, applied: Applied) -> None:
    """State was written, and the service is started and proven by others, later: `confirm` asks for it."""
    remember_blocked(context, service, None)
    unproven.save(context.repository(), service, unproven.of_choice(choice, applied))


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


def keep(
    context: Context, service: Service, sequences: set[int], up: Up, now_ns: int, *, seen: ServiceSurvey | None
) -> None:
    """Not blocked any more; a snapshot of what is there now; proven what it came from, if it is."""
    remember_blocked(context, service.name, None)
    unproven.save(context.repository(), service.name, None)
    saved = _capture(context, service, up, seen)
    if not up.healthy:
        return
    for sequence in sorted(sequences | ({saved} if saved is not None else set())):
        context.repository().set_marks(service.name, sequence, lambda marks: replace(marks, proven_ns=now_ns))


def _capture(context: Context, service: Service, up: Up, seen: ServiceSurvey | None) -> int | None:
    """Snapshot what was restored and started; the sequence of the new snapshot, if there is one.

    Where nothing runs, and the last look (`seen`) has found exactly what the newest snapshot holds, another one would
    tell nothing new.
    """
    newest = context.repository().newest(service.name)
    if up.pid is None and not up.started and newest is not None and seen is not None:
        found = seen.items
        if found.keys() == newest.items.keys() and all(
            (item.root, item.good, item.verdict.value) == (record.root, record.good, record.verdict)
            for item, record in ((item, newest.items[name]) for name, item in found.items())
        ):
            return None
    made = capture_locked(context, [service], SnapshotRequest(reason="restore", prune=False))
    saved = made[service.name].id
    return int(saved.rpartition("/")[2]) if saved is not None else None
