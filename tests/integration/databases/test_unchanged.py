"""Unchanged is told by stats, whose times move in ticks: what is committed around a look is never missed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from recoverd.operations.snapshot import SnapshotRequest, snapshot
from recoverd.recovery import database_image, databases
from recoverd.state.databases.copying import copy_database, opened_in_place
from recoverd.state.databases.process import Copied, Source
from recoverd.state.verdicts import Judgement, Verdict
from recoverd.system import walk

# Commits the number of each line that it reads, in place, and answers with it. Files keep their sizes.
WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
database.execute("PRAGMA synchronous=OFF")
database.execute(f"PRAGMA wal_autocheckpoint={sys.argv[2]}")
for line in sys.stdin:
    database.execute("UPDATE said SET number = ?", (int(line),))
    print(line, end="", flush=True)
"""


class Here:
    """The child's work without the process, so that thousands of captures take a minute; see `Examination`."""

    copies = in_places = 0
    after: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self, source: Source, target: str | None, rules: object) -> None:
        del rules
        self.source, self.target, self.held = source, target, ExitStack()

    def __enter__(self) -> Here:
        return self

    def __exit__(self, *_: object) -> None:
        self.held.close()

    def in_place(self) -> bool:
        os.fchdir(self.source.directory)
        found = self.held.enter_context(opened_in_place(self.source.name)) is not None
        Here.in_places += found
        Here.after()
        return found

    def copied(self) -> Copied:
        assert self.target is not None
        os.fchdir(self.source.directory)
        done = copy_database(self.source.name, self.target)
        Here.copies += 1
        Here.after()
        return Copied(damage=done.damage, how=done.how.value)

    def judged(self, *, unchecked: bool) -> Judgement:
        return Judgement(Verdict.OK, unchecked=unchecked)


class Speaker:
    """A writer that commits at once when it is told to."""

    def __init__(self, house: Any, checkpoint: int) -> None:
        command = [sys.executable, "-S", "-c", WRITER, str(house.store), str(checkpoint)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.number = 0

    def say(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.number += 1
        self.process.stdin.write(f"{self.number}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == f"{self.number}\n"


@pytest.fixture
def roomy(house: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """The house, on disk or in memory: whose times move in the same ticks, and where a capture waits for no disk."""
    made = []

    def move(where: str) -> Any:
        memory = Path("/dev/shm")
        if where == "memory" and memory.is_dir() and os.access(memory, os.W_OK):
            made.append(tempfile.TemporaryDirectory(prefix="recoverd-test-", dir=memory))
            house.root = Path(made[0].name)
            house.live.mkdir()
            monkeypatch.setattr(databases, "is_memory_file_system", lambda fd: False)
        return house

    monkeypatch.chdir(house.root)
    yield move
    for process in house.writers:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
    os.chdir("/")
    for one in made:
        one.cleanup()


def in_ticks(status: os.stat_result, tick_ns: int) -> os.stat_result:
    """As on a kernel, or a file system, whose times move so seldom."""
    times = {name: getattr(status, name) // tick_ns * tick_ns for name in ("st_mtime_ns", "st_ctime_ns")}
    return os.stat_result(tuple(status), times)


@pytest.mark.parametrize(
    ("where", "tick_ns", "mode", "checkpoint"),
    [
        ("memory", 1, "wal", 1),
        ("memory", 10_000_000, "wal", 1),
        ("memory", 10_000_000, "wal", 1000),
        ("memory", 10_000_000, "delete", 0),
        ("memory", 10_000_000, "persist", 0),
        ("memory", 2_000_000_000, "wal", 1),
        ("disk", 1, "wal", 1),
    ],
)
def test_commits_around_a_look(
    roomy: Any, torture: Any, monkeypatch: pytest.MonkeyPatch, where: str, tick_ns: int, mode: str, checkpoint: int
) -> None:
    """Before a look, after it, after the copy, each within a tick or not: the next capture has the last of them."""
    house = roomy(where)
    with closing(sqlite3.connect(house.store)) as database, database:
        database.execute("CREATE TABLE said (number INTEGER)")
        database.execute("INSERT INTO said VALUES (0)")
    with closing(sqlite3.connect(house.store)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
    speaker = Speaker(house, checkpoint)
    house.writers.append(speaker.process)
    speaker.say()
    points: set[str] = set()

    def at(point: str) -> None:
        if point in points:
            speaker.say()

    real, lstat_at, is_same = databases._captured, walk.lstat_at, database_image.is_same

    def captured(*given: Any) -> Any:
        at("after the look")
        return real(*given)

    monkeypatch.setattr(databases, "lstat_at", lambda *given: in_ticks(lstat_at(*given), tick_ns))
    for module in (databases, database_image):
        monkeypatch.setattr(module, "is_same", lambda *given: is_same(*(in_ticks(one, tick_ns) for one in given)))
    monkeypatch.setattr(databases, "_captured", captured)
    monkeypatch.setattr(databases, "Examination", Here)
    monkeypatch.setattr(Here, "after", staticmethod(lambda: at("after the copy")))
    monkeypatch.setattr(Here, "copies", 0)
    monkeypatch.setattr(Here, "in_places", 0)
    if tick_ns < 1_000_000_000:  # so that it is read in its place, now and then
        monkeypatch.setattr(databases, "left_alone_ns", lambda *_: 55_000_000)
    context = house.open()
    tries = (200 if where == "disk" else 700) if torture.full else 3
    known = 0
    for _ in range(tries):
        points = {one for one in ("before", "after the look", "after the copy") if torture.random.random() < 0.4}
        at("before")
        time.sleep(torture.random.choice((0, torture.random.random() * 0.012, 0.06)))
        first = snapshot(context, SnapshotRequest()).services[0]
        assert first.outcome in {"saved", "unchanged"}, first
        points = set()
        time.sleep(torture.random.choice((0, 0, 0.004, 0.06)))
        for _ in range(2):
            before = Here.copies + Here.in_places
            assert snapshot(context, SnapshotRequest()).services[0].outcome in {"saved", "unchanged"}
            known += before == Here.copies + Here.in_places
            with closing(sqlite3.connect(house.stored())) as copy:
                assert copy.execute("SELECT number FROM said").fetchone() == (speaker.number,)
    assert not torture.full or mode == "wal" or Here.in_places
    found = f"none missed, {known} of {2 * tries} captures without a read, {Here.in_places} read in place"
    what = f"looks with commits around them ({mode}, checkpoint {checkpoint}, {where}, ticks of {tick_ns} ns)"
    torture.tell(tries, what, found)
