"""Promises 4 and 5 when the power fails in a restore: what it touches is wholly old or wholly new, nothing is lost, and
what it reported stays.

A real `recoverd restore` of a file and two documents of a directory is recorded and cut after each of its calls, and so
is one that restores two services side by side. Each disk that a cut may leave is laid out; the next restore finishes it
or takes it back.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
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

DAMAGED = {
    "notes": {"state.json": b'{"number": ', "tasks/t1.json": b'{"id": 1, "numb', "tasks/t2.json": b"\0\0\0"},
    "other": {"page.txt": b"\0\0"},
}
OF_NOTES = ("state.json", "tasks/")
# dead as soon as what was replaced has its name in quarantine
KILLED = """
import os, signal, sys

rename = os.rename

def killed(old, new, **more):
    rename(old, new, **more)
    if "/quarantine/" in str(new):
        os.kill(os.getpid(), signal.SIGKILL)

os.rename = killed
from recoverd.__main__ import main
sys.exit(main())
"""
_UNRECORDED = ("run", "run-resume", "run-blocked", "conf", "cache", "home")


@dataclass
class Restoring:
    """The whole world of a restore is recorded: live state and what recoverd keeps of it."""

    house: House
    services: tuple[str, ...] = ("notes",)
    old: dict[str, bytes] = field(default_factory=dict)
    new: dict[str, bytes] = field(default_factory=dict)
    told: bool = False
    cuts: dict[str, tuple[str, Image, bool]] = field(default_factory=dict)  # by content: title, disk, reported
    points: int = 0
    seed: int = 0
    cutting: bool = True

    def __post_init__(self) -> None:
        root = self.house.root
        self.recorder = Recorder(root, lambda path: path.split("/")[0] in _UNRECORDED, self._seen)

    def record(self, *words: str, killed: bool = False) -> None:
        """A snapshot, then damage, then the restore that is cut; with `killed` it goes on with one that was killed."""
        self.house.write(1)
        self.house.run("snapshot", *self.services)
        self.new = self.live()
        for service in self.services:
            for name, data in DAMAGED[service].items():
                (self.house.app / name).write_bytes(data)
        self.old = self.live()
        self.recorder.adopt()
        command = self.house.command(words)
        if killed:
            self.cutting = False
            with_kill = [sys.executable, "-c", KILLED, *command[command.index("--config") :]]
            self.recorder.run(with_kill, self.house.env, _with_status(-signal.SIGKILL))
            self.cutting = True
        self.recorder.run(command, self.house.env, _with_status(0))
        assert self.live() == self.new

    def live(self) -> dict[str, bytes]:
        app = self.house.app
        return {str(path.relative_to(app)): path.read_bytes() for path in sorted(app.rglob("*")) if path.is_file()}

    def _seen(self, call: str, path: str) -> None:
        if not self.cutting:
            return
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

    def examine(self, image: Image, told: bool) -> tuple[bool, ...]:
        """Of each service, whether its cut restore was finished; else it was taken back."""
        self.lay(image)
        if told:
            assert self.live() == self.new, "it was reported, and is not there"
        finished = tuple(self._finished(service) for service in self.services)
        with self.house.context() as context:
            result = restore(context, RestoreRequest(self.services))
        assert result.exit_status == 0, result
        assert self.live() == self.new
        assert not list(self.house.state.glob("intents/*.json"))
        assert not list(self.house.state.glob("staging/*"))
        return finished

    def _finished(self, service: str) -> bool:
        finish_intent(service, str(self.house.state))
        state, old, new = (_of(service, files) for files in (self.live(), self.old, self.new))
        assert state in (old, new), f"{service} is neither old nor new: {state}"
        if state == old:
            return False
        quarantine = self.house.state / "quarantine" / service
        kept = {path.read_bytes() for path in quarantine.rglob("*") if path.is_file()}
        assert set(DAMAGED[service].values()) <= kept, f"what was replaced of {service} is lost"
        return True


def _of(service: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Those of one service, without what recoverd keeps beside them for a while."""
    live = {name: data for name, data in files.items() if not name.startswith(".")}
    return {name: data for name, data in live.items() if name.startswith(OF_NOTES) is (service == "notes")}


def _with_status(status: int) -> Callable[[subprocess.CompletedProcess[bytes]], None]:
    def ended(done: subprocess.CompletedProcess[bytes]) -> None:
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)

    return ended


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
    restoring.record("restore", "notes")
    assert attacked(restoring, torture, 25) == {(False,), (True,)}


def test_services_restored_side_by_side_are_each_wholly_old_or_wholly_new_after_a_cut(
    restoring: Restoring, torture: Any
) -> None:
    """Their calls mix as they like; what became of one says nothing about the other."""
    restoring.services = ("notes", "other")
    restoring.record("restore", "--boot")
    assert {(False, False), (True, True)} <= attacked(restoring, torture, 12)


def test_what_a_killed_restore_left_is_durable_before_the_next_one_builds_on_it(
    restoring: Restoring, torture: Any
) -> None:
    """Promise 4: killed when what it replaced had just got its name in quarantine; the next one ends the intent."""
    restoring.record("restore", "notes", killed=True)
    assert attacked(restoring, torture, 12) == {(True,)}


def attacked(restoring: Restoring, torture: Any, most: int) -> set[tuple[bool, ...]]:
    """What became of the services on the disks that cuts have left; all are examined, or `most` of them."""
    cuts = torture.sample(list(restoring.cuts.values()), most)
    outcomes = set()
    for title, image, told in cuts:
        try:
            outcomes.add(restoring.examine(image, told))
        except Exception as error:
            raise AssertionError(f"{title}: {error}") from error
    torture.tell(restoring.points, "cuts of a restore", f"{len(cuts)} disks examined: all old or all new, nothing lost")
    return outcomes
