"""A house for one service: real files, a real repository, operations called as the command line calls them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import (
    Config,
    Format,
    Health,
    ItemKind,
    Place,
    Probe,
    ProbeKind,
    RepositoryConfig,
    Restore,
    Retention,
    Run,
    RunKind,
    SchemaSource,
    Service,
    StateItem,
)
from recoverd.events.stream import Event, Events
from recoverd.events.where import by_name
from recoverd.operations.assess import AssessRequest, AssessResult, assess
from recoverd.operations.check import CheckRequest, CheckResult, check
from recoverd.operations.context import Context
from recoverd.operations.listing import Listed, list_snapshots
from recoverd.operations.processes import driver_of
from recoverd.operations.prune import PruneRequest, PruneResult, prune
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest, ServiceRestore
from recoverd.operations.snapshot import ServiceSnapshot, SnapshotRequest, snapshot
from recoverd.operations.undo import UndoRequest, UndoResult, undo

PLACE = Place("test.yaml", 1, 1)
STATE_SCHEMA = {
    "type": "object",
    "required": ["version", "counter"],
    "properties": {"version": {"const": "1"}, "counter": {"type": "integer", "minimum": 0}},
}
TASK_SCHEMA = {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}}


def schema(document: Any) -> SchemaSource:
    return SchemaSource(document, None, (), PLACE)


def settle() -> None:
    """Let what was just written age past the time in which a file counts as still being written."""
    time.sleep(0.025)


@dataclass
class House:
    """One service `app` with a state file and a directory of tasks."""

    root: Path
    service: Service
    events: list[Event] = field(default_factory=list)
    _context: Context | None = None

    @property
    def state(self) -> Path:
        return self.root / "state" / "state.json"

    @property
    def tasks(self) -> Path:
        return self.root / "state" / "tasks"

    @property
    def state_dir(self) -> Path:
        return self.root / "recoverd"

    @property
    def packs(self) -> list[Path]:
        return sorted((self.state_dir / "repository" / "packs").glob("*/*.tar.zst"))

    def change(self, **keys: Any) -> None:
        """Declare the service differently from now on."""
        self.service = replace(self.service, **keys)
        self._context = None

    @property
    def context(self) -> Context:
        """As a new process would open it, unless nothing was declared anew since."""
        if self._context is None:
            config = Config(
                state_dir=str(self.state_dir),
                repository=RepositoryConfig(str(self.state_dir / "repository")),
                services={"app": self.service},
            )
            events = Events([self.events.append], partial(by_name, config))
            self._context = Context(config, events, str(self.root / "runtime"), wait_s=5)
        return self._context

    def reopen(self) -> None:
        self._context = None

    def write(self, counter: int, **more: Any) -> bytes:
        data = json.dumps({"version": "1", "counter": counter, **more}).encode()
        self.state.write_bytes(data)
        return data

    def write_task(self, name: str, **more: Any) -> bytes:
        data = json.dumps({"id": name, **more}).encode()
        (self.tasks / f"{name}.json").write_bytes(data)
        return data

    def snapshot(self, **request: Any) -> ServiceSnapshot:
        settle()
        return snapshot(self.context, SnapshotRequest(**request)).services[0]

    def assess(self) -> AssessResult:
        settle()
        return assess(self.context, AssessRequest())

    def verdict(self) -> str:
        return self.assess().services[0].verdict.value

    def restore(self, **request: Any) -> ServiceRestore:
        settle()
        return restore(self.context, RestoreRequest(**request)).services[0]

    def undo(self, name: str | None = None) -> UndoResult:
        return undo(self.context, UndoRequest(name))

    def prune(self, **request: Any) -> PruneResult:
        return prune(self.context, PruneRequest(**request))

    def check(self, **request: Any) -> CheckResult:
        return check(self.context, CheckRequest(**request))

    def list(self) -> list[Listed]:
        return list(list_snapshots(self.context).snapshots)

    def running(self) -> bool:
        driver = driver_of(self.context, self.service)
        return driver is not None and driver.status().running

    @staticmethod
    def schema(document: Any) -> SchemaSource:
        return schema(document)

    def start(self) -> None:
        """Bring the service up on what is there."""
        result = self.restore()
        assert result.healthy, result

    def stop(self) -> None:
        """Bring its process down, not by its operator's wish."""
        driver = driver_of(self.context, self.service)
        assert driver is not None
        driver.stop()

    def contents(self) -> Mapping[str, bytes]:
        """Every file below the state directory of the service."""
        base = self.root / "state"
        return {str(p.relative_to(base)): p.read_bytes() for p in sorted(base.rglob("*")) if p.is_file()}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """State of one file and a hundred tasks, all ok, nothing captured yet; no process."""
    one = House(
        tmp_path,
        Service(
            name="app",
            place=PLACE,
            state={
                "main": StateItem(
                    "main",
                    ItemKind.FILE,
                    str(tmp_path / "state" / "state.json"),
                    Format.JSON,
                    schema(STATE_SCHEMA),
                ),
                "tasks": StateItem(
                    "tasks",
                    ItemKind.DIRECTORY,
                    str(tmp_path / "state" / "tasks"),
                    Format.JSON,
                    schema(TASK_SCHEMA),
                    include=("*.json",),
                ),
            },
            retention=Retention(last=10),
            restore=Restore(),
        ),
    )
    one.tasks.mkdir(parents=True)
    one.write(0)
    for number in range(100):
        one.write_task(f"task-{number:03d}", description="x" * 200)
    yield one
    driver = driver_of(one.context, one.service) if one.service.run is not None else None
    if driver is not None:
        driver.stop()


@pytest.fixture
def judged(house: House) -> House:
    """The house with a process that is healthy only while the counter in its state is below 1000."""
    script = house.root / "app.py"
    script.write_text(_APP)
    flag = house.root / "answer"
    house.change(
        run=Run(
            RunKind.COMMAND,
            command=("/usr/bin/env", "python3", str(script), str(house.state), str(flag)),
            stop_timeout_s=5.0,
        ),
        health=Health(
            within_s=5.0,
            stable_for_s=0.2,
            probes=(Probe(ProbeKind.COMMAND, command=("grep", "-q", "healthy", str(flag))),),
        ),
    )
    return house


@pytest.fixture
def frail(house: House) -> House:
    """The house with a process that ends at once on state with `poison` in it, and else says that it is there."""
    flag = house.root / "there"
    script = f"rm -f {flag}; grep -q poison {house.state} && exit 3; echo yes >{flag}; exec sleep 600"
    house.change(
        run=Run(RunKind.COMMAND, command=("/bin/sh", "-c", script), stop_timeout_s=5.0),
        health=Health(
            within_s=20.0, stable_for_s=0.3, probes=(Probe(ProbeKind.COMMAND, command=("test", "-e", str(flag))),)
        ),
    )
    return house


_APP = """
import json, os, sys, time
state, flag = sys.argv[1:]
try:
    with open(state) as file:
        counter = json.load(file)["counter"]
except (OSError, ValueError, KeyError) as error:
    sys.exit(f"will not start on this: {error}")
with open(flag, "w") as file:
    file.write("healthy" if counter < 1000 else "ill")
while True:
    time.sleep(0.05)
"""
