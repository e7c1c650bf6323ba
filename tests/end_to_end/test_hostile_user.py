"""A service user who plants links while recoverd works as root: nothing outside is written or read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROUNDS = 60 if os.environ.get("RECOVERD_TORTURE") else 6

# As its own user: swaps a directory for a link, and back, as fast as it can, and damages a file in between.
RACER = """
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
open('tasks/t0.json', 'w').close()
os.symlink('x', 'ready')
while True:
    os.rename('tasks', 'aside')
    os.symlink('../outside', 'tasks')
    os.unlink('tasks')
    try:
        os.rename('aside', 'tasks')
    except OSError:  # a restore put its own there
        os.rename('aside', 'old' + os.urandom(4).hex())
"""
ROOT_ONLY = pytest.mark.skipif(os.geteuid() != 0, reason="a plain user trusts his own links: there is nobody else")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """What the hostile user wants to have written, or copied out."""
    where = tmp_path / "outside"
    where.mkdir()
    (where / "shadow").write_text("root:secret")
    for number in range(3):
        (where / f"t{number}.json").write_text('{"id": "secret"}')
    return where


def listing(where: Path) -> dict[str, tuple[int, bytes]]:
    return {one.name: (one.stat().st_ino, one.read_bytes()) for one in where.iterdir()}


def start_racer(world: Any) -> subprocess.Popen[bytes]:
    """Begins once it does harm; it ends by itself when a restore leaves it nothing to swap."""
    ready = world.app / "ready"
    ready.unlink(missing_ok=True)
    if not world.tasks.is_dir() or world.tasks.is_symlink():
        world.run("restore", "--snapshot", "notes/1")
    child = subprocess.Popen([sys.executable, "-c", RACER], cwd=world.app, stderr=subprocess.DEVNULL)
    world.wait_for(lambda: ready.is_symlink() or child.poll() is not None, "the racer")
    return child


@ROOT_ONLY
@pytest.mark.parametrize("command", ["restore", "snapshot"])
def test_a_directory_that_is_swapped_for_a_link(saved: Any, outside: Path, command: str) -> None:
    """Promise 12: during a restore and a capture, sampled; whatever comes out, nothing outside is touched or saved."""
    before = listing(outside)
    for one in (saved.app, saved.main, saved.tasks, *saved.tasks.iterdir()):
        os.chown(one, 65534, 65534)
    racer = start_racer(saved)
    try:
        for _ in range(ROUNDS):
            done = saved.run(*(["restore", "--snapshot", "notes/1"] if command == "restore" else ["snapshot"]))
            assert "Traceback" not in done.err, done
            assert done.status in {0, 1, 3}, done
            assert listing(outside) == before
            if racer.poll() is not None:
                assert command == "restore", "nothing but a restore takes its directory away"
                racer = start_racer(saved)
    finally:
        racer.kill()
        racer.wait()
    for one in saved.json("list")["snapshots"]:
        for file in saved.json("show", one["id"])["files"]:
            if file["type"] == "file":
                assert "secret" not in saved.run("show", one["id"], file["path"]).out


def test_a_link_in_place_of_the_directory(saved: Any, outside: Path) -> None:
    """What stands there when recoverd comes is not followed either."""
    before = listing(outside)
    saved.tasks.rename(saved.root / "app" / "moved")
    saved.tasks.symlink_to(outside)
    os.lchown(saved.tasks, 65534, 65534) if os.geteuid() == 0 else None
    for command in ("assess", "snapshot", "restore", "restore --snapshot notes/1"):
        done = saved.run(*command.split())
        assert "Traceback" not in done.err
        assert listing(outside) == before, command
    for one in saved.json("list")["snapshots"]:
        for file in saved.json("show", one["id"])["files"]:
            assert "shadow" not in json.dumps(file["path"])


@pytest.mark.parametrize("kind", ["hard link", "link"])
def test_a_planted_file_in_the_directory(saved: Any, outside: Path, kind: str) -> None:
    """A link to a foreign file is saved as a link, never with what it points to; a restore writes no foreign file."""
    target, planted = outside / "shadow", saved.tasks / "t0.json"
    planted.unlink()
    planted.symlink_to(target) if kind == "link" else planted.hardlink_to(target)
    before = listing(outside)
    saved.run("snapshot")
    saved.run("restore", "--snapshot", "notes/1").fine()
    assert listing(outside) == before
    assert json.loads(planted.read_text()) == {"id": 0}
    if kind == "link":
        for one in saved.json("list")["snapshots"]:
            assert "secret" not in saved.run("show", one["id"], "tasks/t0.json").out
