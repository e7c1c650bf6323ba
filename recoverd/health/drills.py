"""Whether a restore was rehearsed lately, and what came of it."""

from __future__ import annotations

from recoverd.events.text import duration
from recoverd.health.facts import DrillFacts
from recoverd.health.results import Figure, Result, Status


def drill_age(service: str, facts: DrillFacts, now_ns: int) -> Result:
    """Age of the last drill that passed, against `check.max_drill_age`, else against its schedule; critical when the
    newest drill failed: the next restore would."""
    hint = f"`recoverd drill {service}` rehearses a restore now"
    figures = {}
    age_s = None
    if facts.passed_ns is not None:
        age_s = max(0.0, (now_ns - facts.passed_ns) / 1e9)
        figures["age_seconds"] = Figure(round(age_s, 3), "s", warn=facts.limit_s)
    if facts.seconds is not None:
        figures["seconds"] = Figure(round(facts.seconds, 3), "s")
    if facts.data_age_s is not None:
        figures["data_age_seconds"] = Figure(round(facts.data_age_s, 3), "s")
    if facts.failed is not None:
        message = f"the last drill failed: {facts.failed}"
        return Result("drill-age", service, Status.CRITICAL, message, hint=hint, figures=figures)
    if age_s is None:
        status, advice = (Status.OK, None) if facts.limit_s is None else (Status.WARNING, hint)
        return Result("drill-age", service, status, "no drill has passed yet", hint=advice, figures=figures)
    message = f"the last drill passed {duration(age_s)} ago"
    if facts.limit_s is not None and age_s > facts.limit_s:
        message += f"; at most {duration(facts.limit_s)} is expected"
        return Result("drill-age", service, Status.WARNING, message, hint=hint, figures=figures)
    return Result("drill-age", service, Status.OK, message, figures=figures)
