"""The timetable on real APScheduler, with intervals of some hundredths of a second."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.crontab import parse
from recoverd.config.model import Autosave, ItemKind, Place, Service, StateItem
from recoverd.scheduler.timetable import AtTimes, Earliest, Every, Timetable

FIRST = datetime(2026, 11, 21, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def service(name: str, every_s: float, jitter_s: float = 0.0) -> Service:
    state = {"main": StateItem("main", ItemKind.FILE, "/x")}
    return Service(name, Place("f", 1, 1), state=state, autosave=Autosave(every_s=every_s, jitter_s=jitter_s))


@given(st.floats(0.001, 1e6), st.floats(0.0, 1e9), st.floats(0.0, 100.0))
def test_the_next_time_is_ahead_on_the_grid_and_at_most_one_interval_away(
    every_s: float, past_s: float, jitter_s: float
) -> None:
    """No interval, however odd as a binary fraction, makes the schedule stand still or drift."""
    trigger, now = Every(FIRST, every_s, jitter_s), FIRST + seconds(past_s)
    following = trigger.get_next_fire_time(FIRST, now)
    every = timedelta(microseconds=max(1, round(every_s * 1e6)))
    assert now < following
    late = (following - FIRST) % every
    assert following - late - now <= every
    assert late <= min(seconds(jitter_s) + timedelta(microseconds=1), every)


def test_jitter_does_not_drift() -> None:
    """A thousand jittered intervals take as long as a thousand intervals."""
    trigger, moment = Every(FIRST, 30.0, 3.0), FIRST
    for _ in range(1000):
        moment = trigger.get_next_fire_time(moment, moment)
    assert seconds(30_000) <= moment - FIRST <= seconds(30_003)


def test_a_machine_that_boots_in_1970_catches_up_in_one_step() -> None:
    """A step over 56 years is one run that was missed, not 1.8 thousand million."""
    trigger = Every(datetime(1970, 1, 1, tzinfo=UTC), 1.0)
    start = time.perf_counter()
    assert trigger.get_next_fire_time(datetime(1970, 1, 1, tzinfo=UTC), FIRST) == FIRST + seconds(1)
    assert time.perf_counter() - start < 0.1


@pytest.fixture
def marks() -> queue.SimpleQueue[str]:
    return queue.SimpleQueue()


@pytest.fixture
def timetable(marks: queue.SimpleQueue[str]) -> Iterator[Timetable]:
    made = Timetable(marks.put)
    made.start()
    yield made
    made.stop()


def gather(marks: queue.SimpleQueue[str], for_s: float) -> list[str]:
    found, end = [], time.monotonic() + for_s
    while (left := end - time.monotonic()) > 0:
        try:
            found.append(marks.get(timeout=left))
        except queue.Empty:
            break
    return found


def test_each_service_is_marked_at_its_own_pace(timetable: Timetable, marks: queue.SimpleQueue[str]) -> None:
    """The first mark comes after the wait, the others each interval."""
    timetable.update([service("fast", 0.1), service("slow", 60.0)], {"fast": 0.05, "slow": 0.2})
    found = gather(marks, 0.62)
    assert found.count("slow") == 1
    assert 4 <= found.count("fast") <= 7
    assert found[0] == "fast"


def test_an_update_keeps_what_did_not_change(timetable: Timetable, marks: queue.SimpleQueue[str]) -> None:
    """SIGHUP every second must not postpone a service saved every minute for ever."""
    timetable.update(
        [service("same", 50.0), service("gone", 50.0), service("other", 50.0)], {"same": 7, "gone": 0.3, "other": 7}
    )
    timetable.update(
        [service("same", 50.0), service("other", 40.0), service("new", 50.0)], {"same": 50, "other": 30, "new": 20}
    )
    left = timetable.remaining_s()
    assert left == {
        "same": pytest.approx(7, abs=1),
        "other": pytest.approx(30, abs=1),
        "new": pytest.approx(20, abs=1),
    }
    assert gather(marks, 0.5) == []  # also not of what was taken out


def test_a_step_of_the_clock_counts_waits_anew(timetable: Timetable, marks: queue.SimpleQueue[str]) -> None:
    """After a step each service is due when it is told to be; who is not scheduled is not woken."""
    timetable.update([service("svc", 3600.0)], {"svc": 3600.0})
    assert timetable.remaining_s(offset_s=-100.0)["svc"] == pytest.approx(3500.0, abs=1)
    timetable.shift({"svc": 0.05, "stranger": 0.0})
    assert gather(marks, 0.4) == ["svc"]
    assert timetable.remaining_s()["svc"] == pytest.approx(3600.0, abs=2)


def test_a_mark_that_fails_is_made_up_for() -> None:
    """architecture.md: listeners for errors and missed runs; late is better than never."""
    heard: list[str] = []

    def mark(name: str) -> None:
        heard.append(name)
        if len(heard) == 1:
            raise RuntimeError("once")

    timetable = Timetable(mark)
    timetable.start()
    timetable.update([service("svc", 3600.0)], {"svc": 0.0})
    deadline = time.monotonic() + 5
    while len(heard) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    timetable.stop()
    timetable.stop()
    assert heard == ["svc", "svc"]


def test_a_crontab_fires_as_cron_would() -> None:
    """config.md: Sunday is 0, day fields are ORed. 2026-11-22 is a Sunday; 1 December is none."""
    trigger, moment = AtTimes(parse("0 4 1 * 0"), UTC), FIRST
    found = []
    for _ in range(3):
        moment = trigger.get_next_fire_time(moment, moment)
        found.append(f"{moment:%m-%d %H:%M}")
    assert found == ["11-22 04:00", "11-29 04:00", "12-01 04:00"]


@given(st.floats(0.0, 1e5))
def test_jitter_skips_no_time_of_a_crontab(jitter_s: float) -> None:
    """However long the jitter, each minute has its run, and in it."""
    trigger, moment = AtTimes(parse("* * * * *"), UTC, jitter_s), FIRST
    for minute in range(1, 20):
        moment = trigger.get_next_fire_time(moment, moment)
        assert minute * 60 <= (moment - FIRST).total_seconds() < (minute + 1) * 60


def test_an_interval_and_a_crontab_together() -> None:
    """Each of both fires; a first time that is due at once comes before either."""
    trigger = Earliest(FIRST, Every(FIRST + seconds(50), 50.0), AtTimes(parse("* * * * *"), UTC))
    moment = trigger.get_next_fire_time(None, FIRST)
    assert moment == FIRST
    found = []
    for _ in range(5):
        moment = trigger.get_next_fire_time(moment, moment)
        found.append((moment - FIRST).total_seconds())
    assert found == [50, 60, 100, 120, 150]


def test_a_crontab_in_the_timetable(timetable: Timetable, marks: queue.SimpleQueue[str]) -> None:
    """What is due at once is marked at once; a step of the clock back does not move its times; a new zone does."""
    autosave = Autosave(cron=f"0 {(datetime.now(UTC) + timedelta(hours=6)).hour} * * *")
    daily = Service("svc", Place("f", 1, 1), state=service("svc", 1.0).state, autosave=autosave)
    timetable.update([daily], {"svc": 0.0})
    assert gather(marks, 0.3) == ["svc"]
    left = timetable.remaining_s()["svc"]
    assert 5 * 3600 <= left <= 6 * 3600
    timetable.shift({"svc": 5.0})
    assert timetable.remaining_s()["svc"] == pytest.approx(left, abs=2)
    timetable.shift({"svc": 0.0})  # its time was stepped over
    assert gather(marks, 0.3) == ["svc"]
    timetable.update([daily], {"svc": 1.0}, zone="Etc/GMT-1")
    assert timetable.remaining_s()["svc"] == pytest.approx(left - 3600, abs=2)
