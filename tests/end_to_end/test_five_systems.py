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
      --changes, "60", --save-every, "0.5", --slow-write, "20"]}}
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
BOOT_ID = "/proc/sys/kernel/random/boot_id"
NEW_BOOT = f'mount --bind "$0" {BOOT_ID} && exec "$@"'
RESET = {
    "version": "1.0.0",
    "tasks": [],
    "sessions": [],
    "metrics": {"total_tasks": 0, "completed_tasks": 0, "failed_tasks": 0, "average_completion_time": 0},
    "last_saved": "2026-11-21T09:30:00.000Z",
}
CONVERSATIONS = 9


def whole(data: bytes) -> Any:
    """The document in JSON or gzip; None when it was torn."""
    try:
        return json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (ValueError, EOFError, OSError):
        return None


def stands_still(pid: int) -> bool:
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


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
        env: dict[str, str] = self.world.env
        places = {"HELIX_STORE": "helixcode", "AGENTMUX_HOME": "agentmux", "STATE_PATH": "agent"}
        return env | {name: str(self.root / place) for name, place in places.items()}

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
        store = [
            sys.executable,
            str(SUBJECTS / "conversation_store.py"),
            "--base",
            str(self.directory("conversations")),
        ]
        subprocess.run([*store, "--fill", str(CONVERSATIONS), "--once"], check=True, stdout=subprocess.DEVNULL)

    def place(self, service: str, name: str) -> Path:
        return self.directory(service) / name

    def run(self, *words: str) -> Any:
        return self.world.run(*words, env=self.env)

    def restore(self, *words: str) -> dict[str, Any]:
        done = self.run("--json", "restore", *words).fine()
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

    def found(self) -> dict[int, str]:
        """The five systems' processes, and what each was started as; recoverd's own are left out."""
        found: dict[int, str] = {}
        for pid in self.world.processes():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
                if len(words) > 2 and (words[1].startswith(str(SUBJECTS)) or "web is process" in words[2]):
                    found[pid] = " ".join(words[1:3])
        return found

    def programs(self) -> Counter[str]:
        return Counter(self.found().values())

    def child(self) -> int:
        """The process of the runner's service, as the runner noted it."""
        self.world.wait_for(lambda: (self.document("locald", "state.json") or {"services": []})["services"], "a child")
        return int(self.document("locald", "state.json")["services"][0]["pid"])

    def pids(self) -> dict[str, int]:
        return {one["service"]: one["pid"] for one in self.status() if one["pid"]}

    def status(self) -> Any:
        return self.run("--json", "status").fine().json["services"]

    def kill(self, *but: int) -> None:
        """Everything at once, wherever it is: the scheduler, and what the five systems run. Only the agent is not in
        the middle of a task, which may be so new that nobody has saved it, and nobody could bring it back."""
        (agent,) = [pid for pid, words in self.found().items() if "coding_agent" in words]

        def has_whole_tasks() -> bool:
            os.kill(agent, signal.SIGSTOP)
            self.world.wait_for(lambda: stands_still(agent), "the agent to stand still")
            is_torn = any(whole(path.read_bytes()) is None for path in self.place("coding-agent", "tasks").iterdir())
            if is_torn:
                os.kill(agent, signal.SIGCONT)
            return not is_torn

        self.world.wait_for(has_whole_tasks, "the agent to have written a task", 60)
        for pid in set(self.world.processes()) - set(but):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for child in self.world.children:
            child.wait()
        self.world.wait_for(lambda: set(self.world.processes()) <= set(but), "all to be gone")

    def power_cut(self) -> bool:
        """Nothing runs any more, the runtime directory is empty, and the boot id is another one: whether it does."""
        self.kill()
        for path in self.root.glob("run*"):
            if path.is_dir():
                shutil.rmtree(path)
        identity = self.root / "boot_id"
        shutil.copyfile("/proc/sys/kernel/random/uuid", identity)
        through = ["unshare", "--mount", "sh", "-c", NEW_BOOT, str(identity)]
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run([*through, "cat", BOOT_ID], capture_output=True, check=False)
            if done.stdout == identity.read_bytes():
                usual = self.world.command
                self.world.command = lambda *words, **options: [*through, *usual(*words, **options)]
                return True
        return False  # only root may have that

    # -- what is saved -------------------------------------------------------------------------------------------

    def records(self, service: str) -> list[Path]:
        return sorted((self.world.repository / "snapshots" / service).glob("[0-9]*.json"))

    def newest(self, service: str) -> int:
        """The number of its newest snapshot without any damage; 0 when it has none."""
        records = [json.loads(path.read_bytes()) for path in self.records(service)]
        return max((int(one["sequence"]) for one in records if one["verdict"] == "ok"), default=0)

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

    # -- how it must be ------------------------------------------------------------------------------------------

    def is_healthy(self) -> None:
        """Everything that is declared runs, exactly once, and a monitoring system sees nothing."""
        self.world.wait_for(lambda: self.programs() == self.started, "each to run once", 60)
        assert self.pids().keys() == RUNNING

        def is_fine() -> bool:
            """Those that write in place are always at it: a snapshot may have caught them, and the next is better."""
            return bool(self.run("check").out.startswith("OK") or self.run("snapshot") is None)

        self.world.wait_for(is_fine, "check to be OK", 60)

    def is_good(self, service: str, name: str, files: Mapping[tuple[str, str], bytes], result: Any) -> None:
        """What was brought back is what the newest known-good version holds, or what the service saved later."""
        found, good = files.get((service, name)), self.good(service, name)
        if result["source"] == "sibling":
            assert found is not None and good is not None
            assert found == files[service, result["candidate"].removeprefix("sibling ")]
            stamp = "last_saved" if service == "coding-agent" else "checkpointedAt"
            assert whole(found)[stamp] >= whole(good)[stamp]
        else:
            assert found == good, (service, name)

    def has_its_data(self, tasks: set[str]) -> None:
        """While they work: what each has worked on is there. `tasks`: what the agent's tasks were."""
        assert [one["id"] for one in self.document("orchestrator", "orchestrator-state.json")["tasks"]] == ["t1", "t2"]
        for project, sessions in (("app", ["one", "two"]), ("site", ["one"])):
            listed = self.document(f"claudectl-{project}", "sessions.json")["sessions"]
            assert [(one["id"], one["status"]) for one in listed] == [(name, "Active") for name in sessions]
        assert [one["id"] for one in self.document("claudectl.all", "data.json")["projects"]] == ["app", "site"]
        assert len(self.document("locald", "state.json")["services"]) == 1
        for number in range(CONVERSATIONS):
            talk = self.settled("conversations", f"conversations/conv-{number:03d}.json")
            assert [one["content"] for one in talk["messages"]] == [f"message {n} of {number}" for n in range(10)]
        assert self.settled("conversations", "sessions/sess-s1.json")["id"] == "s1"
        found = {f"task_{one['id']}.json" for one in self.settled("coding-agent", "state.json")["tasks"]}
        assert tasks <= found & self.task_files(), "none of its tasks is gone"

    def settled(self, service: str, name: str) -> Any:
        """The document, once it is whole."""
        self.world.wait_for(lambda: self.document(service, name) is not None, name)
        while (found := self.document(service, name)) is None:
            pass
        return found

    def task_files(self) -> set[str]:
        return {path.name for path in self.place("coding-agent", "tasks").iterdir()}

    @contextlib.contextmanager
    def held(self, but: str) -> Iterator[None]:
        """All services but this one stand still: whatever changes in their state, it was not they."""
        pids = [pid for name, pid in self.pids().items() if name != but]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            self.world.wait_for(lambda: all(map(stands_still, pids)), "all to stand still")
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def stats(self, but: str) -> dict[Path, tuple[int, ...]]:
        """Of everything below the roots of the other services."""
        roots = [self.directory(service) for service in ROOTS if service != but]
        stats = {path: path.stat() for root in roots for path in root.rglob("*")}
        return {path: (stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size) for path, stat in stats.items()}


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
    """Promises 1, 4 and 10, for five services of four kinds at a time: only what was damaged is replaced, with nothing
    older than the newest snapshot; everything runs again, once, and healthy; and `undo` of one touches no other."""
    machine.run("snapshot").fine()  # what was there before recoverd
    assert {one["outcome"] for one in machine.restore().values()} == {"untouched"}
    machine.post("task", task("t1"))
    machine.post("backup?risky")
    machine.post("task", task("t2"))
    # until an empty state of the agent is suspect
    machine.world.wait_for(lambda: len(json.dumps(machine.document("coding-agent", "state.json"))) > 4000, "work", 60)
    child = machine.child()
    machine.started = machine.programs()
    machine.saves()
    machine.is_healthy()

    # -- kill -9 of all but what the runner has started, which outlives it; then `restore` ----------------------------
    machine.kill(child)
    tasks = machine.task_files()
    place = machine.place
    place("coding-agent", "state.json").write_text(json.dumps(RESET))  # told, not rolled back: it is valid
    place("locald", "state.json").write_bytes(b"")
    place("claudectl-app", "sessions.json").write_bytes(bytes(300))
    place("claudectl-app", "sessions.json.backup").write_bytes(b"")
    os.truncate(place("conversations", "conversations/conv-002.json"), 40)
    place("orchestrator", "orchestrator-state.json").unlink()
    wrong = torn(machine.files()) | {("orchestrator", "orchestrator-state.json")}
    newest = {service: machine.newest(service) for service in ROOTS}
    results = machine.restore()
    assert replaced(results).keys() == {at_item(*at) for at in wrong}
    for (service, *_), one in replaced(results).items():
        kind, _, number = one["candidate"].rpartition("/")
        assert one["source"] != "snapshot" or (kind == service and int(number) >= newest[service]), one
    assert {name for name, one in results.items() if one["healthy"]} == RUNNING & ROOTS.keys()
    (main,) = [one for one in results["coding-agent"]["items"] if one["item"] == "main"]
    assert (main["verdict_before"], main["source"]) == ("reset", "live")
    assert any(f"process {child} had to be ended" in reason for reason in results["locald"]["reasons"])
    machine.saves()
    machine.is_healthy()
    machine.has_its_data(tasks)

    # -- a power cut, and both phases of a boot -----------------------------------------------------------------------
    is_another_boot = machine.power_cut()
    tasks = machine.task_files()
    place("coding-agent", "state.json").write_bytes(b"")
    os.truncate(place("locald", "state.json"), 40)
    for name in ("sessions.json", "sessions.json.backup"):
        place("claudectl-app", name).unlink()
    place("conversations", "conversations/conv-004.json").write_bytes(damaged := bytes(300))
    with place("orchestrator", "orchestrator-state.json").open("r+b") as file:
        file.truncate(file.seek(0, os.SEEK_END) // 2)
    left = machine.files()
    wrong = torn(left) | {("claudectl-app", "sessions.json")}
    results = machine.restore("--boot")
    assert machine.world.processes() == [], "the first phase starts nothing"
    assert replaced(results).keys() == {at_item(*at) for at in wrong}
    now = machine.files()
    assert {at for at in left.keys() | now.keys() if left.get(at) != now.get(at)} == wrong
    for service, name in wrong:
        machine.is_good(service, name, now, replaced(results)[at_item(service, name)])

    confirmed = {one["service"]: one for one in machine.run("--json", "confirm").fine().json["services"]}
    assert {name for name, one in confirmed.items() if one["healthy"]} == RUNNING & ROOTS.keys()
    hit = {service for service, _ in wrong}
    for service in ROOTS:
        told = json.loads((machine.root / "run-resume" / f"{service}.json").read_bytes())
        outcome = "restored" if service in hit else "untouched"
        assert (confirmed[service]["outcome"], told["outcome"]) == (outcome, outcome), service
        assert bool(told["lost"]) == (service in hit), service
        assert told["clean_shutdown"] is False or not is_another_boot, service
    machine.saves()
    machine.is_healthy()
    machine.has_its_data(tasks)

    # -- one of them is put back --------------------------------------------------------------------------------------
    pids = machine.pids()
    quarantine = Path(replaced(results)["conversations", "conversations", "conv-004.json"]["quarantine"])
    with machine.held("conversations"):
        others = machine.stats("conversations")
        machine.run("undo", f"conversations/{quarantine.name}").fine()
        assert machine.stats("conversations") == others
    assert place("conversations", "conversations/conv-004.json").read_bytes() == damaged
    again = machine.pids()
    assert again.pop("conversations") != pids.pop("conversations")
    assert again == pids
