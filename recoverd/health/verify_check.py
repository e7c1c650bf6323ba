"""Whether the repository is known to be whole, and how old that knowledge is. Pure."""

from __future__ import annotations

from recoverd.events.text import duration, plural
from recoverd.health.facts import MISSED, VerifyFacts
from recoverd.health.results import Figure, Result, Status

_NAME = "verify"


def verify(facts: VerifyFacts, now_ns: int) -> Result:
    """Damage is CRITICAL until it is healed or nothing needs it; knowledge that is out of date is a warning."""
    age_s = max(0, round((now_ns - facts.verified_ns) / 1e9)) if facts.verified_ns is not None else None
    late_s = MISSED * facts.every_s if facts.every_s is not None else None
    figures = {"damaged": Figure(facts.damaged, crit=0), "hurt_snapshots": Figure(facts.hurt)}
    if age_s is not None:
        figures["age"] = Figure(age_s, "s", warn=late_s)
    if facts.damaged:
        hurt = f", which hurt {plural(facts.hurt, 'snapshot')}" if facts.hurt else ""
        first = f": {facts.first}" if facts.first is not None else ""
        sentence = f"{plural(facts.damaged, 'damage')} in the repository{hurt}{first}"
        return Result(_NAME, None, Status.CRITICAL, sentence, hint="`recoverd verify --heal`", figures=figures)
    known_s = (now_ns - (facts.verified_ns or facts.created_ns)) / 1e9
    if late_s is not None and known_s > late_s:
        when = f"last verified {duration(age_s)} ago" if age_s is not None else "never verified"
        return Result(
            _NAME,
            None,
            Status.WARNING,
            f"the repository was {when}",
            hint="let `recoverd run` or `recoverd snapshot --due` do it, or call `recoverd verify`",
            figures=figures,
        )
    whole = "not verified yet" if age_s is None else f"verified {duration(age_s)} ago, no damage is known"
    return Result(_NAME, None, Status.OK, whole, figures=figures)
