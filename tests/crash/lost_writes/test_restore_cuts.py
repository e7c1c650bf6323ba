"""Promises 4 and 5 when the power fails in a restore: what it touches is wholly old or wholly new, nothing is lost, and
what it reported stays.

A real `recoverd restore` of a file and two documents of a directory is recorded and cut after each of its calls. Each
disk that a cut may leave is laid out, and the next restore finishes it or takes it back.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest
from recoverd.recovery.swapping import finish_intent
from tests.crash.lost_writes import choices as left
from tests.crash.lost_writes.disk import Choice, Directory, File, Image, Node, Symlink
from tests.crash.lost_writes.house import House
from tests.crash.lost_writes.recording import Recorder

DAMAGED = {"state.json": b'{"number": ', "tasks/t1.json": b'{"id": 1, "numb', "tasks/t2.json": b"\0\0\0"}
_UNRECORDED = ("run", "run-resume", "run-blocked", "conf", "cache", "home")


@dataclass
class Restoring:
    """The whole world of a restore is recorded: live state and what recoverd keeps of it."""

    house: House
    old: dict[str, bytes] = field(default_factory=dict)
    new: dict[str, bytes] = field(default_factory=dict)
    told: bool = False
    cuts: dict[str, tuple[str, Image, bool]] = field(default_factory=dict)  # by content: title, disk, reported
    points: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        root = self.house.root
        self.recorder = Recorder(root, lambda path: path.split("/")[0] in _UNRECORDED, self._seen)

    def record(self) -> None:
        """A snapshot, then damage, then the restore that is cut."""
        self.house.write(1)
        self.house.run("snapshot", "notes")
        self.new = self.live()
        for name, data in DAMAGED.items():
            (self.house.app / name).write_bytes(data)
        self.old = self.live()
        self.recorder.adopt()

        def ended(done: subprocess.CompletedProcess[bytes]) -> None:
            assert done.returncode == 0, (done.stdout, done.stderr)

        self.recorder.run(self.house.command(("restore", "notes")), self.house.env, ended)
        assert self.live() == self.new

    def live(self) -> dict[str, bytes]:
        app = self.house.app
        return {str(path.relative_to(app)): path.read_bytes() for path in sorted(app.rglob("*")) if path.is_file()}

    def _seen(self, call: str, path: str) -> None:
        self.points += 1
        self.told = self.told or call == "told"
        serial = self.recorder.disk.serial
        kinds = [left.NOTHING, left.NAMES, left.DATA, left.EVERYTHING, left.REMOVALS, left.CREATIONS]
        kinds += [left.late(serial - back) for back in range(4)]
        kinds += [left.torn(f"{self.seed} {self.points} {number}") for number in range(4)]
        for choice in kinds:
            self._keep(f"cut {self.points} after {call} {path}, left: {choice.title}", choice)

    def _keep(self, title: str, choice: Choice) -> None:
        image = self.recorder.disk.image(choice)
        hashed = self.house.hash_of
        key = repr((self.told, sorted((name, id(node), hashed(data)) for name, (node, data) in image.items())))
        self.cuts.setdefault(key, (title, image, self.told))

    def lay(self, image: Image) -> None:
        for name in ("app", "state"):
            shutil.rmtree(self.house.root / name)
        numbers: dict[int, int] = {}  # of inodes: recorded -> laid
        for name, (node, data) in sorted(image.items()):
            path = self.house.root / name
            _make(path, node, data)
            numbers[node.number] = path.lstat().st_ino
        for path in (*self.house.state.glob("intents/*.json"), *self.house.state.glob("staging/*/staging.json")):
            text = path.read_text()
            path.write_text(re.sub(r'"(\d+)"', lambda match: f'"{numbers.get(int(match[1]), match[1])}"', text))

    def examine(self, image: Image, told: bool) -> bool:
        """Whether the cut restore was finished; else it was taken back."""
        self.lay(image)
        if told:
            assert self.live() == self.new, "it was reported, and is not there"
        finish_intent("notes", str(self.house.state))
        state = {name: data for name, data in self.live().items() if not name.startswith(".")}
        assert state in (self.old, self.new), f"neither old nor new: {state}"
        finished = state == self.new
        if finished:
            kept = {path.read_bytes() for path in (self.house.state / "quarantine").rglob("*") if path.is_file()}
            assert set(DAMAGED.values()) <= kept, "what was replaced is lost"
        with self.house.context() as context:
            result = restore(context, RestoreRequest(("notes",)))
        assert result.exit_status == 0, result
        assert self.live() == self.new
        assert not list(self.house.state.glob("intents/*.json"))
        assert not list(self.house.state.glob("staging/*"))
        return finished


def _make(path: Path, node: Node, data: bytes) -> None:
    if isinstance(node, Directory):
        path.mkdir(node.mode)
    elif isinstance(node, File):
        path.write_bytes(data)
        os.chmod(path, node.mode)
    elif isinstance(node, Symlink):
        path.symlink_to(node.target)


@pytest.fixture
def restoring(house: House, torture: Any) -> Iterator[Restoring]:
    yield Restoring(house, seed=torture.seed)


def test_a_restore_is_wholly_old_or_wholly_new_after_a_cut(restoring: Restoring, torture: Any) -> None:
    restoring.record()
    cuts = torture.sample(list(restoring.cuts.values()), 25)
    outcomes = set()
    for title, image, told in cuts:
        try:
            outcomes.add(restoring.examine(image, told))
        except Exception as error:
            raise AssertionError(f"{title}: {error}") from error
    assert outcomes == {False, True}
    torture.tell(restoring.points, "cuts of a restore", f"{len(cuts)} disks examined: all old or all new, nothing lost")
