"""A bank whose database real processes work on while it is copied."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from recoverd.state.databases.copying import copy_database

TELLER = Path(__file__).with_name("teller.py")
ACCOUNTS = 50
OPENING = 1000
POLL_S = 0.1  # a writer that waits for a lock asks again after so long at most: SQLite's own way
SCHEMA = """
CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER);
CREATE TABLE ledger (id INTEGER PRIMARY KEY, clerk INTEGER, number INTEGER, source INTEGER, target INTEGER,
                     amount INTEGER, note TEXT);
CREATE UNIQUE INDEX by_clerk ON ledger (clerk, number);
CREATE TABLE progress (clerk INTEGER PRIMARY KEY, count INTEGER);
CREATE TABLE padding (id INTEGER PRIMARY KEY, data BLOB);
"""
# Accounts that are not what the transfers of the ledger have made them.
WRONG = """
SELECT count(*) FROM account
LEFT JOIN (SELECT target, sum(amount) AS got FROM ledger GROUP BY target) ON target = id
LEFT JOIN (SELECT source, sum(amount) AS given FROM ledger GROUP BY source) ON source = id
WHERE balance != ? + ifnull(got, 0) - ifnull(given, 0)
"""


@dataclass(frozen=True)
class Copy:
    """One copy, when it was made, and how many transfers of each clerk are in it."""

    how: str
    begun: float
    ended: float
    counts: dict[int, int]

    @property
    def seconds(self) -> float:
        return self.ended - self.begun


@dataclass(frozen=True)
class Day:
    """What happened while the bank was open."""

    times: dict[int, list[tuple[float, float]]]  # of each clerk's transfers
    busy: int
    seconds: float

    @property
    def count(self) -> int:
        return sum(len(times) for times in self.times.values())

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    def stalls(self, copies: list[Copy]) -> Iterator[tuple[float, float]]:
        """Of each transfer that was under way while copies were made, how long it took, in seconds, and how much longer
        than those copies."""
        for begin, end in self.all():
            met = [copy.seconds for copy in copies if begin < copy.ended and end > copy.begun]
            if met:
                yield end - begin, end - begin - sum(met)

    def stall_after(self, moment: float) -> float:
        """The longest of those that were begun later."""
        return max((end - begin for begin, end in self.all() if begin > moment), default=0.0)

    def all(self) -> Iterator[tuple[float, float]]:
        for times in self.times.values():
            yield from times

    def check(self, copy: Copy) -> None:
        """The copy has all that was committed before it began, and nothing that was begun after it ended."""
        for clerk, times in self.times.items():
            before = sum(end < copy.begun for _, end in times)
            assert before <= copy.counts[clerk] <= sum(begin < copy.ended for begin, _ in times), (clerk, copy)


@dataclass
class Bank:
    """The database `live/bank.db` in a directory in memory, where writers reach their rate on any machine."""

    root: Path
    seed: int
    clerks: dict[int, subprocess.Popen[str]] = field(default_factory=dict)
    others: list[subprocess.Popen[str]] = field(default_factory=list)
    opened: float = 0.0

    @property
    def live(self) -> Path:
        return self.root / "live"

    @property
    def store(self) -> Path:
        return self.live / "bank.db"

    @property
    def target(self) -> Path:
        return self.root / "copies" / "copy.db"

    def beside(self, ending: str) -> Path:
        return self.live / f"bank.db{ending}"

    def counts(self) -> dict[int, int]:
        """What is in the database itself, which nobody else has open."""
        return counts_of(self.store)

    def make(self, mode: str, *, page_size: int = 4096, padding: int = 300, clerks: int = 4) -> None:
        """`padding`: rows of 900 bytes beside the tables that are worked on."""
        for path in self.live.iterdir():
            path.unlink()
        make(self.store, mode, page_size=page_size, padding=padding, clerks=clerks)

    def new(self, path: Path, mode: str) -> None:
        make(path, mode)

    def hire(self, does: str = "transfer", *, rate: float = 125, **asked: Any) -> subprocess.Popen[str]:
        """A process that does so, so often a second, from now on."""
        number = len(self.clerks) + 1 if does == "transfer" else 0
        job = {
            "path": str(self.store),
            "does": does,
            "rate": rate,
            "number": number or 1,
            "seed": f"{self.seed} {does} {number} {time.monotonic_ns() if asked.pop('anew', False) else 0}",
            "timeout_s": 60,
            "settings": ["synchronous=OFF"],
            "large_every": 0,
            "now_and_then": [],
        }
        process = subprocess.Popen(
            [sys.executable, "-S", str(TELLER), json.dumps(job | asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        if number:
            self.clerks[number] = process
        else:
            self.others.append(process)
        assert process.stdout.readline() == "ready\n"
        self.opened = self.opened or time.monotonic()
        return process

    def copy(self) -> Copy:
        """A copy as a capture makes it, which must be whole and what a commit has left. Raises Unreadable."""
        self.target.write_bytes(b"")
        begun = time.monotonic()
        copied = copy_database(self.store.name, str(self.target))
        ended = time.monotonic()
        assert copied.damage is None, copied
        return Copy(copied.how.value, begun, ended, self.check())

    def check(self) -> dict[int, int]:
        """The newest copy again."""
        return counts_of(self.target)

    def close(self) -> Day:
        """Send everybody home, and hear what they saw."""
        seconds = time.monotonic() - self.opened
        told = {number: _told(process) for number, process in self.clerks.items()}
        others = [_told(process) for process in self.others]
        self.clerks, self.others, self.opened = {}, [], 0.0
        return Day(
            {number: [(one[0], one[1]) for one in said["times"]] for number, said in told.items()},
            sum(said["busy"] for said in (*told.values(), *others)),
            seconds,
        )

    def dismiss(self) -> None:
        for process in (*self.clerks.values(), *self.others):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        self.clerks, self.others, self.opened = {}, [], 0.0


def _told(process: subprocess.Popen[str]) -> dict[str, Any]:
    said, _ = process.communicate("")
    assert process.returncode == 0
    told: dict[str, Any] = json.loads(said)
    return told


def make(path: Path, mode: str, *, page_size: int = 4096, padding: int = 300, clerks: int = 4) -> None:
    """A bank that has not opened yet."""
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA page_size={page_size}")
        database.execute(f"PRAGMA journal_mode={mode}")
        database.execute("PRAGMA synchronous=OFF")
        database.executescript(SCHEMA)
        database.executemany("INSERT INTO account VALUES (?, ?)", ((n + 1, OPENING) for n in range(ACCOUNTS)))
        database.executemany("INSERT INTO progress VALUES (?, 0)", ((n + 1,) for n in range(clerks)))
        database.executemany("INSERT INTO padding (data) VALUES (?)", ((os.urandom(900),) for _ in range(padding)))
        database.commit()


def counts_of(path: Path) -> dict[int, int]:
    """The transfers of each clerk in a database which must be whole, and what one commit has left: every transfer up
    to one is there, and no part of another."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ((total,),) = database.execute("SELECT sum(balance) FROM account")
        assert total == ACCOUNTS * OPENING
        ((count, last),) = database.execute("SELECT count(*), ifnull(max(id), 0) FROM ledger")
        assert count == last, "the transfers are those up to one"
        counts = dict(database.execute("SELECT clerk, count FROM progress"))
        found = {
            clerk: (number, last)
            for clerk, number, last in database.execute(
                "SELECT clerk, count(*), max(number) FROM ledger GROUP BY clerk"
            )
        }
        assert found == {clerk: (number, number) for clerk, number in counts.items() if number}
        assert database.execute(WRONG, (OPENING,)).fetchone() == (0,)
    return counts


@pytest.fixture
def bank(tmp_path: Path, torture: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    memory = Path("/dev/shm")
    room = os.statvfs(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
    in_memory = room is not None and room.f_bavail * room.f_frsize > 1 << 30
    with tempfile.TemporaryDirectory(prefix="recoverd-test-bank-", dir=memory if in_memory else tmp_path) as root:
        made = Bank(Path(root), torture.seed)
        made.live.mkdir()
        made.target.parent.mkdir()
        monkeypatch.chdir(made.live)
        try:
            yield made
        finally:
            made.dismiss()


@pytest.fixture
def poll_s() -> float:
    return POLL_S
