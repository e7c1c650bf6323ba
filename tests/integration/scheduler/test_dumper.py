"""Captures with dumps, as `recoverd run` has them made: a process of its own for each service."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.dump_model import Dump
from recoverd.config.model import (
    Autosave,
    Config,
    ItemKind,
    OnChange,
    Place,
    RepositoryConfig,
    Service,
    StateItem,
)
from recoverd.config.units import parse_duration
from recoverd.events.stream import Event, Events
from recoverd.operations.context import Context
from recoverd.scheduler.dumper import Dumper
from recoverd.scheduler.loop import Timings

# Stands where recoverd would: it notes what it is called with, and ends as a file named after the service tells.
CALLED = """
import os, sys, time
base, words, name = sys.argv[1], sys.argv[2:], sys.argv[-1]
with open(f"{base}/calls", "a") as file:
    file.write(" ".join(words) + "\\n")
while not os.path.exists(f"{base}/{name}"):
    time.sleep(0.01)
status, _, document = open(f"{base}/{name}").read().partition(" ")
sys.stdout.write(document)
sys.stdout.flush()
sys.exit(int(status))
"""
FINE = '0 {"snapshots": []}'
PLACE = Place("f", 1, 1)


def service(name: str, **keys: Any) -> Service:
    dump = StateItem("database", ItemKind.DUMP, "", dump=Dump(("true",), ("true",)))
    return Service(name, PLACE, state={"database": dump}, autosave=Autosave(every_s=60.0, **keys))


@dataclass
class World:
    base: Path
    services: dict[str, Service]
    dumper: Dumper
    events: list[Event] = field(default_factory=list)
    again: dict[str, str] = field(default_factory=dict)
    changed: dict[str, str] = field(default_factory=dict)

    @property
    def context(self) -> Context:
        config = Config(str(self.base), RepositoryConfig(str(self.base / "repository")), services=self.services)
        return Context(config, Events([self.events.append]), str(self.base))

    def take(self, *names: str, changed: tuple[str, ...] = ()) -> set[str]:
        return self.dumper.take(self.context, dict.fromkeys(names, "its time has come"), set(changed))

    def tend(self) -> None:
        again, changed = self.dumper.tend(self.context)
        self.again |= again
        self.changed |= changed

    def end(self, name: str, how: str = FINE) -> None:
        temporary = self.base / f".{name}"
        temporary.write_text(how)
        temporary.replace(self.base / name)

    def calls(self) -> list[str]:
        path = self.base / "calls"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    def has_called(self, times: int) -> bool:
        return len(self.calls()) >= times

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, f"in a minute nothing happened: {self.calls()}, {self.events}"
            self.tend()
            time.sleep(0.01)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    command = [sys.executable, "-c", CALLED, str(tmp_path)]
    dumper = Dumper(command, most=2, retry_first_s=0.0, retry_most_s=0.0)
    made = World(tmp_path, {name: service(name) for name in ("a", "b", "c")}, dumper)
    plain = StateItem("main", ItemKind.FILE, "/x")
    made.services["plain"] = Service("plain", PLACE, state={"main": plain}, autosave=Autosave(every_s=60.0))
    yield made
    dumper.stop()


def test_each_service_has_a_process_of_its_own_and_one_at_a_time(world: World) -> None:
    """One that is slow holds no other; what becomes due again while it is captured is captured already."""
    assert world.take("a", "plain") == {"a"}
    world.tend()
    assert world.take("a", "b") == {"a", "b"}
    world.until(lambda: len(world.calls()) == 2)
    world.take("c")
    for _ in range(20):
        world.tend()
    words = "-v --json --wait 2s snapshot --reason scheduled"
    assert world.calls() == [f"{words} a", f"{words} b"]  # so many at most at a time
    world.end("b")
    world.until(lambda: f"{words} c" in world.calls())
    world.end("a")
    world.end("c")
    world.until(lambda: world.take("a", changed=("a",)) == set())
    assert len(world.calls()) == 3
    assert (world.again, world.changed, world.events) == ({}, {}, [])


def test_changes_make_no_dump_and_wait_for_the_one_under_way(world: World) -> None:
    """Two captures of a service at once would only be in each other's way; afterwards it is looked at."""
    world.services["a"] = service("a", on_change=OnChange())
    assert world.take("a", changed=("a",)) == set()
    world.take("a")
    world.until(world.calls)
    assert world.take("a", changed=("a",)) == {"a"}
    world.end("a")
    world.until(lambda: world.changed)
    assert set(world.changed) == {"a"}
    assert world.take("a", changed=("a",)) == set()


def test_what_can_not_begin_is_due_again(world: World) -> None:
    """It is told with its reason; that another recoverd is at it is no failure."""
    fault = {"error": {"message": "the repository is gone", "hint": None, "exit_status": 1}}
    for how, told in (
        (f"1 {json.dumps(fault)}", "the repository is gone; next try"),
        ("2 ", "recoverd snapshot a ended with status 2; next try"),
        ('75 {"snapshots": []}', None),
    ):
        world.end("a", how)
        world.take("a")
        world.until(lambda: world.again)
        assert world.again.pop("a") == "its time has come"
        messages = [event.message for event in world.events]
        assert [message.startswith(told or "") for message in messages] == [True] * (told is not None)
        world.events.clear()


def test_what_failed_was_told_by_its_process_and_is_due_at_its_next_time(world: World) -> None:
    """A server that is down is not asked again and again."""
    for status in (1, 3):
        world.end("a", f'{status} {{"snapshots": [{{"service": "a", "outcome": "failed"}}]}}')
        calls = len(world.calls()) + 1
        world.take("a")
        world.until(partial(world.has_called, calls))
        world.until(lambda: world.take("a", changed=("a",)) == set())
        for _ in range(20):
            world.tend()
        assert (world.again, world.events) == ({}, [])


def test_a_service_that_is_declared_no_more_is_left_alone(world: World) -> None:
    world.take("a")
    del world.services["a"]
    world.tend()
    assert world.calls() == []


def test_without_a_command_the_loop_does_it_all(world: World) -> None:
    world.dumper = Dumper(())
    assert not world.dumper.is_active
    assert world.take("a") == set()


def test_the_last_dumps_are_taken_side_by_side(world: World) -> None:
    """At a stop none waits for another, however many at a time are usual; one that failed makes it no success."""

    def end_all(last: str) -> None:
        deadline = time.monotonic() + 60
        while not world.has_called(3) and time.monotonic() < deadline:
            time.sleep(0.01)
        for name, how in (("a", FINE), ("b", '3 {"snapshots": []}'), ("c", last)):
            world.end(name, how)

    for last, done in ((FINE, True), ('1 {"snapshots": []}', False)):
        for name in ("a", "b", "c", "calls"):
            (world.base / name).unlink(missing_ok=True)
        thread = threading.Thread(target=end_all, args=(last,))
        thread.start()
        assert world.dumper.finish(world.context, ["a", "b", "c"], within_s=60.0) is done
        thread.join()
        assert len(world.calls()) == 3 and all("--reason shutdown" in call for call in world.calls())


def test_the_last_dumps_end_in_time(world: World) -> None:
    """A dump that takes longer than whoever stops us waits is ended, told and counted as a failure."""
    for is_there in (False, True):
        if is_there:
            world.context.repository(create=True)
        world.events.clear()
        assert not world.dumper.finish(world.context, ["a", "b"], within_s=0.2)
        told = [(event.name, event.service) for event in world.events]
        assert told == [("snapshot.failed", "a"), ("snapshot.failed", "b")]
        assert all("was ended" in event.message for event in world.events)
    assert world.context.repository().record("a").failures == 1


def test_the_last_capture_of_files_needs_no_dump(world: World) -> None:
    """What lies on the disk is saved at once; only then servers are asked."""
    mixed = world.services["a"]
    world.services["a"] = replace(mixed, state={**mixed.state, "main": StateItem("main", ItemKind.FILE, "/x")})
    assert world.dumper.apart(world.context, ["a", "b", "plain"]) == (("a", "plain"), ("a", "b"))
    assert Dumper(()).apart(world.context, ["a", "plain"]) == (("a", "plain"), ())


def test_the_unit_waits_longer_than_the_last_dumps_take() -> None:
    """What stops us kills us at TimeoutStopSec: files, dumps and hooks must be done by then."""
    unit = (Path(__file__).parents[3] / "contrib" / "systemd" / "recoverd.service").read_text()
    (line,) = [line for line in unit.splitlines() if line.startswith("TimeoutStopSec=")]
    assert 2 * Timings().last_dumps_s < parse_duration(line.partition("=")[2].replace("min", "m"))
