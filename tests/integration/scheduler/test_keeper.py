"""What becomes of a decision to bring a service back, while others are at work and when it helps nothing."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from recoverd.config.keeping import Watch
from recoverd.config.model import Config, ItemKind, Place, RepositoryConfig, Run, RunKind, Service, StateItem
from recoverd.errors import LockHeld
from recoverd.events.names import EventName
from recoverd.events.stream import Event, Events
from recoverd.operations import given_up
from recoverd.operations.context import Context
from recoverd.operations.processes import driver_of
from recoverd.repository.store import Repository
from recoverd.scheduler.keeper import Keeper, watched_services
from recoverd.scheduler.keeping import Act

WATCH = Watch(every_s=0.02, backoff_first_s=0.01, backoff_most_s=0.02, give_up_after=1)


def service(tmp_path: Path, **keys: object) -> Service:
    return Service(
        "app",
        Place("f", 1, 1),
        run=Run(RunKind.COMMAND, command=("/bin/sleep", "600")),
        state={"main": StateItem("main", ItemKind.FILE, str(tmp_path / "state.json"))},
        watch=WATCH,
        **keys,  # type: ignore[arg-type]
    )


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def context(tmp_path: Path, events: list[Event]) -> Iterator[Context]:
    """A service that was started and has ended."""
    repository = str(tmp_path / "recoverd" / "repository")
    Repository.create(repository)
    (tmp_path / "state.json").write_text("{}")
    one = service(tmp_path)
    config = Config(str(tmp_path / "recoverd"), RepositoryConfig(repository), {"app": one})
    context = Context(config, Events([events.append]), str(tmp_path / "runtime"))
    driver = driver_of(context, one)
    assert driver is not None
    os.kill(driver.start().pid or 0, signal.SIGKILL)
    yield context
    driver.stop()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "in a minute it did not happen"
        time.sleep(0.005)


def gave_up(context: Context) -> bool:
    return given_up.why_given_up(context.repository().record("app")) is not None


def test_who_is_hindered_by_another_recoverd_tries_again_and_has_not_failed(
    context: Context, events: list[Event]
) -> None:
    """LockHeld means later: only tries that were made count."""
    asked: list[tuple[str, Act]] = []
    free = threading.Event()

    def revive(names: Sequence[str], act: Act) -> int:
        asked.append((names[0], act))
        return 1 if free.is_set() else LockHeld.exit_status

    keeper = Keeper((), revive=revive)
    keeper.plan(context)
    try:
        until(lambda: len(asked) >= 4)
        assert not gave_up(context)
        free.set()
        until(lambda: gave_up(context))
        assert set(asked) == {("app", Act.BRING_BACK)}
        until(lambda: any(event.name is EventName.SERVICE_GAVE_UP for event in events))
    finally:
        keeper.stop()


def test_one_that_was_given_up_is_left_alone_by_the_next_scheduler(context: Context) -> None:
    """Until its state changes; then it is forgotten that it was given up."""
    one = context.config.services["app"]
    given_up.give_up(context.repository(), one, "in vain", running=False)
    asked = threading.Event()

    def revive(names: Sequence[str], act: Act) -> int:
        asked.set()
        return LockHeld.exit_status

    keeper = Keeper((), revive=revive)
    keeper.plan(context)
    try:
        assert not asked.wait(0.3)
        Path(one.state["main"].path).write_text('{"other": 1}')
        until(asked.is_set)
        until(lambda: not gave_up(context))
    finally:
        keeper.stop()


def test_a_try_that_hangs_holds_up_neither_the_end_nor_others(context: Context, tmp_path: Path) -> None:
    """Captures and the last of them come from the main thread, which never waits for one."""
    hangs, release = threading.Event(), threading.Event()

    def revive(names: Sequence[str], act: Act) -> int:
        hangs.set()
        release.wait(60)
        return 0

    keeper = Keeper((), revive=revive)
    keeper.plan(context)
    try:
        until(hangs.is_set)
        keeper.plan(context)
        keeper.stop()
        assert not release.is_set()
    finally:
        release.set()
        keeper.stop()


def test_only_what_recoverd_itself_runs_is_watched(tmp_path: Path) -> None:
    """Units are watched by systemd; what has no process, or is not enabled, by nobody."""
    unit = service(tmp_path)
    kinds = {
        "command": service(tmp_path),
        "unit": Service("unit", unit.place, run=Run(RunKind.SYSTEMD, unit="a.service"), watch=WATCH),
        "state": Service("state", unit.place, watch=WATCH),
        "off": service(tmp_path, enabled=False),
    }
    assert list(watched_services(kinds)) == ["command"]
