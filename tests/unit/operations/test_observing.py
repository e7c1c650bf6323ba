"""What looks at a service prove, as a property: never too early, never by a break, never starved by newer captures."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from recoverd.operations.observing import Observed, Seen, judged
from recoverd.services.driver import ServiceStatus
from recoverd.services.proving import ProbeResult
from recoverd.system.processes import ProcessIdentity

STABLE_S = 3.0
LOOKS = st.lists(
    st.tuples(
        st.floats(0.1, 4.0),  # pause before it
        st.sampled_from([True, True, True, False, None]),
        st.sampled_from([1, 1, 1, 2]),  # which process
        st.booleans(),  # a new snapshot before it
    ),
    max_size=30,
)


def process(number: int) -> ProcessIdentity:
    return ProcessIdentity("boot", number, number)


@given(LOOKS)
def test_only_what_was_healthy_for_its_time_is_proven(looks: list[tuple[float, bool | None, int, bool]]) -> None:
    """Recovery.md, "Proven": looks that all began after the capture, healthy, one process, and span `stable_for`."""
    observed, now_s, newest = Observed(), 100.0, 1
    captured_s = {1: now_s}
    history: list[Seen] = []
    for pause_s, healthy, number, is_new in looks:
        now_s += pause_s
        if is_new:
            newest += 1
            captured_s[newest] = now_s
        before = observed
        observed = observed.waiting_for(newest)
        seen = Seen(now_s, now_s + 0.05, healthy, identity=process(number))
        history.append(seen)
        observed = observed.after(seen, STABLE_S)
        if observed.proven == before.proven:
            continue
        assert observed.proven is not None
        run = [one for one in history if one.began_s >= captured_s[observed.proven]]
        good: list[Seen] = []
        for one in reversed(run):
            if not one.healthy or one.identity != seen.identity:
                break
            good.append(one)
        assert good and good[0].at_s - good[-1].at_s >= STABLE_S


@given(st.floats(0.2, 1.0), st.integers(1, 5))
def test_a_service_that_is_captured_all_the_time_is_proven_all_the_same(pause_s: float, every: int) -> None:
    """A newer snapshot does not take an older one its time."""
    observed, now_s, proven = Observed(), 0.0, set()
    for number in range(60):
        now_s += pause_s
        observed = observed.waiting_for(1 + number // every)
        observed = observed.after(Seen(now_s, now_s, True, identity=process(1)), STABLE_S)
        proven.add(observed.proven)
    assert len(proven - {None}) >= 60 * pause_s // (STABLE_S + 2 * pause_s) - 1 >= 1


def test_what_is_proven_is_not_waited_for_again() -> None:
    observed = Observed(proven=3).waiting_for(3)
    assert observed.pending is None
    assert observed.waiting_for(4).pending == 4 and observed.waiting_for(None).pending is None


UP = ServiceStatus(True, process(1), 0, "running", 0, "it runs")
GONE = replace(UP, running=False, identity=None, since_ns=None, detail="it has ended")
FINE, BAD = ProbeResult("p", True, "", 0.0), ProbeResult("p", False, "no answer", 0.0)
LATER_NS = 10**12


def verdict(status: ServiceStatus | None, *probes: ProbeResult, now_ns: int = LATER_NS) -> bool | None:
    return judged(status, probes, stable_for_s=STABLE_S, now_ns=now_ns)[0]


def test_one_look() -> None:
    """Down on purpose is not ill; an end that nobody wanted, a probe that fails, or one restart after the other is."""
    assert verdict(UP) is True and verdict(UP, FINE) is True and verdict(None, FINE) is True
    assert verdict(UP, FINE, BAD) is False and verdict(None, BAD) is False
    assert verdict(GONE) is False and verdict(replace(GONE, wanted="stopped")) is None
    assert verdict(replace(GONE, wanted="unknown")) is None
    assert verdict(replace(GONE, settled=False)) is None  # its first start
    assert verdict(replace(GONE, settled=False, restarts=3)) is False  # its manager starts it over and over
    young = replace(UP, since_ns=LATER_NS - 10**9)
    assert verdict(young) is None and verdict(replace(young, restarts=2)) is False
    assert verdict(replace(UP, restarts=2)) is True
    assert judged(UP, [BAD], stable_for_s=STABLE_S, now_ns=LATER_NS)[1] == "no answer"
