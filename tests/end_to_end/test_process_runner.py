"""The process runner whole: config/conf.d/process-runner.yaml as it is shipped, a real runner and its real children.

Only where the runner is and how long it takes to be proven is said beside the sample. It is killed with SIGKILL while
its child lives; everything is asked of the real command line, by whoever runs the tests.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "subjects" / "process_runner.py"
HERE = """\
services:
  locald:
    run: {{command: [{python}, {runner}, --state, {state}, --add, web], stop_timeout: 5s}}
    health: {{within: 30s, stable_for: 300ms}}
"""


@dataclass
class Bench:
    """A user's data directory with the runner's state, and the sample in its place."""

    world: Any

    directory = property(lambda self: self.world.root / "xdg-data" / "locald")
    state = property(lambda self: self.directory / "state.json")

    def install(self) -> None:
        conf = self.world.conf / "conf.d"
        (conf / "notes.yaml").unlink()
        shutil.copytree(ROOT / "config" / "schemas", self.world.conf / "schemas", copy_function=shutil.copyfile)
        shutil.copyfile(ROOT / "config" / "conf.d" / "process-runner.yaml", conf / "process-runner.yaml")
        (conf / "process-runner.yaml.d").mkdir()
        text = HERE.format(python=sys.executable, runner=RUNNER, state=self.state)
        (conf / "process-runner.yaml.d" / "here.yaml").write_text(text)
        self.directory.mkdir(parents=True)

    def run(self, *words: str) -> Any:
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        return self.world.run(*words)

    def pid(self) -> int:
        return int(self.run("--json", "status").json["services"][0]["pid"])

    def child(self) -> int:
        """The process of the runner's service, once the state names it."""
        self.world.wait_for(lambda: (self.document() or {}).get("services", [{}])[0].get("pid"), "a child")
        return int(self.document()["services"][0]["pid"])

    def document(self) -> Any:
        try:
            return json.loads(self.state.read_bytes())
        except (OSError, ValueError):
            return None

    def lives(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        self.world.wait_for(lambda: not self.lives(pid), "the process to be gone")

    def noted(self) -> list[int]:
        record = json.loads((self.world.state_dir / "services" / "locald.json").read_bytes())
        return [one["pid"] for one in record.get("children", ())]


@pytest.fixture
def bench(world: Any) -> Bench:
    made = Bench(world)
    made.install()
    return made


def test_what_outlived_the_runner_is_ended_and_started_anew(bench: Bench) -> None:
    """Killed while its child lives, its state torn: `restore` ends the lingering child, brings state.json back and
    starts the runner, which starts the child with a new pid; what that says is captured. Saved on change."""
    scheduler = bench.world.spawn("run")
    bench.run("restore").fine()
    runner, child = bench.pid(), bench.child()
    bench.world.wait_for(lambda: bench.noted() == [child], "the save after the start")
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(30) == 0
    bench.kill(runner)
    assert bench.lives(child)  # it has a session and an environment of its own
    whole = bench.state.read_bytes()
    bench.state.write_bytes(whole[: len(whole) // 2])
    done = bench.run("--json", "restore").fine().json["services"][0]
    assert (done["outcome"], done["healthy"], done["items"][0]["source"]) == ("restored", True, "snapshot")
    assert f"of its former run process {child} had to be ended" in done["reasons"][0]
    assert not bench.lives(child)
    bench.world.wait_for(lambda: (bench.document() or {"services": [{"pid": child}]})["services"][0]["pid"] != child)
    again = bench.child()
    assert again != child and bench.lives(again)
    bench.world.wait_for(lambda: f"web is process {again} in {bench.directory}" in bench.run("logs", "locald").out)
    bench.run("stop").fine()
    assert not bench.lives(again)


def test_a_foreign_process_with_the_same_pid_is_left_alone(bench: Bench) -> None:
    """The pid that was noted is another process's by now: as the kernel would have given it, by the record."""
    bench.run("restore").fine()
    runner, child = bench.pid(), bench.child()
    bench.run("snapshot").fine()
    assert bench.noted() == [child]
    bench.kill(runner)
    bench.kill(child)
    foreign = bench.world.spawn("run")  # anything that lives
    record = bench.world.state_dir / "services" / "locald.json"
    document = json.loads(record.read_bytes())
    document["children"][0]["pid"] = foreign.pid  # with the start time of the child that is gone
    record.write_text(json.dumps(document))
    bench.run("start").fine()
    assert foreign.poll() is None
