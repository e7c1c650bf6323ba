"""A house for one item: declared in YAML as an operator does it, damaged for real, brought back by the operations."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.config.loading import load
from recoverd.events.stream import Events
from recoverd.operations.assess import AssessRequest, assess
from recoverd.operations.context import Context
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest, ServiceRestore
from recoverd.operations.snapshot import SnapshotRequest, snapshot
from recoverd.operations.undo import UndoRequest, undo
from recoverd.recovery.item_survey import ItemSurvey

RECOVERD = Path(sys.executable).with_name("recoverd")


@dataclass(frozen=True)
class House:
    """One service with one state item, `main`; the document that is to be damaged is at `document`."""

    root: Path  # recoverd's own files
    state: Path  # the service's
    document: Path
    item: Path
    directory: bool
    others: Mapping[str, bytes]

    @property
    def config(self) -> Path:
        return self.root / "recoverd.yaml"

    def open(self) -> Context:
        """As a new process would open it."""
        loaded = load([str(self.config)], environ={}, euid=os.geteuid(), home=str(self.root))
        return Context(loaded.config, Events([]), str(self.root / "run"), wait_s=5)

    def write(self, data: bytes) -> None:
        self.document.parent.mkdir(parents=True, exist_ok=True)
        self.document.write_bytes(data)

    def snapshot(self) -> str:
        settle()
        return snapshot(self.open(), SnapshotRequest()).services[0].outcome

    def assess(self) -> ItemSurvey:
        settle()
        return assess(self.open(), AssessRequest()).services[0].items["main"]

    def restore(self, **request: Any) -> ServiceRestore:
        settle()
        return restore(self.open(), RestoreRequest(**request)).services[0]

    def undo(self) -> None:
        undo(self.open(), UndoRequest())

    def command(self, *words: str, before: tuple[str, ...] = ()) -> tuple[int, dict[str, Any]]:
        """Exit status and JSON of `recoverd WORDS` as a process of its own, with `before` in front of it."""
        settle()
        done = subprocess.run(
            [*before, str(RECOVERD), "--config", str(self.config), "--json", *words],
            env=os.environ | {"RUNTIME_DIRECTORY": str(self.root / "run")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.startswith("{"), (done.returncode, done.stdout, done.stderr)
        return done.returncode, json.loads(done.stdout)

    def contents(self) -> dict[str, str | bytes]:
        """All that lies in the service's directory, by path, without quarantine (which may be beside it)."""
        return {str(path): look(path) for path in sorted(self.state.rglob("*")) if ".recoverd-" not in str(path)}

    def quarantined(self) -> dict[str, str | bytes]:
        """What restores have put aside: what lies below each quarantine, whatever its name there."""
        places = [self.root / "var" / "quarantine", *self.state.parent.glob("**/.recoverd-*")]
        return {str(path): look(path) for place in places for path in place.rglob("*")}


def settle() -> None:
    """Let what was just written age past the time in which a file counts as still being written."""
    time.sleep(0.025)


def look(path: Path) -> str | bytes:
    """What lies at a path: bytes of a regular file, else a word for it; nothing is followed."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if stat.S_ISREG(status.st_mode):
        return path.read_bytes()
    if stat.S_ISLNK(status.st_mode):
        return f"symlink to {path.readlink()}"
    return "directory" if stat.S_ISDIR(status.st_mode) else "fifo" if stat.S_ISFIFO(status.st_mode) else "other"


Build = Callable[..., House]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    """Builds a house around one item of the given keys; nothing is written to its state yet but the other documents."""

    def build(
        kind: str,
        keys: Mapping[str, Any],
        *,
        name: str = "b",
        other: bytes = b"",
        others: tuple[str, ...] = ("a", "c"),
        state: Path | None = None,
    ) -> House:
        directory = kind == "directory"
        below = (state or tmp_path / "state").resolve()
        below.mkdir(exist_ok=True)
        item = below / ("documents" if directory else name)
        service = {"state": {"main": {kind: str(item), **keys}}}
        (tmp_path / "recoverd.yaml").write_text(
            yaml.safe_dump({"state_dir": str(tmp_path / "var"), "services": {"app": service}})
        )
        beside_it = dict.fromkeys(others, other) if directory else {}
        house = House(tmp_path, below, item / name if directory else item, item, directory, beside_it)
        for beside, data in beside_it.items():
            item.mkdir(exist_ok=True)
            (item / beside).write_bytes(data)
        return house

    return build
