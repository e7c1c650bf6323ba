"""Proof as typed: what `run` proves, a crash loop that pushes nothing out, and one document restored alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

DECLARED = """\
services:
  notes:
    root: {app}
    run:
      command: [/bin/sh, -c, "grep -q poison state.json && exit 3; exec sleep 1000"]
      cwd: {app}
      stop_timeout: 5s
    state:
      main: {{file: state.json, format: json, schema: {{type: object, required: [counter]}}}}
      tasks: {{directory: tasks, include: ["*.json"], format: json, optional: true}}
    health: {{within: 20s, stable_for: 300ms}}
    retention: {{last: 3, keep_invalid: 2}}
"""


@pytest.fixture
def proved(world: Any) -> Any:
    """A process that ends at once on state with `poison` in it."""
    world.declare(DECLARED.format(app=world.app))
    return world


def listed(world: Any) -> dict[int, Any]:
    return {one["sequence"]: one for one in world.json("list")["snapshots"]}


def marks(world: Any) -> list[Path]:
    return [one for one in world.root.rglob("marks/notes/*") if one.suffix == ".json" and one.exists()]


def test_the_scheduler_proves_a_snapshot_after_its_capture(proved: Any) -> None:
    """Nobody restored it: the service stayed healthy for its time, and that is seen beside all else."""
    proved.write(1)
    proved.run("start").fine()
    proved.run("snapshot").fine()
    assert not listed(proved)[1]["proven"]
    scheduler = proved.spawn("run")
    proved.wait_for(lambda: any("proven_ns" in one.read_text() for one in marks(proved)), "a proof", within_s=60)
    assert listed(proved)[1]["proven"]
    scheduler.terminate()
    assert scheduler.wait(60) == 0


def test_a_crash_loop_pushes_no_working_copy_out(proved: Any) -> None:
    """Valid, and the process ends on it at once: captured again and again, and the copies that worked are all there."""
    for counter in range(3):
        proved.write(counter)
        proved.run("snapshot").fine()
    proved.run("start").fine()
    for counter in range(100, 106):
        proved.write(counter, poison=True)
        proved.run("restart", "notes")  # and it ends: exit status 1
        made = proved.json("snapshot")["snapshots"][0]
        assert (made["outcome"], made["healthy"]) == ("saved", False)
    snapshots = listed(proved)
    assert {1, 2, 3} <= snapshots.keys() and len(snapshots) == 5
    assert [one for one in snapshots if snapshots[one]["unhealthy"]] == [9, 8]
    assert "unhealthy" in proved.run("list").fine().out
    (proved.app / "state.json").write_bytes(b"")
    proved.run("restore").fine()
    assert json.loads((proved.app / "state.json").read_text())["counter"] == 2


def test_one_document_alone(proved: Any) -> None:
    """It comes back; what else is damaged is told, with exit status 1; names that are not there are told as well."""
    proved.write(1)
    tasks = proved.app / "tasks"
    tasks.mkdir(exist_ok=True)
    for name in ("a", "b"):
        (tasks / f"{name}.json").write_text(json.dumps({"id": name}))
    proved.run("snapshot").fine()
    for name in ("a", "b"):
        (tasks / f"{name}.json").write_bytes(b"{")
    done = proved.run("restore", "notes", "--only", "tasks/a.json")
    assert done.status == 1 and "tasks: b.json is corrupt" in done.out and "not asked for" in done.out
    assert json.loads((tasks / "a.json").read_text()) == {"id": "a"} and (tasks / "b.json").read_bytes() == b"{"
    proved.run("restore", "notes", "--only", "taks").refused(64, "no state item 'taks'")
    proved.run("restore", "notes", "--only", "tasks/c.json").refused(64, "no c.json in tasks")
    proved.run("restore", "--boot", "--only", "main").refused(64, "--boot and --only")
    there = proved.root / "there"
    proved.run("restore", "notes", "--to", str(there), "--only", "tasks/a.json").fine()
    assert [path.name for path in there.rglob("*") if path.is_file()] == ["a.json"]
    proved.run("restore", "notes", "--only", "tasks").fine()
