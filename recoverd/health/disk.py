"""Room on the file systems that recoverd depends on."""

from __future__ import annotations

from recoverd.events.text import size
from recoverd.health.facts import Space
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
