"""The checks of one service: each on both sides of each of its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.health import Result, Status
from recoverd.health.facts import (
    CaptureRun,
    LiveFacts,
    PathFacts,
    ProbeFacts,
    ProblemFacts,
    ProcessFacts,
    RestoreRun,
    ServiceFacts,
    SnapshotFacts,
    Space,
    WatchFacts,
)
from recoverd.health.limits import age_s, ages, disk_limits
from recoverd.health.service_checks import evaluate

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN
SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
GIB = 1024**3


def snapshot(age: float = 1.0, verdict: str = "ok", sequence: int = 7, **more: Any) -> SnapshotFacts:
    return SnapshotFacts(f"svc/{sequence}", NOW - int(age * SECOND), verdict, **more)


HEALTHY = ServiceFacts(
    name="svc",
    every_s=30.0,
    paths=(
        PathFacts(
            "main", "/var/lib/svc/state.json", exists=True, files=1, size_bytes=10, space=Space(GIB * 9, GIB * 10)
        ),
    ),
    newest=snapshot(),
    known_good=snapshot(),
    runs=(CaptureRun(NOW, 0.2, failed=False),),
    process=ProcessFacts(running=True, wanted="running", healthy=True),
)


def check(name: str, facts: ServiceFacts | None = None, **changes: Any) -> Result:
    """The one result of that name after changes to the healthy service."""
    service = replace(facts or HEALTHY, **changes)
    found = [one for one in evaluate(service, NOW) if one.name == name]
    assert len(found) == 1, name
    return found[0]


# Ages


@pytest.mark.parametrize(
    ("every_s", "max_age_s", "warn_s"),
    [
        (1.0, None, 120.0),
        (40.0, None, 120.0),
        (300.0, None, 900.0),
        (1.0, 10.0, 10.0),
        (None, 60.0, 60.0),
        (None, None, None),
    ],
)
def test_how_old_is_too_old(every_s: float | None, max_age_s: float | None, warn_s: float | None) -> None:
    """`check.max_age`, else three intervals and at least two minutes, else never."""
    service = replace(HEALTHY, every_s=every_s, max_age_s=max_age_s)
    assert ages(service).warn_s == warn_s
    assert ages(service).crit_s == (None if warn_s is None else 3 * warn_s)


@pytest.mark.parametrize(
    ("every_s", "missed_s", "max_age_s", "warn_s"),
    [
        (None, 259_200, None, 259_200),  # as long ago as the third last time of its crontab
        (None, 10, None, 120),
        (None, 259_200, 60, 60),
        (600, 259_200, None, 1800),
        (600, 900, None, 900),
    ],
)
def test_how_old_is_too_old_for_a_crontab(
    every_s: float | None, missed_s: float, max_age_s: float | None, warn_s: float
) -> None:
    """The limit of a schedule with gaps follows its gaps; of two schedules the shorter one counts."""
    found = ages(replace(HEALTHY, every_s=every_s, missed_s=missed_s, max_age_s=max_age_s))
    assert (found.warn_s, found.crit_s) == (warn_s, 3 * warn_s)


@pytest.mark.parametrize(("age", "status"), [(0, OK), (119, OK), (121, WARNING), (359, WARNING), (361, CRITICAL)])
def test_age_of_the_newest_snapshot_and_of_known_good(age: float, status: Status) -> None:
    """cli.md, `check`: ages against the schedule, on both sides of each limit."""
    old = snapshot(age)
    for name in ("snapshot-age", "known-good-age"):
        result = check(name, newest=old, known_good=old)
        assert result.status is status
        assert result.figures["age_seconds"].value == pytest.approx(age)


def test_seen_unchanged_counts_as_captured_then() -> None:
    """repository.md: nothing changed means no snapshot; the confirmation is as good as one."""
    old = snapshot(9000)
    confirmed: dict[str, Any] = {"newest": old, "known_good": old, "confirmed_ns": NOW - SECOND}
    assert check("snapshot-age", **confirmed).status is OK
    assert check("known-good-age", **confirmed).status is OK
    assert "unchanged 1 s ago" in check("snapshot-age", **confirmed).message


def test_confirming_bad_state_keeps_no_known_good_young() -> None:
    """Promise 2: an invalid snapshot seen unchanged says nothing about what a restore would bring back."""
    facts: dict[str, Any] = {
        "newest": snapshot(9000, "invalid"),
        "known_good": snapshot(9500, sequence=6),
        "confirmed_ns": NOW,
    }
    assert check("snapshot-age", **facts).status is OK
    assert check("known-good-age", **facts).status is CRITICAL


def test_no_snapshot_at_all_is_one_warning_and_nothing_good_is_critical() -> None:
    """A new service waits for its first capture; one with only evidence has nothing to fall back to."""
    assert check("snapshot-age", newest=None, known_good=None).status is WARNING
    assert check("known-good-age", newest=None, known_good=None).status is OK
    assert check("known-good-age", newest=snapshot(1, "invalid"), known_good=None).status is CRITICAL


def test_a_snapshot_from_the_future_is_told() -> None:
    """A wrong clock must not make old state look fresh for ever."""
    result = check("snapshot-age", newest=snapshot(-3600), known_good=snapshot(-3600))
    assert result.status is WARNING
    assert "in the future" in result.message
    assert check("snapshot-age", newest=snapshot(-1)).status is OK


def test_a_pause_is_told_once() -> None:
    """A paused service has one warning, not three about its age."""
    old: dict[str, Any] = {"newest": snapshot(9000), "known_good": snapshot(9000), "paused": True}
    assert check("paused", **old).status is WARNING
    assert check("snapshot-age", **old).status is OK
    assert check("known-good-age", **old).status is OK


@given(st.integers(0, 2**62), st.none() | st.integers(0, 2**62), st.integers(0, 2**62))
def test_a_confirmation_never_makes_a_snapshot_older(time_ns: int, confirmed_ns: int | None, now_ns: int) -> None:
    """Whatever the clocks say, having been seen again makes nothing older."""
    assert age_s(time_ns, confirmed_ns, now_ns) <= age_s(time_ns, None, now_ns)


# Verdicts, captures, durations


def test_verdict_of_the_newest_snapshot_with_each_place_and_sentence() -> None:
    """cli.md: not only that something is wrong, but where and what."""
    problems = tuple(ProblemFacts("tasks", f"task_{n}.json", "is all NUL") for n in range(5))
    result = check("snapshot-verdict", newest=snapshot(1, "partial", problems=problems))
    assert result.status is WARNING
    assert "svc/7 is partial: tasks: task_0.json: is all NUL; " in result.message
    assert result.message.endswith("; and 2 more")
    assert result.figures["problems"].value == 5
    no_place = check(
        "snapshot-verdict", newest=snapshot(1, "invalid", problems=(ProblemFacts("main", "", "is empty"),))
    )
    assert (no_place.status, no_place.message) == (CRITICAL, "svc/7 is invalid: main: is empty")
    reset = snapshot(1, "invalid", problems=(ProblemFacts("main", "", "shrank"),), left_alone=True)
    hint = check("snapshot-verdict", newest=reset).hint
    assert hint is not None
    assert "recoverd accept" in hint, "a restore leaves it alone, so it would be no help"
    assert "recoverd restore --snapshot" in hint
    assert check("snapshot-verdict", newest=snapshot(1, "odd")).status is UNKNOWN


@pytest.mark.parametrize(("failures", "status"), [(0, OK), (1, WARNING), (2, WARNING), (3, CRITICAL), (40, CRITICAL)])
def test_failures_in_a_row(failures: int, status: Status) -> None:
    """config.md: check.max_failures."""
    result = check("captures", failures=failures, last_error="no space left")
    assert result.status is status
    assert ("no space left" in result.message) == (failures > 0)


def runs(*failed: bool, seconds: float = 0.1) -> tuple[CaptureRun, ...]:
    return tuple(CaptureRun(NOW, seconds, failed=one) for one in failed)


def test_failure_rate() -> None:
    """Every other capture fails, but never three in a row: still a warning; few runs prove nothing."""
    assert check("captures", runs=runs(*[True, False] * 4)).status is WARNING
    assert check("captures", runs=runs(*[True, False] * 3)).status is OK
    one_in_ten = check("captures", runs=runs(True, *[False] * 9))
    assert (one_in_ten.status, one_in_ten.message) == (OK, "1 of the last 10 captures failed")
    assert one_in_ten.figures["failure_rate"].value == 0.1
    assert check("captures", runs=()).figures["failure_rate"].value == 0


def test_captures_that_take_longer_than_their_interval() -> None:
    """Duration of saves: one slow run is no alarm, the usual one is."""
    assert check("save-duration", runs=runs(False, False, False, seconds=31)).status is WARNING
    mixed = runs(False, False, False) + runs(False, seconds=500)
    slow_once = check("save-duration", runs=mixed)
    assert slow_once.status is OK
    assert slow_once.figures["longest_seconds"].value == 500
    assert check("save-duration", every_s=None, runs=runs(False, seconds=31)).status is OK
    assert "save-duration" not in {one.name for one in evaluate(replace(HEALTHY, runs=runs(True)), NOW)}


# Interventions, processes, live state


@pytest.mark.parametrize(
    ("name", "changes", "words"),
    [
        ("intent", {"open_intent": "restore of svc/3"}, "restore of svc/3"),
        ("blocked", {"blocked": "state is unreadable"}, "state is unreadable"),
    ],
)
def test_what_waits_for_somebody_is_critical(name: str, changes: dict[str, Any], words: str) -> None:
    """recovery.md: `check` reports an open intent as CRITICAL; a blocked service says why."""
    result = check(name, **changes)
    assert result.status is CRITICAL
    assert words in result.message
    assert "recoverd restore svc" in (result.hint or "")


def test_unreadable_records() -> None:
    """Promise 7: damage is told; with nothing readable left it is critical."""
    assert check("records", unreadable_records=2).status is WARNING
    assert check("records", unreadable_records=2, newest=None, known_good=None).status is CRITICAL


@pytest.mark.parametrize(
    ("facts", "status"),
    [
        (ProcessFacts(running=True, wanted="running", healthy=True), OK),
        (ProcessFacts(running=True, wanted="running"), OK),
        (ProcessFacts(running=True, wanted=None), OK),
        (ProcessFacts(running=False, wanted="running"), CRITICAL),
        (ProcessFacts(running=False, wanted="running", why="exited with 1"), CRITICAL),
        (ProcessFacts(running=True, wanted="running", healthy=False, why="http: refused"), CRITICAL),
        (ProcessFacts(running=False, wanted="stopped"), OK),
        (ProcessFacts(running=True, wanted="stopped"), WARNING),
        (ProcessFacts(running=False), OK),
        (ProcessFacts(running=None, why="systemctl is absent"), UNKNOWN),
    ],
)
def test_running_and_healthy(facts: ProcessFacts, status: Status) -> None:
    """recovery.md, "Processes": real against wanted; what was stopped on purpose is fine."""
    result = check("process", process=facts)
    assert result.status is status
    assert facts.why is None or facts.why in result.message


@pytest.mark.parametrize(("recent", "status"), [(0, OK), (2, OK), (3, WARNING), (9, WARNING), (10, CRITICAL)])
def test_restart_count(recent: int, status: Status) -> None:
    """A crash loop is seen although the service runs each time one looks."""
    process = ProcessFacts(running=True, wanted="running", restarts=50, recent_restarts=recent)
    result = check("restarts", process=process)
    assert result.status is status
    assert result.figures["restarts"].value == 50


@pytest.mark.parametrize(
    ("verdict", "status"),
    [("ok", OK), ("new", OK), ("reset", WARNING), ("newer", WARNING), ("missing", CRITICAL), ("corrupt", CRITICAL),
     ("unreadable", CRITICAL), ("odd", UNKNOWN)],
)  # fmt: skip
def test_live_state(verdict: str, status: Status) -> None:
    """`check --live`: the verdict on live state."""
    assert check("state", live=LiveFacts(verdict)).status is status


def test_live_probes() -> None:
    """`check --live`: one failed probe is critical and named."""
    good, bad = ProbeFacts("http", healthy=True, message=""), ProbeFacts("tcp", healthy=False, message="refused")
    assert check("probes", live=LiveFacts("ok", probes=(good,))).status is OK
    result = check("probes", live=LiveFacts("ok", probes=(good, bad)))
    assert (result.status, result.message) == (CRITICAL, "tcp: refused")


# Paths and space


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        (PathFacts("main", "/x", exists=True), OK, "/x"),
        (PathFacts("main", "/x", exists=True, unchecked=True), OK, "/x: unchecked but for its format"),
        (PathFacts("main", "/x", exists=False), CRITICAL, "does not exist"),
        (PathFacts("main", "/x", exists=False, optional=True), OK, "allowed"),
        (PathFacts("main", "/x", exists=True, readable=False), CRITICAL, "can't be read"),
        (PathFacts("main", "/x", exists=True, writable=False), WARNING, "can't be written"),
        (PathFacts("main", "/x", exists=True, error="Input/output error"), CRITICAL, "Input/output error"),
    ],
)
def test_state_paths(path: PathFacts, status: Status, words: str) -> None:
    """cli.md, `check`: each state path exists, is readable and writable."""
    result = check("state-path/main", paths=(path,))
    assert result.status is status
    assert words in result.message


@pytest.mark.parametrize(
    ("free", "total", "status"),
    [
        (9 * GIB, 10 * GIB, OK),
        (GIB - 1, 10 * GIB, WARNING),
        (200 * 1024**2, 10 * GIB, CRITICAL),
        (3 * GIB, 4000 * GIB, OK),
        (GIB, 4000 * GIB, WARNING),
        (7 * 1024**2, 64 * 1024**2, OK),
        (1 * 1024**2, 64 * 1024**2, CRITICAL),
    ],
)
def test_room(free: int, total: int, status: Status) -> None:
    """Disk space by fraction on small disks, by bytes on large ones."""
    space = Space(free, total)
    assert check("state-space/main", paths=(replace(HEALTHY.paths[0], space=space),)).status is status


@given(st.integers(0, 2**62))
def test_full_is_never_before_low(total: int) -> None:
    """The limits are in order whatever the size of the disk."""
    low, full = disk_limits(total)
    assert 0 <= full <= low <= total


# What is saved on change


@pytest.mark.parametrize(("age", "status"), [(100, OK), (179, OK), (181, WARNING), (541, CRITICAL)])
def test_a_service_saved_on_change_is_noted_as_unchanged_all_the_time(age: float, status: Status) -> None:
    """An idle service is not stale while somebody watches it; three minutes after the last word of that it is."""
    facts = replace(HEALTHY, every_s=None, on_change=True, newest=snapshot(9e6), known_good=snapshot(9e6))
    confirmed = NOW - int(age * SECOND)
    assert check("snapshot-age", facts, confirmed_ns=confirmed).status is status
    assert check("known-good-age", facts, confirmed_ns=confirmed).status is status


def test_the_shortest_schedule_counts() -> None:
    """With `every` and `on_change` the limits are those of the more frequent one; `max_age` overrides both."""
    facts = replace(HEALTHY, every_s=3600.0, on_change=True)
    assert ages(facts).warn_s == 180
    assert ages(replace(facts, every_s=10.0)).warn_s == 120
    assert ages(replace(facts, max_age_s=7.0)).warn_s == 7


def test_watching() -> None:
    """A service that can't be watched is looked at, which is told with what helps; others have no such check."""
    facts = replace(HEALTHY, on_change=True, watch=WatchFacts(directories=3))
    assert check("on-change", facts).status is OK
    assert check("on-change", facts).figures["directories"].value == 3
    found = check("on-change", facts, watch=WatchFacts(0, "no more watches", "sysctl", 60.0))
    assert (found.status, found.hint) == (WARNING, "sysctl")
    assert found.message == "not watched but looked at every 1 min: no more watches"
    for other in (HEALTHY, replace(facts, watch=None), replace(facts, on_change=False)):
        assert "on-change" not in {one.name for one in evaluate(other, NOW)}


# Figures from the history


def restores(*outcomes: str) -> tuple[RestoreRun, ...]:
    return tuple(RestoreRun(NOW, float(number), outcome) for number, outcome in enumerate(outcomes, 1))


def test_load_duration() -> None:
    """How long restores took, failures left out; the last one is what matters."""
    found = check("load-duration", restores=restores("untouched", "restored", "failed", "degraded", "restored"))
    assert found.status is OK
    assert {key: figure.value for key, figure in found.figures.items()} == {
        "failure_rate": 0.2, "runs": 5, "last_seconds": 5, "median_seconds": 4, "longest_seconds": 5
    }  # fmt: skip
    assert "1 of the last 5 restores failed" in found.message
    assert "load-duration" not in {one.name for one in evaluate(HEALTHY, NOW)}


@pytest.mark.parametrize("outcome", ["failed", "blocked"])
def test_a_failed_load_is_told(outcome: str) -> None:
    """It stays told until a restore succeeds, also where it was the only one."""
    for before in ([], ["restored"]):
        found = check("load-duration", restores=restores(*before, outcome))
        assert found.status is WARNING
        assert found.hint is not None
    assert check("load-duration", restores=restores(outcome, "untouched")).status is OK


def test_how_many_snapshots() -> None:
    """Backup count, disk usage and file counts, from records alone."""
    found = check(
        "snapshots", snapshots=12, known_good_snapshots=11, new_bytes=5000, newest=snapshot(files=3, size_bytes=9)
    )
    assert (found.status, found.message) == (OK, "12 snapshots, 11 known-good, 4.9 KiB")
    assert {key: figure.value for key, figure in found.figures.items()} == {
        "snapshots": 12, "known_good": 11, "new_bytes": 5000, "files": 3, "bytes": 9
    }  # fmt: skip
    assert "snapshots" not in {one.name for one in evaluate(replace(HEALTHY, newest=None), NOW)}
