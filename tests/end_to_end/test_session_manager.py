"""The session manager whole: config/conf.d/session-manager.yaml as it is shipped, real projects, real sessions.

Only what a session's program is, and how long it takes to be proven, is said beside the sample. Projects are found by the
sample's pattern; what damages their state is done to real files, and everything is asked of the real command line.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ROOT / "tests" / "subjects"
HERE = """\
services:
  claudectl:
    instances: {{command: [{python}, {session}, "{{id}}"]}}
    health: {{within: 30s, stable_for: 300ms}}
"""


@dataclass
class Desk:
    """A home with projects, and the sample in its place."""

    world: Any

    home = property(lambda self: self.world.root / "home")
    data = property(lambda self: self.home / ".config" / "claudectl" / "data.json")

    def install(self) -> None:
        (self.world.conf / "conf.d" / "notes.yaml").unlink()
        shutil.copytree(ROOT / "config" / "schemas", self.world.conf / "schemas", copy_function=shutil.copyfile)
        sample = self.world.conf / "conf.d" / "session-manager.yaml"
        shutil.copyfile(ROOT / "config" / "conf.d" / "session-manager.yaml", sample)
        changes = sample.with_name("session-manager.yaml.d")
        changes.mkdir()
        text = HERE.format(python=sys.executable, session=SUBJECTS / "session.py")
        (changes / "here.yaml").write_text(text)
        self.home.mkdir()

    def manage(self, *words: str, wait: bool = True) -> subprocess.Popen[bytes]:
        child: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, str(SUBJECTS / "session_manager.py"), "--home", str(self.home), *words]
        )
        self.world.children.append(child)
        if wait:
            assert child.wait() == 0
        return child

    def project(self, name: str, *sessions: str) -> Path:
        self.manage("init", name)
        for session in sessions:
            self.manage("add", name, session)
        directory: Path = self.home / "src" / name / ".claudectl"
        return directory

    def run(self, *words: str) -> Any:
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        return self.world.run(*words)

    def json(self, *words: str) -> Any:
        return self.run("--json", *words).json

    def status(self, *names: str) -> dict[str, Any]:
        return {one["service"]: one for one in self.json("status", *names)["services"]}

    def pids(self) -> dict[str, int]:
        """Session -> the process that runs it now."""
        return {name: one["pid"] for name, one in self.status().items() if one["running"]}

    def lives(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.world.wait_for(lambda: not self.lives(pid), "the session to be gone")


@pytest.fixture
def desk(world: Any) -> Desk:
    made = Desk(world)
    made.install()
    return made


@pytest.fixture
def two(desk: Desk) -> Desk:
    """Two projects with three active sessions and one that was stopped, saved and running."""
    desk.project("app", "one", "two", "over")
    desk.manage("stop", "app", "over")
    desk.project("site", "one")
    desk.run("snapshot").fine()
    desk.run("restore").fine()
    return desk


def test_each_project_is_a_service_of_its_own(two: Desk) -> None:
    """One drop-in with a pattern; what is active runs in its project's directory, with a log and record of its own."""
    assert sorted(two.pids()) == ["claudectl-app@one", "claudectl-app@two", "claudectl-site@one"]
    for name, pid in two.pids().items():
        project = name.removeprefix("claudectl-").partition("@")[0]
        assert os.readlink(f"/proc/{pid}/cwd") == str(two.home / "src" / project)
    assert "one begins in " in two.run("logs", "claudectl-site@one").fine().out
    shown = two.run("config", "show").fine().out
    assert f"  claudectl-app:  # for_each: {two.home}/src/app/.claudectl" in shown.splitlines()


def test_only_the_damaged_project_is_touched(two: Desk, files: Any) -> None:
    """Projects are isolated: one's sessions come back from its own backup or snapshot, no byte of another's changes, and
    nobody's processes are disturbed."""
    site, app, pids = two.home / "src" / "site" / ".claudectl", two.home / "src" / "app" / ".claudectl", two.pids()
    before, good = files(site), (app / "sessions.json").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in site.iterdir()}
    (app / "sessions.json").write_bytes(good[: len(good) // 2])
    (app / "sessions.json.backup").write_bytes(b"")
    assert "can't be started" not in two.run("status", "claudectl-app").out
    results = {one["service"]: one for one in two.json("restore")["services"]}
    assert results["claudectl-app"]["outcome"] == "restored"
    assert results["claudectl-app"]["items"][0]["source"] == "snapshot"
    assert {name: one["outcome"] for name, one in results.items() if name != "claudectl-app"} == {
        "claudectl-site": "untouched",
        "claudectl.all": "untouched",
    }
    assert (app / "sessions.json").read_bytes() == good
    assert (files(site), {path: path.stat().st_mtime_ns for path in site.iterdir()}) == (before, times)
    assert two.pids() == pids


def test_its_own_backup_is_better_than_an_older_snapshot(two: Desk) -> None:
    app = two.home / "src" / "app" / ".claudectl"
    two.manage("add", "app", "three")
    two.manage("add", "app", "four")
    (app / "sessions.json").write_bytes(b"")
    result = two.json("restore", "claudectl-app")["services"][0]
    assert [(one["item"], one["source"]) for one in result["items"] if one["source"] != "live"] == [
        ("sessions", "sibling")
    ]
    assert "claudectl-app@three" in two.pids()


def test_damaged_state_lists_nothing(two: Desk) -> None:
    """A document that is not valid is believed by nobody: `status` says so, and `stop` still ends what runs."""
    path, pids = two.home / "src" / "site" / ".claudectl" / "sessions.json", two.pids()
    path.write_bytes(b'{"sessions": [{"id": "planted"}]}')
    assert "sessions.json is corrupt" in two.run("status", "claudectl-site").fine(1).out
    two.run("stop", "claudectl-site").fine()
    assert not two.lives(pids["claudectl-site@one"])
    assert two.lives(pids["claudectl-app@one"])


def test_sessions_outlive_the_scheduler_and_are_found_again(two: Desk) -> None:
    """They are nobody's children: the end of `recoverd run` is not theirs, and nothing starts them twice."""
    pids = two.pids()
    scheduler = two.world.spawn("run")
    two.world.wait_for(lambda: (two.world.state_dir / "effective.json").exists(), "the scheduler to have begun")
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(30) == 0
    two.run("restore").fine()
    two.run("confirm").fine()
    two.run("start", "claudectl-app").fine()
    assert two.pids() == pids


def test_dead_sessions_are_told_and_started_again(two: Desk) -> None:
    """`status` compares the document with real processes; what is missing comes back, and only that."""
    pids = two.pids()
    two.kill(pids["claudectl-app@two"])
    seen = two.status()["claudectl-app@two"]
    assert (seen["running"], seen["wanted"]) == (False, "running")
    two.run("status", "claudectl-app").fine(1)
    done = two.run("restore").fine()
    assert "claudectl-app@two was started as process " in done.out
    again = two.pids()
    assert again.pop("claudectl-app@two") != pids.pop("claudectl-app@two")
    assert again == pids
    assert two.status()["claudectl-app@two"]["restarts"] == 1
    for pid in two.pids().values():  # as after a power cut
        two.kill(pid)
    two.run("restore").fine()
    assert sorted(two.pids()) == ["claudectl-app@one", "claudectl-app@two", "claudectl-site@one"]


def test_sessions_are_ended_in_order_and_stay_down(two: Desk) -> None:
    """SIGTERM and time to save; what was stopped on purpose is not brought back but by `start`."""
    pids = two.pids()
    two.run("stop", "claudectl-app@one").fine()
    assert "one has saved its work" in two.run("logs", "claudectl-app@one").out
    two.run("restore").fine()
    assert not two.lives(pids["claudectl-app@one"])
    two.run("start", "claudectl-app@one").fine()
    two.run("stop").fine()
    assert two.pids() == {}
    assert "two has saved its work" in two.run("logs", "claudectl-app@two").out
    two.run("status").fine()


def test_what_the_document_stops_listing_is_told_and_left_alone(two: Desk) -> None:
    """recoverd brings back; it ends only what it is told to end."""
    two.manage("stop", "app", "two")
    seen = two.status("claudectl-app")["claudectl-app@two"]
    assert seen["running"] and "does not list it" in seen["detail"]
    assert "lists no 'two'" in two.run("start", "claudectl-app@two").fine(64).out


def test_four_clear_errors_none_of_which_stops_the_others(desk: Desk) -> None:
    """A missing executable, a failed spawn, an unknown session and one that runs already."""
    desk.project("app", "fine", "broken", "late")
    desk.project("site", "gone")
    changes = desk.world.conf / "conf.d" / "session-manager.yaml.d" / "site.yaml"
    sessions = desk.home / "src" / "app" / ".claudectl" / "sessions.json"
    document = json.loads(sessions.read_bytes())
    changes.write_text(
        f"services: {{claudectl: {{instances: {{command: ['{{program}}', {SUBJECTS / 'session.py'}, '{{id}}']}}}}}}\n"
    )
    for one in document["sessions"]:
        one["program"] = "/not/there" if one["id"] == "late" else sys.executable
    sessions.write_text(json.dumps(document))
    desk.run("start", "claudectl-app@fine").fine()
    pid = desk.pids()["claudectl-app@fine"]
    done = desk.run("start", "claudectl-app", "claudectl-app@nobody", "claudectl-site").fine(1)
    assert f"claudectl-app@fine: already running, process {pid}" in done.out
    assert "claudectl-app@late: failed: /not/there can't be executed: No such file or directory" in done.out
    assert (
        "claudectl-app@broken: failed: its process exited with status 3; it said: the model does not answer" in done.out
    )
    assert "claudectl-app@nobody: unknown: claudectl-app lists no 'nobody'" in done.out
    assert "entry 0 of /sessions has no program" in done.out
    assert desk.pids() == {"claudectl-app@fine": pid}
    assert "Traceback" not in done.err


def test_killed_at_any_moment_it_comes_back_with_its_sessions(two: Desk) -> None:
    """The manager writes in place and is killed in the middle: whatever that leaves, a restore ends with valid state of
    all sessions, and none is started twice."""
    path, pids = two.home / "src" / "app" / ".claudectl" / "sessions.json", two.pids()
    whole = path.read_bytes()
    for kind in ("killed", "killed", "killed", "torn"):
        child = two.manage("serve", "app", wait=False)
        two.world.wait_for(lambda: path.read_bytes() != whole, "a save")
        time.sleep(random.uniform(0.0, 0.05))
        child.kill()
        child.wait()
        if kind == "torn":  # it may never have been in the middle
            os.truncate(path, path.stat().st_size // 2)
        two.run("restore", "claudectl-app").fine()
        whole = path.read_bytes()
        document = json.loads(whole)
        assert {(one["id"], one["status"]) for one in document["sessions"]} == {
            ("one", "Active"),
            ("two", "Active"),
            ("over", "Stopped"),
        }
    assert two.pids() == pids


def test_a_new_project_is_found(two: Desk) -> None:
    """No configuration is touched: the next command knows it, also out of the cache of the configuration."""
    two.project("new", "first")
    two.run("restore").fine()
    assert "claudectl-new@first" in two.pids()
    shutil.rmtree(two.home / "src" / "new")
    assert "claudectl-new" not in two.run("config", "validate").out
    assert not any(name.startswith("claudectl-new") for name in two.status())
