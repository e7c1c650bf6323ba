"""The orchestrator whole: config/conf.d/orchestrator.yaml as it is shipped, a real orchestrator, restarts and damage.

Only where it is and how long it takes to be proven is said beside the sample. Its state is changed through its own
port, it is killed with SIGKILL, and everything is asked of the real command line.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "tests" / "subjects" / "orchestrator.py"
HERE = """\
services:
  orchestrator:
    run:
      command: [{python}, {program}, --state, {state}, --port, "{port}", --slow-write, "{slow}", --speaks, {version}]
    health: {{within: 30s, stable_for: 200ms, probes: [{{http: "http://127.0.0.1:{port}/health"}}]}}
"""
UPDATE = """\
    state:
      main:
        version: {field: version, current: "2.0.0"}
        migrate: [{from: "1.0.0", to: "2.0.0", patch: [{op: add, path: /queues, value: []}]}]
"""


def ago(**time: float) -> str:
    return (datetime.now(UTC) - timedelta(**time)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def task(name: str, status: str = "in_progress", **more: Any) -> dict[str, Any]:
    progress = {"percentComplete": 40, "completedSteps": []}
    return {"id": name, "title": f"Task {name}", "status": status, "priority": "high", "progress": progress, **more}


def talk(name: str, **time: float) -> dict[str, Any]:
    return {"id": name, "source": "chat", "recentMessages": [{"role": "user"}] * 60, "lastActivityAt": ago(**time)}


@dataclass
class Stage:
    """A machine with the orchestrator: the sample in its place, and the orchestrator's directory, not there yet."""

    world: Any
    port: int

    state = property(lambda self: self.world.root / "agentmux" / "state")
    main = property(lambda self: self.state / "orchestrator-state.json")
    log = property(lambda self: self.world.root / "run.log")
    env = property(lambda self: self.world.env | {"AGENTMUX_HOME": str(self.world.root / "agentmux")})

    def install(self) -> None:
        conf = self.world.conf / "conf.d"
        (conf / "notes.yaml").unlink()
        shutil.copytree(ROOT / "config" / "schemas", self.world.conf / "schemas", copy_function=shutil.copyfile)
        shutil.copyfile(ROOT / "config" / "conf.d" / "orchestrator.yaml", conf / "orchestrator.yaml")
        (conf / "orchestrator.yaml.d").mkdir()
        self.here()

    def here(self, slow: int = 0, version: str = "1.0.0", more: str = "") -> None:
        """What is different here from the sample."""
        words: dict[str, Any] = {"python": sys.executable, "program": PROGRAM, "state": self.state}
        words |= {"port": self.port, "slow": slow, "version": version}
        (self.world.conf / "conf.d" / "orchestrator.yaml.d" / "here.yaml").write_text(HERE.format(**words) + more)

    def run(self, *words: str) -> Any:
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        return self.world.run(*words, env=self.env)

    def json(self, *words: str) -> Any:
        return self.run("--json", *words).json

    def restore(self, status: int = 0, *words: str) -> Any:
        return self.run("--json", "restore", *words).fine(status).json["services"][0]

    def status(self) -> Any:
        return self.json("status")["services"][0]

    def snapshots(self) -> list[Any]:
        return list(self.json("list")["snapshots"])

    def post(self, what: str, document: Any = None) -> Any:
        url, data = f"http://127.0.0.1:{self.port}/{what}", json.dumps(document).encode()
        with urllib.request.urlopen(urllib.request.Request(url, data), timeout=10) as answer:
            return json.loads(answer.read())

    def try_to_post(self, what: str) -> None:
        """As whoever asks for something, and is not answered any more."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.post(what)

    def document(self) -> Any:
        return json.loads(self.main.read_bytes())

    def tasks(self) -> list[str]:
        return [one["id"] for one in self.document()["tasks"]]

    def report(self) -> Any:
        return json.loads((self.world.root / "run-resume" / "orchestrator.json").read_bytes())

    def said(self) -> str:
        return str(self.run("logs", "orchestrator").out)

    def kill(self) -> None:
        pid = int(self.status()["pid"])
        os.kill(pid, signal.SIGKILL)
        self.world.wait_for(lambda: not lives(pid), "the orchestrator to be gone")

    def scheduler(self) -> subprocess.Popen[bytes]:
        """`recoverd run`; returns when it has saved something."""
        child: subprocess.Popen[bytes]
        with self.log.open("wb") as log:
            child = self.world.spawn("run", env=self.env, stderr=log)
        self.world.wait_for(self.snapshots, "a first snapshot")
        return child

    def busy(self) -> None:
        """Two tasks to go on with, one of them from a checkpoint, one conversation that is still warm, one improvement
        of itself in the middle of its tests; and of each what is none."""
        self.post("task", task("t1", checkpoint={"stepIndex": 3}))
        self.post("task", task("t2", "completed"))
        self.post("task", task("t3", "paused"))
        self.post("conversation", talk("c1", minutes=5))
        self.post("conversation", talk("c2", hours=3))
        self.post("improve", {"description": "a faster start", "status": "testing"})


@contextlib.contextmanager
def chat() -> Iterator[tuple[str, list[Any]]]:
    """Where hooks post to; its URL, and the documents that were posted."""
    posted: list[Any] = []

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/chat", posted
    finally:
        server.shutdown()
        server.server_close()


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def stage(world: Any) -> Stage:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    made = Stage(world, port)
    made.install()
    return made


@pytest.fixture
def playing(stage: Stage) -> Stage:
    """The orchestrator was started by recoverd for the first time."""
    assert stage.restore()["healthy"]
    return stage


# -- reasons and labels ----------------------------------------------------------------------------------------


def test_snapshots_have_reasons_and_labels(playing: Stage) -> None:
    """A change, a user's wish, a risky operation: each snapshot says why it is there, in JSON and text. One is found by
    its label in `list --json`, and restored; what was there goes to quarantine, and `undo` puts it back."""
    scheduler = playing.scheduler()
    playing.post("task", task("t1"))
    playing.world.wait_for(lambda: "change" in {one["reason"] for one in playing.snapshots()}, "a save after a change")
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(60) == 0
    playing.run("snapshot", "--reason", "user_request", "--label", "before-upgrade", "--tag", "risky").fine()
    playing.post("task", task("t2"))
    (labelled,) = [one for one in playing.snapshots() if one["label"] == "before-upgrade"]
    assert (labelled["reason"], labelled["tags"]) == ("user_request", ["risky"])
    assert "tags" in labelled["kept_by"]
    assert 'user_request "before-upgrade"' in playing.run("list").out
    result = playing.restore(0, "--snapshot", labelled["id"])
    assert (result["outcome"], result["healthy"]) == ("restored", True)
    assert playing.tasks() == ["t1"]
    assert playing.report()["clean_shutdown"] is True, "it was stopped for it"
    playing.run("undo").fine()
    playing.world.wait_for(lambda: playing.tasks() == ["t1", "t2"], "what was there before")


def test_a_shutdown_checkpoint(playing: Stage) -> None:
    """What changed just before the scheduler is told to stop is saved for that reason, and the orchestrator's own last
    checkpoint says so too."""
    playing.here(more="    autosave: {on_change: {quiet: 1h, at_most: 1h}, every: 1h}\n")
    scheduler = playing.scheduler()
    playing.post("task", task("last"))
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(60) == 0
    newest = playing.snapshots()[0]
    assert newest["reason"] == "shutdown"
    shown = playing.run("show", "--good", newest["id"], "main").fine().out
    assert [one["id"] for one in json.loads(shown)["tasks"]] == ["last"]
    playing.run("stop").fine()
    assert playing.document()["checkpointReason"] == "before_restart"


def test_its_own_backups_are_kept_and_come_back(playing: Stage) -> None:
    """Ten of them; restored by id by itself, and as files by recoverd. Where one is newer than any snapshot, and the
    state file is gone bad, it is what comes back."""
    playing.post("task", task("t1"))
    names = [playing.post(f"backup?risky-{number}") for number in range(12)]
    backups = sorted(path.name for path in (playing.state / "backups").iterdir())
    assert backups == [f"{name}.json" for name in names[2:]]
    playing.post("task", task("t2"))
    playing.post(f"restore?{names[-1]}")
    assert (playing.tasks(), playing.document()["checkpointReason"]) == (["t1"], "error_recovery")
    playing.run("snapshot").fine()
    (playing.state / "backups" / f"{names[5]}.json").write_bytes(b'{"id": "sta')
    newest = playing.post("backup?newest")
    playing.kill()
    playing.main.write_bytes(b"")
    result = playing.restore()
    sources = {one["document"]: one["source"] for one in result["items"] if one["item"] != "live"}
    assert sources[f"{names[5]}.json"] == "snapshot"
    assert sources[""] == "sibling"
    (main,) = [one for one in result["items"] if one["item"] == "main"]
    assert main["candidate"] == f"sibling backups/{newest}.json"
    assert playing.tasks() == ["t1"]


# -- restarts --------------------------------------------------------------------------------------------------


def test_restarts_are_counted_and_how_they_came_about(playing: Stage) -> None:
    """First start, clean stop, kill: the count and how the last run ended go on in the report, in `status`, in `check`
    and, by way of the report, in the orchestrator's own state."""

    def told() -> tuple[int, bool | None, int]:
        status = playing.status()
        report = playing.report()
        assert (status["restart_count"], status["clean_shutdown"]) == (
            report["restart_count"],
            report["clean_shutdown"],
        )
        return report["restart_count"], report["clean_shutdown"], playing.document()["metadata"]["restartCount"]

    assert told() == (0, None, 0)
    playing.post("task", task("t1"))
    playing.run("snapshot").fine()
    playing.kill()
    playing.restore()
    assert told() == (1, False, 1)
    playing.main.write_bytes(b"\0" * 500)
    playing.restore()
    assert told() == (2, True, 2), "recoverd stopped it to restore"
    playing.kill()
    # what all of this is for: by itself it takes a damaged state file for none, and overwrites it
    playing.main.write_bytes(b"")
    alone = subprocess.Popen([sys.executable, str(PROGRAM), "--state", str(playing.state)], stdout=subprocess.DEVNULL)
    playing.world.children.append(alone)
    playing.world.wait_for(lambda: playing.main.read_bytes() and playing.tasks() == [], "an empty state")
    alone.kill()
    alone.wait()
    playing.restore(0, "--snapshot", "orchestrator/good")
    assert playing.tasks() == ["t1"]
    assert told() == (3, False, 3)
    found = {one["name"]: one for one in playing.json("check")["results"]}["resume"]
    assert found["figures"]["restart_count"]["value"] == 3
    assert "after an unclean shutdown, #3" in found["message"]


# -- another version ---------------------------------------------------------------------------------------------


def test_a_version_mismatch_is_migrated(playing: Stage) -> None:
    """An update refuses the state of the version before: it is migrated before the start, after a pinned snapshot, and
    what was in flight is told of what came of it. `undo` goes back, for the program of then."""
    playing.post("task", task("t1", "paused"))
    playing.run("stop").fine()
    playing.here(version="2.0.0", more=UPDATE)
    playing.run("start").fine(1)
    assert "it needs a migration" in playing.said()
    result = playing.restore()
    assert (result["healthy"], playing.document()["version"]) == (True, "2.0.0")
    assert (playing.tasks(), playing.document()["queues"]) == (["t1"], [])
    assert {"from": "1.0.0", "to": "2.0.0"} in [one["migrated"] for one in result["items"]]
    assert result["in_flight"]["summary"] == "resuming 1 task"
    (pinned,) = [one for one in playing.snapshots() if one["reason"] == "pre-migration"]
    assert pinned["pinned"] is True
    playing.run("stop").fine()
    playing.here()
    playing.run("undo").fine()
    assert (playing.document()["version"], playing.tasks()) == ("1.0.0", ["t1"])


# -- the resume report -----------------------------------------------------------------------------------------


def test_the_resume_report(playing: Stage) -> None:
    """Tasks in progress or paused with whether a checkpoint exists, conversations of the last hour, the warning: to the
    orchestrator, which goes on with them, to whoever looks, and through a hook to everybody else."""
    playing.busy()
    playing.run("snapshot").fine()
    playing.kill()
    playing.main.write_bytes(b'{"id": "state-1", "tas')
    done = playing.run("restore").fine()
    report = playing.report()
    assert report["message"] == "restarted (#1), resuming 2 tasks and 1 conversation"
    assert [(one["as"], one["exists"], one["message"]) for one in report["in_flight"]["entries"]] == [
        ("task:t1", {"checkpoint": True}, None),
        ("task:t3", {"checkpoint": False}, None),
        ("conversation:c1", {}, "There was a restart. I go on where we were."),
        (None, {}, None),
    ]
    assert report["in_flight"]["entries"][0]["show"] == {
        "title": "Task t1",
        "priority": "high",
        "/progress/percentComplete": 40,
    }
    warning = 'self-improvement "a faster start" was testing: verify what it changed'
    assert report["in_flight"]["warnings"] == [warning]
    assert report["in_flight"]["notes"] == []
    assert report["lost"][0].startswith("main: what was written after ")

    for words in (
        "  resuming 2 tasks and 1 conversation",
        "    task:t1 (title: Task t1, priority: high, percentComplete: 40, with checkpoint)",
        "    task:t3 (title: Task t3, priority: high, percentComplete: 40, no checkpoint)",
        "    conversation:c1 (source: chat): There was a restart. I go on where we were.",
        f"  warning: {warning}",
    ):
        assert words in done.out.splitlines(), done.out

    said = playing.said()
    for words in (
        "restarted (#1), resuming 2 tasks and 1 conversation; clean: False",
        "goes on with task:t1 from its checkpoint",
        "goes on with task:t3: None",
        "goes on with conversation:c1: There was a restart. I go on where we were.",
        f"warning: {warning}",
    ):
        assert words in said, said
    status = playing.run("status").fine().out
    assert "resuming 2 tasks and 1 conversation" in status
    assert f"warning: {warning}" in status
    assert playing.status()["in_flight"]["count"] == 3

    # and to everybody else, by an event: also on state that was left alone, and whatever a clock has made of a time
    playing.post("conversation", talk("c3", hours=-2))
    playing.kill()
    conf = playing.world.conf / "recoverd.yaml"
    with chat() as (url, said_there):
        body = '{"text": "{message}", "resuming": {in_flight}}'
        hook = f"hooks: [{{when: [restore.finished], webhook: '{url}', body: '{body}'}}]\n"
        conf.write_text(conf.read_text() + "log: {format: json}\n" + hook)
        done = playing.run("-v", "restore").fine()
    (posted,) = said_there
    told = "restarted (#2), resuming 2 tasks and 1 conversation"
    assert posted == {"text": f"{told}; {warning}; its state was left as it is", "resuming": 3}
    assert "note: main /conversations: 1 entry left out: lastActivityAt lies in the future" in done.out
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    (event,) = [one for one in events if one.get("event") == "restore.finished"]
    assert event["message"].startswith("restarted (#2), resuming 2 tasks and 1 conversation; self-improvement")
    assert event["level"] == "warning"
    assert {name: event["figures"][name] for name in ("restart_count", "clean_shutdown", "in_flight", "warnings")} == {
        "restart_count": 2,
        "clean_shutdown": False,
        "in_flight": 3,
        "warnings": 1,
    }
    assert event["figures"]["messages"] == "conversation:c1: There was a restart. I go on where we were."
    assert json.loads(Path(event["figures"]["resume"]).read_bytes())["message"] == event["message"].split(";")[0]


# -- killed at any moment --------------------------------------------------------------------------------------


def test_killed_in_the_middle_of_a_write(stage: Stage, torture: Any) -> None:
    """At any moment of a checkpoint or a backup: what was acknowledged is there, and it comes back healthy; a backup
    that was cut in two goes to quarantine."""
    stage.here(slow=200)
    stage.restore()
    known = {"t0"}
    stage.post("task", task("t0"))
    stage.run("snapshot").fine()
    moments = [(what, 0.025 * step) for step in range(7) for what in ("checkpoint?scheduled", "backup?risky")]
    statuses = []
    for what, moment_s in torture.sample(moments, 2):
        pid = int(stage.status()["pid"])
        known.add(f"t{len(known)}")
        stage.post("task", task(f"t{len(known) - 1}"))
        where = stage.state / ("backups" if what.startswith("backup") else ".")
        before = set(where.iterdir())
        threading.Thread(target=stage.try_to_post, args=(what,), daemon=True).start()
        stage.world.wait_for(lambda at=where, seen=before: set(at.iterdir()) - seen, "the write to begin")
        time.sleep(moment_s)  # wherever it is by then: no promise depends on it
        os.kill(pid, signal.SIGKILL)
        stage.world.wait_for(lambda gone=pid: not lives(gone), "the orchestrator to be gone")
        done = stage.run("--json", "restore")
        assert done.status in {0, 3}, done
        statuses.append(done.status)
        assert done.json["services"][0]["healthy"], done
        assert set(stage.tasks()) == known
        for path in (stage.state / "backups").iterdir():
            json.loads(path.read_bytes())
    torture.tell(len(statuses), "kills", f"{statuses.count(3)} of them cut a backup in two")
