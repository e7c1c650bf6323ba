"""SNAPSHOT as people write it: SERVICE/SEQUENCE, SERVICE/good, SERVICE/latest, SERVICE@TIME."""

from __future__ import annotations

from recoverd.errors import UsageError
from recoverd.operations.context import Context, unknown_service
from recoverd.repository.records import Snapshot
from recoverd.system import clock


def find_snapshot(context: Context, name: str) -> Snapshot:
    """The snapshot that `name` means. Raises UsageError with what would have worked, RepositoryError."""
    service, separator, rest = name.partition("@") if "@" in name else name.partition("/")
    if not service or not separator or not rest:
        raise UsageError(
            f"{name!r} does not name a snapshot",
            hint="SERVICE/SEQUENCE, SERVICE/good, SERVICE/latest or SERVICE@TIME; `recoverd list` shows all",
        )
    repository = context.repository()
    if service not in context.config.services and service not in repository.services():
        raise unknown_service(service, context.config.services)
    snapshots = _named_by_time(context, service)
    if not snapshots:
        raise UsageError(f"service {service} has no snapshots", hint=f"recoverd snapshot {service}")
    if separator == "@":
        try:
            time_ns = clock.parse_rfc3339(rest)
        except ValueError:
            example = f"{service}@{clock.rfc3339(snapshots[-1].time_ns)}"
            raise UsageError(f"{rest!r} is not a time", hint=f"for example {example}") from None
        return good_at(context, service, time_ns)
    if rest == "latest":
        return snapshots[-1]
    if rest == "good":
        good = [one for one in snapshots if one.verdict.counts]
        if not good:
            raise UsageError(f"service {service} has no known-good snapshot", hint=f"recoverd list {service}")
        return good[-1]
    for one in repository.snapshots(service):
        if rest.isdecimal() and one.sequence == int(rest):
            return one
    raise UsageError(
        f"service {service} has no snapshot {rest}",
        hint=f"the newest is {snapshots[-1].id}, the oldest {snapshots[0].id}; `recoverd list {service}` shows all",
    )


def good_at(context: Context, service: str, time_ns: int) -> Snapshot:
    """The newest known-good one at or before a time. Raises UsageError when there is none, RepositoryError."""
    snapshots = _named_by_time(context, service)
    before = [one for one in snapshots if one.verdict.counts and one.time_ns <= time_ns]
    if not before:
        oldest = f"the oldest is {snapshots[0].id} of {clock.rfc3339(snapshots[0].time_ns)}" if snapshots else None
        raise UsageError(
            f"service {service} has no known-good snapshot at or before {clock.rfc3339(time_ns)}",
            hint=oldest or f"recoverd snapshot {service}",
        )
    return before[-1]


def _named_by_time(context: Context, service: str) -> list[Snapshot]:
    """Ascending. Imports are of the past, and stand for something only where there is nothing else."""
    snapshots = context.repository().snapshots(service)
    return [one for one in snapshots if not one.imported] or snapshots
