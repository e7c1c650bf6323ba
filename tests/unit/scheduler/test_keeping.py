"""Whether a watched service is brought back: a pure decision, attacked with every course of events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.keeping import Watch
from recoverd.scheduler.keeping import Act, History, Look, Seen, decide, pause_s, well_s

TRIES = {Act.BRING_BACK, Act.REPLACE}
WITHIN_S = 30.0
WATCH = Watch(every_s=10.0, backoff_first_s=1.0, backoff_most_s=60.0, give_up_after=3)

watches = st.builds(
    Watch,
    every_s=st.floats(0.1, 60),
    restart=st.sampled_from(["on-failure", "always", "never"]),
    backoff_first_s=st.floats(0.01, 10),
    backoff_most_s=st.floats(10, 600),
    give_up_after=st.integers(1, 6),
)
looks = st.tuples(
    st.floats(0.01, 400),  # since the look before
    st.sampled_from(Seen),
    st.sampled_from([True, True, True, False]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, None, None, "broker"]),
    st.sampled_from([False, False, False, True]),
    st.sampled_from([False, False, False, True]),
)
Course = list[tuple[float, Seen, bool, bool | None, str | None, bool, bool]]


@given(watches, st.lists(looks, max_size=60))
def test_whatever_is_seen(watch: Watch, course: Course) -> None:
    """recovery.md, "Processes": what was stopped on purpose stays down, tries are bounded and lie apart, and what was
    given up is left alone until something is new. What is to run from now on is started at once, and has all tries."""
    history, at_s, tries, tried_s, well_since_s = History(), 0.0, 0, None, None
    for after_s, seen, wanted, healthy, waits_for, anew, is_new in course:
        at_s += after_s
        before = history
        decision = decide(watch, WITHIN_S, before, Look(at_s, seen, wanted, healthy, "why", waits_for, anew, is_new))
        history = decision.history
        assert decision.reason
        assert 0 < decision.again_s <= watch.every_s
        is_well = seen is Seen.UP and healthy is not False
        if not wanted:
            tries, tried_s, well_since_s = 0, None, None
        elif is_well:
            well_since_s = at_s if well_since_s is None else well_since_s
            if at_s - well_since_s >= well_s(watch) or before.gave_up:
                tries = 0
        elif seen is not Seen.UNKNOWN:
            well_since_s = None
        if before.gave_up and (anew or is_new) and wanted and seen is not Seen.UNKNOWN:
            tries, tried_s = 0, None
        if decision.act is not Act.NOTHING:
            assert wanted
            assert not is_well
            assert seen is not Seen.UNKNOWN
            assert not before.gave_up or anew or is_new
        if decision.act in TRIES:
            assert waits_for is None
            assert watch.restart != "never"
            assert (decision.act is Act.REPLACE) is (seen is Seen.UP)
            if tried_s is not None:
                assert at_s - tried_s >= pause_s(watch, tries) or tries == 0
            tries += 1
            tried_s = at_s
            assert watch.restart == "always" or tries <= watch.give_up_after
        may_start = is_new and wanted and seen is Seen.DOWN and waits_for is None and watch.restart != "never"
        assert (decision.act is Act.START) is may_start
        if decision.act is Act.START:
            tries, tried_s = 1, at_s
        if decision.act is Act.GIVE_UP:
            assert watch.restart == "on-failure"
            assert tries == watch.give_up_after
            assert history.gave_up
        if decision.act is Act.TELL:
            assert watch.restart == "never"


def down(at_s: float, **more: object) -> Look:
    return Look(at_s, Seen.DOWN, wanted=True, detail="gone", **more)  # type: ignore[arg-type]


def test_a_crash_loop_is_tried_with_growing_pauses_and_then_given_up() -> None:
    """`backoff` and `give_up_after` of config.md."""
    history, at_s, tried = History(), 0.0, []
    for _ in range(200):
        decision = decide(WATCH, WITHIN_S, history, down(at_s))
        history = decision.history
        if decision.act is Act.BRING_BACK:
            tried.append(at_s)
        if decision.act is Act.GIVE_UP:
            break
        at_s += decision.again_s if decision.act is Act.NOTHING else 0.001
    assert [round(time_s) for time_s in tried] == [1, 3, 7]
    assert "brought back 3 times in vain" in decision.reason
    assert decide(WATCH, WITHIN_S, history, down(at_s + 1e6)).act is Act.NOTHING
    assert not decide(WATCH, WITHIN_S, history, down(at_s + 1e6, anew=True)).history.gave_up


def test_pauses_double_up_to_the_longest() -> None:
    assert [pause_s(WATCH, failures) for failures in (0, 1, 2, 5, 6, 10_000)] == [1, 2, 4, 32, 60, 60]


@pytest.mark.parametrize(("up_s", "forgotten"), [(59.0, False), (60.0, True)])
def test_being_up_for_long_forgets_failures(up_s: float, forgotten: bool) -> None:
    """A service that crashes once a day is never given up."""
    history = History(failures=2)
    for at_s in (100.0, 100.0 + up_s):
        history = decide(WATCH, WITHIN_S, history, Look(at_s, Seen.UP, wanted=True, healthy=True)).history
    assert (history.failures == 0) is forgotten


def test_unhealthy_for_longer_than_within_is_a_failure_and_a_short_while_is_none() -> None:
    def ill(at_s: float, history: History) -> tuple[Act, History]:
        decision = decide(WATCH, WITHIN_S, history, Look(at_s, Seen.UP, wanted=True, healthy=False, detail="refused"))
        return decision.act, decision.history

    act, history = ill(0.0, History())
    assert act is Act.NOTHING
    act, history = ill(29.0, history)
    assert act is Act.NOTHING
    well = decide(WATCH, WITHIN_S, history, Look(29.5, Seen.UP, wanted=True, healthy=True)).history
    assert ill(31.0, well)[0] is Act.NOTHING  # it was well in between
    act, history = ill(30.0, history)
    assert act is Act.NOTHING  # its first pause
    assert ill(31.0, history)[0] is Act.REPLACE


def test_one_that_is_only_told_of_is_told_of_once() -> None:
    watch = Watch(restart="never")
    first = decide(watch, WITHIN_S, History(), down(0.0))
    again = decide(watch, WITHIN_S, first.history, down(10.0))
    up = decide(watch, WITHIN_S, again.history, Look(20.0, Seen.UP, wanted=True))
    assert [one.act for one in (first, again, up)] == [Act.TELL, Act.NOTHING, Act.NOTHING]
    assert decide(watch, WITHIN_S, up.history, down(30.0)).act is Act.TELL


def test_one_that_is_never_given_up_goes_on_with_the_longest_pause() -> None:
    watch = Watch(restart="always", backoff_most_s=60.0, give_up_after=1)
    history = History(failures=500)
    decision = decide(watch, WITHIN_S, history, down(0.0))
    assert decide(watch, WITHIN_S, decision.history, down(59.0)).act is Act.NOTHING
    assert decide(watch, WITHIN_S, decision.history, down(60.0)).act is Act.BRING_BACK


def test_waiting_for_another_service_is_no_failure() -> None:
    """Services come up in the order of `after`."""
    decision = decide(WATCH, WITHIN_S, History(failures=3), down(0.0, waits_for="broker"))
    assert decision.act is Act.NOTHING
    assert "broker" in decision.reason
    assert decision.history.failures == 3
