"""Room on the file systems that recoverd depends on."""

from __future__ import annotations

from recoverd.events.text import plural, size
from recoverd.health.facts import QuarantineFacts, Space
from recoverd.health.limits import disk_limits
from recoverd.health.results import Figure, Result, Status


def disk_space(name: str, service: str | None, path: str, space: Space) -> Result:
    """Room on the file system that holds `path`."""
    warn_bytes, crit_bytes = disk_limits(space.total_bytes)
    figures = {
        "free_bytes": Figure(space.free_bytes, "B", warn=warn_bytes, crit=crit_bytes),
        "total_bytes": Figure(space.total_bytes, "B"),
    }
    status = Status.OK
    if space.free_bytes < crit_bytes:
        status = Status.CRITICAL
    elif space.free_bytes < warn_bytes:
        status = Status.WARNING
    message = f"{size(space.free_bytes)} of {size(space.total_bytes)} free at {path}"
    hint = None if status is Status.OK else "free some space there, or keep fewer snapshots (`retention`)"
    return Result(name, service, status, message, hint=hint, figures=figures)


def quarantine(facts: QuarantineFacts) -> Result:
    """What restores have replaced, against `quarantine.max_bytes`."""
    figures = {"quarantines": Figure(facts.count)}
    message = f"{plural(facts.count, 'quarantine')} with what restores have replaced"
    if facts.size_bytes is not None:
        figures["bytes"] = Figure(facts.size_bytes, "B", warn=facts.max_bytes)
        message += f", {size(facts.size_bytes)}"
    if facts.size_bytes is None or facts.max_bytes is None or facts.size_bytes <= facts.max_bytes:
        return Result("quarantine", None, Status.OK, message, figures=figures)
    return Result(
        "quarantine",
        None,
        Status.WARNING,
        f"{message}: more than quarantine.max_bytes, and none of it may go yet",
        hint="the newest of each service stays, and so does what no proven snapshot follows; raise "
        "quarantine.max_bytes, or delete by hand in the state directory's quarantine/ what nobody needs",
        figures=figures,
    )
