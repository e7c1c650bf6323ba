"""The five first systems together on one machine, as their samples are shipped: they work and are saved while they
work, everything is killed in the middle of writes, a state file of each is damaged in a way of its own, and all come
back with their data.

Only places, ports, programs and how long it takes to be proven are said beside the samples. First everything comes back
by `recoverd restore`, as on a machine without systemd; then in the two phases of a boot, under another boot id.
"""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUBJECTS = ROOT / "tests" / "subjects"
HERE = {
    "process-runner": """\
  locald:
    run: {{command: [{python}, {subjects}/process_runner.py, --state, {root}/xdg-data/locald/state.json, --add, web]}}
    health: {{stable_for: 200ms}}
""",
    "coding-agent": """\
  coding-agent:
    run: {{command: [{python}, {subjects}/coding_agent.py, --state, {root}/agent, --port, "{ports[0]}", --pace, "0.05",
      --save-every, "0.5", --slow-write, "20"]}}
    health: {{stable_for: 200ms, probes: [{{http: "http://127.0.0.1:{ports[0]}/health"}}]}}
""",
    "session-manager": """\
  claudectl:
    instances: {{command: [{python}, {subjects}/session.py, "{{id}}"]}}
    health: {{stable_for: 200ms}}
""",
    "conversation-store": """\
  conversations:
    run: {{command: [{python}, {subjects}/conversation_store.py, --base, {root}/helixcode, --every, "0.2",
      --slow-write, "20"]}}
    health: {{within: 30s, stable_for: 200ms}}
""",
    "orchestrator": """\
  orchestrator:
    run: {{command: [{python}, {subjects}/orchestrator.py, --state, {root}/agentmux/state, --port, "{ports[1]}",
      --every, "0.2", --slow-write, "100"]}}
    health: {{stable_for: 200ms, probes: [{{http: "http://127.0.0.1:{ports[1]}/health"}}]}}
""",
}
ROOTS = {  # where each service has its state
    "claudectl-app": "home/src/app/.claudectl",
    "claudectl-site": "home/src/site/.claudectl",
    "claudectl.all": "home/.config/claudectl",
    "coding-agent": "agent",
    "conversations": "helixcode",
    "locald": "xdg-data/locald",
    "orchestrator": "agentmux/state",
}
SINGLE = {"state.json": "main", "orchestrator-state.json": "main", "sessions.json": "sessions"}  # the items of files
RUNNING = {
    *("claudectl-app@one", "claudectl-app@two", "claudectl-site@one"),
    *("coding-agent", "conversations", "locald", "orchestrator"),
}
NEW_BOOT = 'mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"'
RESET = {
    "version": "1.0.0",
    "tasks": [],
    "sessions": [],
    "metrics": {"total_tasks": 0, "completed_tasks": 0, "failed_tasks": 0, "average_completion_time": 0},
    "last_saved": "2026-11-21T09:30:00.000Z",
}
CONVERSATIONS = {f"{number:03d}" for number in range(9)}


def whole(data: bytes) -> Any:
    """The document in JSON or gzip; None when it was torn."""
    try:
        return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, EOFError, OSError):
        return None


def task(name: str) -> dict[str, Any]:
    progress = {"percentComplete": 40, "completedSteps": []}
    return {"id": name, "title": f"Task {name}", "status": "in_progress", "priority": "high", "progress": progress}


@dataclass
class Machine:
    """One configuration with the five samples; where the five keep their state; what runs."""

    world: Any
    ports: Sequence[int]
    started: Counter[str] = field(default_factory=Counter)  # the programs as they were started first

    root = property(lambda self: self.world.root)

    @property
    def env(self) -> dict[str, str]:
        places = {"HELIX_STORE": "helixcode", "AGENTMUX_HOME": "agentmux", "STATE_PATH": "agent"}
        return self.world.env | {name: str(self.root / place) for name, place in places.items()}

    def directory(self, service: str) -> Path:
        directory: Path = self.root / ROOTS[service]
        return directory

    def install(self) -> None:
        conf = self.world.conf / "conf.d"
        (conf / "notes.yaml").unlink()
        shutil.copytree(ROOT / "config" / "schemas", self.world.conf / "schemas", copy_function=shutil.copyfile)
        for name, text in HERE.items():
            shutil.copyfile(ROOT / "config" / "conf.d" / f"{name}.yaml", conf / f"{name}.yaml")
            (conf / f"{name}.yaml.d").mkdir()
            words = {"python": sys.executable, "subjects": SUBJECTS, "root": self.root, "ports": self.ports}
            (conf / f"{name}.yaml.d" / "here.yaml").write_text("services:\n" + text.format(**words))

    def fill(self) -> None:
        """What was there before: projects with sessions, conversations, the runner's directory."""
        self.directory("locald").mkdir(parents=True)
        manage = runpy.run_path(str(SUBJECTS / "session_manager.py"))["main"]
        (self.root / "home").mkdir()
        for words in ("init app", "add app one", "add app two", "init site", "add site one"):
            manage(["--home", str(self.root / "home"), *words.split()])
        store = [sys.executable, str(SUBJECTS / "conversation_store.py"), "--base", str(self.directory("conversations"))]
        subprocess.run([*store, "--fill", str(len(CONVERSATIONS)), "--once"], check=True, stdout=subprocess.DEVNULL)

    def run(self, *words: str) -> Any:
        return self.world.run(*words, env=self.env)

    def restore(self, *words: str) -> dict[str, Any]:
        done = self.run("--json", "restore", *words)
        assert done.status in {0, 3}, done
        return {one["service"]: one for one in done.json["services"]}

    def post(self, what: str, document: Any = None) -> None:
        request = urllib.request.Request(f"http://127.0.0.1:{self.ports[1]}/{what}", json.dumps(document).encode())
        urllib.request.urlopen(request, timeout=30).close()

    def document(self, service: str, name: str) -> Any:
        """None while it is written."""
        try:
            return whole((self.directory(service) / name).read_bytes())
        except OSError:
            return None

    def files(self) -> dict[tuple[str, str], bytes]:
        """Everything below the roots, by service and path."""
        return {
            (service, str(path.relative_to(self.directory(service)))): path.read_bytes()
            for service in ROOTS
            for path in self.directory(service).rglob("*")
            if path.is_file()
        }

    # -- what runs -----------------------------------------------------------------------------------------------

    def programs(self) -> Counter[str]:
        """The five systems' processes, by what they were started as; recoverd's own are left out."""
        found = Counter[str]()
        for pid in self.world.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if len(words) > 2 and (words[1].startswith(str(SUBJECTS)) or words[1] == "-c" and "web" in words[2]):
                    found[" ".join(words[1:3])] += 1
        return found

    def child(self) -> int:
        """The process of the runner's service, as the runner noted it."""
        self.world.wait_for(lambda: (self.document("locald", "state.json") or {"services": []})["services"], "a child")
        return int(self.document("locald", "state.json")["services"][0]["pid"])

    def pids(self) -> dict[str, int]:
        services = self.run("--json", "status").fine().json["services"]
        return {one["service"]: one["pid"] for one in services if one["pid"]}

    def kill(self, *but: int) -> None:
        """Everything at once, wherever it is: the scheduler, and what the five systems run."""
        for pid in set(self.world.processes()) - set(but):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self.world.children:
            child.wait()
        self.world.wait_for(lambda: set(self.world.processes()) <= set(but), "all to be gone")

    # -- what is saved -------------------------------------------------------------------------------------------

    def records(self, service: str) -> list[Path]:
        return sorted((self.world.repository / "snapshots" / service).glob("[0-9]*.json"))

    def newest(self) -> dict[str, str]:
        """Service -> id of its newest snapshot."""
        return {service: f"{service}/{int(self.records(service)[-1].stem)}" for service in ROOTS}

    def reboot(self) -> None:
        """Nothing runs any more, the runtime directory is empty, and the kernel says another boot id."""
        self.kill()
        for path in self.root.glob("run*"):
            if path.is_dir():
                shutil.rmtree(path)
        identity = self.root / "boot_id"
        shutil.copyfile("/proc/sys/kernel/random/uuid", identity)
        through = ["unshare", "--mount", "sh", "-c", NEW_BOOT, str(identity)]
        done = subprocess.run([*through, "cat", "/proc/sys/kernel/random/boot_id"], capture_output=True, check=False)
        if done.stdout != identity.read_bytes():
            pytest.skip(f"no other boot id can be had here: {done.stderr.decode().strip()}")
        usual = self.world.command
        self.world.command = lambda *words, **options: [*through, *usual(*words, **options)]

    def saves(self) -> subprocess.Popen[bytes]:
        """`recoverd run`; returns once it has saved what those that never hold still write."""
        before = {service: len(self.records(service)) for service in ("coding-agent", "orchestrator")}
        with (self.root / "run.log").open("ab") as log:
            child: subprocess.Popen[bytes] = subprocess.Popen(
                self.world.command("run"), env=self.env, stdout=subprocess.DEVNULL, stderr=log
            )
        self.world.children.append(child)

        def has_saved(service: str) -> bool:
            fresh = [json.loads(path.read_bytes()) for path in self.records(service)[before[service] :]]
            return any(one["items"]["main"]["verdict"] == "ok" for one in fresh)

        for service in before:
            self.world.wait_for(lambda name=service: has_saved(name), f"{service} to be saved", 60)
        self.world.wait_for(lambda: self.records("locald"), "the runner to be saved", 60)
        return child

    def good(self, service: str, name: str) -> bytes | None:
        """A file of the newest known-good version; None when that has none."""
        done = self.run("--json", "show", "--good", f"{service}/good", SINGLE.get(name, name))
        return base64.b64decode(done.json["content_base64"]) if done.status == 0 else None

    def is_healthy(self) -> None:
        """Everything that is declared runs, exactly once, and a monitoring system sees nothing."""
        self.world.wait_for(lambda: self.programs() == self.started, "each to run once")
        assert self.pids().keys() == RUNNING
        # one of those that truncate what they write may be at it just now
        self.world.wait_for(lambda: self.run("check").out.startswith("OK"), "check to be OK", 60)

@pytest.fixture
def machine(world: Any) -> Machine:
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        ports = [int(each.getsockname()[1]) for each in (one, other)]
    made = Machine(world, ports)
    made.install()
    made.fill()
    return made


def torn(files: Mapping[tuple[str, str], bytes]) -> set[tuple[str, str]]:
    """What the kill itself left torn, of what is declared as state."""
    names = {at for at in files if at[1].endswith(".json") and not at[1].startswith("state.backup.")}
    return {at for at in names if whole(files[at]) is None}


def replaced(results: Mapping[str, Any]) -> dict[tuple[str, str, str], Any]:
    """Service, item and document -> what a restore says of it, where it did not leave it as it was."""
    return {
        (service, one["item"], one["document"]): one
        for service, result in results.items()
        for one in result["items"]
        if one["source"] != "live"
    }


def at_item(service: str, name: str) -> tuple[str, str, str]:
    """The place of a file as results name it."""
    item, slash, document = name.partition("/")
    return (service, item, document) if slash else (service, SINGLE[name], "")


def test_all_five_through_kill_damage_and_boot(machine: Machine) -> None:
    before = machine.run("snapshot").fine()
    print(before.out)
    print(json.dumps(machine.restore(), indent=1)[:300])
    machine.post("task", task("t1"))
    machine.post("backup?risky")
    machine.post("task", task("t2"))
    machine.world.wait_for(lambda: len(json.dumps(machine.document("coding-agent", "state.json"))) > 4000, "work", 60)
    machine.child()
    machine.started = machine.programs()
    print(machine.started)
    machine.saves()
    machine.is_healthy()
    # round A
    child = machine.child()
    machine.kill(child)
    left = machine.files()
    print("torn", torn(left))
    newest = machine.newest()
    d = lambda s, n: machine.directory(s) / n
    d("coding-agent", "state.json").write_text(json.dumps(RESET))
    d("locald", "state.json").write_bytes(b"")
    d("claudectl-app", "sessions.json").write_bytes(bytes(300))
    d("claudectl-app", "sessions.json.backup").write_bytes(b"")
    os.truncate(d("conversations", "conversations/conv-002.json"), 30)
    d("orchestrator", "orchestrator-state.json").unlink()
    res = machine.restore()
    print(json.dumps(res, indent=1))
    machine.saves()
    machine.is_healthy()
    machine.reboot()
    left = machine.files()
    print("torn", torn(left))
    d("coding-agent", "state.json").write_bytes(b"")
    os.truncate(d("locald", "state.json"), 40)
    d("claudectl-app", "sessions.json").unlink()
    d("claudectl-app", "sessions.json.backup").unlink()
    d("conversations", "conversations/conv-004.json").write_bytes(bytes(300))
    os.truncate(d("orchestrator", "orchestrator-state.json"), 300)
    res = machine.restore("--boot")
    print(json.dumps(res, indent=1))
    print(replaced(res).keys())
    assert not machine.world.processes()
    after = machine.files()
    print({at for at in left.keys() | after.keys() if left.get(at) != after.get(at)})
    print(machine.run("confirm").fine().out)
    machine.saves()
    machine.is_healthy()
    print(machine.run("status").out)
    t = os.times(); print("CPU", t.children_user + t.children_system, t.user + t.system)
    assert 0
