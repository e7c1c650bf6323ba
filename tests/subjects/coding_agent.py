"""A small coding agent: it works through tasks, one change after the other, and keeps its state below a directory.

    python coding_agent.py --port N --state DIR [--pace SECONDS] [--changes N] [--save-every SECONDS]
        [--slow-write MILLISECONDS] [--writes 1.0.0|2.0.0]

It is the kind of program that recoverd is for. It writes its files the naive way, on purpose: it empties a file,
writes it piece by piece and never calls fsync. Killed in the middle, it leaves a torn file. It checks its state when it
starts, and refuses to start on a damaged one, or on one of another version than it writes. It saves at once when a task
is created or changes, every 30 seconds with a backup of its own, and when it is told to stop.

    DIR/state.json                  tasks, sessions, metrics
    DIR/state.backup.<time>.json    the last ten
    DIR/tasks/task_<id>.json        one file per task
    DIR/sessions/<id>.json  DIR/logs/session_<id>.log  DIR/reports/report_<id>.json

http://127.0.0.1:N/health answers 200 with the task counts once the state is loaded, else 503.
SIGTERM saves a last time and ends it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

VERSIONS = ("1.0.0", "2.0.0")  # 2.0.0 has `agents` besides, and another name for the mean time of a task
BACKUPS = 10
OPEN_TASKS = 3  # in work at the same time
KEPT_TASKS = 40
LOG_ENTRIES = 20
FORBIDDEN = set('/\\:*?"<>|')
WORK = ["read the issue", "write a test", "make it pass", "tidy up", "review the change", "update the manual"]
TASK_FIELDS = {"id", "description", "status", "tool", "created_at", "updated_at", "logs"}


class DamagedState(Exception):
    """What is on disk is not what this program wrote."""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


class Agent:
    def __init__(self, directory: Path, slow_write_s: float, version: str) -> None:
        self.directory = directory
        self.version = version
        self.slow_write_s = slow_write_s
        self.tasks: dict[str, dict[str, Any]] = {}
        self.session: dict[str, Any] = {}
        self.sessions: list[str] = []
        self.loaded = False
        self.numbers = itertools.count(1)

    # --- reading ---------------------------------------------------------------------------------

    def load(self) -> None:
        """Take up the work where it was left; begin anew in an empty directory. Raises DamagedState."""
        for name in ("tasks", "sessions", "logs", "reports"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        state_file = self.directory / "state.json"
        if state_file.exists():
            state = read_document(state_file, {"version", "tasks", "sessions", "metrics", "last_saved"})
            if state["version"] != self.version or self.metrics().keys() != state["metrics"].keys():
                raise DamagedState(f"{state_file}: version {state['version']!r} is not {self.version}")
            self.sessions = list(state["sessions"])
            self.numbers = itertools.count(1 + state["metrics"]["total_tasks"])
        for file in sorted((self.directory / "tasks").glob("task_*.json")):
            task = read_document(file, TASK_FIELDS)
            if file.name != f"task_{file_name(task['id'])}.json" or not task["id"][1:].isdecimal():
                raise DamagedState(f"{file}: its id is {task['id']!r}")
            self.tasks[task["id"]] = task
        self.numbers = itertools.count(max([next(self.numbers), *(1 + int(task[1:]) for task in self.tasks)]))
        self.loaded = True

    # --- writing ---------------------------------------------------------------------------------

    def write(self, file: Path, document: object) -> None:
        """Truncate, then write in pieces, with no fsync: a kill in the middle leaves a torn file."""
        data = json.dumps(document, indent=1).encode()
        piece = max(1, len(data) // 4)
        with file.open("wb", buffering=0) as out:
            for start in range(0, len(data), piece):
                time.sleep(self.slow_write_s / 4)
                out.write(data[start : start + piece])

    def save_task(self, task: dict[str, Any]) -> None:
        self.write(self.directory / "tasks" / f"task_{file_name(task['id'])}.json", task)

    def save(self) -> None:
        self.write(
            self.directory / "state.json",
            {
                "version": self.version,
                "tasks": list(self.tasks.values()),
                "sessions": self.sessions,
                **({"agents": ["main"]} if self.version != VERSIONS[0] else {}),
                "metrics": self.metrics(),
                "last_saved": now(),
            },
        )

    def back_up(self) -> None:
        stamp = now().replace(":", "-")
        self.write(
            self.directory / f"state.backup.{stamp}.json", json.loads((self.directory / "state.json").read_bytes())
        )
        for old in sorted(self.directory.glob("state.backup.*.json"))[:-BACKUPS]:
            old.unlink()

    def log(self, level: str, message: str) -> None:
        with (self.directory / "logs" / f"session_{self.session['id']}.log").open("a") as file:
            file.write(f"{now()} {level} {message}\n")

    # --- working ---------------------------------------------------------------------------------

    def begin_session(self) -> None:
        self.session = {"id": f"{int(time.time() * 1000)}", "pid": os.getpid(), "started_at": now(), "ended_at": None}
        self.sessions = [*self.sessions[-19:], self.session["id"]]
        self.write(self.directory / "sessions" / f"session_{self.session['id']}.json", self.session)
        self.log("info", f"session begins with {len(self.tasks)} tasks")
        self.save()

    def end_session(self) -> None:
        self.session["ended_at"] = now()
        self.write(self.directory / "sessions" / f"session_{self.session['id']}.json", self.session)
        self.write(self.directory / "reports" / f"report_{self.session['id']}.json", self.metrics())
        self.log("info", "session ends")
        self.save()

    def step(self) -> None:
        """One change: a new task, or progress of the one that waits longest."""
        in_work = [task for task in self.tasks.values() if task["status"] in {"pending", "in_progress"}]
        if len(in_work) < OPEN_TASKS:
            task = self.new_task()
        else:
            task = min(in_work, key=lambda one: str(one["updated_at"]))
            self.advance(task)
        self.save_task(task)
        self.save()
        self.forget_old_tasks()

    def new_task(self) -> dict[str, Any]:
        number = next(self.numbers)
        task: dict[str, Any] = {
            "id": f"t{number:04d}",
            "description": f"{WORK[number % len(WORK)]} of change {number}",
            "status": "pending",
            "tool": ["editor", "shell", "browser"][number % 3],
            "created_at": now(),
            "updated_at": now(),
            "started_at": None,
            "completed_at": None,
            "logs": [],
            "result": None,
        }
        self.note(task, "created")
        self.tasks[task["id"]] = task
        return task

    def advance(self, task: dict[str, Any]) -> None:
        progress = len(task["logs"])
        if task["status"] == "pending":
            task["status"], task["started_at"] = "in_progress", now()
            self.note(task, "started")
        elif progress < len(WORK):
            self.note(task, WORK[progress])
        else:
            failed = int(task["id"][1:]) % 7 == 0
            task["status"], task["completed_at"] = ("failed" if failed else "completed"), now()
            task["result"] = {"ok": not failed, "steps": progress}
            self.note(task, str(task["status"]))
            self.log("info", f"{task['id']} {task['status']}")
        task["updated_at"] = now()

    def note(self, task: dict[str, Any], message: str) -> None:
        entry = {"timestamp": now(), "level": "info", "type": "progress", "message": message}
        task["logs"] = [*task["logs"], entry][-LOG_ENTRIES:]

    def forget_old_tasks(self) -> None:
        for old in list(self.tasks)[: max(0, len(self.tasks) - KEPT_TASKS)]:
            (self.directory / "tasks" / f"task_{file_name(old)}.json").unlink(missing_ok=True)
            del self.tasks[old]

    def metrics(self) -> dict[str, float]:
        tasks = list(self.tasks.values())
        took = [seconds_between(t["started_at"], t["completed_at"]) for t in tasks if t["status"] == "completed"]
        mean = "average_completion_time" if self.version == VERSIONS[0] else "average_completion_seconds"
        return {
            "total_tasks": len(tasks),
            "completed_tasks": len(took),
            "failed_tasks": sum(task["status"] == "failed" for task in tasks),
            mean: round(sum(took) / len(took), 3) if took else 0.0,
        }


def file_name(task_id: str) -> str:
    return "".join(character for character in task_id if character not in FORBIDDEN)


def read_document(file: Path, fields: set[str]) -> dict[str, Any]:
    try:
        document = json.loads(file.read_bytes())
    except ValueError as error:
        raise DamagedState(f"{file}: {error}") from error
    if not isinstance(document, dict) or not fields <= document.keys():
        raise DamagedState(f"{file}: fields are missing")
    return document


def serve_health(agent: Agent, port: int) -> ThreadingHTTPServer:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/health":
                self.send_error(404)
                return
            body = json.dumps({"loaded": agent.loaded, **(agent.metrics() if agent.loaded else {})}).encode()
            self.send_response(200 if agent.loaded else 503)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """The access log would drown what people want to see."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Health)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def work(agent: Agent, asked_to_stop: threading.Event, pace_s: float, changes: int | None, save_s: float) -> None:
    """Make a change, saved at once, every `pace_s` until there are enough; save and back up every `save_s`."""
    made, saved = 0, time.monotonic()
    while not asked_to_stop.wait(pace_s):
        if changes is None or made < changes:
            agent.step()
            made += 1
        if time.monotonic() - saved >= save_s:
            agent.save()
            agent.back_up()
            saved = time.monotonic()
            print(f"agent {os.getpid()}: {json.dumps(agent.metrics())}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="a small coding agent that keeps its state in files")
    parser.add_argument("--port", type=int, default=0, help="of the health endpoint; 0 picks a free one")
    parser.add_argument(
        "--state", type=Path, default=Path(os.environ.get("STATE_PATH", "coding-agent-state")), metavar="DIR"
    )
    parser.add_argument("--pace", type=float, default=0.1, metavar="S", help="seconds between two changes")
    parser.add_argument("--changes", type=int, metavar="N", help="how many to make; then it only saves")
    parser.add_argument(
        "--save-every", type=float, default=30.0, metavar="S", help="seconds between two saves without a change"
    )
    parser.add_argument("--slow-write", type=float, default=0.0, metavar="MS", help="what each file takes to write")
    parser.add_argument("--writes", choices=VERSIONS, default=VERSIONS[0], help="the version of its state")
    options = parser.parse_args()

    agent = Agent(options.state, options.slow_write / 1000, options.writes)
    server = serve_health(agent, options.port)
    print(f"agent {os.getpid()}: http://127.0.0.1:{server.server_port}/health", flush=True)
    try:
        agent.load()
    except DamagedState as error:
        print(f"agent {os.getpid()}: can't start, the state is damaged: {error}", file=sys.stderr, flush=True)
        return 1
    print(f"agent {os.getpid()}: {len(agent.tasks)} tasks loaded from {options.state}", flush=True)

    asked_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked_to_stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    agent.begin_session()
    work(agent, asked_to_stop, options.pace, options.changes, options.save_every)
    agent.end_session()
    print(f"agent {os.getpid()}: saved, ends", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
