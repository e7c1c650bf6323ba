"""`prune: {cron: …}`: the repository is pruned at times of its own, beside captures."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Autosave, Config, RepositoryConfig
from recoverd.events.stream import Event, Events
from recoverd.operations.context import Context
from recoverd.repository.store import Repository
from recoverd.scheduler.chores import CHORES, PRUNE, schedules
from recoverd.system import locks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .conftest import Run, World


def configure(world: World, **services: object) -> None:
    world.write("config.json", json.dumps({"prune": "* * * * *", "services": services}))


def until(world: World, child: Run, condition: Callable[[], object], what: str) -> None:
    """Meanwhile the child's clock is set to a second before a full minute, again and again."""
    steps = 0.0

    def step() -> object:
        nonlocal steps
        if time.monotonic() > steps:
            steps = time.monotonic() + 4.0
            world.write("step", str(float((world.directory / "step").read_text()) + 119.0 - now(world) % 60))
        return condition()

    world.write("step", "0")
    child.until(step, what)


def now(world: World) -> float:
    return time.time() + float((world.directory / "step").read_text())


def test_the_repository_is_pruned_when_its_time_comes(world: World) -> None:
    """Without any service to save as well; and the line at the start tells of services alone."""
    configure(world)
    child = world.start()
    assert child.announced() == "watching no service: none has `autosave`"
    until(world, child, world.prunes, "a prune")
    assert set(world.prunes()) == {"fine"}
    assert child.stop() == 0


@pytest.mark.parametrize("mode", ["locked", "bug"])
def test_what_hinders_a_prune_stops_nothing(mode: str, world: World) -> None:
    """Where another recoverd is at it, it is tried again soon; captures go on whatever happens."""
    configure(world, svc={"every": 0.2})
    child = world.start()
    world.write("mode", mode)
    until(world, child, world.prunes, "a prune")
    world.write("mode", "fine")
    if mode == "locked":
        child.until(lambda: world.prunes()[-1] == "fine", "another try")
        assert set(world.prunes()[:-1]) == {"locked"}
    before = len(world.calls())
    child.until(lambda: len(world.calls()) > before, "a capture after it")
    assert child.stop() == 0
    assert ("please report it" in child.log()) is (mode == "bug")


def test_a_reload_brings_a_schedule(world: World) -> None:
    """SIGHUP: the timetable of prunes is that of the new configuration."""
    world.configure()
    child = world.start()
    configure(world)
    child.signal(signal.SIGHUP)
    child.until_logged("configuration loaded again")
    until(world, child, world.prunes, "a prune")
    assert child.stop() == 0


def test_only_what_is_declared_is_scheduled() -> None:
    """Without the key there is only the prune after each snapshot that adds one."""
    config = Config("/s", RepositoryConfig("/s/repository"), {})
    assert schedules(config) == {}
    assert schedules(Config("/s", RepositoryConfig("/s/r"), {}, prune_cron="@daily")) == {
        PRUNE: Autosave(cron="@daily")
    }


def test_the_chore_itself(tmp_path: Path) -> None:
    """Without a repository there is nothing to do; beside another writer it is put off; damage is told, not raised."""
    heard: list[Event] = []
    config = Config(str(tmp_path), RepositoryConfig(str(tmp_path / "repository")), {})
    context = Context(config, Events([heard.append]), str(tmp_path / "run"), wait_s=0)
    assert CHORES[PRUNE](context)
    Repository.create(config.repository.path)
    assert CHORES[PRUNE](context)
    with locks.acquire(f"{config.repository.path}/lock"):
        assert not CHORES[PRUNE](context)
    assert heard == []
    (tmp_path / "repository" / "format.json").write_text("{}")
    again = Context(config, Events([heard.append]), str(tmp_path / "run"), wait_s=0)
    assert CHORES[PRUNE](again)
    assert [one.name for one in heard] == ["prune.failed"]
