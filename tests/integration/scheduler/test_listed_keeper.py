"""What becomes of processes that a document lists, look by look: real processes and real documents."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.keeping import Limits, Watch
from recoverd.config.model import (
    Config,
    Format,
    Health,
    ItemKind,
    Place,
    RepositoryConfig,
    Run,
    RunKind,
    Service,
    StateItem,
)
from recoverd.config.process_model import Instances
from recoverd.errors import LockHeld
from recoverd.events.stream import Event, Events
from recoverd.operations import given_up, instances, lifecycle, listed_notes
from recoverd.operations.context import Context
from recoverd.operations.processes import driver_of
from recoverd.operations.reviving import revive
from recoverd.operations.snapshot import SnapshotRequest, snapshot
from recoverd.repository.store import Repository
from recoverd.scheduler.listed_keeper import ListedKeeper, listing_services
from recoverd.values import replace

WATCH = Watch(every_s=30.0, backoff_first_s=1e-6, backoff_most_s=2e-6, give_up_after=2)
RULE = Instances("main", "", ("/bin/sleep", "{seconds}"), {"status": "Active"})


class Desk:
    """A service whose document is a list of sessions, and one who keeps them: what he asks for is done right here."""

    def __init__(self, root: Path, **keys: Any) -> None:
        self.root, self.path = root, root / "state" / "sessions.json"
        self.path.parent.mkdir(exist_ok=True)
        item = StateItem("main", ItemKind.FILE, str(self.path), format=Format.JSON)
        self.service = Service(
            "app", Place("f", 1, 1), state={"main": item}, instances=RULE, watch=WATCH, health=Health(stable_for_s=0.0)
        )
        self.service = replace(self.service, **keys)
        self.events: list[Event] = []
        repository = str(root / "recoverd" / "repository")
        if not os.path.isdir(repository):
            Repository.create(repository)
        config = Config(str(root / "recoverd"), RepositoryConfig(repository), {"app": self.service})
        self.context = Context(config, Events([self.events.append]), str(root / "runtime"), wait_s=5)
        self.asked: list[tuple[str, ...]] = []
        self.answer: int | None = None  # instead of doing anything
        self.missed = False
        self.keeper = self.anew()

    def anew(self) -> ListedKeeper:
        """Another scheduler, which knows only what the former has left."""
        self.keeper = ListedKeeper(self.revive, lambda _: self.missed, lambda: True)
        return self.keeper

    def revive(self, names: Sequence[str]) -> int:
        self.asked.append(tuple(names))
        return revive(self.context, names).exit_status if self.answer is None else self.answer

    def write(self, **sessions: str) -> None:
        entries = [{"id": name, "status": status, "seconds": 600} for name, status in sessions.items()]
        self.path.write_text(json.dumps(entries))
        time.sleep(0.025)  # what was just written counts as still being written

    def look(self, times: int = 1) -> list[tuple[str, ...]]:
        """So many looks; what was asked for in them."""
        before = len(self.asked)
        for _ in range(times):
            self.keeper.tend(self.context, self.service, WATCH)
            time.sleep(0.001)
        return self.asked[before:]

    def pids(self) -> dict[str, int]:
        found = instances.compare(self.context, self.service).instances
        return {one.service.name: one.status.identity.pid for one in found if one.status.identity is not None}

    def kill(self, name: str) -> None:
        os.kill(self.pids()[name], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while name in self.pids():
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def told(self, event: str) -> list[str]:
        return [str(one.service) for one in self.events if str(one.name) == event]

    def end(self) -> None:
        self.path.write_text("[]")
        time.sleep(0.025)
        lifecycle.stop(self.context, ["app"])


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path)
    yield one
    one.end()


def test_one_call_brings_back_all_that_died_and_nothing_else(desk: Desk) -> None:
    desk.write(a="Active", b="Active", c="Active")
    assert desk.look() == [("app@a", "app@b", "app@c")]
    assert desk.told("service.unhealthy") == []  # what is new has not failed
    before = desk.pids()
    assert desk.look(3) == []
    for name in ("app@a", "app@c"):
        desk.kill(name)
    assert desk.look(2) == [("app@a", "app@c")]
    assert desk.told("service.unhealthy") == ["app@a", "app@c"]
    assert desk.pids()["app@b"] == before["app@b"]
    assert desk.pids().keys() == before.keys()


def test_while_another_recoverd_is_at_it_no_try_counts(desk: Desk) -> None:
    desk.write(a="Active")
    desk.answer = LockHeld.exit_status
    assert len(desk.look(20)) >= 5
    desk.answer = 1
    desk.look(20)
    assert desk.told("service.gave-up") == ["app@a"]
    assert given_up.why_given_up(desk.context.repository().record("app@a")) is not None
    asked = len(desk.asked)
    desk.anew()
    desk.look(5)
    assert len(desk.asked) == asked
    desk.write(a="Stopped")
    desk.look()
    desk.write(a="Active")  # somebody wants it again
    desk.answer = None
    assert desk.look() == [("app@a",)]
    assert list(desk.pids()) == ["app@a"]


def test_who_is_only_to_be_told_of_is_not_started(tmp_path: Path) -> None:
    """`restart: never`."""
    desk = Desk(tmp_path)
    desk.write(a="Active")
    for _ in range(3):
        desk.keeper.tend(desk.context, desk.service, replace(WATCH, restart="never"))
    assert (desk.asked, desk.told("service.unhealthy")) == ([], ["app@a"])


def test_an_old_document_is_not_read_again_and_a_new_owner_is_noticed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promise 11: cost follows what changed. Promise 12: whose document it is, is looked at each time."""
    read: list[str] = []
    real = instances.listing

    def counted(context: Context, service: Service) -> instances.Listing:
        read.append(service.name)
        return real(context, service)

    monkeypatch.setattr("recoverd.operations.instances.listing", counted)
    monkeypatch.setattr("recoverd.operations.listed_notes._QUIET_NS", 10**15)
    desk.answer = 0
    desk.write(a="Active")
    desk.look(3)
    assert len(read) == 3  # it may change again within the resolution of its time
    monkeypatch.setattr("recoverd.operations.listed_notes._QUIET_NS", 0)
    desk.look()
    read.clear()
    desk.look(5)
    assert read == []
    os.chmod(desk.path, 0o640)
    desk.look(2)
    assert len(read) == 1
    if os.geteuid() == 0:
        os.chown(desk.path.parent, 65534, 65534)
        desk.look(2)
        assert len(read) == 2
    desk.keeper.configuration_changed()
    read.clear()
    desk.look(2)
    assert len(read) == 1


def test_a_document_that_is_damaged_comes_back_when_one_dies_also_for_a_new_scheduler(desk: Desk) -> None:
    desk.write(a="Active", b="Active")
    desk.look()
    snapshot(desk.context, SnapshotRequest())
    good, before = desk.path.read_bytes(), desk.pids()
    desk.path.write_bytes(good[:-4])
    time.sleep(0.025)
    desk.anew()
    assert desk.look(3) == []
    assert desk.path.read_bytes() == good[:-4]
    noted = listed_notes.load(desk.context, "app")
    assert noted is not None and noted.error is not None
    assert sorted(noted.listed) == ["app@a", "app@b"]
    os.kill(before["app@a"], signal.SIGKILL)
    deadline = time.monotonic() + 60
    while not desk.look():
        assert time.monotonic() < deadline
    assert desk.path.read_bytes() == good
    assert desk.pids()["app@b"] == before["app@b"]
    assert desk.pids()["app@a"] != before["app@a"]


def test_a_service_that_runs_is_not_stopped_for_what_its_document_lists(tmp_path: Path) -> None:
    """Its document may be torn only now; those who died wait, and somebody is told."""
    desk = Desk(tmp_path, run=Run(RunKind.COMMAND, command=("/bin/sleep", "600")))
    try:
        desk.write(a="Active")
        lifecycle.start(desk.context, ["app"])
        snapshot(desk.context, SnapshotRequest())
        driver = driver_of(desk.context, desk.service)
        assert driver is not None
        main = driver.status().identity
        desk.look()
        desk.kill("app@a")
        desk.path.write_bytes(b"[")
        time.sleep(0.025)
        (result,) = revive(desk.context, ["app@a"]).services
        assert (result.outcome, result.exit_status) == ("blocked", 1)
        assert result.reasons[0].startswith("left as it is, for it runs: ")
        assert (desk.path.read_bytes(), driver.status().identity) == (b"[", main)

        desk.write(a="Active")
        desk.missed = True  # the service itself is down: it comes first
        assert desk.look(3) == []
        desk.missed = False
        assert desk.look(2) == [("app@a",)]
        desk.kill("app@a")
        driver.stop(by_operator=True)  # and with it what it lists
        assert desk.look(3) == []
        (result,) = revive(desk.context, ["app@a"]).services
        assert desk.pids() == {}
    finally:
        desk.end()


def test_what_is_watched_is_what_is_enabled_and_lists_something(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    unit = replace(desk.service, name="unit", run=Run(RunKind.SYSTEMD, unit="a.service"))
    services = {
        "app": desk.service,
        "unit": unit,  # systemd watches the unit, not what its document lists
        "off": replace(desk.service, enabled=False),
        "unwatched": replace(desk.service, watch=None),
        "plain": replace(desk.service, instances=None),
    }
    assert list(listing_services(replace(desk.context.config, services=services))) == ["app", "unit"]


def test_limits_are_those_of_each(tmp_path: Path) -> None:
    """config.md `limits`: for processes that recoverd starts."""
    desk = Desk(tmp_path, limits=Limits(memory_bytes=1 << 30, tasks=99))
    desk.write(a="Active")
    try:
        assert [one.limits for one in instances.listing(desk.context, desk.service).services] == [desk.service.limits]
        desk.look()
        assert "limited by" in instances.compare(desk.context, desk.service).instances[0].status.detail
    finally:
        desk.end()
