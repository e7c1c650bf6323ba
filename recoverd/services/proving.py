"""When a service counts as proven healthy. Pure: a machine that is fed with observations and a time."""

from __future__ import annotations

from enum import Enum

from recoverd.services.driver import ServiceStatus
from recoverd.system.processes import ProcessIdentity
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe saw; `message` is a sentence without its full stop."""

    probe: str
    healthy: bool
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether a service was proven healthy, why (not), and what each probe saw last. `seconds` is how long it took."""

    healthy: bool
    seconds: float
    results: tuple[ProbeResult, ...]
    reason: str
    identity: ProcessIdentity | None = None  # the process that was proven, or was there last


class Verdict(Enum):
    UNDECIDED = "undecided"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True)
class Observation:
    """One look at everything, ended at `at_s`; `status` is None when the service has no process to look at."""

    at_s: float
    status: ServiceStatus | None
    results: tuple[ProbeResult, ...]


@dataclass(frozen=True, slots=True)
class Proving:
    """The state of a proof. Times are seconds on one monotonic clock.

    Invariants, whatever is observed: HEALTHY is only reached by observations that span at least `stable_for_s`, in
    all of which every probe passed and the same process ran, and of which the first was not later than `within_s`
    after `began_s`. A process that has gone or was replaced is UNHEALTHY at once, unless its manager is at it
    (not `settled`, `supervised`): then the time begins anew. Any observation at `began_s + within_s + stable_for_s` or
    later decides; what is decided stays so.
    """

    within_s: float
    stable_for_s: float
    began_s: float
    has_process: bool
    verdict: Verdict = Verdict.UNDECIDED
    good_since_s: float | None = None  # since when everything is well, without a break
    identity: ProcessIdentity | None = None
    last: Observation | None = None
    reason: str = ""

    @property
    def ends_at_s(self) -> float:
        """When the proof is decided at the latest, as things are now."""
        if self.good_since_s is not None:
            return self.good_since_s + self.stable_for_s
        return self.began_s + self.within_s

    def after(self, seen: Observation) -> Proving:
        """The state after one more observation; observations come in the order of time."""
        if self.verdict is not Verdict.UNDECIDED:
            return self
        status = seen.status
        if self.has_process and status is not None and not status.settled:
            return replace(self, last=seen, good_since_s=None)._unless_late(seen, f"it is not up yet: {status.detail}")
        if self.has_process and (status is None or not status.running):
            detail = status.detail if status is not None else "its process can't be seen"
            return self._decided(seen, Verdict.UNHEALTHY, f"it does not run: {detail}")
        identity = status.identity if status is not None else None
        replaced = self.identity is not None and identity != self.identity
        here = replace(self, last=seen, identity=identity)
        if replaced and status is not None and status.supervised:
            here = replace(here, good_since_s=None)
        elif replaced and self.good_since_s is not None:
            reason = "its process was replaced by another while it was watched"
            return here._decided(seen, Verdict.UNHEALTHY, reason)
        failing = [result.message for result in seen.results if not result.healthy]
        if failing:
            return replace(here, good_since_s=None)._unless_late(seen, "; ".join(failing))
        if not self.has_process and not seen.results:
            return here._decided(seen, Verdict.HEALTHY, "there is neither a process nor a probe to ask")
        if here.good_since_s is None:
            if seen.at_s > self.began_s + self.within_s:
                return here._unless_late(seen, "it became healthy too late")
            here = replace(here, good_since_s=seen.at_s)
        if here.good_since_s is not None and seen.at_s >= here.good_since_s + self.stable_for_s:
            return here._decided(seen, Verdict.HEALTHY, f"healthy for {self.stable_for_s:g} s without a break")
        return here

    def proof(self) -> Proof:
        """The result of a decided proof."""
        assert self.last is not None
        seconds = self.last.at_s - self.began_s
        return Proof(self.verdict is Verdict.HEALTHY, seconds, self.last.results, self.reason, self.identity)

    def _unless_late(self, seen: Observation, problem: str) -> Proving:
        if seen.at_s < self.began_s + self.within_s:
            return replace(self, reason=problem)
        return self._decided(seen, Verdict.UNHEALTHY, f"not healthy within {self.within_s:g} s: {problem}")

    def _decided(self, seen: Observation, verdict: Verdict, reason: str) -> Proving:
        return replace(self, last=seen, verdict=verdict, reason=reason)
