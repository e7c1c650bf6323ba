"""A candidate is noted and counted before a service is started on it: whatever dies then, it is not tried for ever."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from recoverd.config.model import Probe, ProbeKind
from recoverd.operations import restore_run
from recoverd.operations.boot import boot
from recoverd.operations.confirm import confirm
from recoverd.operations.processes import driver_of
from recoverd.operations.unproven import TRIES
from recoverd.recovery import swapping

House = Any  # of conftest.py, which test files can't import


@pytest.fixture
def poisoned(frail: House) -> House:
    """Of its snapshots 1 works, and 2 does not; live state is damaged."""
    frail.write(1)
    frail.snapshot()
    frail.write(2, poison=True)
    frail.snapshot()
    frail.state.write_bytes(b"{")
    return frail


def killed(house: House, work: Callable[[], object]) -> None:
    """Do it in a process that is killed on the way, as its patches say."""
    house.reopen()
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(pid, 0)[1])
    house.reopen()


def die(*_: object, **__: object) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def note(house: House) -> dict[str, Any]:
    return dict(house.context.repository().record("app").last_restore)


def next_boot(house: House) -> Any:
    """The first phase, in a new process; the machine goes down before the second."""
    house.reopen()
    return boot(house.context)[0].services[0]


def test_a_machine_that_dies_on_a_candidate_gets_the_next_older_one(poisoned: House) -> None:
    """So many boots, each of which ends before the proof: then it counts as rejected, and the older one lies there."""
    assert next_boot(poisoned).attempts[-1].candidate == "app/2"
    for _ in range(TRIES - 1):
        assert next_boot(poisoned).outcome == "untouched"
    assert note(poisoned)["starts"] == TRIES
    last = next_boot(poisoned)
    assert [(one.candidate, one.result) for one in last.attempts] == [("app/2", "rejected"), ("app/1", "restored")]
    assert b'"counter": 1' in poisoned.state.read_bytes()
    marks = {one.snapshot.sequence: one.marks for one in poisoned.list()}
    assert marks[2].tries_left == 0 and "main" in marks[2].rejected
    poisoned.reopen()
    second = confirm(poisoned.context).services[0]
    assert (second.outcome, second.healthy, second.exit_status) == ("restored", True, 0)
    assert not note(poisoned)


def test_a_reboot_loop_ends_blocked_and_whoever_asks_by_hand_may_try_again(poisoned: House) -> None:
    """When all tries of all candidates are used up, boots change nothing any more; the damaged state is back."""
    for _ in range(2 * TRIES):
        assert next_boot(poisoned).outcome != "blocked"
    for _ in range(3):
        assert next_boot(poisoned).outcome == "blocked"
        assert poisoned.state.read_bytes() == b"{"
    assert confirm(poisoned.context).services[0].outcome == "blocked"
    result = poisoned.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0)
    assert [one.candidate for one in result.attempts if one.result == "restored"] == ["app/1"]


def test_the_second_phase_belongs_to_the_same_try(poisoned: House) -> None:
    """What the first phase has counted is proven in the second, also on the last try."""
    for _ in range(TRIES):
        next_boot(poisoned)
    poisoned.reopen()
    second = confirm(poisoned.context).services[0]
    assert [(one.candidate, one.result) for one in second.attempts] == [("app/2", "rejected"), ("app/1", "restored")]
    assert "did not" not in second.attempts[0].why
    assert poisoned.list()[0].marks.tries_left is None


def test_killed_between_swap_and_proof_the_next_restore_proves_it(
    poisoned: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noted before the start: `check` tells, the next restore proves it and marks the snapshot."""
    poisoned.context.repository().set_marks("app", 2, lambda marks: replace(marks, rejected={"main": "test"}))
    with monkeypatch.context() as patch:
        patch.setattr(restore_run, "bring_up", die)
        killed(poisoned, poisoned.restore)
    assert note(poisoned)["candidate"] == "app/1" and note(poisoned)["starts"] == 1
    assert [one.status for one in poisoned.check().results if one.name == "unproven"] == ["WARNING"]
    result = poisoned.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0)
    assert not note(poisoned)
    assert not [one for one in poisoned.check().results if one.name == "unproven"]
    assert 1 in [one.snapshot.sequence for one in poisoned.list() if one.marks.proven_ns is not None]


@pytest.mark.parametrize("again", ["restore", "confirm"])
def test_killed_between_swap_and_proof_what_does_not_work_is_taken_back(
    poisoned: House, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """Valid state that a restore wrote and the service is not healthy on is rejected, and the next older one tried."""
    with monkeypatch.context() as patch:
        patch.setattr(restore_run, "bring_up", die)
        killed(poisoned, poisoned.restore)
    result = poisoned.restore() if again == "restore" else confirm(poisoned.context).services[0]
    assert [(one.candidate, one.result) for one in result.attempts] == [("app/2", "rejected"), ("app/1", "restored")]
    assert (result.healthy, result.exit_status) == (True, 0)


def test_killed_again_and_again_the_same_one_is_not_tried_for_ever(
    poisoned: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(restore_run, "bring_up", die)
        for _ in range(TRIES):
            killed(poisoned, poisoned.restore)
            assert note(poisoned)["candidate"] == "app/2"
        killed(poisoned, poisoned.restore)
    assert note(poisoned)["candidate"] == "app/1"


def test_that_recoverd_can_not_start_it_tells_nothing_about_a_candidate(poisoned: House) -> None:
    """Its log can't be opened: the newest known-good stays, unproven and untried, however often that is asked for."""
    poisoned.context.repository().set_marks("app", 2, lambda marks: replace(marks, rejected={"main": "test"}))
    obstacle = poisoned.state_dir / "logs" / "app.log"
    obstacle.unlink(missing_ok=True)
    obstacle.mkdir(parents=True)
    for _ in range(TRIES + 1):
        result = poisoned.restore()
        assert (result.healthy, result.exit_status) == (False, 1)
        assert any("log" in reason and "can't be opened" in reason for reason in result.reasons)
        assert (note(poisoned)["candidate"], note(poisoned)["starts"]) == ("app/1", 0)
        assert poisoned.list()[-1].marks.rejected == {}
    obstacle.rmdir()
    result = poisoned.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0)
    assert [one.candidate for one in result.attempts] == ["app/1"]


def test_killed_before_the_swap_nothing_was_tried(poisoned: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A note without a swap counts for nothing: the candidate is neither proven nor rejected for it."""
    with monkeypatch.context() as patch:
        patch.setattr(swapping, "apply", die)
        for _ in range(TRIES + 1):
            killed(poisoned, poisoned.restore)
    assert poisoned.state.read_bytes() == b"{"
    assert not [one for one in poisoned.check().results if one.name == "unproven"]
    result = poisoned.restore()
    assert [(one.candidate, one.result) for one in result.attempts] == [("app/2", "rejected"), ("app/1", "restored")]
    assert poisoned.list()[0].marks.tries_left is None


def test_killed_between_two_candidates_the_original_comes_back_first(
    poisoned: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first was rejected and still lies there: it is not taken for the second; in the end nothing is lost."""
    calls: list[int] = []
    real = swapping.apply

    def second_dies(*words: Any, **more: Any) -> Any:
        calls.append(1)
        return die() if len(calls) == 2 else real(*words, **more)

    with monkeypatch.context() as patch:
        patch.setattr(swapping, "apply", second_dies)
        killed(poisoned, poisoned.restore)
    assert b"poison" in poisoned.state.read_bytes()
    poisoned.change(
        health=replace(poisoned.service.health, within_s=0.3, probes=(Probe(ProbeKind.TCP, "127.0.0.1:1"),))
    )
    result = poisoned.restore()
    assert result.exit_status == 1 and poisoned.state.read_bytes() == b"{"
    assert not any(one.marks.rejected for one in poisoned.list())  # none worked: it was not their fault


def test_an_explicit_restore_that_was_killed_is_taken_back_and_concludes_nothing(
    poisoned: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there before was fine: it comes back, where the service is not healthy on what was asked for."""
    live = poisoned.write(3)
    with monkeypatch.context() as patch:
        patch.setattr(restore_run, "bring_up", die)
        killed(poisoned, lambda: poisoned.restore(snapshot="app/2"))
    assert b"poison" in poisoned.state.read_bytes()
    result = poisoned.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("untouched", True, 0)
    assert poisoned.state.read_bytes() == live
    assert not any(one.marks.rejected for one in poisoned.list())


def test_a_service_that_runs_is_proven_and_not_taken_down_for_its_tries(poisoned: House) -> None:
    """Tries are about starts that come to nothing; what is up and healthy is proven, whatever was counted."""
    poisoned.context.repository().set_marks("app", 2, lambda marks: replace(marks, rejected={"main": "test"}))
    for _ in range(TRIES):
        next_boot(poisoned)
    poisoned.reopen()
    driver = driver_of(poisoned.context, poisoned.service)
    assert driver is not None
    pid = driver.start().pid
    result = poisoned.restore()
    assert (result.outcome, result.healthy, result.exit_status, result.pid) == ("restored", True, 0, pid)
    assert not note(poisoned) and not poisoned.list()[-1].marks.rejected
