"""`kill -9` of recoverd itself at random moments: no stale lock, nothing half done, and the next command works."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from typing import Any

import pytest

TORTURE = bool(os.environ.get("RECOVERD_TORTURE"))
ROUNDS = 200 if TORTURE else 5
TASKS = 12


def is_whole(world: Any, *allowed: int) -> int:
    """All files are of one generation, and that is an allowed one; which."""
    main = json.loads(world.main.read_bytes())["counter"]
    tasks = {json.loads(one.read_bytes())["id"] for one in world.tasks.glob("*.json")}
    assert main in allowed
    assert tasks == {main}, (main, tasks)
    return int(main)


def write_generation(world: Any, number: int) -> None:
    world.write(number)
    for one in range(TASKS):
        (world.tasks / f"t{one}.json").write_text(json.dumps({"id": number, "text": "x" * 2000}))


def nothing_is_held(world: Any) -> None:
    """Promise 9: no stale lock, ever: every lock can be had at once."""
    world.run("--wait", "0ms", "snapshot").fine()


def all_can_be_shown(world: Any) -> None:
    """Promise 6: what is listed is there."""
    listed = world.run("list", "--json").fine().json
    assert listed["unreadable"] == []
    for one in listed["snapshots"][:10]:
        assert world.run("show", one["id"], "--json").fine().json["files"]
        world.run("show", one["id"], "main").fine()


@pytest.fixture
def seed() -> random.Random:
    number = int(os.environ.get("RECOVERD_SEED", "20261121"))
    return random.Random(number)


def kill_later(child: Any, seconds: float) -> int:
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    return int(child.wait(30))


def test_snapshot_is_killed(world: Any, seed: random.Random) -> None:
    """Promises 6 and 9."""
    world.run("snapshot").fine()
    for number in range(ROUNDS):
        write_generation(world, number)
        kill_later(world.spawn("snapshot"), seed.uniform(0.15, 0.6))
        nothing_is_held(world)
        assert world.run("show", "notes/good", "main").fine().out == json.dumps({"counter": number})
    all_can_be_shown(world)


def test_restore_is_killed(world: Any, seed: random.Random) -> None:
    """Promises 4, 5 and 9: old or new, the next restore finishes it or takes it back, and quarantine holds the rest."""
    write_generation(world, 1)
    world.run("snapshot").fine()
    write_generation(world, 2)
    world.run("snapshot").fine()
    for _ in range(ROUNDS):
        wanted = seed.choice([1, 2])
        child = world.spawn("restore", "--snapshot", f"notes/{wanted}", "--no-start")
        kill_later(child, seed.uniform(0.2, 0.7))
        world.run("--wait", "0ms", "restore").fine()
        is_whole(world, 1, 2)
    world.run("--wait", "0ms", "restore", "--snapshot", "notes/1").fine()
    assert is_whole(world, 1) == 1
    nothing_is_held(world)
    all_can_be_shown(world)


def test_run_is_killed(world: Any, seed: random.Random) -> None:
    """Promises 6 and 9: the scheduler is killed in its captures; another one starts at once."""
    path = world.conf / "conf.d" / "notes.yaml"
    world.declare(path.read_text() + "    autosave: {every: 1s, on_shutdown: true}\n")
    for number in range(ROUNDS):
        write_generation(world, number)
        kill_later(world.spawn("run"), seed.uniform(0.3, 1.2))
        nothing_is_held(world)
    last = world.spawn("run")
    write_generation(world, 1000)
    world.wait_for(lambda: world.run("show", "notes/good", "main").out == '{"counter": 1000}', "a snapshot")
    last.send_signal(signal.SIGTERM)
    assert last.wait(30) == 0
    all_can_be_shown(world)
