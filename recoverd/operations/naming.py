"""SNAPSHOT as people write it: SERVICE/SEQUENCE, SERVICE/good, SERVICE/latest, SERVICE@TIME."""

from __future__ import annotations

from collections.abc import Sequence

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
    snapshots = [one for one in repository.snapshots(service) if not one.imported] or repository.snapshots(service)
    if not snapshots:
        raise UsageError(f"service {service} has no snapshots", hint=f"recoverd snapshot {service}")
    if separator == "@":
        return _at(service, rest, snapshots)
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


def _at(service: str, time: str, snapshots: Sequence[Snapshot]) -> Snapshot:
    try:
        time_ns = clock.parse_rfc3339(time)
    except ValueError:
        raise UsageError(
            f"{time!r} is not a time", hint=f"for example {service}@{clock.rfc3339(snapshots[-1].time_ns)}"
        ) from None
    before = [one for one in snapshots if one.verdict.counts and one.time_ns <= time_ns]
    if not before:
        raise UsageError(
            f"service {service} has no known-good snapshot at or before {clock.rfc3339(time_ns)}",
            hint=f"the oldest is {snapshots[0].id} of {clock.rfc3339(snapshots[0].time_ns)}",
        )
    return before[-1]
