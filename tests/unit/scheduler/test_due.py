"""What is due: pure, with the reason."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Autosave, ItemKind, Place, Service, StateItem
from recoverd.scheduler.due import Due, after_step_s, due, scheduled, waits_s

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
STATE = {"main": StateItem("main", ItemKind.FILE, "/x")}


def service(name: str = "svc", every_s: float | None = 30.0, **more: Any) -> Service:
    return Service(name, Place("f", 1, 1), **{"state": STATE, "autosave": Autosave(every_s=every_s), **more})


def ago(seconds: float) -> dict[str, int]:
    return {"svc": NOW - int(seconds * SECOND)}


@pytest.mark.parametrize(
    ("last_ns", "reason"),
    [
        ({}, "never captured"),
        (ago(31), "last capture 31 s ago, one is due every 30 s"),
        (ago(28), "last capture 28 s ago, one is due every 30 s"),
        (ago(26), None),
        (ago(0), None),
        (ago(-1), "its last capture lies in the future"),
    ],
)
def test_due_or_not(last_ns: dict[str, int], reason: str | None) -> None:
    """Overdue work is computed from records, with its reason; a clock that was stepped back hides none."""
    expected = [] if reason is None else [Due("svc", reason)]
    assert due([service()], last_ns, NOW) == expected


def test_a_timer_that_comes_a_little_early_is_in_time() -> None:
    """`snapshot --due` from cron each minute: what is saved each minute is saved at each call."""
    assert due([service(every_s=60.0)], ago(59.2), NOW)
    assert not due([service(every_s=86_400.0)], ago(86_000), NOW)


@pytest.mark.parametrize(
    "unscheduled",
    [service(every_s=None), service(enabled=False), service(state={})],
    ids=["no interval", "disabled", "no state"],
)
def test_what_has_no_schedule_is_never_due(unscheduled: Service) -> None:
    """Only what asks for autosave gets it."""
    assert due([unscheduled], {}, NOW) == []
    assert waits_s([unscheduled], {}, NOW) == {}


def test_paused_services_are_not_due_but_keep_their_place() -> None:
    """pause: autosave off until it is resumed."""
    services = [service("a"), service("b")]
    assert [one.service for one in due(services, {}, NOW, paused={"a"})] == ["b"]
    assert [one.name for one in scheduled(services, {"b"})] == ["a"]
    assert waits_s(services, {}, NOW) == {"a": 0.0, "b": 0.0}


def test_waits() -> None:
    """What is due now waits no time, the rest until its interval has passed."""
    assert waits_s([service()], ago(10), NOW) == {"svc": pytest.approx(20.0)}
    assert waits_s([service()], ago(40), NOW) == {"svc": 0.0}
    assert waits_s([service()], ago(-99), NOW) == {"svc": 0.0}


@given(
    every_s=st.floats(0.1, 1e6),
    last=st.none() | st.integers(0, 2**62),
    now=st.integers(0, 2**62),
)
def test_due_and_waits_agree_and_nothing_waits_longer_than_its_interval(
    every_s: float, last: int | None, now: int
) -> None:
    """Whatever the clock was or is: due or not, the next capture is at most one interval away."""
    services, last_ns = [service(every_s=every_s)], {} if last is None else {"svc": last}
    wait = waits_s(services, last_ns, now)["svc"]
    assert (wait == 0.0) == bool(due(services, last_ns, now))
    assert 0.0 <= wait <= every_s


@pytest.mark.parametrize(
    ("wait", "step", "left"), [(20.0, 5.0, 15.0), (20.0, 3600.0, 0.0), (20.0, -3600.0, 20.0), (0.0, -1.0, 0.0)]
)
def test_a_step_of_the_clock_postpones_nothing(wait: float, step: float, left: float) -> None:
    """A clock set back by an hour must not stop autosave for an hour."""
    assert after_step_s(wait, step) == left


# NOW is 2027-01-15 08:00 UTC, a Friday
@pytest.mark.parametrize(
    ("cron", "age_s", "reason", "wait_s"),
    [
        ("30 * * * *", 1799, None, 1800.0),
        ("30 * * * *", 1801, "last capture 30 min 1 s ago, one was due at 2027-01-15 07:30", 0.0),
        ("0 8 * * *", 1, "last capture 1 s ago, one was due at 2027-01-15 08:00", 0.0),
        ("0 9 * * 1-5", 86400, "last capture 1 d ago, one was due at 2027-01-14 09:00", 0.0),
        ("0 9 * * 1-5", 82000, None, 3600.0),
    ],
)
def test_due_by_crontab(cron: str, age_s: float, reason: str | None, wait_s: float) -> None:
    """Due when one of its times has come since the last capture, and not before."""
    one = service(autosave=Autosave(cron=cron))
    assert due([one], ago(age_s), NOW) == ([] if reason is None else [Due("svc", reason)])
    assert waits_s([one], ago(age_s), NOW) == {"svc": wait_s}


def test_a_crontab_is_read_in_the_zone_of_the_configuration() -> None:
    """09:00 in Berlin is 08:00 UTC in January."""
    one = service(autosave=Autosave(cron="0 9 * * *"))
    assert due([one], ago(10), NOW) == []
    (found,) = due([one], ago(10), NOW, zone="Europe/Berlin")
    assert found.reason == "last capture 10 s ago, one was due at 2027-01-15 09:00"
    assert waits_s([one], {"svc": NOW}, NOW, zone="Europe/Berlin") == {"svc": 86400.0}


def test_the_earlier_of_both_schedules_counts() -> None:
    one = service(autosave=Autosave(every_s=600, cron="5 * * * *"))
    assert waits_s([one], ago(100), NOW) == {"svc": 300.0}
    assert waits_s([one], ago(500), NOW) == {"svc": 100.0}
    (found,) = due([one], ago(599), NOW)
    assert "every 10 min" in found.reason
