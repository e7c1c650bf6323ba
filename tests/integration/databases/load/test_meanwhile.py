"""What happens to a database between two steps of a copy: its service ends, restarts, replaces it or keeps it locked."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recoverd.state.databases import images

# Opens it as a service that restarts: SQLite brings it in order, and all of it is in the database when that ends.
RESTARTED = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1]) as database:
    database.execute("DELETE FROM ledger")
    database.execute("UPDATE progress SET count = 0")
    database.execute("UPDATE account SET balance = 1000")
database.close()
"""


def restart(path: Path) -> None:
    subprocess.run([sys.executable, "-S", "-c", RESTARTED, str(path)], check=True)


def killed(bank: Any, **asked: Any) -> None:
    """A clerk dies at work."""
    clerk = bank.hire(**asked)
    while not bank.beside("-wal").exists() or bank.beside("-wal").stat().st_size < 200_000:
        assert clerk.poll() is None
    bank.dismiss()


def test_a_wal_that_goes(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its service restarts, and ends, when the -wal was copied: what is copied then has nothing of that -wal in it."""
    bank.make("wal", clerks=1)
    killed(bank, rate=4000)
    real, calls = images.pour, []

    def pour(*given: Any, **named: Any) -> None:
        real(*given, **named)
        calls.append(given)
        if len(calls) == 2:
            restart(bank.store)
            time.sleep(0.05)  # what was just written would count as still being written

    monkeypatch.setattr(images, "pour", pour)
    assert bank.beside("-wal").exists()
    copy = bank.copy()
    assert len(calls) == 3
    assert not bank.beside("-wal").exists()
    assert copy.counts == bank.counts()
