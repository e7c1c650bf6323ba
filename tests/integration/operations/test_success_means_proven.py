"""Promise 10: exit status 0 means that the state validated after it was written and every probe passed."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.config.model import Health, Probe, ProbeKind, Service
from recoverd.operations import staged_judging
from recoverd.recovery import documents, swapping
from recoverd.system import reading as reading_state
from recoverd.system.mounts import is_memory_file_system

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def test_a_restored_service_runs_and_its_snapshot_is_proven(judged: House) -> None:
    judged.write(1)
    judged.snapshot()
    judged.state.write_bytes(b"")
    result = judged.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0)
    assert judged.running()
    assert result.pid is not None
    proven = [one.snapshot.sequence for one in judged.list() if one.marks.proven_ns is not None]
    assert 1 in proven
    assert any("proven" in one.kept_by for one in judged.list())


def test_walks_back_to_a_candidate_that_the_service_is_healthy_on(judged: House) -> None:
    """Valid is not healthy: the newest known-good makes the service ill, the one before does not."""
    good = judged.write(1)
    judged.snapshot()
    for counter in (2000, 3000):
        judged.write(counter)
        judged.snapshot()
    judged.state.write_bytes(b"")
    judged.change(health=replace(judged.service.health, within_s=1.0))
    result = judged.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0)
    assert judged.state.read_bytes() == good
    assert [(one.candidate, one.result) for one in result.attempts] == [
        ("app/3", "rejected"),
        ("app/2", "rejected"),
        ("app/1", "restored"),
    ]


def test_what_was_rejected_is_not_tried_again(judged: House) -> None:
    """Durably: also by another process, after another damage."""
    judged.write(1)
    judged.snapshot()
    judged.write(2000)
    judged.snapshot()
    judged.change(health=replace(judged.service.health, within_s=1.0))
    judged.state.write_bytes(b"")
    assert judged.restore().outcome == "restored"
    judged.state.write_bytes(b"\0")
    judged.reopen()
    result = judged.restore()
    assert [one.result for one in result.attempts] == ["restored"]
    assert b'"counter": 1' in judged.state.read_bytes()


def test_when_no_candidate_helps_everything_is_put_back(judged: House) -> None:
    """The cause is elsewhere: original state, exit status 1, and no candidate stays rejected for it."""
    judged.write(1)
    judged.snapshot()
    judged.write(2)
    judged.snapshot()
    judged.state.write_bytes(b"damaged")
    before = judged.contents()
    judged.change(health=replace(judged.service.health, within_s=0.5, probes=(Probe(ProbeKind.TCP, "127.0.0.1:1"),)))
    result = judged.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("failed", False, 1)
    assert judged.contents() == before
    assert not judged.running()
    assert not any(one.marks.rejected for one in judged.list())
    judged.change(health=Health(within_s=5, stable_for_s=0.1))
    assert judged.restore().outcome == "restored"


def test_attempts_are_bounded(judged: House) -> None:
    for counter in (1, 2, 3, 4, 5):
        judged.write(counter)
        judged.snapshot()
    judged.state.write_bytes(b"")
    judged.change(
        restore=replace(judged.service.restore, attempts=2),
        health=replace(judged.service.health, within_s=0.3, probes=(Probe(ProbeKind.TCP, "127.0.0.1:1"),)),
    )
    result = judged.restore()
    assert [one.candidate for one in result.attempts] == ["app/5", "app/4"]


def test_not_asked_to_start(judged: House) -> None:
    judged.snapshot()
    judged.state.write_bytes(b"")
    result = judged.restore(start=False)
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", None, 0)
    assert not judged.running()


def test_a_service_stopped_by_its_operator_is_restored_and_stays_stopped(judged: House) -> None:
    from recoverd.operations.processes import driver_of

    judged.snapshot()
    judged.start()
    driver = driver_of(judged.context, judged.service)
    assert driver is not None
    driver.stop(by_operator=True)
    judged.state.write_bytes(b"")
    result = judged.restore()
    assert (result.outcome, result.exit_status) == ("restored", 0)
    assert not judged.running()


def test_all_renderings_say_the_same(judged: House) -> None:
    """JSON, exit status, record and check come from one result."""
    judged.snapshot()
    judged.start()
    judged.state.write_bytes(b"")
    judged.change(health=replace(judged.service.health, within_s=0.3, probes=(Probe(ProbeKind.TCP, "127.0.0.1:1"),)))
    result = judged.restore()
    document = json.loads(json.dumps(result.to_json()))
    assert (document["outcome"], document["healthy"], result.exit_status) == ("failed", False, 1)
    assert any(one.status == "CRITICAL" for one in judged.check(live=True).results)


def test_a_dependent_of_a_blocked_service_is_blocked_with_the_reason(house: House) -> None:
    from recoverd.config.model import Config, RepositoryConfig
    from recoverd.operations.context import Context
    from recoverd.operations.restore import restore
    from recoverd.operations.restore_results import RestoreRequest

    house.state.write_bytes(b"never good")
    first = house.context
    second = replace(house.service, name="second", state={}, after=("app",))
    config = Config(
        first.config.state_dir, RepositoryConfig(first.config.repository.path), {"app": house.service, "second": second}
    )
    result = restore(Context(config, first.events, first.runtime_dir), RestoreRequest())
    assert [(one.service, one.outcome) for one in result.services] == [("app", "blocked"), ("second", "blocked")]
    assert "app" in result.services[1].reasons[0]
    assert result.exit_status == 1


def test_scope_service_restores_all_items_from_one_snapshot(house: House) -> None:
    """Never a mixture: the newest snapshot in which everything was ok."""
    house.change(restore=replace(house.service.restore, scope="service"))
    house.write(1)
    house.write_task("task-000", at=1)
    house.snapshot()
    house.write_task("task-000", at=2)
    (house.tasks / "task-001.json").write_bytes(b"{")
    assert house.snapshot().verdict == "partial"
    house.state.write_bytes(b"")
    result = house.restore()
    assert result.outcome == "restored"
    assert {one.candidate for one in result.items if one.source == "snapshot"} == {"app/1"}
    assert json.loads((house.tasks / "task-000.json").read_bytes())["at"] == 1


def test_a_restore_that_can_not_be_recorded_stands(judged: House) -> None:
    """Another process writes to the repository all the time: the service is back and proven, and that is said."""
    judged.write(1)
    judged.snapshot()
    judged.state.write_bytes(b"")
    repository = judged.context.repository()
    judged.context.wait_s = 0.1
    with repository.writer(wait_s=1, what="a long capture"):
        result = judged.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0)
    assert any("could not be recorded" in reason for reason in result.reasons)
    assert b'"counter": 1' in judged.state.read_bytes()


def test_a_fault_of_recoverd_itself_stops_no_other_service(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bad service never keeps another from coming back, not even when recoverd has a bug."""
    from recoverd.config.model import Config, RepositoryConfig
    from recoverd.operations import restore_run
    from recoverd.operations.context import Context
    from recoverd.operations.restore import restore
    from recoverd.operations.restore_results import RestoreRequest

    first = house.context
    other = replace(house.service, name="other", state={})
    config = Config(
        first.config.state_dir, RepositoryConfig(first.config.repository.path), {"app": house.service, "other": other}
    )
    from recoverd.operations.assess import look as real

    def broken(context: Context, service: Service, *rest: object, **more: object) -> object:
        if service.name == "app":
            raise ZeroDivisionError("a bug")
        return real(context, service, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(restore_run, "look", broken)
    result = restore(Context(config, first.events, first.runtime_dir), RestoreRequest())
    assert {one.service: one.outcome for one in result.services} == {"app": "failed", "other": "untouched"}
    assert "ZeroDivisionError" in result.services[0].reasons[0]
    assert result.exit_status == 1


def test_what_comes_after_a_service_with_a_broken_configuration_is_blocked(house: House) -> None:
    from recoverd.config.model import Config, FailedService, RepositoryConfig
    from recoverd.operations.context import Context
    from recoverd.operations.restore import restore
    from recoverd.operations.restore_results import RestoreRequest

    first = house.context
    dependant = replace(house.service, name="second", after=("broken",), state={})
    config = Config(
        first.config.state_dir,
        RepositoryConfig(first.config.repository.path),
        {"app": house.service, "second": dependant},
        failed=(FailedService("broken", ("x.yaml:1:1: unknown key",)),),
    )
    result = restore(Context(config, first.events, first.runtime_dir), RestoreRequest())
    outcomes = {one.service: one.outcome for one in result.services}
    assert outcomes == {"app": "untouched", "second": "blocked", "broken": "failed"}


def test_when_the_next_candidate_can_not_be_tried_the_original_comes_back(
    judged: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first candidate makes the service ill, and there is no room for the second: nothing half-tried stays."""
    from recoverd.errors import StateError
    from recoverd.recovery import staging

    judged.write(1)
    judged.snapshot()
    judged.write(2000)
    judged.snapshot()
    judged.state.write_bytes(b"damaged")
    before = judged.contents()
    judged.change(health=replace(judged.service.health, within_s=0.5))
    real, calls = staging.stage, []

    def second_fails(*words: Any, **more: Any) -> staging.Staging:
        calls.append(words)
        if len(calls) == 2:
            raise StateError("there is no room to restore it")
        return real(*words, **more)

    monkeypatch.setattr(staging, "stage", second_fails)
    result = judged.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("failed", False, 1)
    assert any("no room" in reason for reason in result.reasons)
    assert judged.contents() == before
    assert not any(one.marks.rejected for one in judged.list())


def test_what_is_written_after_the_swap_is_seen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look after the swap compares stats with what was staged: a document that somebody wrote since is read and
    house, also one of the same size with the old times."""
    house.snapshot()
    rmtree(house.tasks)
    apply = swapping.apply

    def applied_and_written(*arguments: Any, **more: Any) -> Any:
        result = apply(*arguments, **more)
        path = house.tasks / "task-050.json"
        before = path.stat()
        path.write_bytes(b"\0" * before.st_size)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        return result

    monkeypatch.setattr(swapping, "apply", applied_and_written)
    result = house.restore()
    assert result.exit_status == 1
    assert "invalid" in [one.result for one in result.attempts]


def test_what_was_read_back_is_not_read_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: after the swap nothing of a restored directory is read that was read back as it was written."""
    house.snapshot()
    descriptor = os.open(house.tasks, os.O_RDONLY)
    in_memory = is_memory_file_system(descriptor)
    os.close(descriptor)
    if in_memory:
        pytest.skip("the stats of a memory file system are never believed")
    rmtree(house.tasks)
    read: list[str] = []
    reading, rows = reading_state.read_stable, staged_judging.rows

    def noted(fd: int, name: str, **more: Any) -> Any:
        read.append(name)
        return reading(fd, name, **more)

    def later(context: Any, service: Any, staged: Any, before_ns: int) -> Any:
        return rows(context, service, staged, before_ns + 10**9)  # however fast this disk is

    monkeypatch.setattr(documents, "read_stable", noted)
    monkeypatch.setattr(staged_judging, "rows", later)
    assert house.restore().outcome == "restored"
    assert not [name for name in read if name.startswith("task-")]
    assert len(os.listdir(house.tasks)) == 100
