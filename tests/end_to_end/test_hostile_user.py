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

# Swaps a directory for a link, and back, as fast as it can; also the state file itself.
RACER = """
import os, sys
directory, outside, file = sys.argv[1:]
aside = directory + '.aside'
while True:
    try:
        os.rename(directory, aside)
        os.symlink(outside, directory)
        os.unlink(directory)
        os.rename(aside, directory)
    except OSError:
        try:
            os.unlink(directory)
        except OSError:
            pass
        try:
            os.rename(aside, directory)
        except OSError:
            pass
"""


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


@pytest.mark.parametrize("command", ["restore", "snapshot"])
def test_a_directory_that_is_swapped_for_a_link(saved: Any, outside: Path, command: str) -> None:
    """Promise 12: during a restore and a capture, sampled; whatever comes out, nothing outside is touched or saved."""
    before = listing(outside)
    racer = subprocess.Popen([sys.executable, "-c", RACER, str(saved.tasks), str(outside), str(saved.main)])
    try:
        for _ in range(ROUNDS):
            for name in ("t0.json", "t1.json"):
                try:
                    (saved.root / "app" / "tasks.aside" / name).write_bytes(b"")
                except OSError:
                    pass
            done = saved.run(*(["restore", "--snapshot", "notes/1"] if command == "restore" else ["snapshot"]))
            assert "Traceback" not in done.err, done
            assert done.status in {0, 1, 3}, done
            assert listing(outside) == before
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
