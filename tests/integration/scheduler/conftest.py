"""Real child processes of `run`, and a socket that stands where systemd's is."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHILD = Path(__file__).with_name("child.py")
PATIENCE_S = 20.0  # a loaded machine is slow; nobody waits this long when all is well


@dataclass
class Run:
    """One child. Its stdout and stderr are files, so that it never blocks on a pipe."""

    directory: Path
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def log(self) -> str:
        return self.err.read_text()

    def announced(self) -> str:
        """The start-up line."""
        self.until(lambda: self.out.read_text().endswith("\n"), "the start-up line")
        return self.out.read_text().strip()

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}; the log:\n{self.log()}"
            time.sleep(0.01)

    def until_logged(self, words: str) -> None:
        self.until(lambda: words in self.log(), repr(words))

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit status (negative: killed by that signal)."""
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        self.signal(signal.SIGTERM)
        return self.ended()


@dataclass
class World:
    """The directory that children work in, and all of them."""

    directory: Path
    script: Path = CHILD
    environment: dict[str, str] = field(default_factory=dict)
    children: list[Run] = field(default_factory=list)

    def configure(self, **services: dict[str, Any]) -> None:
        self.write("config.json", json.dumps({"services": services}))

    def prunes(self) -> list[str]:
        path = self.directory / "prunes"
        return path.read_text().split() if path.exists() else []

    def write(self, name: str, text: str) -> None:
        temporary = self.directory / f".{name}"
        temporary.write_text(text)
        temporary.replace(self.directory / name)

    def start(self, *, wait: bool = True) -> Run:
        """A child; once it has said what it watches."""
        number = len(self.children)
        out, err = self.directory / f"{number}.out", self.directory / f"{number}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, str(self.script), str(self.directory)],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=os.environ | self.environment,
            )
        run = Run(self.directory, process, out, err)
        self.children.append(run)
        if wait:
            run.announced()
        return run

    def calls(self, reason: str | None = None) -> list[dict[str, Any]]:
        path = self.directory / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        found = [json.loads(line) for line in lines]
        return [call for call in found if reason in {None, call["reason"]}]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    made.write("mode", "fine")
    yield made
    for child in made.children:
        if child.process.poll() is None:
            child.process.kill()
        child.process.wait(PATIENCE_S)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """systemd's end of sd_notify."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(PATIENCE_S)
        yield channel
