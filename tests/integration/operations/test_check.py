"""`recoverd check` beside services that are at work."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.health.results import Status

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

AN_HOUR_NS = 3_600_000_000_000


def main_of(house: House) -> Any:
    (one,) = [result for result in house.check().results if result.name == "state-path/main"]
    return one


def empty(house: House, mtime_ns: int) -> bytes:
    whole = house.state.read_bytes()
    house.state.write_bytes(b"")
    os.utime(house.state, ns=(mtime_ns, mtime_ns))
    return whole


def test_a_file_that_is_being_written_is_not_told_as_empty(judged: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes in place empties it first: it gets the moment that the rest takes, and nobody is woken for that."""
    judged.snapshot()
    whole = empty(judged, time.time_ns() + AN_HOUR_NS)  # just now, however long this test takes
    monkeypatch.setattr(time, "sleep", lambda _: judged.state.write_bytes(whole))
    assert main_of(judged).status is Status.OK


def test_a_file_that_stays_empty_is_told(judged: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once where it has been so for a while; also where a clock that was set back calls it new for ever."""
    judged.snapshot()
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    empty(judged, time.time_ns() - AN_HOUR_NS)
    assert (main_of(judged).status, waits) == (Status.CRITICAL, [])
    empty(judged, time.time_ns() + AN_HOUR_NS)
    assert main_of(judged).status is Status.CRITICAL
    assert 0 < sum(waits) < 1
