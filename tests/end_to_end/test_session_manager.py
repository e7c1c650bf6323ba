"""The session manager whole: config/conf.d/session-manager.yaml as it is shipped, real projects, real sessions.

Only what a session's program is, and how long it takes to be proven, is said beside the sample. Projects are found by
the sample's pattern; what damages their state is done to real files, and all is asked of the real command line.
"""

from __future__ import annotations

import json
import os
import runpy
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
MANAGER = SUBJECTS / "session_manager.py"
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

    def manage(self, *words: str) -> None:
        """One command of the manager, in this process: it is over before anything else happens."""
        runpy.run_path(str(MANAGER))["main"](["--home", str(self.home), *words])

    def manager(self, *words: str) -> subprocess.Popen[bytes]:
        """The manager as a process of its own, to be killed."""
        child: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, str(MANAGER), "--home", str(self.home), *words]
        )
        self.world.children.append(child)
        return child

    def project(self, name: str, *sessions: str) -> Path:
        self.manage("init", name)
        for session in sessions:
            self.manage("add", name, session)
        return self.directory(name)

    def directory(self, project: str) -> Path:
        directory: Path = self.home / "src" / project / ".claudectl"
        return directory

    def run(self, *words: str) -> Any:
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        return self.world.run(*words)

    def status(self, *names: str) -> dict[str, Any]:
        return services(self.run("--json", "status", *names))

    def pids(self) -> dict[str, int]:
        """Session -> the process that runs it now."""
        return {name: one["pid"] for name, one in self.status().items() if one["running"]}

    def restore(self, *words: str) -> dict[str, Any]:
        return services(self.run("--json", "restore", *words).fine())

    def lives(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.world.wait_for(lambda: not self.lives(pid), "the session to be gone")


def services(done: Any) -> dict[str, Any]:
    return {one["service"]: one for one in done.json["services"]}


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


def test_each_project_is_a_service_of_its_own(two: Desk, files: Any, torture: Any) -> None:
    """One drop-in with a pattern. What is active runs in its project's directory; one project's damaged sessions come
    back, and no byte of another's changes, nor are anybody's processes disturbed; a new project is found by itself."""
    site, app, pids = two.directory("site"), two.directory("app"), two.pids()
    assert sorted(pids) == ["claudectl-app@one", "claudectl-app@two", "claudectl-site@one"]
    for name, pid in pids.items():
        project = name.removeprefix("claudectl-").partition("@")[0]
        assert os.readlink(f"/proc/{pid}/cwd") == str(two.home / "src" / project)
    shown = two.run("config", "show").fine().out
    assert f"  claudectl-app:  # for_each: {app}" in shown.splitlines()

    before, good = files(site), (app / "sessions.json").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in site.iterdir()}
    (app / "sessions.json").write_bytes(good[: len(good) // 2])
    (app / "sessions.json.backup").write_bytes(b"")
    results = two.restore()
    assert {name: one["outcome"] for name, one in results.items()} == {
        "claudectl-app": "restored",
        "claudectl-site": "untouched",
        "claudectl.all": "untouched",
    }
    assert results["claudectl-app"]["items"][0]["source"] == "snapshot"
    assert (app / "sessions.json").read_bytes() == good
    assert (files(site), {path: path.stat().st_mtime_ns for path in site.iterdir()}) == (before, times)
    assert two.pids() == pids

    two.manage("add", "app", "three")
    two.manage("add", "app", "four")  # its own backup knows three, no snapshot does
    (app / "sessions.json").write_bytes(b"")
    two.project("new", "first")
    items = two.restore()["claudectl-app"]["items"]
    assert [(one["item"], one["source"]) for one in items if one["source"] != "live"] == [("sessions", "sibling")]
    pids, before = two.pids(), pids
    assert pids.keys() - before.keys() == {"claudectl-app@three", "claudectl-new@first"}

    # the manager writes in place and is killed in the middle: whatever that leaves comes back, nothing starts twice
    path = app / "sessions.json"
    for torn in (False, True, False, False, False) if torture.full else (True,):
        written = path.stat().st_mtime_ns
        child = two.manager("serve", "app")
        two.world.wait_for(lambda before=written: path.stat().st_mtime_ns != before, "a save")
        time.sleep(torture.random.uniform(0.0, 0.05))
        child.kill()
        child.wait()
        if torn:  # chance alone may never have met the middle
            os.truncate(path, path.stat().st_size // 2)
        two.restore("claudectl-app")
        sessions = json.loads(path.read_bytes())["sessions"]
        wanted = {("one", "Active"), ("two", "Active"), ("three", "Active"), ("over", "Stopped")}
        assert {(one["id"], one["status"]) for one in sessions} == wanted
    assert two.pids() == pids


def test_sessions_outlive_the_scheduler_and_are_found_again(two: Desk) -> None:
    """They are nobody's children: the end of `recoverd run` is not theirs, and nothing starts them twice. Those that
    are dead `status` tells, and exactly they are started again."""
    pids = two.pids()
    scheduler = two.world.spawn("run")
    two.world.wait_for((two.world.state_dir / "effective.json").exists, "the scheduler to have begun")
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(30) == 0
    two.run("confirm").fine()
    two.run("start", "claudectl-app").fine()
    assert two.pids() == pids
    two.kill(pids["claudectl-app@two"])
    seen = services(two.run("--json", "status").fine(1))["claudectl-app@two"]
    assert (seen["running"], seen["wanted"]) == (False, "running")
    assert "claudectl-app@two was started as process " in two.run("restore").fine().out
    seen = two.status()
    again = {name: one["pid"] for name, one in seen.items() if one["running"]}
    assert (again.pop("claudectl-app@two") != pids.pop("claudectl-app@two"), again) == (True, pids)
    assert seen["claudectl-app@two"]["restarts"] == 1
    for name in ("claudectl-app@one", "claudectl-app@two", "claudectl-site@one"):  # as after a power cut
        two.kill(seen[name]["pid"])
    two.run("restore").fine()
    assert sorted(two.pids()) == ["claudectl-app@one", "claudectl-app@two", "claudectl-site@one"]


def test_sessions_are_ended_in_order_and_stay_down(two: Desk) -> None:
    """SIGTERM and time to save; what was stopped on purpose is not brought back but by `start`. What the document no
    longer lists is told and left alone; a document that is not valid lists nothing, and `stop` works all the same."""
    pids = two.pids()
    two.run("stop", "claudectl-app@one").fine()
    assert "one has saved its work" in two.run("logs", "claudectl-app@one").out
    two.run("restore").fine()
    assert not two.lives(pids["claudectl-app@one"])
    two.manage("stop", "app", "two")
    seen = two.status("claudectl-app")["claudectl-app@two"]
    assert seen["running"] and "does not list it" in seen["detail"]
    assert "lists no 'two'" in two.run("start", "claudectl-app@two").fine(64).out
    (two.directory("site") / "sessions.json").write_bytes(b'{"sessions": [{"id": "planted"}]}')
    assert "sessions.json is corrupt" in two.run("status", "claudectl-site").fine(1).out
    two.run("stop").fine()
    assert not any(two.lives(pid) for pid in pids.values())


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
