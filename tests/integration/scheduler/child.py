"""A `recoverd run` whose captures only take notes: the process that the tests of the scheduler signal and kill.

Called with one directory. `config.json` there is the configuration, `mode` says what a capture does, `paused`
lists paused services, `last.json` holds the times of last captures, `step` moves the wall clock by so many
seconds; each capture adds a line to `calls.jsonl`, each prune one to `prunes`.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self, cast

import apscheduler.schedulers.base

from recoverd.cli.terminal import Terminal
from recoverd.config.model import (
    Autosave,
    Config,
    FailedService,
    ItemKind,
    LogConfig,
    Place,
    RepositoryConfig,
    Service,
    StateItem,
)
from recoverd.errors import ConfigError, ConfigProblem, LockHeld, RecoverdError, RepositoryError
from recoverd.events import Events
from recoverd.events.hooks import Hooks
from recoverd.events.logs import log_sink, set_up
from recoverd.operations.context import Context
from recoverd.operations.snapshot import ServiceSnapshot, SnapshotRequest, SnapshotResult
from recoverd.repository.records import ServiceRecord
from recoverd.scheduler import timetable
from recoverd.scheduler.chores import PRUNE
from recoverd.scheduler.loop import Timings
from recoverd.scheduler.service import run
from recoverd.system import clock

TIMINGS = Timings(gather_s=0.1, tick_s=0.05, retry_first_s=0.1, retry_most_s=0.4, lock_wait_s=2.0, same_signal_s=0.3)


@dataclass
class Notes:
    """Stands where a repository would: it knows who is paused."""

    directory: Path

    def record(self, service: str) -> ServiceRecord:
        if "unreadable" in self.paused():
            raise RepositoryError("the record can't be read")
        return ServiceRecord(paused=service in self.paused())

    def paused(self) -> list[str]:
        path = self.directory / "paused"
        return path.read_text().split() if path.exists() else []


@dataclass
class FakeContext:
    directory: Path
    config: Config
    events: Events
    wait_s: float = 7.0
    hooks: Hooks | None = None

    @property
    def state_dir(self) -> str:
        return self.config.state_dir

    def repository_if_any(self) -> Notes:
        return Notes(self.directory)


def open_context(directory: Path) -> Context:
    path = directory / "config.json"
    try:
        text = json.loads(path.read_text())
    except ValueError as error:
        problems = tuple(ConfigProblem(str(path), line, 1, "", f"{error}") for line in (1, 2))
        raise ConfigError(problems) from error
    if "raise" in text:
        raise RuntimeError(text["raise"])
    config = Config(
        state_dir=text.get("state_dir", str(directory / "state")),
        repository=RepositoryConfig(str(directory / "repository")),
        services={name: _service(name, **keys) for name, keys in text.get("services", {}).items()},
        prune_cron=text.get("prune"),
        failed=tuple(FailedService(name, tuple(problems)) for name, problems in text.get("failed", {}).items()),
    )
    return cast("Context", FakeContext(directory, config, Events([log_sink])))


def _service(name: str, every: float | None = None, on_shutdown: bool = False) -> Service:
    autosave = Autosave(every_s=every, on_shutdown=on_shutdown)
    return Service(name, Place("f", 1, 1), state={"main": StateItem("main", ItemKind.FILE, "/x")}, autosave=autosave)


def snapshot(directory: Path, context: Context, request: SnapshotRequest) -> SnapshotResult:
    call: dict[str, Any] = {
        "services": list(request.services),
        "reason": request.reason,
        "full_read": request.full_read,
        "prune": request.prune,
        "wait_s": context.wait_s,
        "time": time.monotonic(),
    }
    with open(directory / "calls.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(call) + "\n")
    mode, _, argument = (directory / "mode").read_text().partition(" ")
    if mode == "slow":
        time.sleep(float(argument))
        with open(directory / "finished", "a", encoding="utf-8") as file:
            file.write("x")
    elif mode == "locked":
        raise LockHeld("the repository", pid=1, command="somebody")
    elif mode == "broken":
        raise RepositoryError("the disk is gone")
    elif mode == "bug":
        raise ZeroDivisionError("one of ours")
    outcome = "failed" if mode == "failing" else "saved"
    return SnapshotResult(tuple(ServiceSnapshot(name, outcome) for name in request.services))


def prune(directory: Path) -> bool:
    mode = (directory / "mode").read_text()
    with open(directory / "prunes", "a", encoding="utf-8") as file:
        file.write(f"{mode}\n")
    if mode == "bug":
        raise ZeroDivisionError("one of ours")
    return mode != "locked"


def last_captures(directory: Path) -> dict[str, int]:
    path = directory / "last.json"
    if not path.exists():
        return {}
    found = json.loads(path.read_text())
    if "damaged" in found:
        raise RepositoryError("records can't be read")
    return {name: time.time_ns() + int(float(ago_s) * -1e9) for name, ago_s in found.items()}


def step_the_clock(path: Path) -> None:
    """Make everybody in this process, APScheduler too, read a wall clock that the file moves."""

    def step_s() -> float:
        return float(path.read_text()) if path.exists() else 0.0

    class Stepped(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=step_s())

    clock.now_ns = lambda: time.time_ns() + int(step_s() * 1e9)
    vars(timetable)["datetime"] = Stepped
    apscheduler.schedulers.base.datetime = Stepped


def main() -> int:
    directory = Path(sys.argv[1])
    step_the_clock(directory / "step")
    set_up(LogConfig(level="debug"))
    try:
        return run(
            lambda: open_context(directory),
            snapshot=lambda context, request: snapshot(directory, context, request),
            last_captures=lambda context: last_captures(directory),
            chores={PRUNE: lambda context: prune(directory)},
            announce=lambda line: print(line, flush=True),
            timings=TIMINGS,
            environment=os.environ,
        )
    except RecoverdError as error:
        Terminal(sys.stdout, sys.stderr).error(error)
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main())
