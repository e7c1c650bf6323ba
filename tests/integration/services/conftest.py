"""Drivers over real processes, all of which are killed when the test ends."""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Run, RunKind
from recoverd.services.command import CommandDriver
from recoverd.system.durable import write_path
from tests.doors import open_the_way

SUBJECTS = Path(__file__).parents[2] / "subjects"


class FileLedger:
    """The ledger in a file, as operations keep it in the service's record."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> Mapping[str, Any]:
        try:
            record: dict[str, Any] = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        return record

    def save(self, process: Mapping[str, Any]) -> None:
        write_path(str(self.path), json.dumps(process).encode())


def carriers(mark: bytes) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdecimal() and mark in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            pass
    return found


@pytest.fixture
def mark() -> Iterator[str]:
    """A value for RECOVERD_TEST in the environment of a service; whoever has it is killed at the end."""
    value = secrets.token_hex(8)
    yield value
    line = f"RECOVERD_TEST={value}".encode()
    for _ in range(200):
        pids = carriers(line)
        if not pids:
            return
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)
    pytest.fail(f"processes {pids} are left")


@pytest.fixture
def marked(mark: str) -> Callable[[], list[int]]:
    """Asks for the pids of all processes of this test's services."""
    return lambda: carriers(f"RECOVERD_TEST={mark}".encode())


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A directory which users without rights can enter."""
    open_the_way(tmp_path)
    return tmp_path


@pytest.fixture
def make_driver(tmp_path: Path, mark: str) -> Callable[..., CommandDriver]:
    """make_driver("subject.py", "argument", …, key=value of Run): every call with the same ledger and logs."""

    def make(*command: str, extra_env: Mapping[str, str] | None = None, **keys: Any) -> CommandDriver:
        words = list(command)
        if words[0].endswith(".py"):
            words = [sys.executable, "-u", str(SUBJECTS / words[0]), *words[1:]]
        keys.setdefault("stop_timeout_s", 5.0)
        env = {"RECOVERD_TEST": mark, **keys.pop("env", {})}
        run = Run(RunKind.COMMAND, command=tuple(words), env=env, **keys)
        ledger = FileLedger(tmp_path / "ledger.json")
        return CommandDriver("agent", run, ledger, log_dir=str(tmp_path / "logs"), extra_env=extra_env or {})

    return make


@pytest.fixture
def log_says(tmp_path: Path) -> Callable[..., str]:
    """Waits until the log holds a text, and gives the log."""

    def wait(text: str, *, times: int = 1, within_s: float = 10.0) -> str:
        deadline = time.monotonic() + within_s
        path = tmp_path / "logs" / "agent.log"
        while time.monotonic() < deadline:
            content = path.read_text() if path.exists() else ""
            if content.count(text) >= times:
                return content
            time.sleep(0.01)
        raise AssertionError(f"{text!r} is not {times} times in the log: {content}")

    return wait
