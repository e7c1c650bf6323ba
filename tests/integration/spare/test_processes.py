"""The same through the front door: real commands and a real scheduler, told to stop while its disk is dead."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PATIENCE_S = 60.0


class World:
    """A configuration with a spare, and commands that use it."""

    def __init__(self, root: Path, disk: Path, *, all_of_it: bool) -> None:
        self.state, self.spare, self.disk = root / "notes.json", root / "spare", disk
        self.first = disk / "recoverd" / "repository"
        state_dir = disk / "recoverd" if all_of_it else root / "recoverd"
        self.config = root / "recoverd.yaml"
        service = {
            "state": {"main": {"file": str(self.state), "format": "json"}},
            "autosave": {"every": "1h", "on_shutdown": True},
        }
        document = {
            "state_dir": str(state_dir),
            "repository": {"path": str(self.first), "spare": str(self.spare)},
            "services": {"notes": service},
        }
        self.config.write_text(yaml.safe_dump(document))
        self.environ = {**os.environ, "RUNTIME_DIRECTORY": str(root / "run"), "NO_COLOR": "1"}
        self.log = root / "log"
        self.running: list[subprocess.Popen[bytes]] = []

    def write(self, n: int) -> None:
        self.state.write_text(json.dumps({"n": n}))
        time.sleep(0.025)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "recoverd", "--config", str(self.config), *words]
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )

    def json(self, *words: str) -> Any:
        return json.loads(self.run("--json", *words).stdout)

    def start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "recoverd", "--config", str(self.config), "run"]
        with self.log.open("wb") as log:
            one = subprocess.Popen(command, env=self.environ, stdout=log, stderr=log)
        self.running.append(one)
        deadline = time.monotonic() + PATIENCE_S
        while b"watching" not in self.log.read_bytes():
            assert one.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        return one

    def stop(self, one: subprocess.Popen[bytes]) -> int:
        one.send_signal(signal.SIGTERM)
        return one.wait(PATIENCE_S)

    def end(self) -> None:
        for one in self.running:
            if one.poll() is None:
                one.kill()
                one.wait()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(disk: Path | None = None, *, all_of_it: bool = False) -> World:
        made.append(World(tmp_path, disk or tmp_path / "disk", all_of_it=all_of_it))
        return made[-1]

    yield make
    for one in made:
        one.end()


def test_the_shutdown_capture_lands_somewhere(world: Callable[..., World]) -> None:
    """repository.md, Commit: SIGTERM to `recoverd run` while its repository is gone. And the next boot restores it."""
    one = world()
    one.write(1)
    assert one.run("snapshot").returncode == 0
    scheduler = one.start()
    one.write(2)
    away = one.disk / "away"
    shutil.move(one.first, away)
    assert one.stop(scheduler) == 0, one.log.read_text()
    assert "goes to the spare" in one.log.read_text()
    (found,) = (each for each in one.json("list")["snapshots"] if each["reason"] == "shutdown")
    one.state.write_text("")
    restored = one.run("restore")
    assert (restored.returncode, json.loads(one.state.read_text())) == (0, {"n": 2}), restored
    shutil.move(away, one.first)
    assert one.run("prune").returncode == 0
    assert [each["id"] for each in one.json("list")["snapshots"]] == [found["id"], "notes/1"]
    assert not list((one.spare / "snapshots").rglob("*.json"))


@pytest.mark.parametrize("failing", ["fail", "unmount"])
def test_the_shutdown_capture_when_everything_else_is_lost(
    disk: Callable[..., Any], world: Callable[..., World], failing: str
) -> None:
    """Repository, catalog and all that recoverd remembers lie on the disk that fails."""
    broken = disk("disk")
    one = world(broken.path, all_of_it=True)
    one.write(1)
    assert one.run("snapshot").returncode == 0
    scheduler = one.start()
    one.write(2)
    getattr(broken, failing)()
    assert one.stop(scheduler) == 0, one.log.read_text()
    assert "Traceback" not in one.log.read_text()
    if failing == "fail":
        broken.unmount()
    broken.mount()
    assert one.run("prune").returncode == 0
    listed = one.json("list")["snapshots"]
    assert [each["reason"] for each in listed] == ["shutdown", "manual"]
    one.state.write_text("")
    assert one.run("restore").returncode == 0
    assert json.loads(one.state.read_text()) == {"n": 2}


def test_a_scheduler_begins_on_a_disk_that_fails(disk: Callable[..., Any], world: Callable[..., World]) -> None:
    """Whoever can't write into its state directory still saves: into the spare, and one scheduler is enough."""
    broken = disk("disk")
    one = world(broken.path, all_of_it=True)
    one.write(1)
    assert one.run("snapshot").returncode == 0
    broken.fail()
    scheduler = one.start()
    second = one.run("run")
    assert (second.returncode, "scheduler" in second.stderr) == (75, True), second
    one.write(2)
    assert one.stop(scheduler) == 0, one.log.read_text()
    assert "Traceback" not in one.log.read_text()
    reasons = [each["reason"] for each in one.json("list")["snapshots"]]
    assert "shutdown" in reasons or "scheduled" in reasons


def test_it_is_saved_and_said(world: Callable[..., World]) -> None:
    """Exit status 0, for it is saved; a warning on stderr and the place in the text and in the JSON."""
    one = world()
    one.write(1)
    one.run("snapshot")
    shutil.move(one.first, one.disk / "away")
    one.write(2)
    done = one.run("snapshot")
    assert done.returncode == 0
    assert f"in the spare {one.spare}" in done.stdout
    assert "warning" in done.stderr
    assert "is gone" in done.stderr
    one.write(3)
    (told,) = one.json("snapshot")["snapshots"]
    assert (told["outcome"], told["spare"]["path"]) == ("saved", str(one.spare))
    check = one.run("check")
    assert check.returncode == 2
    assert "spare" in check.stdout
