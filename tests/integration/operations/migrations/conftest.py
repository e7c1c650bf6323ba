"""A service that was updated: its state is of version 1, and the configuration knows how version 2 looks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.model import Health, Probe, ProbeKind, Run, RunKind, StateItem
from recoverd.operations.migrate import MigrateRequest, ServiceMigration, migrate

STEP = MigrationStep("1", "2", patch=({"op": "add", "path": "/runs", "value": []},))
SCHEMA = {
    "type": "object",
    "required": ["version", "counter", "runs"],
    "properties": {"version": {"const": "2"}, "counter": {"type": "integer"}},
}


@dataclass
class Update:
    """The house of operations/conftest.py, with one item that is to be migrated: the file, or the directory."""

    house: Any
    items: Mapping[str, StateItem]  # as they were declared before the update
    migrations: list[str] = field(default_factory=list)  # their quarantines, by those tests that want to know

    def declare(self, *steps: MigrationStep, current: str = "2", schema: Any = SCHEMA, **keys: Any) -> None:
        item = replace(
            self.items["main"],
            schema=None if schema is None else self.house.schema(schema),
            version=VersionRule("version", current),
            migrate=steps or (STEP,),
        )
        self.house.change(state={"main": replace(item, **keys)})

    def declare_tasks(self, *steps: MigrationStep, current: str = "3", schema: Any = None) -> None:
        """Only the directory, each document of which has a version of its own in `v`."""
        item = replace(
            self.items["tasks"],
            schema=None if schema is None else self.house.schema(schema),
            version=VersionRule("v", current),
            migrate=steps,
        )
        self.house.change(state={"tasks": item})

    def task(self, name: str, **content: Any) -> Path:
        path: Path = self.house.tasks / f"{name}.json"
        path.write_text(json.dumps({"id": name, **content}))
        return path

    def only_tasks(self, **documents: Any) -> None:
        for path in self.house.tasks.iterdir():
            path.unlink()
        for name, content in documents.items():
            self.task(name, **content)

    def migrate(self, **request: Any) -> ServiceMigration:
        self.house.reopen()
        return migrate(self.house.context, MigrateRequest(**request)).services[0]

    @property
    def main(self) -> Any:
        return json.loads(self.house.state.read_bytes())

    def tasks(self) -> dict[str, Any]:
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(self.house.tasks.iterdir())}

    def pinned(self) -> list[int]:
        return sorted(one.snapshot.sequence for one in self.house.list() if one.marks.pinned)

    def quarantined(self) -> list[Path]:
        return sorted((self.house.state_dir / "quarantine").glob("app/*"))

    def told(self, name: str) -> list[str]:
        return [event.message for event in self.house.events if event.name == name]


@pytest.fixture
def update(house: Any) -> Update:
    one = Update(house, house.service.state)
    one.declare()
    house.write(1)
    return one


@pytest.fixture
def running(house: Any) -> Update:
    """The same with a process, healthy while the counter in its state has at most three digits."""
    probe = Probe(ProbeKind.COMMAND, command=("grep", "-Eq", '"counter": ?[0-9]{1,3}[,}]', str(house.state)))
    house.change(
        run=Run(RunKind.COMMAND, command=("/bin/sleep", "600"), stop_timeout_s=5.0),
        health=Health(within_s=1.0, stable_for_s=0.1, probes=(probe,)),
    )
    one = Update(house, house.service.state)
    one.declare()
    house.write(1)
    return one
