"""Whether a watched service is to be brought back now. Pure: from what was seen and done before, and one more look.

Times are seconds on one monotonic clock. A *failure* is a service that is wanted and does not run, or whose probes fail
for longer than `health.within`. Each failure calls for one try to bring it back, after a pause that doubles; when the
service was well for `well_s` without a break, all failures are forgotten.
"""

from __future__ import annotations

from enum import Enum

from recoverd.config.keeping import Watch
from recoverd.values import dataclass, replace

_LOOKS = 6  # that a service must be well for, at least, before its failures are forgotten
_MOST_DOUBLINGS = 60


class Seen(Enum):
    UP = "up"  # its process runs; whether it is healthy is another question
    DOWN = "down"
    UNKNOWN = "unknown"  # nobody could say, or its manager is at it


class Act(Enum):
    NOTHING = "nothing"
    BRING_BACK = "bring back"  # check its state, restore that where it is bad, start it, prove it
    REPLACE = "replace"  # the same, after what runs and is not healthy was stopped
    START = "start"  # as BRING_BACK, of one that has not failed: somebody wants it to run from now on
    TELL = "tell"  # that it failed; nothing is done about it
    GIVE_UP = "give up"


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a service. `healthy`: what its probes said; None: it has none, or they were not asked."""

    at_s: float
    seen: Seen
    wanted: bool
    healthy: bool | None = None
    detail: str = ""  # a clause: why it is down, or not healthy
    waits_for: str | None = None  # a service that it comes after, and that is down
    anew: bool = False  # since it was given up, somebody started it, or its state changed
    is_new: bool = False  # somebody wants it to run who did not when it was looked at last


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of a service from look to look."""

    failures: int = 0  # tries in a row, without the service having been well for long
    well_since_s: float | None = None
    ill_since_s: float | None = None  # it runs, and its probes fail
    failed_since_s: float | None = None  # a failure that nothing was done about yet
    told: bool = False
    gave_up: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    act: Act
    reason: str
    history: History
    again_s: float  # the next look is due so much later


def well_s(watch: Watch) -> float:
    """How long a service must be well before its failures are forgotten."""
    return max(watch.backoff_most_s, _LOOKS * watch.every_s)


def pause_s(watch: Watch, failures: int) -> float:
    """How long after a failure, with so many before it, the service is brought back."""
    return min(watch.backoff_most_s, watch.backoff_first_s * 2.0 ** min(failures, _MOST_DOUBLINGS))


def decide(watch: Watch, within_s: float, before: History, look: Look) -> Decision:
    """What to do after this look. `within_s`: how long a service that runs may be unhealthy.

    Whatever is seen: nothing is done to a service that is not wanted, or that was given up, until `anew`; two tries lie
    apart by `pause_s` at least; and between two times of being well for `well_s` there are `give_up_after` tries at
    most, unless it is never to be given up. One that `is_new` is started at once, and has all its tries.
    """
    if not look.wanted:
        return Decision(Act.NOTHING, "nobody wants it to run", History(), watch.every_s)
    if look.seen is Seen.UNKNOWN:
        return Decision(Act.NOTHING, look.detail or "its manager is at it", before, watch.every_s)
    if before.gave_up:
        is_back = look.seen is Seen.UP and look.healthy is not False
        if not (look.anew or look.is_new or is_back):
            return Decision(Act.NOTHING, "it was given up", before, watch.every_s)
        before = History()
    if look.seen is Seen.UP and look.healthy is not False:
        return _well(watch, before, look)
    if look.is_new and look.seen is Seen.DOWN and look.waits_for is None and watch.restart != "never":
        return Decision(Act.START, "it is to run from now on", History(failures=1), watch.every_s)
    if look.seen is Seen.UP:
        ill_since_s = look.at_s if before.ill_since_s is None else before.ill_since_s
        before = replace(before, ill_since_s=ill_since_s, well_since_s=None)
        if look.at_s - ill_since_s < within_s:
            left_s = within_s - (look.at_s - ill_since_s)
            why = f"not healthy, for less than {within_s:g} s: {look.detail}"
            return Decision(Act.NOTHING, why, before, min(watch.every_s, left_s))
    else:
        before = replace(before, ill_since_s=None, well_since_s=None)
    return _failed(watch, before, look)


def _well(watch: Watch, before: History, look: Look) -> Decision:
    since_s = look.at_s if before.well_since_s is None else before.well_since_s
    failures = 0 if look.at_s - since_s >= well_s(watch) else before.failures
    return Decision(Act.NOTHING, "it is up", History(failures, well_since_s=since_s), watch.every_s)


def _failed(watch: Watch, before: History, look: Look) -> Decision:
    what = "it does not run" if look.seen is Seen.DOWN else "it is not healthy"
    why = f"{what}: {look.detail}" if look.detail else what
    if watch.restart == "never":
        act = Act.NOTHING if before.told else Act.TELL
        return Decision(act, why, replace(before, told=True), watch.every_s)
    if look.waits_for is not None:
        return Decision(Act.NOTHING, f"it comes after {look.waits_for}, which is down", before, watch.every_s)
    if watch.restart != "always" and before.failures >= watch.give_up_after:
        times = f"{before.failures} times" if before.failures != 1 else "once"
        return Decision(Act.GIVE_UP, f"brought back {times} in vain; {why}", History(gave_up=True), watch.every_s)
    since_s = look.at_s if before.failed_since_s is None else before.failed_since_s
    due_s = since_s + pause_s(watch, before.failures)
    if look.at_s < due_s:
        waiting = replace(before, failed_since_s=since_s)
        return Decision(Act.NOTHING, f"{why}; it is brought back soon", waiting, min(watch.every_s, due_s - look.at_s))
    act = Act.BRING_BACK if look.seen is Seen.DOWN else Act.REPLACE
    return Decision(act, why, History(before.failures + 1), watch.every_s)
