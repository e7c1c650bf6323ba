"""The check of a dump item: each on both sides of each of its limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recoverd.health import Result, Status
from recoverd.health.dumps import dumps
from recoverd.health.facts import DumpFacts, ServiceFacts

SECOND = 1_000_000_000
NOW = 1_800_000_000 * SECOND
FINE = DumpFacts("database", 2048, NOW - 10 * SECOND, 1.5)
SERVICE = ServiceFacts("svc", every_s=3600.0, max_failures=3)


def check(service: ServiceFacts = SERVICE, **changes: Any) -> Result:
    (found,) = dumps(replace(service, dumps=(replace(FINE, **changes),)), NOW)
    assert found.name == "dump/database" and found.service == "svc"
    assert (found.hint is None) is (found.status is Status.OK)
    return found


def test_a_fresh_one_is_fine() -> None:
    found = check()
    assert found.status is Status.OK and found.message == "2.0 KiB, dumped 10 s ago in 1.5 s"
    assert {name: figure.value for name, figure in found.figures.items()} == {
        "failures": 0,
        "age_seconds": 10.0,
        "bytes": 2048,
        "seconds": 1.5,
    }


def test_failures_in_a_row_warn_and_are_critical_from_max_failures_on() -> None:
    """A dump that fails for hours is like any other capture that fails."""
    for failures, status in ((1, Status.WARNING), (2, Status.WARNING), (3, Status.CRITICAL), (30, Status.CRITICAL)):
        found = check(failures=failures, last_error="pg_dump exited with status 1")
        assert found.status is status and "pg_dump exited with status 1" in found.message
    assert check(replace(SERVICE, max_failures=31), failures=30).status is Status.WARNING


def test_its_age_follows_times_not_changes() -> None:
    """`on_change` makes no dump, so it makes none too old either."""
    for hours, status in ((2.9, Status.OK), (3.1, Status.WARNING), (9.1, Status.CRITICAL)):
        for service in (SERVICE, replace(SERVICE, on_change=True)):
            assert check(service, good_ns=NOW - int(hours * 3600 * SECOND)).status is status
    ancient = NOW - 10**8 * SECOND
    assert check(replace(SERVICE, every_s=None, on_change=True), good_ns=ancient).status is Status.OK
    assert check(replace(SERVICE, paused=True), good_ns=ancient).status is Status.OK


def test_what_waits_is_told() -> None:
    assert check(good_ns=None).status is Status.WARNING
    assert check(waits="svc/3").status is Status.WARNING and "svc/3" in check(waits="svc/3").message
    assert check(begun="svc/3").status is Status.CRITICAL and "interrupted" in check(begun="svc/3").message
