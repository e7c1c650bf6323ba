"""An orchestrator of agents: conversations, tasks and agents in one state file, labelled backups beside it.

    python orchestrator.py --state DIR [--port N] [--every SECONDS] [--slow-write MILLISECONDS] [--speaks VERSION]

    DIR/orchestrator-state.json             written beside (.tmp) and renamed, without fsync
    DIR/backups/backup-<ms>-<label>.json    copies of it, written in place; the last ten

It is the kind of program that recoverd is for: a state file that it can't read it takes for none, starts empty, and
overwrites it at its next checkpoint. Only another version than its own makes it refuse to start. SIGTERM makes a last
checkpoint (before_restart) and ends it.

What it goes on with it learns from the resume report at $RECOVERD_RESUME; it prints each line of that, and counts its
restarts as the report does. http://127.0.0.1:N/health answers 200 with the state. POST /task, /conversation and
/improve change the state by a JSON document and checkpoint it (user_request); POST /backup?LABEL backs it up,
POST /restore?ID takes a backup back (error_recovery), POST /checkpoint?REASON only checkpoints.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import FrameType
from typing import Any

MESSAGES = 50
BACKUPS = 10


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Orchestrator:
    def __init__(self, directory: Path, version: str, slow_write_s: float) -> None:
        self.directory = directory
        self.version = version
        self.slow_write_s = slow_write_s
        self.lock = threading.Lock()
        self.started_at, self.began = now(), time.monotonic()
        self.restarts = 0
        self.state: dict[str, Any] = {}

    path = property(lambda self: self.directory / "orchestrator-state.json")
    backups = property(lambda self: self.directory / "backups")

    def load(self) -> None:
        """Take up what is there. Exits for another version; anything else that is wrong means to begin anew."""
        self.backups.mkdir(parents=True, exist_ok=True)
        fresh = {"id": f"state-{time.time_ns() // 1_000_000}", "version": self.version}
        before: dict[str, Any] = {"conversations": [], "tasks": [], "agents": [], "projects": []}
        try:
            found = json.loads(self.path.read_bytes())
            if found["version"] != self.version:
                sys.exit(f"the state is of version {found['version']}, not {self.version}: it needs a migration")
            self.restarts = found["metadata"]["restartCount"] + 1
            before = found
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"no state to go on with ({type(error).__name__}): starts empty", flush=True)
        self.state = before | fresh

    def resume(self) -> None:
        """What the resume report says: how often it was started, how it ended, and what it goes on with."""
        report = os.environ.get("RECOVERD_RESUME")
        if report is None or not Path(report).exists():
            return
        told = json.loads(Path(report).read_bytes())
        self.restarts = told["restart_count"]
        print(f"{told['message']}; clean: {told['clean_shutdown']}", flush=True)
        for entry in told["in_flight"]["entries"]:
            if entry["as"] is not None:
                how = " from its checkpoint" if entry["exists"].get("checkpoint") else ""
                print(f"goes on with {entry['as']}{how}: {entry['message']}", flush=True)
        for warning in told["in_flight"]["warnings"]:
            print(f"warning: {warning}", flush=True)

    def checkpoint(self, reason: str) -> None:
        uptime = int(time.monotonic() - self.began)
        self.state |= {"checkpointedAt": now(), "checkpointReason": reason, "version": self.version}
        self.state["metadata"] = {
            "version": self.version,
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "startedAt": self.started_at,
            "uptimeSeconds": uptime,
            "restartCount": self.restarts,
        }
        beside = self.path.with_name(self.path.name + ".tmp")
        self.write(beside, json.dumps(self.state, indent=2).encode())
        beside.rename(self.path)

    def write(self, path: Path, data: bytes) -> None:
        """Piece by piece: a kill in the middle leaves half of it."""
        piece = max(1, len(data) // 4)
        with path.open("wb", buffering=0) as out:
            for start in range(0, len(data), piece):
                time.sleep(self.slow_write_s / 4)
                out.write(data[start : start + piece])

    def back_up(self, label: str) -> str:
        self.checkpoint("scheduled")
        name = f"backup-{time.time_ns() // 1_000_000}-{label}"
        self.write(self.backups / f"{name}.json", self.path.read_bytes())
        for old in sorted(self.backups.glob("backup-*.json"))[:-BACKUPS]:
            old.unlink()
        return name

    def take_back(self, name: str) -> None:
        shutil.copyfile(self.backups / f"{name}.json", self.path)
        self.state = json.loads(self.path.read_bytes())
        self.checkpoint("error_recovery")

    def change(self, what: str, document: dict[str, Any]) -> None:
        """A task or conversation of that id is replaced by the document, or added."""
        if what == "improve":
            self.state["selfImprovement"] = {"currentTask": document}
        else:
            if what == "conversation":
                document["recentMessages"] = document.get("recentMessages", [])[-MESSAGES:]
            entries = self.state[what + "s"]
            self.state[what + "s"] = [one for one in entries if one["id"] != document["id"]] + [document]
        self.checkpoint("user_request")


def serve(orchestrator: Orchestrator, port: int) -> ThreadingHTTPServer:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with orchestrator.lock:
                self.answer(orchestrator.state)

        def do_POST(self) -> None:
            what, _, word = self.path[1:].partition("?")
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            done: Any = None
            with orchestrator.lock:
                if what == "backup":
                    done = orchestrator.back_up(word)
                elif what == "restore":
                    orchestrator.take_back(word)
                elif what == "checkpoint":
                    orchestrator.checkpoint(word)
                else:
                    orchestrator.change(what, json.loads(body))
            self.answer(done)

        def answer(self, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """The access log would drown what people want to see."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Answers)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main() -> int:
    parser = argparse.ArgumentParser(description="an orchestrator that keeps its state in a file")
    parser.add_argument("--state", type=Path, required=True, metavar="DIR")
    parser.add_argument("--port", type=int, default=0, help="of the health endpoint; 0 picks a free one")
    parser.add_argument("--every", type=float, default=60.0, metavar="S", help="seconds between two checkpoints")
    parser.add_argument("--slow-write", type=float, default=0.0, metavar="MS", help="what each file takes to write")
    parser.add_argument("--speaks", default="1.0.0", metavar="VERSION", help="the version of the state that it knows")
    options = parser.parse_args()

    orchestrator = Orchestrator(options.state, options.speaks, options.slow_write / 1000)
    orchestrator.load()
    orchestrator.resume()
    orchestrator.checkpoint("scheduled")
    asked_to_stop = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        asked_to_stop.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server = serve(orchestrator, options.port)
    print(f"orchestrator {os.getpid()}: http://127.0.0.1:{server.server_port}/health", flush=True)
    while not asked_to_stop.wait(options.every):
        with orchestrator.lock:
            orchestrator.checkpoint("scheduled")
    with orchestrator.lock:
        orchestrator.checkpoint("before_restart")
    print(f"orchestrator {os.getpid()}: saved, ends", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
