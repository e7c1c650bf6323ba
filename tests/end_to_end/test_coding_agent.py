"""The coding agent whole: config/conf.d/coding-agent.yaml as it is shipped, a real agent, and what may happen to it.

Only where the agent is and how long it takes to be proven is said beside the sample; what damages its state is done
to real files, its process is killed with SIGKILL, and everything is asked of the real command line.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
AGENT = ROOT / "tests" / "subjects" / "coding_agent.py"
FORBIDDEN = '/\\:*?"<>|'
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


@pytest.fixture
def agency(world: Any) -> Agency:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    made = Agency(world, port)
    made.install()
    return made


@pytest.fixture
def working(agency: Agency) -> Agency:
    """The agent was started by recoverd, has done some work, and was killed."""
    agency.restore(0)
    agency.worked()
    agency.kill()
    return agency


# -- its recovery order ----------------------------------------------------------------------------------------


def test_a_first_start_makes_its_directories(agency: Agency) -> None:
    """Nothing is there, not even the directory: state is `new`, and the agent is started and proven all the same."""
    assert not agency.state.exists()
    result = agency.restore(0)
    assert (result["outcome"], result["healthy"], item(result)["verdict_before"]) == ("untouched", True, "new")
    agency.world.wait_for(agency.main.exists)
    assert {path.name for path in agency.state.iterdir() if path.is_dir()} == {"tasks", "sessions", "logs", "reports"}


def test_each_step_of_its_recovery_order(working: Agency) -> None:
    """state.json, its own backups, snapshots, rebuilt from the tasks with metrics computed, an empty initial state."""
    whole = working.main.read_bytes()

    # 1. what it saved last is good: it stays, whatever lies beside it
    result = working.restore(0, "--no-start")
    assert (result["outcome"], item(result)["source"], working.main.read_bytes()) == ("untouched", "live", whole)

    # 2. its own newest backup that is whole; the newest one of all is torn too
    torn, newest = (*reversed(working.backups()),)[:2]
    torn.write_bytes(torn.read_bytes()[:-20])
    working.main.write_bytes(b"")
    result = working.restore(0, "--no-start")
    assert (item(result)["source"], item(result)["candidate"]) == ("sibling", f"sibling {newest.name}")
    assert working.main.read_bytes() == newest.read_bytes()
    assert any(torn.name in reason for reason in result["reasons"]), "and why the other was not taken is told"

    # 3. a snapshot that is newer than its backups
    working.main.write_bytes(whole)
    working.run("snapshot").fine()
    newest_snapshot = working.snapshots()[0]["id"]
    working.main.write_bytes(whole[: len(whole) // 2])
    result = working.restore(0, "--no-start")
    assert (item(result)["source"], item(result)["candidate"]) == ("snapshot", newest_snapshot)
    assert working.main.read_bytes() == whole

    # 4. neither: rebuilt from the tasks, with the metrics as the agent itself computes them
    for backup in working.backups():
        backup.unlink()
    working.run("clear", "coding-agent", "--snapshots", "--yes").fine()
    working.main.write_bytes(bytes(len(whole)))
    result = working.restore(3, "--no-start")
    assert (result["outcome"], item(result)["source"]) == ("degraded", "rebuild")
    rebuilt, before = document(working.main), json.loads(whole)
    assert rebuilt["tasks"] == sorted(before["tasks"], key=lambda one: str(one["id"]))
    average = rebuilt["metrics"].pop("average_completion_time")
    assert average == pytest.approx(before["metrics"].pop("average_completion_time"), abs=0.001)
    assert average > 0
    assert rebuilt["metrics"] == before["metrics"]
    assert (rebuilt["version"], rebuilt["sessions"]) == ("1.0.0", [])
    assert working.restore(0)["healthy"], "and the agent goes on with that"
    assert working.health()["completed_tasks"] >= before["metrics"]["completed_tasks"]
    working.kill()

    # 5. not even tasks: an empty start
    for path in (*working.tasks.iterdir(), *working.backups()):
        path.unlink()
    working.run("clear", "coding-agent", "--snapshots", "--yes").fine()
    working.main.write_bytes(b"\0")
    result = working.restore(3)
    assert (result["outcome"], item(result)["source"], result["healthy"]) == ("degraded", "initial", True)
    assert working.health()["loaded"]


def test_what_is_newer_than_the_snapshot_is_taken_first(working: Agency) -> None:
    """A backup that the agent made after the last snapshot loses less."""
    working.run("snapshot").fine()
    working.restore(0)
    before = set(working.backups())
    working.world.wait_for(lambda: len(set(working.backups()) - before) >= 2, "newer backups")
    working.kill()
    newest = working.backups()[-1]
    working.main.write_bytes(b"{")
    result = working.restore(0, "--no-start")
    assert item(result)["candidate"] == f"sibling {newest.name}"


def test_directories_come_back(working: Agency) -> None:
    """Directories are created when missing: all of it is gone, down to the agent's own directory."""
    working.run("snapshot").fine()
    before = {path: path.read_bytes() for path in (working.main, *working.tasks.iterdir())}
    shutil.rmtree(working.state)
    result = working.restore(0)
    assert {name: item(result, name)["source"] for name in ("main", "tasks", "sessions")} == dict.fromkeys(
        ("main", "tasks", "sessions"), "snapshot"
    )
    assert result["healthy"]
    assert {path.name for path in working.tasks.iterdir()} >= {path.name for path in before if path != working.main}
    assert (working.state / "logs").is_dir(), "what may be absent is made by the agent"


# -- partial state ---------------------------------------------------------------------------------------------


def test_it_goes_on_with_partial_state(working: Agency) -> None:
    """Some task files are bad: those that were saved come back, the others go to quarantine, and the agent starts."""
    working.run("snapshot").fine()
    saved, *rest = sorted(working.tasks.iterdir())
    good = saved.read_bytes()
    saved.write_bytes(good[:30])
    never = working.tasks / "task_t0900.json"
    never.write_bytes(b'{"id": "t0900", "descr')
    result = working.restore(3)
    assert (result["outcome"], result["healthy"]) == ("degraded", True)
    assert {one["document"]: one["source"] for one in result["items"] if one["item"] == "tasks"} == {
        saved.name: "snapshot",
        never.name: "empty",
    }
    assert document(saved)["id"] == json.loads(good)["id"]
    assert not never.exists()
    assert all(path.exists() for path in rest)
    kept = [path.read_bytes() for path in Path(item(result, "tasks")["quarantine"]).rglob("*") if path.is_file()]
    assert b'{"id": "t0900", "descr' in kept
    assert working.restore(0)["outcome"] == "untouched", "and then all is well"


def test_a_rebuild_of_partial_state(working: Agency) -> None:
    """Nothing was ever saved, state.json is gone and a task is torn: the state is made of the tasks that are good."""
    for path in (working.main, *working.backups()):
        path.unlink()
    torn = min(working.tasks.iterdir())
    torn.write_bytes(torn.read_bytes()[:30])
    left = {document(path)["id"] for path in working.tasks.iterdir() if path != torn}
    working.main.write_bytes(b"\0\0")
    result = working.restore(3)
    assert (item(result)["source"], result["healthy"]) == ("rebuild", True)
    assert not torn.exists()
    assert working.health()["loaded"]
    working.kill()
    assert {one["id"] for one in document(working.main)["tasks"]} >= left


def test_names_that_no_task_may_have(working: Agency) -> None:
    """An id with one of / \\ : * ? " < > | is refused, also where its file is named by what is left of it, and so is
    a file that holds another task than its name says."""
    planted = {
        *(f"task_t{ord(letter)}{letter}.json" for letter in FORBIDDEN if letter != "/"),
        *(f"task_t{ord(letter)}.json" for letter in FORBIDDEN),
    }
    for letter in FORBIDDEN:
        text = json.dumps(task(f"t{ord(letter)}{letter}"))
        (working.tasks / f"task_t{ord(letter)}.json").write_text(text)
        if letter != "/":
            (working.tasks / f"task_t{ord(letter)}{letter}.json").write_text(text)
    (working.tasks / "task_t0777.json").write_text(json.dumps(task("t0778")))
    (working.tasks / "task_t0779.json").write_text(json.dumps(task("t0779")))
    (service,) = working.json("assess")["services"]
    (found,) = (one for one in service["items"] if one["item"] == "tasks")
    assert set(found["damaged"]) == planted | {"task_t0777.json"}
    assert set(found["damaged"].values()) == {"corrupt"}
    assert any("which is not its name" in one["problem"] for one in found["problems"])
    assert working.restore(3)["healthy"]
    assert (working.tasks / "task_t0779.json").exists()
    assert not planted & {path.name for path in working.tasks.iterdir()}


# -- health, metrics, alerts -----------------------------------------------------------------------------------

HEALTH = {  # its own health figures -> result and figure of `recoverd check --json`
    "directory exists": ("state-path/main", None),
    "writable": ("state-path/tasks", None),
    "disk space": ("state-space/main", "free_bytes"),
    "last save": ("snapshot-age", "age_seconds"),
    "backup count": ("snapshots", "snapshots"),
}
METRICS = {
    "save duration": ("save-duration", "median_seconds"),
    "load duration": ("load-duration", "last_seconds"),
    "failure rate of saves": ("captures", "failure_rate"),
    "failure rate of loads": ("load-duration", "failure_rate"),
    "disk usage of the state": ("state-path/main", "bytes"),
    "disk usage of the snapshots": ("repository", "bytes"),
    "file count": ("state-path/tasks", "files"),
    "file count of a snapshot": ("snapshots", "files"),
}


def test_its_health_figures_and_metrics_are_in_check(working: Agency) -> None:
    working.restore(0)
    working.world.wait_for(lambda: working.run("snapshot").status == 0, "a capture between two writes of the agent")
    files = {len(list(working.tasks.iterdir()))}
    checks = working.checks()
    files.add(len(list(working.tasks.iterdir())))
    for name, figure in (HEALTH | METRICS).values():
        assert checks[name]["status"] == "OK", checks[name]
        if figure is not None:
            value = checks[name]["figures"][figure]["value"]
            assert value > 0 or "rate" in figure, (name, figure)
    assert checks["snapshots"]["figures"]["snapshots"]["value"] >= 1
    assert min(files) <= checks["state-path/tasks"]["figures"]["files"]["value"] <= max(files)
    assert checks["load-duration"]["figures"]["runs"]["value"] == 2


def test_alerts_of_damage_and_of_saves_that_fail(working: Agency) -> None:
    """Corruption, save failure and backup failure: CRITICAL, with a hint, exit status 2; and gone when they are."""
    working.run_without_privileges()
    working.run("snapshot").fine()
    whole = working.main.read_bytes()
    working.main.write_bytes(b"")
    assert working.checks()["state-path/main"]["status"] == "CRITICAL"
    working.main.write_bytes(whole[:-9])
    working.run("snapshot").fine(1)
    checks = working.checks("--live")
    for corruption in ("snapshot-verdict", "state"):
        assert checks[corruption]["status"] == "CRITICAL", checks[corruption]
        assert "main" in checks[corruption]["message"]
        assert "recoverd restore coding-agent" in checks[corruption]["hint"]
    working.run("check").fine(2)
    assert working.restore(0, "--no-start")["outcome"] == "restored"

    with hindered(working):
        for failures in (1, 2, 3):
            working.main.write_text(json.dumps(document(working.main) | {"changed": failures}))
            working.run("snapshot").fine(1)
            captures = working.checks()["captures"]
            assert captures["figures"]["failures"]["value"] == failures
            assert captures["status"] == ("CRITICAL" if failures >= 3 else "WARNING"), "check.max_failures"
        assert working.checks()["repository"]["status"] == "CRITICAL"
    working.run("snapshot").fine()
    captures = working.checks()["captures"]
    assert captures["status"] == "OK"
    assert captures["figures"]["failure_rate"]["value"] > 0


@contextlib.contextmanager
def hindered(agency: Agency) -> Iterator[None]:
    """The repository takes no new packs."""
    packs = agency.world.repository / "packs"
    packs.chmod(0o500)
    for path in packs.iterdir():
        path.chmod(0o500)
    yield
    for path in (packs, *packs.iterdir()):
        path.chmod(0o700)


def test_an_alert_of_permissions(working: Agency) -> None:
    """State that can't be read, as the user who runs recoverd."""
    working.run("snapshot").fine()
    working.main.chmod(0)
    working.run_without_privileges()
    done = working.run("--json", "check").fine(2)
    (path,) = (one for one in done.json["results"] if one["name"] == "state-path/main")
    assert path["status"] == "CRITICAL"
    assert "can't be read" in path["message"]


def test_an_alert_of_a_full_disk(agency: Agency) -> None:
    """The file system of the state runs full: disk low, then nearly full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    agency.state.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "recoverd-test", str(agency.state)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        agency.restore(3, "--from", "initial", "--no-start")
        agency.run("snapshot").fine()
        assert agency.checks()["state-space/main"]["status"] == "OK"
        (agency.state / "filler").write_bytes(bytes(3800 << 10))
        assert agency.checks()["state-space/main"]["status"] == "WARNING"
        (agency.state / "more").write_bytes(bytes(200 << 10))
        full = agency.checks()["state-space/main"]
        assert full["status"] == "CRITICAL"
        assert full["figures"]["free_bytes"]["crit"] > full["figures"]["free_bytes"]["value"]
    finally:
        subprocess.run(["umount", "-l", str(agency.state)], check=True)


# -- its four events -------------------------------------------------------------------------------------------


def test_its_four_events_are_in_the_log(agency: Agency) -> None:
    """Saved, loaded, save error and autosave triggered: `snapshot.saved`, `state.loaded`, `snapshot.failed` and
    `autosave.triggered`, with service and figures."""
    agency.run_without_privileges()
    host = agency.world.conf / "recoverd.yaml"
    host.write_text(host.read_text() + "log: {format: json, level: debug}\n")
    loaded = agency.run("--debug", "events", "restore").fine().err.splitlines()
    (event,) = (one for one in map(json.loads, loaded) if one.get("event") == "state.loaded")
    assert event["service"] == "coding-agent"
    assert event["figures"]["seconds"] > 0

    scheduler = agency.scheduler()

    def happened(name: str) -> Callable[[], bool]:
        return lambda: any(one["event"] == name and one["service"] == "coding-agent" for one in agency.events())

    for name in ("autosave.triggered", "snapshot.saved"):
        agency.world.wait_for(happened(name), name)
    saved = next(one for one in agency.events() if one["event"] == "snapshot.saved")
    assert saved["figures"]["size_bytes"] > 0
    assert saved["figures"]["seconds"] > 0
    with hindered(agency):
        agency.world.wait_for(happened("snapshot.failed"), "snapshot.failed")
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(30) == 0


# -- a real scheduler ------------------------------------------------------------------------------------------


def test_saved_on_change_and_on_shutdown_and_brought_back(agency: Agency) -> None:
    """The whole story: a change is saved at once, kill -9 tears a write, and no finished task is lost."""
    agency.here('--pace, "0.3", --slow-write, "100"')
    agency.restore(0)
    scheduler = agency.scheduler()
    agency.world.wait_for(lambda: sum(one["reason"] == "change" for one in agency.snapshots()) >= 2, "changes saved")
    agency.world.wait_for(lambda: agency.snapshots()[0]["verdict"] == "ok", "a snapshot that is ok")
    known = {path.name for path in agency.tasks.iterdir()}

    pid = agency.pid()
    agency.world.wait_for(lambda: not whole(agency.main), "a write to be under way")
    os.kill(pid, signal.SIGKILL)
    agency.world.wait_for(lambda: not agency.lives(pid), "the agent to be gone")
    for backup in agency.backups():
        backup.write_bytes(b"")
    agency.main.write_bytes(agency.main.read_bytes()[:100])
    agency.world.wait_for(lambda: agency.snapshots()[0]["verdict"] != "ok", "the damage to be kept as evidence")

    result = agency.restore(0)
    assert (result["outcome"], result["healthy"], item(result)["source"]) == ("restored", True, "snapshot")
    assert {path.name for path in agency.tasks.iterdir()} >= known
    assert agency.pid() != pid
    agency.world.wait_for(lambda: agency.snapshots()[0]["verdict"] == "ok", "a snapshot that is ok again")

    agency.run("stop").fine()
    last = agency.snapshots()[0]["sequence"]
    (agency.tasks / "task_t0901.json").write_text(json.dumps(task("t0901")))
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(30) == 0
    newest = agency.snapshots()[0]
    assert newest["sequence"] > last
    assert newest["reason"] in {"shutdown", "change"}
    agency.run("show", "coding-agent/good", "tasks/task_t0901.json").fine()


def whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


# -- care ------------------------------------------------------------------------------------------------------


def test_a_forced_rebuild(working: Agency) -> None:
    """`restore --from rebuild`: also over state that is ok, which goes to quarantine and comes back by `undo`."""
    before = working.main.read_bytes()
    dry = working.run("restore", "--from", "rebuild", "--dry-run").fine(3)
    assert "would be" in dry.out
    assert working.main.read_bytes() == before
    result = working.restore(3, "--from", "rebuild", "--no-start")
    assert (result["outcome"], item(result)["source"], item(result)["verdict_before"]) == ("degraded", "rebuild", "ok")
    assert document(working.main)["sessions"] == []
    working.run("undo", "--no-start").fine()
    assert working.main.read_bytes() == before


def test_old_state_is_cleaned_up(working: Agency) -> None:
    """Retention keeps ten of the last minute; `prune` says why; `clear` empties the state into quarantine."""
    working.run("stop").fine()  # on purpose: what is captured while it should run and does not, counts for less
    for number in range(13):
        (working.tasks / f"task_t09{number:02}.json").write_text(json.dumps(task(f"t09{number:02}")))
        working.run("snapshot").fine()
    assert len(working.snapshots()) <= 12
    kept = working.json("prune", "--dry-run")["kept"]
    assert sum("last" in one["rules"] for one in kept) == 10
    assert "known-good" in kept[0]["rules"]

    tasks = {path.name for path in working.tasks.iterdir()}
    cleared = working.json("clear", "coding-agent", "--live", "--yes")
    assert not working.main.exists()
    assert cleared["quarantine"]
    assert working.restore(0, "--snapshot", "coding-agent/good")["outcome"] == "restored", "and all of it comes back"
    assert {path.name for path in working.tasks.iterdir()} >= tasks
    working.run("start").fine()
    working.run("stop").fine()
    assert working.json("clear", "coding-agent", "--all", "--yes")["removed"]
    assert not working.snapshots()
    assert item(working.restore(0, "--no-start"))["verdict_before"] == "new"


def test_debugging_one_area(working: Agency) -> None:
    """`--debug recovery` tells what was found and which candidates there are, and nothing of other areas."""
    working.main.write_bytes(b"")
    said = working.run("--debug", "recovery", "restore", "--no-start").fine().err
    lines = [line for line in said.splitlines() if " debug " in line]
    assert lines
    assert all(" debug recovery: " in line for line in lines)
    assert "main is corrupt" in said
    assert f"candidates, best first: sibling {working.backups()[-1].name}" in said
    quiet = working.run("restore", "--no-start").fine()
    assert " debug " not in quiet.err


@pytest.fixture(autouse=True)
def _no_agent_stays(agency: Agency) -> Iterator[None]:
    """Each test's agent ends with it; its log tells when the test failed."""
    yield
    for pid in agency.world.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
