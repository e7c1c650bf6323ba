"""The checks of dump items: how old the newest good one is, whether servers could be asked lately, and what still waits
to be loaded."""

from __future__ import annotations

from recoverd.events.text import duration, plural, size
from recoverd.health.facts import DumpFacts, ServiceFacts
from recoverd.health.limits import ages
from recoverd.health.results import Figure, Result, Status
from recoverd.values import replace


def dumps(service: ServiceFacts, now_ns: int) -> list[Result]:
    """One result for each dump item."""
    return [_dump(service, one, now_ns) for one in service.dumps]


def _dump(service: ServiceFacts, facts: DumpFacts, now_ns: int) -> Result:
    """The worst of its age, its failures in a row and what waits; what changes in files says nothing about a dump."""
    timed = replace(service, on_change=False)
    limits = ages(timed)
    age_s = max(0.0, (now_ns - facts.good_ns) / 1e9) if facts.good_ns is not None else None
    figures = {"failures": Figure(facts.failures, warn=1, crit=service.max_failures)}
    if age_s is not None:
        warn_s, crit_s = (None, None) if service.paused else (limits.warn_s, limits.crit_s)
        figures["age_seconds"] = Figure(round(age_s, 3), "s", warn=warn_s, crit=crit_s)
    if facts.size_bytes is not None:
        figures["bytes"] = Figure(facts.size_bytes, "B")
    if facts.seconds is not None:
        figures["seconds"] = Figure(round(facts.seconds, 3), "s")
    status, message, hint = _said(service, facts, age_s, figures)
    return Result(f"dump/{facts.item}", service.name, status, message, hint=hint, figures=figures)


def _said(
    service: ServiceFacts, facts: DumpFacts, age_s: float | None, figures: dict[str, Figure]
) -> tuple[Status, str, str | None]:
    newest = "there is no good one" if age_s is None else f"the newest good one is {duration(age_s)} old"
    if facts.begun is not None:
        hint = f"`recoverd confirm {service.name}` brings it to its end"
        return Status.CRITICAL, f"a load of {facts.begun} was interrupted", hint
    again = f"`recoverd snapshot {service.name}` asks again and says why it fails"
    if facts.failures:
        status = Status.CRITICAL if facts.failures >= service.max_failures else Status.WARNING
        why = f": {facts.last_error}" if facts.last_error else ""
        return status, f"{plural(facts.failures, 'dump')} failed in a row{why}; {newest}", again
    if facts.waits is not None:
        hint = f"`recoverd confirm {service.name}` loads it, `recoverd accept {service.name}` withdraws it"
        return Status.WARNING, f"{facts.waits} is still to be loaded, once the service runs", hint
    if age_s is None:
        return Status.WARNING, "no dump yet", f"`recoverd snapshot {service.name}` takes the first one"
    message = f"{size(facts.size_bytes or 0)}, dumped {duration(age_s)} ago"
    if facts.seconds is not None:
        message += f" in {duration(facts.seconds)}"
    limit = figures["age_seconds"]
    if limit.warn is not None and limit.crit is not None and age_s > limit.warn:
        status = Status.CRITICAL if age_s > limit.crit else Status.WARNING
        return status, f"{message}; at most {duration(limit.warn)} is expected", again
    return Status.OK, message, None
