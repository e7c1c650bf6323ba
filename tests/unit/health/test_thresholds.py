"""From facts to results: the checks of the host, and the list as a whole."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recoverd.health import Result, Status, overall
from recoverd.health.facts import (
    CaptureRun,
    FailedServiceFacts,
    HostFacts,
    LiveFacts,
    PathFacts,
    ProbeFacts,
    ProcessFacts,
    RepositoryFacts,
    SchedulerFacts,
    ServiceFacts,
    SnapshotFacts,
    Space,
)
from recoverd.health.thresholds import evaluate

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
HOST = HostFacts(
    now_ns=NOW,
    services=(HEALTHY,),
    scheduler=SchedulerFacts(pid=77, started_before=True),
    repository=RepositoryFacts("/repo", writable=True, size_bytes=5000, files=3, space=Space(GIB * 5, GIB * 10)),
)


def test_lingering_is_told_where_it_matters() -> None:
    """recovery.md: for a plain user lingering must be enabled; `check` looks and says so."""
    assert not [one for one in evaluate(HOST) if one.name == "lingering"]
    assert host_check("lingering", lingers=True).status is OK
    found = host_check("lingering", lingers=False)
    assert (found.status, found.hint) == (WARNING, "`loginctl enable-linger` allows it")


def host_check(name: str, **changes: Any) -> Result:
    (found,) = [one for one in evaluate(replace(HOST, **changes)) if one.name == name and one.service is None]
    return found


def test_all_is_well() -> None:
    """A healthy host is OK in every single check, and every check has a name of its own."""
    results = evaluate(HOST)
    assert [one for one in results if one.status is not OK] == []
    assert len({(one.service, one.name) for one in results}) == len(results)
    assert {one.name for one in results if one.service} == {
        "process", "restarts", "snapshot-age", "known-good-age", "snapshot-verdict", "captures", "save-duration",
        "snapshots", "state-path/main", "state-space/main",
    }  # fmt: skip


EVERYTHING_WRONG = ServiceFacts(
    name="svc",
    every_s=1.0,
    paused=True,
    paths=(PathFacts("main", "/x", exists=False), PathFacts("other", "/y", exists=True, readable=False)),
    newest=snapshot(5, "invalid"),
    unreadable_records=1,
    failures=9,
    runs=(CaptureRun(NOW, 5.0, failed=False),),
    blocked="why",
    open_intent="which",
    process=ProcessFacts(running=False, wanted="running", recent_restarts=20),
    live=LiveFacts("corrupt", probes=(ProbeFacts("tcp", healthy=False, message="refused"),)),
)


def test_whatever_is_not_ok_says_what_to_do() -> None:
    """errors and checks alike: a sentence, and a hint that says what to do."""
    host = HostFacts(
        NOW,
        (EVERYTHING_WRONG,),
        SchedulerFacts(pid=None, started_before=True),
        RepositoryFacts("/repo", writable=False, space=Space(0, GIB)),
        (FailedServiceFacts("other", ("a", "b")),),
    )
    wrong = [one for one in evaluate(host) if one.status is not OK]
    assert len(wrong) >= 15
    assert [one.name for one in wrong if not one.hint or not one.message] == []


@pytest.mark.parametrize(("free", "status"), [(GIB, OK), (GIB - 1, WARNING), (GIB // 5, CRITICAL)])
def test_room_for_the_repository(free: int, status: Status) -> None:
    """Snapshots need room: below a tenth it is told, below 3 % it is critical."""
    space = Space(free, 10 * GIB)
    assert host_check("repository-space", repository=replace(HOST.repository, space=space)).status is status


def test_repository() -> None:
    """No repository, no snapshots: critical, with the reason."""
    assert host_check("repository").message == "/repo: 4.9 KiB in 3 files"
    broken = host_check("repository", repository=RepositoryFacts("/repo", writable=True, error="another format"))
    assert (broken.status, broken.message) == (CRITICAL, "/repo can't be used: another format")
    assert host_check("repository", repository=RepositoryFacts("/repo", writable=False)).status is CRITICAL


LATE = replace(HEALTHY, newest=snapshot(9000))
NO_SCHEDULE = replace(HEALTHY, every_s=None)


@pytest.mark.parametrize(
    ("scheduler", "service", "status"),
    [
        (SchedulerFacts(pid=1), LATE, OK),
        (SchedulerFacts(pid=None, started_before=True), HEALTHY, CRITICAL),
        (SchedulerFacts(pid=None, started_before=True), NO_SCHEDULE, OK),
        (SchedulerFacts(pid=None, started_before=True), replace(HEALTHY, paused=True), OK),
        (SchedulerFacts(pid=None), HEALTHY, OK),
        (SchedulerFacts(pid=None), LATE, WARNING),
        (SchedulerFacts(pid=None), replace(HEALTHY, newest=None), WARNING),
    ],
)
def test_scheduler_alive(scheduler: SchedulerFacts, service: ServiceFacts, status: Status) -> None:
    """A scheduler that died is critical at once; a machine saved by timers (`--due`) is fine while it is in time."""
    assert host_check("scheduler", scheduler=scheduler, services=(service,)).status is status


def test_late_services_are_named_but_not_all_of_them() -> None:
    """A sentence stays a sentence with a thousand services."""
    services = tuple(replace(LATE, name=f"s{n}") for n in range(9))
    result = host_check("scheduler", scheduler=SchedulerFacts(pid=None), services=services)
    assert "s0, s1, s2 and 6 more not saved in time" in result.message


def test_configuration_changed_since_it_was_loaded() -> None:
    """cli.md, `check`: the hint names the process to signal."""
    changed = SchedulerFacts(pid=77, changed_files=("/etc/recoverd/conf.d/a.yaml",))
    result = host_check("configuration", scheduler=changed)
    assert result.status is WARNING
    assert "a.yaml" in result.message
    assert "kill -HUP 77" in (result.hint or "")
    assert host_check("configuration", scheduler=replace(changed, pid=None)).status is OK


def test_a_broken_drop_in_is_critical_and_hides_no_other_service() -> None:
    """config.md: its services are reported as failed, the rest are looked after."""
    results = evaluate(
        replace(HOST, failed=(FailedServiceFacts("other", ("a.yaml:1:2: bad", "b")), FailedServiceFacts("third", ())))
    )
    broken = [one for one in results if one.name == "service-configuration"]
    assert [(one.service, one.status) for one in broken] == [("other", CRITICAL), ("third", CRITICAL)]
    assert broken[0].message == "not watched: a.yaml:1:2: bad (and 1 more)"
    assert overall([one for one in results if one.service == "svc"]) is OK
