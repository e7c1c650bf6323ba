"""cli.md, "Events": each carries time, service, item, path, format, and figures with units.

Every event that is sent at all is brought about here by what really causes it, and told to a real command: what that
command finds on its standard input is compared with the contract. The last test says that none was left out.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.hook_model import Hook
from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.model import (
    Consistency,
    Drill,
    Guards,
    Health,
    Retention,
    Run,
    RunKind,
)
from recoverd.config.templates import FIGURES
from recoverd.events.names import EventName
from recoverd.events.stream import Event
from recoverd.operations.context import Context
from recoverd.operations.drill import DrillRequest, drill
from recoverd.operations.hooks import hooks_of
from recoverd.operations.lifecycle import start
from recoverd.operations.migrate import MigrateRequest, migrate
from recoverd.operations.verify import VerifyRequest, verify
from recoverd.scheduler.chores import CHORES, PRUNE
from recoverd.scheduler.keeping import Act, Decision, History
from recoverd.scheduler.remembering import settle

House = Any  # of conftest.py, which test files can't import
KEYS = ["recoverd", "host", "time", "level", "event", "service", "item", "path", "format", "message", "figures"]
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SAVED = {"items", "files", "size_bytes", "new_bytes", "seconds"}
STATE = {"problems", "files", "size_bytes"}
# What each tells at least, besides the keys. An event of the whole host has no service, and most have no format.
TOLD: dict[str, set[str]] = {
    "snapshot.saved": SAVED | {"sequence"},
    "snapshot.unchanged": SAVED,
    "snapshot.invalid": SAVED | {"sequence"},
    "snapshot.failed": {"failures"},
    "state.loaded": {"items", "files", "size_bytes", "seconds", "verdict"},
    "state.corrupt": STATE,
    "state.reset": STATE,
    "state.missing": STATE,
    "state.newer": STATE,
    "state.unreadable": STATE,
    "restore.started": {"candidate", "items"},
    "restore.rejected": {"candidate"},
    "restore.finished": {"candidate", "items", "files", "size_bytes", "seconds", "attempts"},
    "restore.failed": {"outcome", "verdict", "attempts", "seconds"},
    "service.started": {"pid"},
    "service.unhealthy": set(),
    "service.gave-up": set(),
    "prune.finished": {"removed", "freed_bytes", "seconds"},
    "prune.failed": set(),
    "verify.damage": {"snapshots"},
    "drill.passed": {"candidate", "age_seconds", "files", "size_bytes", "seconds"},
    "drill.failed": {"seconds"},
    "migration.done": {"items"},
    "migration.failed": set(),
    "disk.low": {"bound", "bytes"},
}
OF_THE_HOST = {"prune.finished", "prune.failed", "verify.damage", "disk.low"}
# `recoverd run` alone says that something is due (tests/end_to_end/test_hooks.py); replicas are not built yet.
ELSEWHERE = {"autosave.triggered", "replica.lagging", "replica.failed"}
Hear = Callable[..., None]


@pytest.fixture
def hear(house: House) -> Iterator[Hear]:
    """Tells a real command what was heard in the house, and compares what that has found on its standard input."""
    out = house.root / "heard"
    copy = ("/bin/sh", "-c", 'cat >> "$0"', str(out))

    def told(events: list[Event]) -> list[dict[str, Any]]:
        config = replace(house.context.config, hooks=(Hook(("*",), copy, timeout_s=60.0),))
        hooks = hooks_of(config, {})
        assert hooks is not None
        for event in events:
            hooks.tell(event)
        hooks.close(120)
        return [json.loads(line) for line in out.read_text().splitlines()]

    def check(*names: str, **fields: Any) -> None:
        documents = told(house.events)
        house.events.clear()
        for document in documents:
            as_in_the_contract(document, house)
        found = {document["event"]: document for document in documents}
        assert set(names) <= found.keys()
        for name in names:
            assert {key: found[name][key] for key in fields} == fields, name

    yield check


def as_in_the_contract(document: dict[str, Any], house: House) -> None:
    """The keys in their order, whatever the event; its figures, each plain and one that templates can name."""
    name, figures = document["event"], document["figures"]
    assert list(document) == KEYS, name
    assert TIME.fullmatch(document["time"])
    assert document["message"]
    assert document["level"] in {"debug", "info", "warning", "error"}
    assert document["service"] == (None if name in OF_THE_HOST else "app"), name
    assert document["path"] is not None and os.path.isabs(document["path"]), name
    if name not in OF_THE_HOST:
        assert document["format"] == "json", name
        assert document["path"].startswith(str(house.state.parent)), name
    assert TOLD[name] <= figures.keys(), name
    assert figures.keys() <= set(FIGURES), name
    for figure, value in figures.items():
        assert isinstance(value, str | int | float | bool), (name, figure)


def declare(house: House, **keys: Any) -> None:
    """The state file with other keys."""
    house.change(state={**house.service.state, "main": replace(house.service.state["main"], **keys)})


def test_captures(house: House, hear: Hear) -> None:
    """Of two items `path` is the directory that holds both; where one item is meant it is that."""
    house.snapshot()
    house.snapshot()
    both = {"item": None, "path": str(house.state.parent)}
    hear("snapshot.saved", "snapshot.unchanged", **both)
    house.state.write_bytes(b"{")
    house.snapshot()
    hear("snapshot.invalid", **both)
    house.write(2)
    (house.tasks / "task-000.json").write_bytes(b"")
    house.snapshot()
    hear("state.corrupt", item="tasks", path=str(house.tasks))
    house.state.unlink()
    house.snapshot()
    hear("state.missing", item="main", path=str(house.state))
    house.change(consistency=Consistency((("/bin/false",),), (), 20.0))
    house.snapshot()
    hear("snapshot.failed", **both)


def test_verdicts(house: House, hear: Hear, monkeypatch: pytest.MonkeyPatch) -> None:
    one = {"item": "main", "path": str(house.state)}
    declare(house, schema=None, guards=Guards(min_items={"/jobs": 1}), version=VersionRule("version", "1"))
    house.write(1, jobs=["a"])
    house.snapshot()
    house.write(1, jobs=[])
    house.snapshot()
    hear("state.reset", **one)
    house.state.write_text('{"version": "2", "jobs": ["a"]}')
    house.snapshot()
    hear("state.newer", **one)
    monkeypatch.setattr("recoverd.recovery.survey.silent", lambda paths, within_s: frozenset({str(house.state)}))
    house.write(3, jobs=["a"])
    house.restore()
    hear("state.unreadable", **one)


def test_restores(judged: House, hear: Hear) -> None:
    judged.snapshot()
    judged.events.clear()
    judged.state.write_bytes(b"")
    assert judged.restore().outcome == "restored"
    assert all(one.figures["age_seconds"] >= 0 for one in judged.events if one.name == "restore.finished")
    hear("restore.started", "restore.finished", item="main", path=str(judged.state))


def test_restores_of_which_none_works(frail: House, hear: Hear) -> None:
    frail.write(1, poison=True)
    frail.snapshot()
    frail.state.write_bytes(b"")
    frail.restore()
    both = {"item": None, "path": str(frail.state.parent)}
    hear("state.loaded", "restore.rejected", "restore.failed", "service.started", "service.unhealthy", **both)


def test_an_undo(house: House, hear: Hear) -> None:
    """It is a restore as well: of what, it says; how old that is nobody knows."""
    house.snapshot()
    house.state.write_bytes(b"{")
    house.restore()
    house.events.clear()
    house.undo()
    (event,) = house.events
    assert (event.name, event.item, event.path) == ("restore.finished", "main", str(house.state))
    assert {"verdict", "items", "files", "healthy"} <= event.figures.keys()


def test_giving_up(house: House, hear: Hear) -> None:
    house.snapshot()
    settle(
        house.context,
        house.service,
        History(),
        Decision(Act.GIVE_UP, "it fails", History(gave_up=True), 1.0),
        running=False,
    )
    hear("service.gave-up")


def test_processes(house: House, hear: Hear) -> None:
    house.change(run=Run(RunKind.COMMAND, command=("/bin/sleep", "600")), health=Health(stable_for_s=0.1))
    house.snapshot()
    start(house.context, ("app",), wait=True)
    hear("service.started")


def test_retention(house: House, hear: Hear) -> None:
    """Of the whole host; `path` is the repository."""
    house.change(retention=Retention(last=1))
    for counter in range(3):
        house.write(counter)
        house.snapshot(prune=False)
    house.prune()
    repository = str(house.state_dir / "repository")
    hear("prune.finished", path=repository)
    config = house.context.config
    tight = replace(config, repository=replace(config.repository, max_bytes=1))
    house._context = Context(tight, house.context.events, house.context.runtime_dir, wait_s=1)
    house.prune()
    hear("disk.low", path=repository)
    (house.state_dir / "repository" / "format.json").write_text("{}")
    house.reopen()
    CHORES[PRUNE](house.context)
    hear("prune.failed", path=repository)


def test_damage_in_the_repository(house: House, hear: Hear) -> None:
    house.snapshot()
    pack: Path = house.packs[0]
    pack.chmod(stat.S_IRUSR | stat.S_IWUSR)
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 0xFF
    pack.write_bytes(data)
    house.reopen()
    verify(house.context, VerifyRequest())
    hear("verify.damage", path=str(pack))


def test_drills(house: House, hear: Hear) -> None:
    house.snapshot()
    drill(house.context, DrillRequest())
    house.change(drill=Drill(command=("/bin/false",)))
    drill(house.context, DrillRequest())
    hear("drill.passed", "drill.failed")


def test_migrations(house: House, hear: Hear) -> None:
    house.snapshot()
    schema = house.schema({"type": "object", "required": ["runs"]})
    newer = {"schema": schema, "version": VersionRule("version", "2")}
    wrong = MigrationStep("1", "2", patch=({"op": "remove", "path": "/nothing"},))
    right = MigrationStep("1", "2", patch=({"op": "add", "path": "/runs", "value": []},))
    declare(house, migrate=(wrong,), **newer)
    migrate(house.context, MigrateRequest())
    hear("migration.failed")
    declare(house, migrate=(right,), **newer)
    migrate(house.context, MigrateRequest())
    hear("migration.done", item="main", path=str(house.state))


def test_none_is_left_out() -> None:
    assert TOLD.keys() | ELSEWHERE == {name.value for name in EventName}
    assert not TOLD.keys() & ELSEWHERE
