"""The proof, fed with random histories: it says healthy exactly when the observations bear it out (promise 10)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recoverd.services.driver import ServiceStatus
from recoverd.services.proving import Observation, ProbeResult, Proving, Verdict
from recoverd.system.processes import ProcessIdentity

WITHIN_S, STABLE_S = 10.0, 3.0


def identity(number: int) -> ProcessIdentity:
    return ProcessIdentity("boot", number, number)


def status(number: int) -> ServiceStatus:
    """Of process `number`; of none for 0."""
    there = number > 0
    return ServiceStatus(there, identity(number) if there else None, 1 if there else None, "running", 0, f"p{number}")


def seen(at_s: float, number: int | None = 1, *healthy: bool) -> Observation:
    results = tuple(ProbeResult("tcp", one, "accepts" if one else "refuses", 0.0) for one in healthy)
    return Observation(at_s, None if number is None else status(number), results)


STEPS = st.lists(
    st.tuples(
        st.floats(0.0625, 2.0, width=16),
        st.sampled_from([1, 1, 1, 1, 2, 0]),
        st.lists(st.sampled_from([True, True, True, False]), min_size=2, max_size=2),
    ),
    max_size=60,
)


def watch(history: list[Observation], *, has_process: bool = True) -> list[Proving]:
    states = [Proving(WITHIN_S, STABLE_S, 0.0, has_process)]
    for observation in history:
        states.append(states[-1].after(observation))
    return states


@given(STEPS)
@example([(0.0625, 1, [True, True])] * 60)
def test_verdicts_are_borne_out(steps: list[tuple[float, int, list[bool]]]) -> None:
    """The invariants in the docstring of Proving, checked after each observation."""
    history: list[Observation] = []
    at_s = 0.0
    for pause_s, number, healthy in steps:
        at_s += pause_s
        history.append(seen(at_s, number, *healthy))
    states = watch(history)
    for index, state in enumerate(states):
        so_far = history[:index]
        if state.verdict is Verdict.UNDECIDED:
            assert not so_far or so_far[-1].at_s < WITHIN_S + STABLE_S
            assert all(one.status is not None and one.status.running for one in so_far)
            continue
        if states[index - 1].verdict is not Verdict.UNDECIDED:
            assert state == states[index - 1], "what is decided stays so"
            continue
        proof = state.proof()
        last = so_far[-1]
        assert last.status is not None
        assert proof.results == last.results
        assert proof.seconds == last.at_s
        assert proof.reason
        if proof.healthy:
            streak = []
            for one in reversed(so_far):
                if one.status != last.status or not all(result.healthy for result in one.results):
                    break
                streak.append(one)
            assert streak[0].at_s - streak[-1].at_s >= STABLE_S
            assert min(one.at_s for one in streak) <= WITHIN_S
            assert proof.identity == last.status.identity
        else:
            gone = not last.status.running
            replaced = len(so_far) > 1 and so_far[-2].status != last.status
            assert gone or replaced or last.at_s >= WITHIN_S


@given(st.floats(0.0625, WITHIN_S, width=16), st.lists(st.floats(0.0625, 0.5, width=16), min_size=60, max_size=60))
def test_what_becomes_healthy_in_time_and_stays_so_is_proven(first_s: float, pauses: list[float]) -> None:
    """No false alarm: healthy at the last moment and for the whole window is healthy."""
    state = Proving(WITHIN_S, STABLE_S, 0.0, has_process=True)
    at_s = first_s
    state = state.after(seen(at_s, 1, True))
    for pause_s in pauses:
        at_s += pause_s
        state = state.after(seen(at_s, 1, True))
    assert state.verdict is Verdict.HEALTHY
    assert state.reason == "healthy for 3 s without a break"


@pytest.mark.parametrize(
    ("history", "reason"),
    [
        ([seen(1, 0, True)], "it does not run: p0"),
        ([seen(1, None, True)], "it does not run: its process can't be seen"),
        ([seen(1, 1, True), seen(2, 0, True)], "it does not run: p0"),
        ([seen(1, 1, True), seen(2, 2, True)], "its process was replaced by another while it was watched"),
        ([seen(1, 1, False), seen(10, 1, False)], "not healthy within 10 s: refuses"),
        ([seen(1, 1, True, True), seen(11, 1, False, False)], "not healthy within 10 s: refuses; refuses"),
        ([seen(1, 1, False), seen(10.5, 1, True)], "not healthy within 10 s: it became healthy too late"),
    ],
)
def test_reasons(history: list[Observation], reason: str) -> None:
    """Each way to fail is told in words."""
    state = watch(history)[-1]
    assert state.verdict is Verdict.UNHEALTHY
    assert state.reason == reason


def test_a_break_begins_the_window_anew() -> None:
    """A probe that fails once within the window costs the time so far, not the proof."""
    states = watch([seen(1, 1, True), seen(2, 1, False), seen(3, 1, True), seen(5.9, 1, True), seen(6, 1, True)])
    assert [state.verdict for state in states[-2:]] == [Verdict.UNDECIDED, Verdict.HEALTHY]


def test_a_restart_before_it_was_healthy_is_forgiven() -> None:
    """Some programs restart themselves while they come up: the window counts for the new process."""
    states = watch([seen(1, 1, False), seen(2, 2, False), seen(3, 2, True), seen(6, 2, True)])
    assert states[-1].verdict is Verdict.HEALTHY
    assert states[-1].identity == identity(2)


def test_without_process_the_probes_decide() -> None:
    """A service that recoverd does not run is proven by probes alone; with nothing to ask, nothing is to prove."""
    assert watch([seen(1, None, True), seen(4, None, True)], has_process=False)[-1].verdict is Verdict.HEALTHY
    nothing = watch([seen(0.5, None)], has_process=False)[-1]
    assert (nothing.verdict, nothing.reason) == (Verdict.HEALTHY, "there is neither a process nor a probe to ask")


def test_a_process_without_probes_must_stay() -> None:
    """`running` with one identity is implied when there is a process."""
    assert watch([seen(1), seen(3.9)])[-1].verdict is Verdict.UNDECIDED
    assert watch([seen(1), seen(4)])[-1].verdict is Verdict.HEALTHY


def managed(at_s: float, number: int | None, *, settled: bool = True) -> Observation:
    """Of a service whose manager starts it again; without a number it is at it."""
    one = status(number or 0)
    return Observation(at_s, replace(one, running=True, settled=settled, supervised=True), ())


def test_a_manager_that_is_at_it_is_waited_for() -> None:
    """A unit between two of its processes is neither up nor down; the time begins anew with the next one."""
    history = [managed(0.5, 1), managed(1, None, settled=False), managed(2, 2), managed(4, 2), managed(5, 2)]
    assert [one.verdict for one in watch(history)][-2:] == [Verdict.UNDECIDED, Verdict.HEALTHY]


def test_a_process_that_its_manager_replaced_begins_anew() -> None:
    """Three seconds of two processes are not three seconds of one."""
    states = watch([managed(0.5, 1), managed(2, 1), managed(3, 2), managed(5, 2), managed(6, 2)])
    assert [one.verdict for one in states][-2:] == [Verdict.UNDECIDED, Verdict.HEALTHY]


def test_a_crash_loop_ends_in_time() -> None:
    """However often it is started again, the proof ends at `within_s`, and says what was seen last."""
    history = [managed(at / 2, at if at % 2 else None, settled=bool(at % 2)) for at in range(1, 40)]
    last = watch(history)[-1]
    assert last.verdict is Verdict.UNHEALTHY
    assert "not healthy within 10 s" in last.proof().reason
    assert last.proof().seconds <= WITHIN_S + 0.5


def test_one_whose_manager_gave_up_is_down_at_once() -> None:
    """No restart is coming: nothing is waited for."""
    gone = replace(status(0), supervised=True)
    states = watch([managed(0.5, 1), Observation(1, gone, ())])
    assert states[-1].verdict is Verdict.UNHEALTHY
