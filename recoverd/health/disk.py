"""Room on the file systems that recoverd depends on."""

from __future__ import annotations

from recoverd.events.text import duration, plural, size
from recoverd.health.facts import QuarantineFacts, RepositoryFacts, Space
from recoverd.health.limits import disk_limits
from recoverd.health.results import Figure, Result, Status
from recoverd.values import replace

UNMET_HINT = (
    "free other space, change the bound, or unpin or clear what nobody needs; `recoverd prune --dry-run` tells why "
    "each snapshot is kept"
)
_GROWTH_HINT = "keep fewer snapshots (`retention`), bound the repository (`repository.max_bytes`), or free other space"
_DAY_S = 86400
_SOON_DAYS, _FAR_DAYS = 7, 1000


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


def repository_space(facts: RepositoryFacts, space: Space) -> Result:
    """Room for snapshots: what is free, what `min_free` asks for, how long it lasts, and the space reserve."""
    first = disk_space("repository-space", None, facts.path, space)
    figures = dict(first.figures)
    low, found = figures["free_bytes"], [(first.status, first.message, first.hint)]
    if facts.min_free_bytes > (low.warn or 0):
        figures["free_bytes"] = replace(low, warn=facts.min_free_bytes)
    if space.free_bytes < facts.min_free_bytes:
        found.append((Status.WARNING, f"min_free asks for {size(facts.min_free_bytes)}", UNMET_HINT))
    if facts.growth_bytes_per_day is not None:
        figures["growth_bytes_per_day"] = Figure(round(facts.growth_bytes_per_day), "B")
    if facts.days_until_full is not None:
        left_s = round(facts.days_until_full * _DAY_S)
        figures["seconds_until_full"] = Figure(left_s, "s", warn=_SOON_DAYS * _DAY_S, crit=_DAY_S)
        status = Status.CRITICAL if left_s < _DAY_S else Status.WARNING if left_s < _SOON_DAYS * _DAY_S else Status.OK
        if facts.days_until_full < _FAR_DAYS:
            found.append((status, f"full in {duration(left_s)} at the present growth", _GROWTH_HINT))
    if facts.without_reserve:
        sentence = f"there is no space reserve in {' and '.join(facts.without_reserve)}"
        found.append((Status.WARNING, sentence, "`recoverd prune` sets it up as soon as there is room for it"))
    worst = max(found, key=lambda one: one[0].severity)
    hint = None if worst[0] is Status.OK else worst[2]
    return Result(first.name, None, worst[0], "; ".join(one[1] for one in found), hint=hint, figures=figures)


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
