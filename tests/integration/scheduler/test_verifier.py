"""`verify` of the configuration, as `recoverd run` does it: a process of its own that is started when it is due."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recoverd.config.model import Config, RepositoryConfig, VerifyConfig
from recoverd.events.stream import Event, Events
from recoverd.operations.context import Context
from recoverd.operations.verify_due import is_due, verify_if_due
from recoverd.repository import verify_record
from recoverd.repository.store import Repository
from recoverd.scheduler.verifier import Verifier
from recoverd.system import clock

CALLED = """
import os, sys, time
with open(sys.argv[1], "a") as file:
    file.write(" ".join(sys.argv[2:]) + "\\n")
    file.flush()
    os.fsync(file.fileno())
time.sleep(float(os.environ.get("LASTS", "0")))
"""


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    state_dir = tmp_path / "state"
    Repository.create(str(state_dir / "repository"))
    config = Config(
        state_dir=str(state_dir),
        repository=RepositoryConfig(str(state_dir / "repository")),
        services={},
        verify=VerifyConfig(every_s=3600.0, sample=0.5),
    )
    events: list[Event] = []
    yield Context(config, Events([events.append]), str(tmp_path / "runtime"))


def note(context: Context, seconds_ago: float) -> None:
    repository = context.repository()
    verified_ns = clock.now_ns() - round(seconds_ago * 1e9)
    verify_record.save(context.state_dir, verify_record.VerifyRecord(repository.id, verified_ns=verified_ns))


def works(verifier: Verifier) -> bool:
    return verifier.is_at_work


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "in a minute nothing happened"
        time.sleep(0.01)


def test_when_it_is_due(context: Context) -> None:
    repository = context.repository()
    assert not is_due(context, repository)  # a new repository has time
    note(context, 3500)
    assert not is_due(context, repository)
    note(context, 3700)
    assert is_due(context, repository)
    note(context, -100)
    assert is_due(context, repository)  # of a clock that was wrong
    context.config = Config(context.state_dir, context.config.repository, {}, verify=VerifyConfig(3600.0, 0.0))
    assert not is_due(context, repository)


def test_it_is_started_once_and_ended_with_the_scheduler(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    monkeypatch.setenv("LASTS", "600")
    verifier = Verifier([sys.executable, "-c", CALLED, str(log)], look_every_s=0.0)
    try:
        verifier.tend(context)
        assert not works(verifier)
        note(context, 3700)
        verifier.tend(context)
        until(log.exists)
        until(lambda: bool(log.read_text()))
        for _ in range(5):
            verifier.tend(context)
        assert works(verifier)
        assert log.read_text() == "-v --json verify --sample 50%\n"
    finally:
        verifier.stop()
    assert not works(verifier)
    verifier.stop()


def test_one_that_could_not_be_done_is_not_repeated_at_once(context: Context, tmp_path: Path) -> None:
    log = tmp_path / "log"
    note(context, 3700)
    verifier = Verifier([sys.executable, "-c", CALLED, str(log)], look_every_s=0.0)

    def ended() -> bool:
        verifier.tend(context)
        return log.exists() and bool(log.read_text()) and not verifier.is_at_work

    try:
        until(ended)
        for _ in range(20):
            verifier.tend(context)
        assert not works(verifier)
        assert log.read_text().count("\n") == 1
    finally:
        verifier.stop()


def test_the_real_one_verifies(context: Context) -> None:
    """End to end: the process that is started reads the repository, at low priority, and notes it."""
    note(context, 3700)
    configuration = Path(context.state_dir).parent / "recoverd.yaml"
    configuration.write_text(f"version: 1\nstate_dir: {context.state_dir}\n")
    command = [sys.executable, "-m", "recoverd", "--config", str(configuration)]
    verifier = Verifier(command, look_every_s=0.0)

    def verified() -> bool:
        verifier.tend(context)
        return not is_due(context, context.repository())

    try:
        until(verified)
    finally:
        verifier.stop()


def test_who_calls_from_cron_verifies_too(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recoverd.operations.verify.give_way", lambda: None)  # this process is the one of all tests
    assert verify_if_due(context) is None
    note(context, 3700)
    result = verify_if_due(context)
    assert result is not None
    assert result.damage == ()
    assert verify_if_due(context) is None


def test_giving_way_lowers_the_priority(tmp_path: Path) -> None:
    """For the processor and for the disk: whoever else wants either goes first. Of others nothing changes."""
    code = (
        "import os, psutil; from recoverd.operations.verify import give_way\n"
        "give_way(); print(os.nice(0), psutil.Process().ionice().ioclass.name)"
    )
    import subprocess

    before = os.nice(0)  # whatever these tests themselves run with
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["19", "IOPRIO_CLASS_IDLE"]
    assert os.nice(0) == before
