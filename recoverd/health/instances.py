"""The check of the processes that a service's document lists: a pure function from its facts to a result."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.health.facts import InstancesFacts
from recoverd.health.results import Figure, Result, Status

_SHOWN = 3  # processes named in one sentence; `status` shows all


def instances(service: str, facts: InstancesFacts) -> Result:
    """What is listed runs, and what runs is listed. The worst of it gives the hint."""
    name = "instances"
    if not facts.is_compared:
        return Result(
            name,
            service,
            Status.WARNING,
            "nobody has compared yet what its document lists with what runs",
            hint=f"`recoverd restore {service}` starts what is listed; `watch` looks after it from then on",
        )
    told: list[tuple[Status, str, str | None]] = []
    restore = f"`recoverd restore {service}` brings back what is listed"
    if facts.given_up:
        first = facts.given_up[0][0]
        hint = f"`recoverd logs {first}` shows what it said; once that is solved, `recoverd restore {service}`"
        told.append((Status.CRITICAL, f"given up: {_each(facts.given_up)}", hint))
    if facts.error is not None:
        hint = f"`recoverd restore {service}` brings its state back"
        told.append((Status.CRITICAL, f"which processes it lists is not known: {facts.error}", hint))
    if facts.dead:
        # what is watched is about to come back: that is somebody's work already
        status = Status.WARNING if facts.is_watched else Status.CRITICAL
        hint = "`recoverd run` is bringing them back" if facts.is_watched else restore
        told.append((status, f"should be running and {_is(facts.dead)} not: {_each(facts.dead)}", hint))
    if facts.refused:
        hint = "correct these entries of the document"
        told.append((Status.WARNING, f"can't be started: {_each(facts.refused)}", hint))
    if facts.unlisted:
        hint = f"`recoverd stop {facts.unlisted[0]}` ends it, if nobody needs it any more"
        told.append((Status.WARNING, f"running without being listed: {_some(facts.unlisted)}", hint))
    counts = [f"{facts.listed} listed", f"{facts.running} running"]
    counts += [f"{facts.stopped} stopped on purpose"] if facts.stopped else []
    is_stale = facts.has_changed and not facts.is_watched
    if is_stale:
        counts.append("the document has changed since")
    sentence = "; ".join([", ".join(counts), *(words for _, words, _ in told)])
    worst = max(told, key=lambda one: one[0].severity, default=None)
    if worst is None:
        advice = f"`recoverd check --live {service}` compares it now" if is_stale else None
        return Result(name, service, Status.OK, sentence, hint=advice, figures=_figures(facts))
    return Result(name, service, worst[0], sentence, hint=worst[2], figures=_figures(facts))


def _figures(facts: InstancesFacts) -> dict[str, Figure]:
    return {
        "listed": Figure(facts.listed),
        "running": Figure(facts.running),
        "dead": Figure(len(facts.dead), warn=0),
        "given_up": Figure(len(facts.given_up), crit=0),
        "stopped": Figure(facts.stopped),
        "unlisted": Figure(len(facts.unlisted), warn=0),
        "restarts": Figure(facts.restarts),
    }


def _is(found: Sequence[object]) -> str:
    return "is" if len(found) == 1 else "are"


def _each(found: Sequence[tuple[str, str]]) -> str:
    return _some([f"{name} ({why})" for name, why in found])


def _some(words: Sequence[str]) -> str:
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more
