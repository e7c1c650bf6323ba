"""Whole captures under load, by a child process into a repository; `load/` has the copies alone, by the thousand."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from typing import Any

import pytest

# Five hundred transactions a second, each of which leaves two tables that agree; ends when its input does.
WRITER = """
import json, select, sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
database.execute("PRAGMA synchronous=OFF")
print("ready", flush=True)
count, busy, longest, started = 0, 0, 0.0, time.monotonic()
while not select.select([sys.stdin], [], [], max(0.0, started + count / 500 - time.monotonic()))[0]:
    before = time.monotonic()
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("UPDATE users SET name = ? WHERE id = ?", (f"{count} {'x' * 400}", count % 2000 + 1))
        database.execute("UPDATE total SET count = count + 1")
        database.execute("INSERT INTO log (user) VALUES (?)", (count % 2000 + 1,))
        database.execute("COMMIT")
    except sqlite3.OperationalError:
        busy += 1
    longest = max(longest, time.monotonic() - before)
    count += 1
print(json.dumps({"count": count, "busy": busy, "longest": longest}))
"""


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_copies_under_load(house: Any, torture: Any, mode: str) -> None:
    """No writer sees SQLITE_BUSY past its timeout, and each copy is whole and of one instant: what every transaction
    changes together agrees."""
    house.make(mode=mode, rows=2000)
    with closing(sqlite3.connect(house.store)) as database, database:
        database.execute("CREATE TABLE total (count INTEGER)")
        database.execute("INSERT INTO total VALUES (0)")
        database.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, user INTEGER)")
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(house.store)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    house.writers.append(writer)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    seen, took = [], []
    for _ in range(60 if torture.full else 3):
        begun = time.monotonic()
        made = house.snapshot()
        took.append(time.monotonic() - begun)
        assert made.outcome in {"saved", "unchanged"}, made
        assert made.verdict == "ok", made.problems
        seen.append(_count(house))
    said, _ = writer.communicate("")
    told = json.loads(said)
    assert told["busy"] == 0
    assert seen == sorted(seen)
    assert seen[-1] > 0
    if torture.full:
        assert told["longest"] < max(took)
    found = f"{told['count']} writes, the longest {told['longest']:.3f} s, captures {max(took):.3f} s at most"
    torture.tell(len(took), f"captures of a database under load ({mode})", found)


def _count(house: Any) -> int:
    """How many transactions are in the newest copy, which must be whole."""
    with closing(sqlite3.connect(house.stored())) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        ((total,),) = copy.execute("SELECT count FROM total").fetchall()
        assert copy.execute("SELECT count(*) FROM log").fetchone() == (total,)
    return int(total)
