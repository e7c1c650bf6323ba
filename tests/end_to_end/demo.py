"""`make demo`: recoverd's main job, for real and for everybody to see.

A small coding agent keeps its state in files. recoverd saves it each second. Then the agent is killed in the
middle of a write, its state is emptied and a task overwritten with NULs; recoverd says so, brings the last
known-good state back, starts the agent and proves that it is healthy. Every step is asserted; the first one that
is not so ends the demo with exit status 1. All happens in one temporary directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECOVERD = Path(sys.executable).with_name("recoverd")
TERMINAL = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m" if TERMINAL else text


def title(text: str) -> None:
    print("\n" + paint(f"== {text}", "1;36"), flush=True)


def say(text: str) -> None:
    print(textwrap.fill(text, 100), flush=True)


class NotSo(Exception):
    """A step of the demo did not turn out as it must."""


def must(true: bool, sentence: str) -> None:
    if not true:
        raise NotSo(sentence)
    print(paint("   ok: ", "32") + sentence, flush=True)


class Demo:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state = directory / "coding-agent-state"
        self.port = free_port()
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.agent_pid: int | None = None
        self.environment = os.environ | {
            "RUNTIME_DIRECTORY": str(directory / "run"),
            "STATE_PATH": str(self.state),
            "PYTHONUNBUFFERED": "1",
        }

    # -- tools --------------------------------------------------------------------------------------------

    def recoverd(self, *words: str, expect: int) -> None:
        """Run a command as a person would, and hold its exit status against what it must be."""
        print("\n" + paint("$ recoverd " + " ".join(words), "1"), flush=True)
        done = subprocess.run(self.command(*words), env=self.environment, check=False)
        must(done.returncode == expect, f"exit status {done.returncode}")

    def json(self, *words: str) -> Any:
        done = subprocess.run(self.command("--json", *words), env=self.environment, check=False, capture_output=True)
        return json.loads(done.stdout)

    def command(self, *words: str) -> list[str]:
        return [str(RECOVERD), "--config", str(self.directory / "recoverd"), *words]

    def wait_for(self, what: str, true: Any, within_s: float = 15.0) -> None:
        end = time.monotonic() + within_s
        while not true():
            if time.monotonic() > end:
                raise NotSo(f"waited {within_s:.0f} s in vain: {what}")
            time.sleep(0.05)

    def health(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
            return json.loads(answer.read())

    def snapshots(self) -> list[Any]:
        return list(self.json("list")["snapshots"])

    # -- the story ----------------------------------------------------------------------------------------

    def declare(self) -> None:
        title("One YAML file declares a service: its process, its state, what valid state looks like")
        conf = self.directory / "recoverd" / "conf.d"
        conf.mkdir(parents=True)
        shutil.copytree(ROOT / "config" / "schemas", conf / "schemas")
        (self.directory / "recoverd" / "recoverd.yaml").write_text(
            f"version: 1\nstate_dir: {self.directory}/recoverd-state\n"
        )
        agent = ROOT / "tests" / "subjects" / "coding_agent.py"
        drop_in = textwrap.dedent(f"""\
            services:
              coding-agent:
                root: ${{STATE_PATH}}
                run:
                  command: [{sys.executable}, {agent}, --port, "{self.port}",
                            --state, {self.state}, --pace, "0.2", --slow-write, "30"]
                state:
                  main: {{file: state.json, format: json, schema: coding-agent-state.schema.json}}
                  tasks:
                    directory: tasks
                    include: ["task_*.json"]
                    format: json
                    schema: coding-agent-task.schema.json
                  sessions: {{directory: sessions, include: ["*.json"], format: json, optional: true}}
                  logs: {{directory: logs, format: opaque, optional: true}}
                  reports: {{directory: reports, include: ["report_*.json"], format: json, optional: true}}
                autosave: {{every: 1s, on_shutdown: true}}
                retention: {{last: 10, hourly: 24}}
                health: {{within: 15s, stable_for: 1s, probes: [{{http: "http://127.0.0.1:{self.port}/health"}}]}}
            """)
        (conf / "coding-agent.yaml").write_text(drop_in)
        print(paint(drop_in, "2"))
        self.recoverd("config", "validate", expect=0)

    def first_start(self) -> None:
        title("The first start: nothing was ever saved, so `restore` just starts it and proves that it is healthy")
        self.recoverd("restore", expect=0)
        must(self.health() is not None, "the agent answers on its health endpoint")

    def autosave(self) -> None:
        title("`recoverd run` saves it each second, and keeps ten")
        print("\n" + paint("$ recoverd run &", "1"), flush=True)
        log = (self.directory / "scheduler.log").open("wb")
        self.scheduler = subprocess.Popen(self.command("run"), env=self.environment, stdout=log, stderr=log)
        self.wait_for("five snapshots that are ok", lambda: sum(s["verdict"] == "ok" for s in self.snapshots()) >= 5)
        self.recoverd("list", expect=0)

    def disaster(self) -> None:
        title("Disaster: `kill -9` in the middle of a write, state emptied, a task overwritten with NULs")
        self.agent_pid = self.find_agent()
        self.kill_in_a_write()
        say(f"killed process {self.agent_pid}")
        (self.state / "state.json").write_bytes(b"")
        self.victim = min((self.state / "tasks").glob("task_*.json"))
        self.victim.write_bytes(bytes(4096))
        print(f"   {self.state / 'state.json'}: 0 bytes\n   {self.victim}: 4096 NULs")
        self.wait_for("the damage to be captured as evidence", lambda: self.snapshots()[0]["verdict"] != "ok")
        refused = subprocess.run(
            [sys.executable, str(ROOT / "tests/subjects/coding_agent.py"), "--port", "0", "--state", str(self.state)],
            capture_output=True,
            timeout=30,
            check=False,
        )
        say("Started by hand, it would not come up: " + refused.stderr.decode().strip())
        must(refused.returncode != 0, "the agent refuses to start on this state")

    def find_agent(self) -> int:
        record = json.loads((self.directory / "recoverd-state" / "services" / "coding-agent.json").read_bytes())
        return int(find(record, "pid"))

    def kill_in_a_write(self) -> None:
        """Wait until a file is seen half written, and kill right then."""
        assert self.agent_pid is not None
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                json.loads((self.state / "state.json").read_bytes())
            except ValueError:
                break
        os.kill(self.agent_pid, signal.SIGKILL)
        self.wait_for("the agent to be gone", lambda: not Path(f"/proc/{self.agent_pid}").exists())

    def check_says_so(self) -> None:
        title("`recoverd check` is CRITICAL, and says why")
        self.recoverd("check", expect=2)

    def recover(self) -> None:
        title("What would a restore do?")
        self.recoverd("restore", "--dry-run", expect=0)
        must((self.state / "state.json").read_bytes() == b"", "a dry run changes nothing")
        title("`recoverd restore`: validate, fall back, swap, start, prove")
        self.recoverd("restore", expect=0)
        state = json.loads((self.state / "state.json").read_bytes())
        must(state["version"] == "1.0.0" and bool(state["tasks"]), "state.json is back, with its tasks")
        must(json.loads(self.victim.read_bytes())["status"] != "", f"{self.victim.name} is back")
        quarantine = next((self.directory / "recoverd-state" / "quarantine" / "coding-agent").iterdir())
        replaced = sorted(p.read_bytes() for p in quarantine.rglob("*") if p.is_file() and p.name != "evidence.json")
        must(replaced == [b"", bytes(4096)], "just these two were replaced, and what they held is in quarantine")
        must(self.health() is not None, "the agent is healthy again")
        pid = self.find_agent()
        must(pid != self.agent_pid, f"as a new process, {pid}")
        self.agent_pid = pid

    def all_is_well(self) -> None:
        title("All is well again")
        self.wait_for("a new snapshot that is ok", lambda: self.snapshots()[0]["verdict"] == "ok")
        self.recoverd("check", expect=0)

    def shutdown(self) -> None:
        title("SIGTERM ends the scheduler with a last snapshot; the agent runs on")
        assert self.scheduler is not None
        self.scheduler.send_signal(signal.SIGTERM)
        must(self.scheduler.wait(30) == 0, "the scheduler ended with exit status 0")
        must(self.health() is not None, "the agent is still there")
        self.scheduler = None

    def end(self) -> None:
        if self.scheduler is not None:
            self.scheduler.kill()
            self.scheduler.wait()
        if self.agent_pid is not None and Path(f"/proc/{self.agent_pid}").exists():
            os.kill(self.agent_pid, signal.SIGKILL)


def find(value: Any, key: str) -> Any:
    """The first value under `key`, wherever it is."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            found = find(one, key)
            if found is not None:
                return found
    return None


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def main() -> int:
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="recoverd-demo-") as directory:
        demo = Demo(Path(directory))
        try:
            demo.declare()
            demo.first_start()
            demo.autosave()
            demo.disaster()
            demo.check_says_so()
            demo.recover()
            demo.all_is_well()
            demo.shutdown()
        except NotSo as error:
            print(paint(f"\nNOT SO: {error}", "1;31"), flush=True)
            log = demo.directory / "scheduler.log"
            if log.exists():
                print(log.read_text()[-4000:])
            return 1
        finally:
            demo.end()
    print(paint(f"\nEvery step was so, in {time.monotonic() - started:.0f} s.", "1;32"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
