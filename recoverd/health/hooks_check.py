"""Whether those who are to be told of events are. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.events.text import plural
from recoverd.health.facts import HookFacts
from recoverd.health.results import Figure, Result, Status
from recoverd.system.clock import rfc3339

_NAME = "hooks"
_MOST = 3  # that are named
_WITHIN_NS = 7 * 86400 * 1_000_000_000  # an event of a rare kind may never come again, to show that the hook works
_HINT = "the next event that it is told of clears this; docs/recipes/hooks.md says what hooks of units may do"


def hooks(declared: int, failing: Sequence[HookFacts], now_ns: int) -> Result:
    """Those that could not be told lately, each with the reason; a warning until they could."""
    late = [one for one in failing if now_ns - one.last_ns < _WITHIN_NS]
    figures = {
        "hooks": Figure(declared),
        "failing": Figure(len(late), warn=0),
        "untold": Figure(sum(one.untold for one in late)),
    }
    if not late:
        return Result(
            _NAME, None, Status.OK, f"{plural(declared, 'hook')} {_are(declared)} told of events", figures=figures
        )
    told = [
        f"{one.name} was not told of {plural(one.untold, 'event')} since {rfc3339(one.since_ns)}, "
        f"last {one.event}: {one.why}"
        for one in late[:_MOST]
    ]
    if len(late) > _MOST:
        told.append(f"and {plural(len(late) - _MOST, 'more hook')}")
    return Result(_NAME, None, Status.WARNING, "; ".join(told), hint=_HINT, figures=figures)


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
