"""A file system that does not answer makes its state unreadable, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from recoverd.system import answering
from recoverd.system.mounts import mount_points


def test_what_answers_is_not_silent(tmp_path: Path) -> None:
    """Also what is absent, is a file, or can't be entered answers."""
    (tmp_path / "file").touch()
    paths = [
        str(tmp_path),
        str(tmp_path / "file"),
        str(tmp_path / "file" / "below"),
        str(tmp_path / "absent" / "x"),
        "/",
    ]
    assert answering.silent(paths, within_s=30) == frozenset()
    assert answering.silent([], within_s=30) == frozenset()


def test_only_what_hangs_is_silent(dead_mount: Any, tmp_path: Path) -> None:
    """By the mount that a path lies on, or that lies below it; asked once, and again when somebody answers."""
    inside, above, beside = str(dead_mount.path / "state.json"), str(tmp_path), str(tmp_path / "other")
    before = threading.active_count()
    assert answering.silent([inside, beside], within_s=0.3) == {inside}
    assert answering.silent([inside, above, beside], within_s=0.3) == {inside, above}
    for _ in range(3):
        assert answering.silent([inside], within_s=600) == {inside}, "whoever hangs is not asked again"
    assert threading.active_count() <= before + 1
    dead_mount.end()
    deadline = time.monotonic() + 60
    while answering.silent([inside], within_s=5) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert answering.silent([inside, above], within_s=30) == frozenset()


def test_mount_points_with_odd_names(tmp_path: Path) -> None:
    """The kernel writes white space as octal numbers."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    odd = tmp_path / "a b\tc\\d"
    odd.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", odd], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    try:
        assert str(odd) in mount_points()
    finally:
        subprocess.run(["umount", odd], check=True)


class World:
    """Two services: one on the dead mount, one beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.alive = root / "alive.json"
        self.config = root / "recoverd.yaml"
        self.config.write_text(
            json.dumps(
                {
                    "state_dir": str(root / "recoverd"),
                    "io_timeout": "1s",
                    "boot_timeout": "60s",
                    "services": {
                        "dead": {"state": {"main": {"file": str(root / "dead" / "state.json")}}},
                        "alive": {"state": {"main": {"file": str(self.alive), "format": "json"}}},
                    },
                }
            )
        )

    def run(self, *words: str) -> tuple[int, Any]:
        """Exit status and JSON answer. The process must end by itself, whatever hangs in it."""
        done = subprocess.run(
            [sys.executable, "-m", "recoverd", "--config", str(self.config), "--json", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=os.environ | {"RUNTIME_DIRECTORY": str(self.root / "runtime")},
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)


def by_service(answer: Any) -> dict[str, Any]:
    return {one["service"]: one for one in answer["services" if "services" in answer else "snapshots"]}


def test_every_command_ends(dead_mount: Any, tmp_path: Path) -> None:
    """recovery.md: a hung mount is `unreadable`, with a deadline; one bad service never keeps another back."""
    world = World(tmp_path)
    world.alive.write_text("{}")
    status, answer = world.run("assess")
    assert status == 1
    assert {name: one["verdict"] for name, one in by_service(answer).items()} == {"dead": "unreadable", "alive": "ok"}
    assert "does not answer within 1 s" in by_service(answer)["dead"]["items"][0]["problems"][0]["problem"]
    status, answer = world.run("snapshot")
    assert {name: one["outcome"] for name, one in by_service(answer).items()} == {"dead": "invalid", "alive": "saved"}
    world.alive.write_text("")
    status, answer = world.run("restore", "--boot")
    assert {name: one["outcome"] for name, one in by_service(answer).items()} == {
        "dead": "blocked",
        "alive": "restored",
    }
    assert world.alive.read_text() == "{}"
    status, answer = world.run("check")
    assert status == 2
    assert any("does not answer" in one["message"] for one in answer["results"] if one["service"] == "dead")


def test_state_on_a_mount_that_is_gone(tmp_path: Path) -> None:
    """recovery.md: an absent mount, where one was recorded, is `unreadable`: nothing is restored below it."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    place = tmp_path / "dead"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "none", place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    try:
        world = World(tmp_path)
        world.alive.write_text("{}")
        (place / "state.json").write_text("{}")
        assert world.run("snapshot")[0] == 0
    finally:
        subprocess.run(["umount", place], check=True)
    _, answer = world.run("restore")
    assert by_service(answer)["dead"]["outcome"] == "blocked"
    assert f"the file system at {place} is not mounted" in by_service(answer)["dead"]["reasons"][0]
    assert list(place.iterdir()) == []
    (place / "state.json").write_text("{}")
    assert by_service(world.run("assess")[1])["dead"]["verdict"] == "ok", "it was moved"
