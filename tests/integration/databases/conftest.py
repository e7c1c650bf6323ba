"""A house for one database: declared in YAML as an operator does it, with real writers that can be killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
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
from recoverd.operations.snapshot import ServiceSnapshot, SnapshotRequest, snapshot
from recoverd.operations.undo import UndoRequest, undo
from recoverd.recovery.item_survey import ItemSurvey

# Prints a line when it has done what it is told, and then keeps what it has open until it is killed.
WRITER = """
import sqlite3, sys, time
path, mode, work = sys.argv[1:4]
database = sqlite3.connect(path, isolation_level=None, timeout=60)
database.execute(f"PRAGMA journal_mode={mode}")
database.execute("PRAGMA wal_autocheckpoint=0")
database.execute("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT)")
{work}
print("ready", flush=True)
time.sleep(3600)
"""
COMMITTED = 'database.execute("INSERT INTO users (name) VALUES (?)", (work,))'
# More than fits into the cache, so that pages of a transaction that never ends are in the file.
UNFINISHED = """
database.execute("PRAGMA cache_size=5")
database.execute("BEGIN")
database.executemany("INSERT INTO users (name) VALUES (?)", (("unfinished" * 100,) for _ in range(500)))
database.execute("UPDATE users SET name = 'unfinished'")
"""


@dataclass
class House:
    """One service `app` whose only state is the database `live/store.db`."""

    root: Path
    keys: dict[str, Any] = field(default_factory=dict)
    service: dict[str, Any] = field(default_factory=dict)
    writers: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def live(self) -> Path:
        return self.root / "live"

    @property
    def store(self) -> Path:
        return self.live / "store.db"

    def beside(self, ending: str) -> Path:
        return self.live / f"store.db{ending}"

    def open(self) -> Context:
        """As a new process would open it."""
        item = {"sqlite": str(self.store)} | self.keys
        document = {
            "version": 1,
            "state_dir": str(self.root / "var"),
            "services": {"app": {"state": {"store": item}} | self.service},
        }
        config = self.root / "recoverd.yaml"
        config.write_text(yaml.safe_dump(document))
        loaded = load([str(config)], environ={}, euid=os.geteuid(), home=str(self.root))
        return Context(loaded.config, Events([]), str(self.root / "run"), wait_s=5)

    def make(self, *names: str, mode: str = "delete", rows: int = 0) -> None:
        """A database with these users, closed cleanly."""
        with closing(sqlite3.connect(self.store)) as database:
            database.execute(f"PRAGMA journal_mode={mode}")
            database.execute("CREATE TABLE IF NOT EXISTS users (id INTEGER PRIMARY KEY, name TEXT)")
            database.executemany("INSERT INTO users (name) VALUES (?)", [(name,) for name in names])
            filler = ((os.urandom(500).hex(),) for _ in range(rows))
            database.executemany("INSERT INTO users (name) VALUES (?)", filler)
            database.commit()

    def writer(self, name: str, *, mode: str = "wal", work: str = COMMITTED) -> subprocess.Popen[str]:
        """A process that has written a user and holds the database open."""
        program = WRITER.replace("{work}", work)
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(self.store), mode, name], stdout=subprocess.PIPE, text=True
        )
        self.writers.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.send_signal(signal.SIGKILL)
        process.wait()

    def contents(self) -> dict[str, bytes]:
        """All that lies there, byte by byte. Without the -shm file, into which mere readers write their marks."""
        return {path.name: path.read_bytes() for path in sorted(self.live.iterdir()) if not path.name.endswith("-shm")}

    def snapshot(self, **request: Any) -> ServiceSnapshot:
        settle()
        return snapshot(self.open(), SnapshotRequest(**request)).services[0]

    def assess(self) -> ItemSurvey:
        settle()
        return assess(self.open(), AssessRequest()).services[0].items["store"]

    def restore(self, **request: Any) -> ServiceRestore:
        settle()
        return restore(self.open(), RestoreRequest(**request)).services[0]

    def undo(self) -> None:
        undo(self.open(), UndoRequest())

    def stored(self, sequence: int | None = None) -> Path:
        """The database that a snapshot holds, the newest if none is named, written out beside everything else."""
        repository = self.open().repository()
        found = repository.newest("app") if sequence is None else repository.snapshot("app", sequence)
        assert found is not None
        with repository.reader() as reader:
            entry = reader.item_entry(found.items["store"].root)
            assert entry is not None
            pieces = [bytes(one) if isinstance(one, int) else one for one in reader.file_chunks(entry)]
        path = self.root / f"stored-{found.sequence}.db"
        path.write_bytes(b"".join(pieces))
        return path

    def users(self, path: Path | None = None) -> list[str]:
        """Who is in a whole database; that of the newest snapshot if none is named."""
        return users(path or self.stored())


def users(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return [name for (name,) in database.execute("SELECT name FROM users ORDER BY id")]


def settle() -> None:
    """Let what was just written age past the time in which a file counts as still being written."""
    time.sleep(0.025)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    made.live.mkdir()
    yield made
    for process in made.writers:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@pytest.fixture
def unfinished() -> str:
    """The work of a writer that is in the middle of a large transaction."""
    return UNFINISHED


@pytest.fixture
def users_in() -> Callable[[Path], list[str]]:
    return users
