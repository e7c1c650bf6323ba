"""recoverd dies, at any call, while it stops or starts a unit: what it took down comes back, and nothing else does.

The manager here is a model of systemd, with the properties that tests/systemd see in the real one: sockets are refused
while their service is up, a stop of an inactive unit cancels its job, a unit keeps when it last went down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Run, RunKind
from recoverd.errors import ServiceError
from recoverd.services.driver import Claim, free_to_start
from recoverd.services.systemctl import Systemctl, UnitState
from recoverd.services.systemd import SystemdDriver
from recoverd.services.unit_journal import JobLine


class Died(BaseException):
    """recoverd was killed."""


class Countdown:
    """Dies at the Nth step: `before` it takes effect, or right after."""

    def __init__(self, at: int = -1, *, before: bool = True) -> None:
        self.left, self.before = at, before

    def step(self, effect: Any) -> Any:
        self.left -= 1
        if self.left == 0 and self.before:
            raise Died
        result = effect()
        if self.left == 0:
            raise Died
        return result


class Model(Systemctl):
    """A socket, a timer and the service that they start; a unit that requires it, and one that requires that one."""

    def __init__(self, *, dependants: bool = False) -> None:
        super().__init__(user=False)
        self.deaths = Countdown()
        self.told: list[str] = []
        triggers = ("a.socket", "a.timer")
        self.units = {
            "a.service": UnitState("a.service", active="active", file="enabled", triggered_by=triggers),
            "a.socket": UnitState("a.socket", active="active", sub="running"),
            "a.timer": UnitState("a.timer", active="active", sub="waiting"),
        }
        if dependants:
            self.units["a.service"] = replace(self.units["a.service"], stops=("b.service", "down.service"))
            self.units["b.service"] = UnitState("b.service", active="active", stops=("b.target", "x.scope"))
            self.units["b.target"] = UnitState("b.target", active="active", stops=("a.service",))
            self.units["x.scope"] = UnitState("x.scope", active="active")
            self.units["down.service"] = UnitState("down.service")

    def show(self, units: Sequence[str]) -> list[UnitState]:
        return [self.units[unit] for unit in units]

    def start(self, state: UnitState) -> str | None:
        def effect() -> str | None:
            self.told.append(f"start {state.unit}")
            if state.unit == "a.socket" and self.units["a.service"].active == "active":
                return "Socket service a.service already active, refusing."
            self.units[state.unit] = replace(self.units[state.unit], active="active", sub="running")
            return None

        result: str | None = self.deaths.step(effect)
        return result

    def start_alone(self, state: UnitState) -> str | None:
        assert state.unit.endswith(".target")
        return self.start(state)

    def stop(self, state: UnitState) -> str | None:
        def down(unit: str) -> None:
            self.units[unit] = replace(self.units[unit], active="inactive", sub="dead", left_us=9, queued=False)
            for other in self.units[unit].stops:
                if not self.units[other].down:
                    down(other)

        def effect() -> None:
            self.told.append(f"stop {state.unit}")
            down(state.unit)

        self.deaths.step(effect)
        return None

    def reset_failed(self, unit: str) -> None:
        if self.units[unit].active == "failed":
            self.units[unit] = replace(self.units[unit], active="inactive")

    def job_lines(self, units: Sequence[str]) -> list[JobLine]:
        return []

    def similar(self, unit: str) -> str | None:
        return None

    def last_told(self, unit: str) -> str:
        return "skipped"

    def up(self) -> set[str]:
        return {name for name, unit in self.units.items() if not unit.down}


class Memory:
    def __init__(self, model: Model) -> None:
        self.record: dict[str, Any] = {}
        self.model = model

    def load(self) -> Mapping[str, Any]:
        return self.record

    def save(self, process: Mapping[str, Any]) -> None:
        def effect() -> None:
            self.record = dict(process)

        self.model.deaths.step(effect)


def driver(model: Model, memory: Memory, tmp_path: Path, claim: Claim = free_to_start) -> SystemdDriver:
    run = Run(RunKind.SYSTEMD, unit="a.service")
    return SystemdDriver("a", run, memory, log_dir=str(tmp_path), systemctl=model, claim=claim)


EVERYTHING = {"a.service", "a.socket", "a.timer"}


ALONG = {"b.service", "b.target"}


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, 16))
def test_what_a_restore_took_down_comes_back_after_any_death(tmp_path: Path, at: int, before: bool) -> None:
    """The next restore finds it wanted, stops what is left of it, and starts the service with all that starts it, and
    all that systemd had stopped along with it.
    """
    model = Model(dependants=True)
    memory = Memory(model)
    model.deaths = Countdown(at, before=before)
    try:
        driver(model, memory, tmp_path).stop()
        driver(model, memory, tmp_path).start()
    except Died:
        pass
    model.deaths = Countdown()
    again = driver(model, memory, tmp_path)
    assert again.status().wanted == "running"
    again.stop()
    assert model.up() <= {"x.scope"}
    assert again.status().wanted == "running"
    again.start()
    assert model.up() - {"x.scope"} == EVERYTHING | ALONG
    assert again.status().wanted == "running"
    assert memory.record["dependants"] == []


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("at", range(1, 7))
def test_an_operators_stop_holds_once_it_was_noted(tmp_path: Path, at: int, before: bool) -> None:
    """`recoverd stop` that dies either did not begin, or is remembered: nothing starts what was meant to be down."""
    model = Model()
    memory = Memory(model)
    model.deaths = Countdown(at, before=before)
    try:
        driver(model, memory, tmp_path).stop(by_operator=True)
    except Died:
        pass
    model.deaths = Countdown()
    untouched = model.up() == EVERYTHING and not memory.record
    assert driver(model, memory, tmp_path).status().wanted == ("running" if untouched else "stopped")
    driver(model, memory, tmp_path).start()
    assert model.up() == EVERYTHING


def test_sockets_before_the_service_others_after(tmp_path: Path) -> None:
    model = Model()
    one = driver(model, Memory(model), tmp_path)
    assert one.stop().was_running
    one.start()
    assert model.told == [
        *("stop a.socket", "stop a.timer", "stop a.service"),
        *("start a.socket", "start a.service", "start a.timer"),
    ]
    assert one.start().already


def test_what_went_along_comes_back_last_where_that_may_be(tmp_path: Path) -> None:
    """Nearest first; a target without all that it wants; what a claim refuses, a scope and what was down stay down."""
    model = Model(dependants=True)
    memory = Memory(model)
    asked: list[str] = []

    @contextmanager
    def claim(unit: str) -> Iterator[bool]:
        asked.append(unit)
        yield unit != "b.service"

    one = driver(model, memory, tmp_path, claim)
    one.stop()
    assert memory.record["dependants"] == ["b.service", "b.target"]
    one.start()
    assert asked == ["b.service", "b.target"]
    assert model.told[-1] == "start b.target"
    assert model.up() == EVERYTHING | {"b.target"}
    one.stop(by_operator=True)
    assert memory.record["dependants"] == []


def test_a_dependant_that_does_not_come_up_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is no failure of the service, and nothing is tried for ever."""

    class Refuses(Model):
        def start(self, state: UnitState) -> str | None:
            if state.unit == "b.service":
                raise ServiceError("not allowed")
            return "Job failed." if state.unit == "b.target" else super().start(state)

    model = Refuses(dependants=True)
    memory = Memory(model)
    one = driver(model, memory, tmp_path)
    one.stop()
    assert not one.start().already
    assert model.up() == EVERYTHING
    assert [record.getMessage() for record in caplog.records] == [
        "b.service was stopped together with a.service, and can't be started again: not allowed",
        "b.target was stopped together with a.service, and can't be started again: Job failed.",
    ]
    assert memory.record["dependants"] == []


def test_what_only_waited_only_waits_again(tmp_path: Path) -> None:
    """Its service was down when its socket and timer were stopped: it is not started for them."""
    model = Model()
    model.units["a.service"] = replace(model.units["a.service"], active="inactive")
    one = driver(model, Memory(model), tmp_path)
    assert one.status().detail == "it waits for a.socket, a.timer"
    assert one.stop().was_running
    one.start()
    assert model.up() == {"a.socket", "a.timer"}


def test_a_service_that_came_up_without_its_socket_gets_it_back(tmp_path: Path) -> None:
    """Somebody started it between recoverd's stop of its socket and its start; a socket that is gone is not missed."""
    model = Model()
    model.units["a.service"] = replace(model.units["a.service"], active="inactive")
    one = driver(model, Memory(model), tmp_path)
    one.stop()
    model.units["a.service"] = replace(model.units["a.service"], active="active")
    model.units["a.timer"] = replace(model.units["a.timer"], load="not-found")
    one.start()
    assert model.up() == {"a.service", "a.socket"}
    assert one.start().already


def test_a_queued_start_is_left_alone_but_for_its_operator(tmp_path: Path) -> None:
    """Stopping an inactive unit cancels the start that is queued for it."""
    model = Model()
    model.units = {"a.service": UnitState("a.service", queued=True)}
    one = driver(model, Memory(model), tmp_path)
    assert (one.status().running, one.status().settled) == (False, False)
    assert not one.stop().was_running
    assert model.units["a.service"].queued
    one.stop(by_operator=True)
    assert not model.units["a.service"].queued


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (UnitState("a.service", load="not-found"), "systemd knows no unit"),
        (UnitState("a.service", load="masked"), "is masked"),
        (UnitState("a.service", load="bad-setting", load_error="Unit a has a bad unit file."), "bad unit file"),
    ],
)
def test_what_can_not_be_started_is_not_tried(tmp_path: Path, state: UnitState, words: str) -> None:
    model = Model()
    model.units = {"a.service": state}
    memory = Memory(model)
    with pytest.raises(ServiceError, match=words):
        driver(model, memory, tmp_path).start()
    assert model.told == []
    assert memory.record == {}


def test_a_unit_that_systemd_skips_is_not_started(tmp_path: Path) -> None:
    """`systemctl start` succeeds where a condition does not hold, and the unit stays down."""

    class Skips(Model):
        def start(self, state: UnitState) -> str | None:
            return None

    model = Skips()
    model.units = {"a.service": UnitState("a.service")}
    memory = Memory(model)
    with pytest.raises(ServiceError, match="does not hold; the journal says: skipped"):
        driver(model, memory, tmp_path).start()
    assert memory.record["phase"] == "failed"
