"""The coding agent's machine: config/conf.d/coding-agent.yaml as it is shipped, and a real agent.

Only where the agent is and how long it takes to be proven is said beside the sample; what damages its state is done
to real files, its process is killed with SIGKILL, and everything is asked of the real command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
AGENT = ROOT / "tests" / "subjects" / "coding_agent.py"
HERE = """\
services:
  coding-agent:
    run: {{command: [{python}, {agent}, --state, {state}, --port, "{port}", {options}]}}
    health: {{within: 30s, stable_for: 200ms, probes: [{{http: "http://127.0.0.1:{port}/health"}}]}}
"""
OPTIONS = '--pace, "0.02", --changes, "30", --save-every, "0.3"'


@dataclass
class Agency:
    """A machine with the agent: the sample in its place, and the agent's directory, which is not there yet."""

    world: Any
    port: int

    state = property(lambda self: self.world.root / "coding-agent-state")
    main = property(lambda self: self.state / "state.json")
    tasks = property(lambda self: self.state / "tasks")
    log = property(lambda self: self.world.root / "run.log")
    env = property(lambda self: self.world.env | {"STATE_PATH": str(self.state)})

    def install(self) -> None:
        (self.world.conf / "conf.d" / "notes.yaml").unlink()
        shutil.copytree(ROOT / "config" / "schemas", self.world.conf / "schemas", copy_function=shutil.copyfile)
        sample = self.world.conf / "conf.d" / "coding-agent.yaml"
        shutil.copyfile(ROOT / "config" / "conf.d" / "coding-agent.yaml", sample)
        sample.with_name("coding-agent.yaml.d").mkdir()
        self.here()

    def here(self, options: str = OPTIONS, more: str = "") -> None:
        """What is different here from the sample."""
        words = {"python": sys.executable, "agent": AGENT, "state": self.state, "port": self.port}
        text = HERE.format(**words, options=options) + more
        (self.world.conf / "conf.d" / "coding-agent.yaml.d" / "here.yaml").write_text(text)

    def run(self, *words: str) -> Any:
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        return self.world.run(*words, env=self.env)

    def run_without_privileges(self) -> None:
        """From now on recoverd may do no more than its user may: root too is held by the modes of files."""
        if os.geteuid() != 0:
            return
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed: root may read and write everything")
        usual = self.world.command
        through = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        self.world.command = lambda *words, **options: [*through, *usual(*words, **options)]

    def json(self, *words: str) -> Any:
        return self.run("--json", *words).json

    def restore(self, status: int, *words: str) -> Any:
        """The one service of `restore`'s result; this exit status."""
        done = self.run("--json", "restore", *words).fine(status)
        return done.json["services"][0]

    def checks(self, *words: str) -> dict[str, Any]:
        return {one["name"]: one for one in self.json("check", *words)["results"]}

    def snapshots(self) -> list[Any]:
        return list(self.json("list")["snapshots"])

    def health(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
            return json.loads(answer.read())

    def pid(self) -> int:
        return int(self.json("status")["services"][0]["pid"])

    def worked(self) -> Any:
        """Wait until the agent has made all its changes; its state then."""

        def done() -> bool:
            with contextlib.suppress(ValueError, OSError):
                return len(self.backups()) >= 2 and self.health()["completed_tasks"] >= 2
            return False

        self.world.wait_for(done, "two tasks and two backups")

    def kill(self) -> None:
        """The agent ends as it does when the power fails, and not in the middle of a write."""
        pid = self.pid()
        while True:
            os.kill(pid, signal.SIGSTOP)
            # until all of its threads stand still it may still truncate what was read here
            self.world.wait_for(lambda: stands_still(pid), "the agent to stand still")
            files = [self.main, *self.backups(), *self.tasks.iterdir(), *(self.state / "sessions").iterdir()]
            try:
                for file in files:
                    json.loads(file.read_bytes())
                break
            except ValueError:
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.005)
        os.kill(pid, signal.SIGKILL)
        self.world.wait_for(lambda: not self.lives(pid), "the agent to be gone")

    def lives(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def backups(self) -> list[Path]:
        return sorted(self.state.glob("state.backup.*.json"))

    def scheduler(self, *words: str) -> subprocess.Popen[bytes]:
        """`recoverd run`, with its log in a file; returns when it has saved something."""
        child: subprocess.Popen[bytes]
        with self.log.open("wb") as log:
            child = self.world.spawn(*words, "run", env=self.env, stderr=log)
        self.world.wait_for(self.snapshots, "a first snapshot")
        return child

    def events(self) -> list[Any]:
        """The events that the scheduler logged, as JSON."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if "event" in line]


def stands_still(pid: int) -> bool:
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


def document(path: Path) -> Any:
    return json.loads(path.read_bytes())


def item(result: Any, name: str = "main") -> Any:
    return next(one for one in result["items"] if one["item"] == name)


def task(number: str, status: str = "pending") -> dict[str, Any]:
    return {
        "id": number,
        "description": "planted",
        "status": status,
        "tool": None,
        "created_at": "2026-11-21T09:30:00.000Z",
        "updated_at": "2026-11-21T09:30:00.000Z",
        "logs": [],
    }
