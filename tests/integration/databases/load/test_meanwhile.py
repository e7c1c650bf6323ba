"""What happens to a database between two steps of a copy: its service restarts, ends, locks or replaces it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from recoverd.state.databases import copying, files, images
from recoverd.state.databases.files import Unreadable

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
    real, calls = files.pour, []

    def pour(*given: Any, **named: Any) -> None:
        real(*given, **named)
        calls.append(given)
        if len(calls) == 2:
            restart(bank.store)
            time.sleep(0.05)  # what was just written would count as still being written

    for module in (files, images):
        monkeypatch.setattr(module, "pour", pour)
    assert bank.beside("-wal").exists()
    copy = bank.copy()
    assert len(calls) == 3
    assert not bank.beside("-wal").exists()
    assert copy.counts == bank.counts()


# A transaction that is larger than its cache: it holds the lock that nobody shares, and goes on for as long as it is
# told to: "once" or "for ever".
LARGE = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=60)
database.execute("PRAGMA synchronous=OFF")
database.execute("PRAGMA cache_size=5")
database.execute("BEGIN EXCLUSIVE")
database.execute("UPDATE account SET balance = 7")
database.execute("UPDATE padding SET data = randomblob(900)")
print("ready", flush=True)
while sys.argv[2] == "for ever":
    database.execute("UPDATE padding SET data = randomblob(900)")
time.sleep(3600)
"""


def large(bank: Any, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", LARGE, str(bank.store), how], stdout=subprocess.PIPE, text=True
    )
    bank.others.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def work_a_while(bank: Any) -> dict[int, int]:
    """Some transfers, and what is in it when all have gone home."""
    bank.hire(rate=2000)
    time.sleep(0.05)
    bank.close()
    counts: dict[int, int] = bank.counts()
    return counts


def replacement(bank: Any, mode: str) -> Path:
    """Another bank, beside it, that has done nothing yet."""
    other: Path = bank.root / "other.db"
    bank.new(other, mode)
    return other


@pytest.mark.parametrize("mode", ["delete", "persist"])
def test_a_lock_that_outlasts_a_copy(bank: Any, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Its holder is in the middle of a transaction, and rests: its files are what a crash would leave, and the copy is
    what was committed before."""
    monkeypatch.setattr(copying, "WAIT_S", 0.1)
    bank.make(mode)
    counts = work_a_while(bank)
    large(bank, "once")
    time.sleep(0.05)
    copy = bank.copy()
    assert (copy.how, copy.counts) == ("image", counts)


def test_a_lock_whose_holder_goes_on_writing(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then there is no instant at which its files could be copied: that is said, and it is no damage."""
    monkeypatch.setattr(copying, "WAIT_S", 0.1)
    bank.make("delete")
    counts = work_a_while(bank)
    writer = large(bank, "for ever")
    try:
        assert bank.copy().counts == counts, "it was not let run for as long as a copy takes"
    except Unreadable as error:
        assert "kept changing" in str(error)
    writer.kill()
    writer.wait()
    time.sleep(0.05)
    copy = bank.copy()
    assert (copy.how, copy.counts) == ("image", counts)


def test_a_service_that_restarts_over_its_journal(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash left is taken back by the service itself while it is copied: nothing of both is mixed."""
    bank.make("delete")
    counts = work_a_while(bank)
    large(bank, "once")
    bank.dismiss()
    time.sleep(0.05)
    real, calls = files.pour, []

    def pour(*given: Any, **named: Any) -> None:
        calls.append(given)
        if len(calls) == 2:
            work_a_while(bank)
        real(*given, **named)

    for module in (files, images):
        monkeypatch.setattr(module, "pour", pour)
    assert bank.beside("-journal").exists()
    copy = bank.copy()
    assert copy.how in {"locked", "image"}
    assert copy.counts == bank.counts()
    assert copy.counts[1] >= counts[1]


@pytest.mark.parametrize("mode", ["delete", "wal", "live"])
def test_replaced_while_it_is_copied(bank: Any, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """The copy is of one of the two, whole."""
    bank.make("delete" if mode == "delete" else "wal")
    counts = work_a_while(bank)
    if mode == "live":
        bank.hire(rate=1)
    other = replacement(bank, "delete" if mode == "delete" else "wal")
    time.sleep(0.05)
    real, calls = files.fill, []

    def fill(*given: Any, **named: Any) -> None:
        calls.append(given)
        if len(calls) == 1:
            bank.dismiss()
            for ending in ("-wal", "-shm"):
                bank.beside(ending).unlink(missing_ok=True)
            other.rename(bank.store)
        real(*given, **named)

    for module in (copying, images):
        monkeypatch.setattr(module, "fill", fill)
    assert bank.copy().counts == (counts if mode == "delete" else bank.counts())
    assert not other.exists()


def test_replaced_while_its_lock_is_waited_for(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its writer dies in a transaction, and somebody puts a good one there without the journal of the old: half of that
    transaction is in the file that was opened, and nothing beside it tells."""
    bank.make("delete")
    work_a_while(bank)
    writer = large(bank, "once")
    other = replacement(bank, "delete")
    real = copying._share

    def share(fd: int) -> None:
        if other.exists():
            writer.kill()
            writer.wait()
            other.rename(bank.store)
            bank.beside("-journal").unlink()
        real(fd)

    monkeypatch.setattr(copying, "_share", share)
    assert bank.copy().counts == bank.counts() == dict.fromkeys(range(1, 5), 0)


def test_a_writer_that_dies_while_its_lock_is_waited_for(bank: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock can be had then, and half of a transaction lies in the database: its journal is looked for once more."""
    bank.make("delete")
    counts = work_a_while(bank)
    writer = large(bank, "once")
    real = copying._share

    def share(fd: int) -> None:
        writer.kill()
        writer.wait()
        real(fd)

    monkeypatch.setattr(copying, "_share", share)
    copy = bank.copy()
    assert (copy.how, copy.counts) == ("image", counts)


@pytest.mark.parametrize("mode", ["delete", "wal", "quiet"])
def test_emptied_while_it_is_copied(bank: Any, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """By somebody who asks for no lock: never a copy that passes for a whole one."""
    bank.make("delete" if mode == "delete" else "wal")
    work_a_while(bank)
    if mode == "wal":
        bank.hire(rate=1)
    time.sleep(0.05)
    real = files.fill

    def emptied(*given: Any, **named: Any) -> None:
        os.truncate(bank.store, 0)
        real(*given, **named)

    for module in (copying, images):
        monkeypatch.setattr(module, "fill", emptied)
    bank.target.write_bytes(b"")
    copied = copying.copy_database(bank.store.name, str(bank.target))
    assert copied.damage is not None
    assert "empty" in copied.damage or "damaged" in copied.damage


@pytest.mark.parametrize("mode", ["wal", "delete", "truncate", "persist"])
def test_killed_and_restarted_all_the_time(bank: Any, torture: Any, mode: str) -> None:
    """Clerks die in the middle of large transactions and others take over: what a crash has left is taken back in the
    copy, or by the next, and a copy never goes back behind another."""
    bank.make(mode, clerks=1, padding=1000)
    done = threading.Event()
    deaths = []

    def kill() -> None:
        while not done.is_set():
            bank.clerks.clear()
            clerk = bank.hire(rate=500, large_every=3, settings=["synchronous=OFF", "cache_size=5"], anew=True)
            time.sleep(torture.random.random() * 0.1)
            clerk.kill()
            clerk.wait()
            deaths.append(clerk)
            time.sleep(torture.random.random() * 0.05)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        copies: list[Any] = []
        refused = 0
        while len(copies) < (300 if torture.full else 6) or (killer.is_alive() and len(deaths) < 3):
            try:
                copies.append(bank.copy())
            except Unreadable:
                refused += 1
            time.sleep(torture.random.random() * 0.02)
    finally:
        done.set()
        killer.join()
        for clerk in deaths:
            for pipe in (clerk.stdin, clerk.stdout):
                with suppress(OSError):
                    pipe.close()
    assert len(deaths) >= 3
    counts = [copy.counts[1] for copy in copies]
    assert counts == sorted(counts)
    hows = {how: sum(copy.how == how for copy in copies) for how in sorted({copy.how for copy in copies})}
    torture.tell(
        len(copies),
        f"copies while writers are killed and restarted ({mode})",
        f"{len(deaths)} deaths, all copies whole ({hows}), {refused} refused",
    )


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_replaced_all_the_time(bank: Any, torture: Any, mode: str) -> None:
    """Two banks take each other's place by rename: each copy is one of them."""
    bank.make(mode)
    first = work_a_while(bank)
    kept = [bank.root / "first.db", replacement(bank, mode)]
    shutil.copy(bank.store, kept[0])
    second = dict.fromkeys(range(1, 5), 0)
    done = threading.Event()
    replaced: list[int] = []

    def replace() -> None:
        while not done.is_set():
            shutil.copy(kept[len(replaced) % 2], bank.root / "next.db")
            (bank.root / "next.db").rename(bank.store)
            replaced.append(1)
            time.sleep(torture.random.random() * 0.1)

    replacer = threading.Thread(target=replace)
    replacer.start()
    try:
        copies: list[Any] = []
        refused = 0
        while len(copies) < (500 if torture.full else 8):
            try:
                copies.append(bank.copy())
            except Unreadable:
                refused += 1
    finally:
        done.set()
        replacer.join()
    assert all(copy.counts in (first, second) for copy in copies)
    torture.tell(
        len(copies),
        f"copies while the database is replaced by rename ({mode})",
        f"{len(replaced)} times, each copy one of the two, {refused} refused",
    )
