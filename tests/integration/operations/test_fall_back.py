"""`restore.unhealthy`: what becomes of a service that is not healthy on state that is ok."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.config.model import Probe, ProbeKind
from recoverd.operations.confirm import confirm
from recoverd.operations.processes import driver_of
from recoverd.values import replace

House = Any  # of conftest.py, which test files can't import


@pytest.fixture
def ill(frail: House) -> House:
    """Proven on snapshots 1 and 2; 3 is valid and newer, and so is live state, on which it is not healthy."""
    frail.write(1)
    frail.snapshot()
    frail.state.write_bytes(b"")
    frail.start()
    frail.write(2)
    frail.snapshot()
    frail.write(3, poison=True)
    frail.snapshot()
    driver = driver_of(frail.context, frail.service)
    assert driver is not None
    driver.stop()
    return frail


def fall_back(house: House) -> None:
    house.change(restore=replace(house.service.restore, unhealthy="fall-back"))


@pytest.mark.parametrize("phase", ["restore", "confirm"])
def test_good_state_is_never_rolled_back_unasked(ill: House, phase: str) -> None:
    """Promise 1, the default `report`: left alone, whatever a probe says, and told."""
    before = ill.contents()
    for _ in range(2):
        result = ill.restore() if phase == "restore" else confirm(ill.context).services[0]
        assert (result.outcome, result.healthy, result.exit_status) == ("untouched", False, 1)
        assert ill.contents() == before and not result.attempts
    assert not any(one.marks.rejected for one in ill.list())


@pytest.mark.parametrize("phase", ["restore", "confirm"])
def test_asked_to_fall_back_it_takes_what_is_proven_and_nothing_else(ill: House, phase: str) -> None:
    """Snapshot 3 is valid and newer, but nobody ever saw the service healthy on it."""
    fall_back(ill)
    before = ill.contents()
    result = ill.restore() if phase == "restore" else confirm(ill.context).services[0]
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0), result
    assert b'"counter": 1' in ill.state.read_bytes() and ill.running()
    assert all(one.candidate in {"app/1", "app/2"} for one in result.attempts)
    assert any("its state is ok" in reason for reason in result.reasons)
    ill.undo()
    assert ill.contents() == before  # nothing is lost


def test_where_it_does_not_help_the_original_is_put_back(ill: House) -> None:
    """The cause is elsewhere: state as it was, the service up on it, no rejection left, exit status 1."""
    fall_back(ill)
    ill.write(4)
    ill.change(health=replace(ill.service.health, within_s=0.3, probes=(Probe(ProbeKind.TCP, "127.0.0.1:1"),)))
    before = ill.contents()
    result = ill.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("failed", False, 1)
    assert [one.result for one in result.attempts] and all(one.result == "rejected" for one in result.attempts)
    assert ill.contents() == before and ill.running()
    assert not any(one.marks.rejected for one in ill.list())
    assert not ill.context.repository().record("app").last_restore


def test_without_a_proven_one_there_is_nothing_to_fall_back_to(frail: House) -> None:
    """What was never proven is no better than what lies there."""
    fall_back(frail)
    frail.write(1)
    frail.snapshot()
    frail.write(3, poison=True)
    frail.snapshot()
    before = frail.contents()
    result = frail.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("untouched", False, 1)
    assert frail.contents() == before


def test_a_drill_that_passed_proves_too(frail: House) -> None:
    """Proven: the service was healthy on it, or a drill passed on it."""
    fall_back(frail)
    frail.write(1)
    frail.snapshot()
    frail.context.repository().set_marks("app", 1, lambda marks: replace(marks, drilled_ns=1))
    frail.write(3, poison=True)
    frail.snapshot()
    assert frail.restore().outcome == "restored"
    assert b'"counter": 1' in frail.state.read_bytes()
