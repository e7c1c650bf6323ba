"""When changes are captured: pure, from the times at which they were seen.

All times are seconds of one monotonic clock.
"""

from __future__ import annotations

from recoverd.config.model import OnChange
from recoverd.values import dataclass

FULL_LOOK_EVERY_S = 3600.0
"""Events can miss something (memory-mapped writers, a mount over a directory): so often everything is looked at."""
LOOK_EVERY_S = 60.0
"""Where state can't be watched everything is looked at so often, unless `autosave.every` says how often."""


@dataclass(frozen=True, slots=True)
class Unsaved:
    """Changes that no capture has begun to look at."""

    first_s: float
    last_s: float


def seen(before: Unsaved | None, now_s: float) -> Unsaved:
    """One more change was seen."""
    return Unsaved(now_s, now_s) if before is None else Unsaved(before.first_s, max(before.last_s, now_s))


def due_s(unsaved: Unsaved | None, rule: OnChange, *, rested_s: float) -> float | None:
    """When a capture is due: `quiet` after the last change, `at_most` after the first one, whichever comes first.

    None: nothing changed. Never before `rested_s`: after a capture that took long, as much time is left for other work.
    """
    if unsaved is None:
        return None
    return max(rested_s, min(unsaved.last_s + rule.quiet_s, unsaved.first_s + rule.at_most_s))


def rested_s(began_s: float, ended_s: float, *, named: bool, flooded: bool) -> float:
    """From when on changes may be captured again.

    Captures of what was `named` take half of the time at most; looks at everything because of a flood of changes, which
    the next flood repeats, a tenth. After any other look at everything the next capture is cheap, and may come at once.
    """
    share = 9 if flooded else 1 if named else 0
    return ended_s + max(0.0, ended_s - began_s) * share
