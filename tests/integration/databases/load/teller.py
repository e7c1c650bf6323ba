"""A process that works on the database of a bank until its standard input ends, as a script: `python teller.py JSON`.

Every transfer is one transaction that changes three tables which must agree. What it saw is told in JSON at the end:
`{"times": [[begun, ended]], "busy": 0}`: of its transfers, in seconds of the monotonic clock, and how often SQLITE_BUSY
came back.
"""

from __future__ import annotations

import json
import random
import select
import sqlite3
import sys
import time
from collections.abc import Callable
from typing import Any

ACCOUNTS = 50
_NOTE = "n" * 200
_LATE_S = 0.02  # of what was missed, no more is made up for: a crowd that catches up makes itself wait


class Clerk:
    """One connection, and what it is told to do with it."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.random = random.Random(asked["seed"])
        self.number: int = asked["number"]
        self.times: list[tuple[float, float]] = []
        self.busy = 0
        self.database = sqlite3.connect(asked["path"], isolation_level=None, timeout=asked["timeout_s"])
        for setting in asked["settings"]:
            self.database.execute(f"PRAGMA {setting}").fetchall()
        row = self.database.execute("SELECT count FROM progress WHERE clerk = ?", (self.number,)).fetchone()
        self.done: int = row[0]

    def transfer(self) -> None:
        begun = time.monotonic()
        source, target = self.random.sample(range(1, ACCOUNTS + 1), 2)
        amount = self.random.randrange(100)
        run = self.database.execute
        self._asked_again("BEGIN IMMEDIATE")
        run("UPDATE account SET balance = balance - ? WHERE id = ?", (amount, source))
        run("UPDATE account SET balance = balance + ? WHERE id = ?", (amount, target))
        run(
            "INSERT INTO ledger (clerk, number, source, target, amount, note) VALUES (?, ?, ?, ?, ?, ?)",
            (self.number, self.done + 1, source, target, amount, _NOTE),
        )
        run("UPDATE progress SET count = count + 1 WHERE clerk = ?", (self.number,))
        self._asked_again("COMMIT")
        self.done += 1
        self.times.append((begun, time.monotonic()))

    def large_transfer(self) -> None:
        """With more than fits into a small cache, some of it taken back: what is not committed is written, and written
        over."""
        run = self.database.execute
        self._asked_again("BEGIN IMMEDIATE")
        first = self.random.randrange(1, 200)
        run("UPDATE padding SET data = zeroblob(900) WHERE id BETWEEN ? AND ?", (first, first + 100))
        run("SAVEPOINT half")
        run("UPDATE account SET balance = balance + 1")
        run("UPDATE padding SET data = randomblob(900) WHERE id BETWEEN ? AND ?", (first, first + 50))
        run("ROLLBACK TO half")
        self._asked_again("ROLLBACK" if self.random.random() < 0.5 else "COMMIT")

    def checkpoint(self) -> None:
        kind = self.random.choice(("PASSIVE", "FULL", "RESTART", "TRUNCATE"))
        self.database.execute(f"PRAGMA wal_checkpoint({kind})").fetchall()

    def vacuum(self) -> None:
        self._asked_again("VACUUM")

    def read(self) -> None:
        self._asked_again("BEGIN")
        self.database.execute("SELECT sum(balance) FROM account").fetchall()
        time.sleep(self.random.random() / 200)
        self.database.execute("COMMIT")

    def _asked_again(self, statement: str) -> None:
        """Until it is done; each time that it is not, within the timeout of SQLite, counts."""
        while True:
            try:
                self.database.execute(statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                self.busy += 1
            else:
                return

    def work(self) -> None:
        does: dict[str, Callable[[], None]] = {
            "transfer": self.transfer,
            "checkpoint": self.checkpoint,
            "vacuum": self.vacuum,
            "read": self.read,
        }
        act, rate = does[self.asked["does"]], self.asked["rate"]
        due, count = time.monotonic(), 0
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            act()
            count += 1
            due = max(due + 1 / rate, time.monotonic() - _LATE_S)
            for every, statements in self.asked["now_and_then"]:
                if count % every == 0:
                    for statement in statements:
                        self.database.execute(statement).fetchall()
            if self.asked["large_every"] and count % self.asked["large_every"] == 0:
                self.large_transfer()


def main() -> None:
    clerk = Clerk(json.loads(sys.argv[1]))
    print("ready", flush=True)
    clerk.work()
    print(json.dumps({"times": clerk.times, "busy": clerk.busy}), flush=True)


if __name__ == "__main__":
    main()
