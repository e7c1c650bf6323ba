"""`watch`: services that are killed, crash in a loop or hang are brought back by `recoverd run`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SUBJECTS = Path(__file__).parents[1] / "subjects"
WATCH = "{every: 100ms, backoff: {first: 50ms, most: 200ms}, give_up_after: 2}"


class Watched:
    """Services that `recoverd run` watches, and what is known of them."""

    def __init__(self, world: Any) -> None:
        self.world = world
        (world.conf / "conf.d" / "notes.yaml").unlink()

    def declare(self, name: str, run: str, *, watch: str = WATCH, more: str = "") -> None:
        path = self.world.root / f"{name}.json"
        if not path.exists():
            path.write_text('{"counter": 1}')
        schema = "{type: object, required: [counter]}"
        self.world.declare(
            f"services:\n  {name}:\n    run: {run}\n    watch: {watch}\n"
            f"    state: {{main: {{file: {path}, format: json, schema: {schema}}}}}\n"
            f"    health: {{within: 5s, stable_for: 0s}}\n{more}",
            name,
        )

    def command(self, name: str, *words: str, subject: str = "", patience: str = "500ms", **keys: Any) -> None:
        program = [sys.executable, "-u", str(SUBJECTS / subject), *words] if subject else ["/bin/sleep", "600"]
        run = json.dumps({"command": program, "stop_timeout": patience})
        self.declare(name, run, **keys)

    def watch(self) -> None:
        log = (self.world.root / "run.log").open("ab")
        self.world.spawn("run", stderr=log)
        log.close()

    def log(self) -> str:
        path = self.world.root / "run.log"
        return path.read_text() if path.exists() else ""

    def record(self, name: str) -> dict[str, Any]:
        try:
            document: dict[str, Any] = json.loads((self.world.state_dir / "services" / f"{name}.json").read_text())
        except FileNotFoundError:
            return {"process": {}}
        return document

    def starts(self, name: str) -> int:
        return int(self.record(name)["process"].get("starts", 0))

    def pid(self, name: str) -> int:
        return int(self.record(name)["process"]["identity"]["pid"])

    def kill(self, name: str) -> None:
        os.kill(self.pid(name), signal.SIGKILL)

    def until(self, true: Any, what: str) -> None:
        try:
            self.world.wait_for(true, what, within_s=60)
        except AssertionError as error:
            raise AssertionError(f"{error}; the log:\n{self.log()}") from None

    def name(self, name: str, pid: int) -> None:
        """Let the record of a service say that its process has this pid, which is another's."""
        path = self.world.state_dir / "services" / f"{name}.json"
        record = self.record(name)
        record["process"]["identity"]["pid"] = pid
        path.write_text(json.dumps(record))

    def back(self, name: str, starts: int) -> None:
        """Until it runs, after so many starts."""
        self.until(
            lambda: self.starts(name) == starts and self.record(name)["process"]["phase"] == "running",
            f"start {starts} of {name}",
        )

    def gave_up(self, name: str) -> bool:
        return "given_up" in self.record(name)


@pytest.fixture
def watched(world: Any) -> Watched:
    return Watched(world)


def test_what_is_killed_comes_back_and_what_was_stopped_stays_down(watched: Watched) -> None:
    """Bad state is restored before the start; good state is left alone; a stop on purpose counts. Identity is never a
    bare pid: a service whose pid is another's by now is seen as down, and the other is left alone."""
    for name in ("good", "bad", "stopped", "reused"):
        after = "    after: [stopped]\n" if name == "good" else ""  # which is down on purpose
        watched.command(name, more=f"    autosave: {{every: 200ms}}\n{after}")
    world = watched.world
    pid_file, started = world.root / "pid", world.root / "started"
    start = f"echo x >> {started}; sleep 600 & echo $! > {pid_file}"
    control = {
        "start": ["/bin/sh", "-c", start],
        "stop": ["/bin/sh", "-c", f"kill $(cat {pid_file})"],
        "status": ["/bin/sh", "-c", f"kill -0 $(cat {pid_file})"],
    }
    watched.declare("control", json.dumps({"control": control}))
    world.run("start").fine()
    world.run("snapshot").fine()
    stranger = subprocess.Popen(["/bin/sleep", "600"], env={})
    try:
        good, bad = world.root / "good.json", world.root / "bad.json"
        good.write_text('{"counter": 2}')
        bad.write_text('{"coun')
        world.run("stop", "stopped").fine()
        watched.kill("reused")
        watched.name("reused", stranger.pid)
        watched.watch()
        for name in ("good", "bad"):
            watched.kill(name)
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
        for name in ("good", "bad", "reused"):
            watched.back(name, 2)
        assert stranger.poll() is None
        watched.until(lambda: started.read_text() == "x\nx\n", "another start by a command")
        watched.until(lambda: bad.read_text() == '{"counter": 1}', "its known-good state")
        assert good.read_text() == '{"counter": 2}'
        watched.kill("good")
        watched.back("good", 3)
        # by now the stopped one was looked at as often
        assert watched.starts("stopped") == 1
        state = {one["service"]: one for one in world.json("status")["services"]}
        assert not state["stopped"]["running"]
        assert state["good"]["running"]
    finally:
        stranger.kill()
        stranger.wait()
        with contextlib.suppress(OSError, ValueError):
            os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_a_crash_loop_is_given_up_until_something_is_new(watched: Watched) -> None:
    """`give_up_after`: told by an event, by `check` and `status`; also a new scheduler remembers it."""
    watched.command("app", "0", subject="dies_after.py")
    world = watched.world
    world.run("start", "app", "--no-wait")
    watched.watch()
    watched.until(lambda: watched.gave_up("app"), "the end of all tries")
    assert watched.starts("app") == 3
    watched.until(lambda: "service.gave-up" in watched.log(), "the event")
    assert "given up: brought back 2 times in vain" in world.run("status", "app").out
    checked = world.run("check", "app")
    assert checked.status == 2
    assert "given up" in checked.out
    world.children[-1].terminate()
    assert world.children[-1].wait(60) == 0

    watched.command("other")
    world.run("start", "other").fine()
    watched.watch()
    watched.kill("other")
    watched.back("other", 2)  # so the new one is at work
    assert watched.starts("app") == 3
    (world.root / "app.json").write_text('{"counter": 2}')
    watched.until(lambda: watched.starts("app") > 3, "another try with other state")


def test_what_hangs_is_replaced_whatever_it_does_about_it(watched: Watched) -> None:
    """A process that is unhealthy for longer than `health.within` is ended with its tree, also one that ignores SIGTERM
    or forks while it is killed; what it flushes at exit is taken for its state."""
    world = watched.world
    subjects = {"deaf": "ignores_term.py", "hydra": "forks_when_killed.py", "late": "flushes_at_exit.py"}
    for name, subject in subjects.items():
        words = [str(world.root / "late.json")] if name == "late" else []
        flag = world.root / f"{name}.hangs"
        probe = json.dumps(["/bin/sh", "-c", f"! test -e {flag}"])
        health = f"    health: {{within: 2s, stable_for: 0s, probes: [{{command: {probe}}}]}}\n"
        watched.command(name, *words, subject=subject, patience="60s" if name == "late" else "500ms")
        text = (world.conf / "conf.d" / f"{name}.yaml").read_text()
        (world.conf / "conf.d" / f"{name}.yaml").write_text(
            text.replace("    health: {within: 5s, stable_for: 0s}\n", health).replace("[counter]", "[]")
        )
    world.run("snapshot").fine()
    world.run("start", "--no-wait")
    for name in subjects:
        ready = world.state_dir / "logs" / f"{name}.log"
        watched.until(lambda ready=ready: "ready" in ready.read_text(), f"{name} to be ready")
    first = {name: watched.pid(name) for name in subjects}
    watched.watch()
    for name in subjects:
        (world.root / f"{name}.hangs").touch()
    for name in subjects:
        watched.until(lambda name=name: watched.pid(name) != first[name], f"{name} to be replaced")
        (world.root / f"{name}.hangs").unlink()
    for name in subjects:
        watched.until(
            lambda name=name: (world.state_dir / "logs" / f"{name}.log").read_text().count("ready") >= 2,
            f"{name} to be back",
        )
        assert first[name] not in world.processes()
    resumed = world.state_dir / "resume" / "late.json"
    watched.until(resumed.exists, "the report of how it came back")
    assert json.loads(resumed.read_text())["reports"][-1]["outcome"] == "untouched"  # what it had flushed was good


def test_one_that_starts_itself_anew_does_not_run_twice(watched: Watched) -> None:
    """What is left of a former run is ended before another begins: two would write into the same state."""
    words = ("0.5", str(watched.world.root / "app.lock"))
    watched.command("app", *words, subject="restarts_itself.py", watch=WATCH.replace("2}", "1}"))
    watched.world.run("start", "app", "--no-wait")
    watched.watch()
    watched.until(lambda: watched.gave_up("app"), "the end of all tries")
    log = (watched.world.state_dir / "logs" / "app.log").read_text()
    assert (watched.starts("app"), log.count("ready")) == (2, 2)
    assert "anew" in log  # it has really tried
    assert "twice" not in log
    found = [
        one for one in watched.world.processes() if b"restarts_itself.py" in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    assert len(found) <= 1
