"""When changes are captured: as a property of the times at which they were seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import OnChange
from recoverd.scheduler.news import News
from recoverd.scheduler.quiet import Unsaved, due_s, rested_s, seen

TIMES = st.lists(st.floats(0, 1000), min_size=1, max_size=30).map(sorted)
RULES = st.tuples(st.floats(0, 20), st.floats(0, 60)).map(lambda pair: OnChange(pair[0], pair[0] + pair[1]))


def after(times: list[float]) -> Unsaved:
    unsaved = None
    for time_s in times:
        unsaved = seen(unsaved, time_s)
    assert unsaved is not None
    return unsaved


@given(TIMES, RULES)
def test_quiet_and_at_most(times: list[float], rule: OnChange) -> None:
    """config.md, `on_change`: `quiet` after the last change, and never later than `at_most` after the first."""
    due = due_s(after(times), rule, rested_s=0.0)
    assert due is not None
    assert due <= times[0] + rule.at_most_s
    assert due <= times[-1] + rule.quiet_s
    assert due in {times[0] + rule.at_most_s, times[-1] + rule.quiet_s}


@given(TIMES, RULES, st.floats(0, 1000))
def test_another_change_never_makes_it_earlier(times: list[float], rule: OnChange, more_s: float) -> None:
    """While changes go on a capture is put off, up to the bound."""
    due = due_s(after(times), rule, rested_s=0.0)
    later = due_s(after([*times, times[-1] + more_s]), rule, rested_s=0.0)
    assert due is not None
    assert later is not None
    assert due <= later <= times[0] + rule.at_most_s


@given(TIMES, RULES, st.floats(0, 2000))
def test_a_rest_is_kept(times: list[float], rule: OnChange, rest_s: float) -> None:
    """After a long capture nothing is due before it is rested, whatever happens."""
    due = due_s(after(times), rule, rested_s=rest_s)
    assert due is not None
    assert due >= rest_s


def test_nothing_changed_nothing_is_due() -> None:
    """An idle service costs no capture."""
    assert due_s(None, OnChange(), rested_s=0.0) is None


def test_captures_leave_time_for_others() -> None:
    """What took 2 s rests as long where places were named, nine times that in a flood, else not at all: what is named
    next is cheap, however long the look at everything took."""
    assert rested_s(10.0, 12.0, named=True, flooded=False) == 14.0
    assert rested_s(10.0, 12.0, named=False, flooded=True) == 30.0
    assert rested_s(10.0, 12.0, named=False, flooded=False) == 12.0


@given(st.lists(st.tuples(st.sampled_from(["changed", "touched", "appeared"]), st.integers(0, 6000)), max_size=30))
def test_news_name_all_that_was_told(told: list[tuple[str, int]]) -> None:
    """Nothing that was told is lost, and only what a capture is made for counts as news."""
    news = News()
    for how, number in told:
        getattr(news, how)("m", str(number))
    hints = news.hints().get("m")
    named = set() if hints is None else hints.directories | hints.subtrees
    assert named == {str(number) for _, number in told}
    assert news.told == sum(how != "touched" for how, _ in told)


def test_news_are_bounded() -> None:
    """More places than are worth naming are everything; memory does not grow with what a service does."""
    news = News()
    for number in range(100_000):
        news.touched("m", str(number))
    assert news.everything
    assert news.hints() == {}
    assert news.told == 0
