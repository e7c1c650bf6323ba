"""How a unit went down, by what the journal and the times of a unit say. The lines are those of a real systemd 252."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.services.systemctl import UnitState
from recoverd.services.unit_endings import Ending, WentDown, from_journal, from_times
from recoverd.services.unit_journal import JobLine, parse_lines
from recoverd.values import replace

APP = UnitState("app.service", needs=("db.service", "net.service"), bound_to=("net.service",))
DB, NET = "db.service", "net.service"


def started(unit: str, run: str, job: int = 1) -> list[JobLine]:
    return [JobLine(unit, run, job, "start")]


def stopped(unit: str, run: str, job: int, kind: str = "stop") -> list[JobLine]:
    return [JobLine(unit, run, job, "stop"), JobLine(unit, run, ended=True), JobLine(unit, run, job, kind)]


def ended(unit: str, run: str) -> list[JobLine]:
    return [JobLine(unit, run, ended=True)]


UP = [*started(DB, "d1", 1), *started(NET, "n1", 2), *started("app.service", "a1", 3)]
OWN_STOP = stopped("app.service", "a1", 12)


@pytest.mark.parametrize(
    ("lines", "how", "others"),
    [
        ([*UP, *OWN_STOP], WentDown.TOLD, ()),
        ([*UP, *ended("app.service", "a1")], WentDown.ITSELF, ()),
        # the other's job came first: one transaction
        ([*UP, *OWN_STOP, *stopped(DB, "d1", 11)], WentDown.ALONG, (DB,)),
        ([*UP, *OWN_STOP, *stopped(DB, "d1", 11), *started(DB, "d2", 20)], WentDown.ALONG, (DB,)),
        # its own came first: the other was stopped later
        ([*UP, *OWN_STOP, *stopped(DB, "d1", 13)], WentDown.TOLD, ()),
        # the other was stopped before it was started again
        ([*started(DB, "d0", 1), *stopped(DB, "d0", 2), *UP, *OWN_STOP], WentDown.TOLD, ()),
        # of no concern to it
        ([*UP, *OWN_STOP, *stopped("x.service", "x", 5)], WentDown.TOLD, ()),
        # what it is bound to ended by itself, before; what it merely requires does not take it along then
        ([*UP, *ended(NET, "n1"), *OWN_STOP], WentDown.ALONG, (NET,)),
        ([*UP, *ended(DB, "d1"), *OWN_STOP], WentDown.TOLD, ()),
        ([*UP, *OWN_STOP, *ended(NET, "n1")], WentDown.TOLD, ()),
        # restarted, and did not come up again
        ([*UP, *stopped("app.service", "a1", 12, "restart")], WentDown.ITSELF, ()),
        ([*UP, *stopped("app.service", "a1", 12, "restart"), *ended("app.service", "a2")], WentDown.ITSELF, ()),
        # stopped between two tries
        ([*UP, *ended("app.service", "a1"), JobLine("app.service", "a1", 9, "stop")], WentDown.TOLD, ()),
    ],
)
def test_the_jobs_of_the_journal(lines: list[JobLine], how: WentDown, others: tuple[str, ...]) -> None:
    """What was asked for has the lower number."""
    found = from_journal(APP, lines)
    assert found is not None
    assert (found.how, found.others) == (how, others)


@pytest.mark.parametrize("lines", [[], UP, [*UP, *stopped(DB, "d1", 3)], [JobLine("app.service", ended=True)]])
def test_a_journal_without_its_end_says_nothing(lines: list[JobLine]) -> None:
    """Lines come a moment later than what they tell of; those without a run are of no run."""
    assert from_journal(APP, lines) is None


def test_only_the_run_that_systemd_names_counts() -> None:
    lines = [*UP, *OWN_STOP, *started("app.service", "a2", 20)]
    assert from_journal(APP, lines) is None
    assert from_journal(replace(APP, invocation="a1"), lines) == Ending(WentDown.TOLD)


# active since 20, told to stop at 30, its process ended at 40
TOLD = UnitState("a.service", began_us=10, entered_us=20, left_active_us=30, main_ended_us=40, left_us=50)


@pytest.mark.parametrize(
    ("state", "needed", "how"),
    [
        (TOLD, (), WentDown.TOLD),
        (replace(TOLD, left_active_us=45), (), WentDown.ITSELF),
        (replace(TOLD, stays_when_done=True, main_ended_us=15), (), WentDown.TOLD),
        (replace(TOLD, stays_when_done=True, main_ended_us=0), (), WentDown.TOLD),
        (replace(TOLD, main_ended_us=0), (), WentDown.UNKNOWN),  # it has no main process
        (replace(TOLD, left_us=0), (), WentDown.UNKNOWN),
        (UnitState("a.service"), (), WentDown.UNKNOWN),
        (replace(TOLD, began_us=35, result="timeout"), (), WentDown.UNKNOWN),  # its last start failed
        (replace(TOLD, result="watchdog"), (), WentDown.ITSELF),
        (replace(TOLD, result="oom-kill"), (), WentDown.ITSELF),
        (replace(TOLD, result="timeout"), (), WentDown.TOLD),
        (replace(TOLD, result="timeout", ends_in_time=True), (), WentDown.ITSELF),
        (TOLD, (UnitState("b.service", active="active", entered_us=5),), WentDown.TOLD),
        (TOLD, (UnitState("b.service", active="active", entered_us=60),), WentDown.UNKNOWN),
        (TOLD, (UnitState("b.service"),), WentDown.UNKNOWN),
    ],
)
def test_the_times_of_a_unit(state: UnitState, needed: tuple[UnitState, ...], how: WentDown) -> None:
    """Told to stop: it leaves `active` before its process ends. What it may have gone down with leaves that open."""
    assert from_times(state, needed).how is how


def test_lines_are_read_from_json() -> None:
    """As `journalctl --output=json` writes them, of the system's manager and of a user's."""
    system = {
        "UNIT": "a.service",
        "JOB_ID": "995",
        "JOB_TYPE": "stop",
        "INVOCATION_ID": "fc4f",
        "MESSAGE_ID": "de5b426a63be47a7b6ac3eaac82e2f6f",
        "__MONOTONIC_TIMESTAMP": "12533353339",
    }
    user = {"USER_UNIT": "b.service", "USER_INVOCATION_ID": "3d48", "MESSAGE_ID": "7ad2d189f7e94e70a38c781354912448"}
    text = "\n".join([json.dumps(system), "{broken", json.dumps(user), json.dumps({"MESSAGE": "of nobody"})])
    assert parse_lines(text) == [
        JobLine("a.service", "fc4f", 995, "stop", at_us=12533353339),
        JobLine("b.service", "3d48", ended=True),
    ]


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["UNIT", "JOB_ID", "JOB_TYPE", "INVOCATION_ID", "MESSAGE_ID", "__MONOTONIC_TIMESTAMP"]),
            st.none() | st.text() | st.lists(st.integers(0, 255)) | st.integers(),
        )
    )
)
def test_whatever_the_journal_says_is_read(lines: list[dict[str, object]]) -> None:
    """Binary values are lists of numbers, large ones null."""
    found = parse_lines("\n".join(json.dumps(line) for line in lines))
    assert all(line.unit and line.job >= 0 for line in found)
    from_journal(APP, found)
