"""The real `recoverd` as a child process, in a world of its own below one temporary directory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

RECOVERD = str(Path(sys.executable).with_name("recoverd"))
MARK = "RECOVERD_TEST_WORLD"
SERVICE = """\
services:
  notes:
    root: {app}
    state:
      main:
        file: state.json
        format: json
        schema:
          type: object
          required: [counter]
          properties: {{counter: {{type: integer, minimum: 0}}}}
      tasks: {{directory: tasks, include: ["*.json"], format: json, optional: true}}
    retention: {{last: 50}}
"""


@dataclass
class Done:
    """What a command left: exit status, stdout, stderr."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; ValueError when there is none, or more."""
        return json.loads(self.out)

    def refused(self, status: int, *words: str) -> Done:
        """Assert: this exit status, one sentence with all the words, a hint, no traceback, nothing on stdout."""
        everything = f"status {self.status}\n{self.out}\n{self.err}"
        assert self.status == status, everything
        assert "Traceback" not in self.err, everything
        lines = self.err.splitlines()
        assert sum(line.startswith("recoverd: error: ") for line in lines) == 1, everything
        assert sum(line.startswith("hint: ") for line in lines) == 1, everything
        for word in words:
            assert word in self.err, everything
        assert self.out == "" or self.json["error"]["exit_status"] == status, everything
        return self

    def fine(self, status: int = 0) -> Done:
        assert self.status == status, f"status {self.status}\n{self.out}\n{self.err}"
        assert "Traceback" not in self.err, self.err
        return self


@dataclass
class World:
    """A configuration, a service's state, a repository; nothing outside `root` is touched."""

    root: Path
    user: int | None = None  # run recoverd as this uid (needs root)
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for directory in (self.conf / "conf.d", self.tasks):
            directory.mkdir(parents=True, exist_ok=True)
        (self.conf / "recoverd.yaml").write_text(f"version: 1\nstate_dir: {self.state_dir}\n")
        self.declare(SERVICE.format(app=self.app))
        self.write(1)
        for number in range(3):
            (self.tasks / f"t{number}.json").write_text(json.dumps({"id": number}))

    conf = property(lambda self: self.root / "conf")
    app = property(lambda self: self.root / "app")
    tasks = property(lambda self: self.root / "app" / "tasks")
    main = property(lambda self: self.root / "app" / "state.json")
    state_dir = property(lambda self: self.root / "state")
    repository = property(lambda self: self.root / "state" / "repository")

    @property
    def env(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "COLUMNS", "LC_ALL"}}
        return kept | {
            "RUNTIME_DIRECTORY": str(self.root / "run"),
            "XDG_CONFIG_HOME": str(self.root / "xdg-config"),
            "XDG_DATA_HOME": str(self.root / "xdg-data"),
            "XDG_CACHE_HOME": str(self.root / "xdg-cache"),
            "XDG_RUNTIME_DIR": str(self.root / "xdg-run"),
            "HOME": str(self.root / "home"),
            "LANG": "C.UTF-8",
            MARK: str(self.root),
        }

    def declare(self, text: str, name: str = "notes") -> Path:
        path: Path = self.conf / "conf.d" / f"{name}.yaml"
        path.write_text(textwrap.dedent(text))
        return path

    def write(self, counter: int, **more: Any) -> None:
        """The service saves its state as it should: beside it, then renamed."""
        beside = self.main.with_suffix(".new")
        beside.write_text(json.dumps({"counter": counter, **more}))
        beside.replace(self.main)

    def command(self, *words: str, config: bool = True) -> list[str]:
        return [RECOVERD, *(("--config", str(self.conf)) if config else ()), *words]

    def run(self, *words: str, config: bool = True, timeout_s: float = 60, **options: Any) -> Done:
        options.setdefault("env", self.env)
        done = subprocess.run(
            self.command(*words, config=config), capture_output=True, timeout=timeout_s, check=False, **options
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def json(self, *words: str) -> Any:
        return self.run("--json", *words).json

    def spawn(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        options: dict[str, Any] = {"env": self.env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | more
        child: subprocess.Popen[bytes] = subprocess.Popen(self.command(*words), **options)
        self.children.append(child)
        return child

    def wait_for(self, true: Callable[[], Any], what: str = "it", within_s: float = 20) -> None:
        end = time.monotonic() + within_s
        while not true():
            assert time.monotonic() < end, f"waited in vain for {what}"
            time.sleep(0.02)

    def processes(self) -> list[int]:
        """Every process of this world, whoever is its parent now: by its environment, or its log."""
        mark, found = f"{MARK}={self.root}".encode(), []
        for one in Path("/proc").iterdir():
            if one.name.isdecimal():
                with contextlib.suppress(OSError):
                    marked = mark in (one / "environ").read_bytes().split(b"\0")
                    if marked or os.readlink(one / "fd" / "1").startswith(f"{self.state_dir}/logs/"):
                        found.append(int(one.name))
        return found

    def end(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        end = time.monotonic() + 10
        while (left := self.processes()) and time.monotonic() < end:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)


def files_below(path: Path) -> dict[str, bytes]:
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


@pytest.fixture
def files() -> Callable[[Path], dict[str, bytes]]:
    """Path and content of every regular file below a directory."""
    return files_below


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    one = World(tmp_path)
    yield one
    one.end()


@pytest.fixture
def saved(world: World) -> World:
    """A world with one snapshot, notes/1."""
    world.run("snapshot").fine()
    return world


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with one snapshot that all tests of a file look at and none changes."""
    one = World(tmp_path_factory.mktemp("kept"))
    one.run("snapshot").fine()
    yield one
    one.end()
