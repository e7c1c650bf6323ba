"""Whether the spare stands by, and whether it holds what belongs into the repository. Pure."""

from __future__ import annotations

from recoverd.events.text import plural, size
from recoverd.health.facts import SpareFacts
from recoverd.health.results import Figure, Result, Status

_NAME = "spare"


def spare(facts: SpareFacts) -> Result:
    """It is in order while it can be written, holds nothing, and does not share the fate of the first."""
    figures = {} if facts.snapshots is None else {"snapshots": Figure(facts.snapshots, warn=0)}
    if facts.size_bytes is not None:
        figures["bytes"] = Figure(facts.size_bytes, "B")
    if facts.space is not None:
        figures["free"] = Figure(facts.space.free_bytes, "B")
    wrong = facts.error or (None if facts.exists else f"there is none at {facts.path}")
    if wrong is None and not facts.writable:
        wrong = f"{facts.path} can't be written"
    if wrong is not None:
        status = Status.WARNING if facts.first_writable else Status.CRITICAL
        return Result(_NAME, None, status, wrong, hint=_WRONG.format(path=facts.path), figures=figures)
    if facts.snapshots:
        held = f"{facts.path} holds {plural(facts.snapshots, 'snapshot')} that the repository does not have"
        hint = _HOME if facts.first_writable else _AWAY
        return Result(_NAME, None, Status.WARNING, held, hint=hint, figures=figures)
    if not facts.first_writable:
        message = f"captures go to {facts.path}: the repository can't be written"
        return Result(_NAME, None, Status.WARNING, message, hint=_AWAY, figures=figures)
    if facts.same_file_system:
        message = f"{facts.path} lies on the file system of the repository"
        return Result(_NAME, None, Status.WARNING, message, hint=_SAME, figures=figures)
    free = f", {size(facts.space.free_bytes)} free" if facts.space is not None else ""
    return Result(_NAME, None, Status.OK, f"{facts.path} stands by{free}", figures=figures)


_WRONG = "is its file system mounted, and {path} yours and writable? The next capture creates it if need be"
_HOME = "`recoverd prune` takes them over now, the next capture does too"
_AWAY = "see to the repository first: once it can be written, the next capture takes over what the spare holds"
_SAME = "what fills or ends that file system ends both: name a place on another one, and see that it is mounted"
