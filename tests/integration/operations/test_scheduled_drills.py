"""When scheduled drills are due, and that none is held twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Drill
from recoverd.operations import verify
from recoverd.operations.drill_due import drill_if_due, due_drills, is_due
from recoverd.operations.drilled import DRILL
from recoverd.system import clock, locks

HOUR_NS = 3600 * 10**9


@pytest.fixture(autouse=True)
def no_way_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process of these tests must not become a slow one."""
    monkeypatch.setattr(verify, "give_way", lambda: None)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make it so many hours later than it is."""
    now_ns = clock.now_ns()

    def later(hours: float) -> None:
        monkeypatch.setattr(clock, "now_ns", lambda: now_ns + round(hours * HOUR_NS))

    return later


def test_missed_drills_are_caught_up_once(house: Any, at: Callable[[float], None]) -> None:
    """A fresh service waits for its first time; however many times were missed, one drill makes up for them."""
    house.change(drill=Drill(cron="0 * * * *"))
    at(0)
    assert due_drills(house.context) == ()  # nothing was ever saved
    house.write(1)
    house.snapshot()
    assert due_drills(house.context) == ()
    at(50)
    assert due_drills(house.context) == ("app",)
    result = drill_if_due(house.context)
    assert result is not None
    assert [(one.service, one.passed) for one in result.services] == [("app", True)]
    assert due_drills(house.context) == ()
    assert drill_if_due(house.context) is None
    at(51)
    assert due_drills(house.context) == ("app",)


def test_a_drill_that_failed_waits_for_its_next_time(house: Any, at: Callable[[float], None]) -> None:
    house.change(drill=Drill(cron="0 * * * *", command=("/bin/false",)))
    at(0)
    house.write(1)
    house.snapshot()
    at(2)
    result = drill_if_due(house.context)
    assert result is not None
    assert not result.services[0].passed
    assert due_drills(house.context) == ()
    at(3.1)
    assert due_drills(house.context) == ("app",)


def test_a_drill_of_a_wrong_clock_does_not_put_off_all_others(house: Any, at: Callable[[float], None]) -> None:
    house.change(drill=Drill(cron="0 * * * *"))
    at(0)
    house.write(1)
    house.snapshot()
    at(2)
    house.context.repository().catalog.record_run("app", DRILL, clock.now_ns() + 99 * HOUR_NS, 1, "passed", "0")
    assert due_drills(house.context) == ("app",)


@pytest.mark.parametrize("change", [{"enabled": False}, {"drill": None}, {"drill": Drill()}])
def test_what_is_not_scheduled_is_never_due(house: Any, at: Callable[[float], None], change: dict[str, Any]) -> None:
    house.change(drill=Drill(cron="* * * * *"))
    house.write(1)
    house.snapshot()
    house.change(**change)
    at(100)
    assert due_drills(house.context) == ()


def test_another_drill_in_the_background_is_waited_for(house: Any, at: Callable[[float], None]) -> None:
    """Two would take the disk from each other; the later one comes with the next look."""
    house.change(drill=Drill(cron="0 * * * *"))
    at(0)
    house.write(1)
    house.snapshot()
    at(2)
    with locks.acquire(str(house.state_dir / "drill.lock"), what="another"):
        assert drill_if_due(house.context) is None
    assert due_drills(house.context) == ("app",)


@given(st.integers(0, 10**18), st.floats(0, 10**9))
def test_due_is_what_was_held_before_the_last_time(since_ns: int, before_s: float) -> None:
    assert is_due(since_ns, before_s) is (since_ns / 1e9 > before_s) or abs(since_ns / 1e9 - before_s) < 1e-3
