"""Whether a service is healthy on its newest snapshot, told from single looks at it. Pure.

A snapshot is proven when the service was healthy for its `stable_for` time after the capture, with one and the same
process. Looks are rare, so between two of them nobody knows better: a break that no look saw counts for none, but a
process that was replaced in between does.
"""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.services.driver import ServiceStatus
from recoverd.services.proving import ProbeResult
from recoverd.system.processes import ProcessIdentity
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Seen:
    """One look, begun and ended on the monotonic clock. `healthy` None: it is down on purpose, or nobody can tell."""

    began_s: float
    at_s: float
    healthy: bool | None
    why: str = ""
    identity: ProcessIdentity | None = None


@dataclass(frozen=True, slots=True)
class Observed:
    """What the looks at one service came to.

    Invariant: a snapshot is proven only by looks that began after it was there, of which all were healthy with the
    same process, and which span `stable_for_s`. A newer snapshot does not take an older one its time.
    """

    last: Seen | None = None
    pending: int | None = None  # the snapshot that is to be proven
    good_since_s: float | None = None  # since when all is well after its capture
    proven: int | None = None  # the last one that was

    def waiting_for(self, newest: int | None) -> Observed:
        """The same, knowing the newest snapshot, before a look begins."""
        if newest is None or newest == self.proven:
            return replace(self, pending=None, good_since_s=None)
        if self.pending is None or self.good_since_s is None:
            return replace(self, pending=newest, good_since_s=None)
        return self

    def after(self, seen: Seen, stable_for_s: float) -> Observed:
        """The state after one more look; looks come in the order of time. A snapshot that is proven now is `proven`."""
        before, here = self.last, replace(self, last=seen)
        if not seen.healthy:
            return replace(here, good_since_s=None)
        if self.pending is None:
            return here
        same = before is not None and before.identity == seen.identity
        since_s = self.good_since_s if self.good_since_s is not None and same else seen.at_s
        if seen.at_s - since_s >= stable_for_s:
            return replace(here, pending=None, good_since_s=None, proven=self.pending)
        return replace(here, good_since_s=since_s)


def judged(
    status: ServiceStatus | None, probes: Sequence[ProbeResult], *, stable_for_s: float, now_ns: int
) -> tuple[bool | None, str]:
    """Whether a service is healthy by one look at its process (None: it runs none) and its probes; and why.

    A service that nobody wants up is not unhealthy. One that is restarted over and over is, also while it runs: its
    process must be older than `stable_for_s` where it replaced one that had ended by itself.
    """
    if status is not None and not status.running:
        if status.wanted == "stopped" or (not status.settled and not status.restarts):
            return None, status.detail
        return (False, f"it does not run: {status.detail}") if status.wanted == "running" else (None, status.detail)
    failing = [one.message for one in probes if not one.healthy]
    if failing:
        return False, "; ".join(failing)
    if status is not None and (not status.settled or _is_young(status, stable_for_s, now_ns)):
        return (False, f"it was restarted just now: {status.detail}") if status.restarts else (None, status.detail)
    return True, ""


def _is_young(status: ServiceStatus, stable_for_s: float, now_ns: int) -> bool:
    return status.since_ns is not None and 0 <= now_ns - status.since_ns < stable_for_s * 1e9
