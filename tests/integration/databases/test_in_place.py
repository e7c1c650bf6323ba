"""A database that nobody writes to is read where it lies, and what is read counts only if it stayed as it was."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from recoverd.recovery import databases
from recoverd.recovery.private_copies import PrivateCopy
from recoverd.state.databases.process import Examination

ROWS = 400  # some blocks
LEFT_ALONE_NS = databases.left_alone_ns
HOUR_NS = 3_600_000_000_000


class Copies:
    """Counts the copies that are made; `during` happens while a database is read in its place, once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = 0
        self.in_place = 0
        self.during: Callable[[], object] | None = None
        monkeypatch.setattr(databases, "left_alone_ns", lambda *_: 0)
        monkeypatch.setattr(databases, "Examination", self._examination)
        self._put = databases._put
        monkeypatch.setattr(databases, "_put", self._stored)

    def _examination(self, source: Any, target: str | None, rules: Any) -> Examination:
        self.made += target is not None
        self.in_place += target is None
        return Examination(source, target, rules)

    def _stored(self, *arguments: Any) -> Any:
        if self.during is not None:
            during, self.during = self.during, None
            during()
        return self._put(*arguments)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> Copies:
    return Copies(monkeypatch)


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_nothing_is_copied(house: Any, copies: Copies, mode: str) -> None:
    """Promise 11; and nothing that lies there changes."""
    house.make("one", mode=mode, rows=ROWS)
    before = house.contents()
    assert house.snapshot().verdict == "ok"
    assert (copies.in_place, copies.made) == (1, 0)
    assert house.contents() == before
    assert house.users()[0] == "one"


def test_in_place_and_copied_are_the_same(house: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever way a database was read, the same content is the same snapshot."""
    house.make("one", rows=ROWS)
    house.make(mode="wal")  # its header counts more changes
    assert house.snapshot().outcome == "saved"
    monkeypatch.setattr(databases, "left_alone_ns", lambda *_: 1 << 62)
    monkeypatch.setattr(databases, "_QUIET_NS", 1 << 62)  # on a slow machine its stats would be believed by now
    assert house.snapshot().outcome == "unchanged"
    assert (copies.in_place, copies.made) == (1, 1)


def test_what_was_just_written_is_copied(house: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who writes all the time would have a large database read twice at each capture."""
    monkeypatch.setattr(databases, "left_alone_ns", LEFT_ALONE_NS)
    monkeypatch.setattr(databases, "_LEFT_ALONE_NS", HOUR_NS)  # a slow machine may need its time for the first look
    monkeypatch.setattr(databases, "_LARGE_BYTES", 0)
    monkeypatch.setattr(databases, "_QUIET_NS", 300_000_000)  # nobody waits for that here
    house.make("one", rows=ROWS)
    assert house.snapshot().verdict == "ok"
    assert (copies.in_place, copies.made) == (0, 1)
    monkeypatch.setattr(databases, "_LEFT_ALONE_NS", 500_000_000)
    house.make("two")
    time.sleep(LEFT_ALONE_NS(house.store.stat().st_size, 1) / 1e9)
    assert house.snapshot().verdict == "ok"
    assert (copies.in_place, copies.made) == (1, 1)


@pytest.mark.parametrize(
    ("size_bytes", "ctime_ns", "enough_s"),
    [
        (4096, 1, 0.5),
        (200_000_000, 1, 1.0),
        (10_000_000_000, 1, 25.5),
        (4096, 7_000_000_000, 2.0),  # a file system whose times are whole seconds, in twos
        (10_000_000_000, 7_000_000_000, 25.5),
    ],
)
def test_how_long_it_must_have_been_left_alone(size_bytes: int, ctime_ns: int, enough_s: float) -> None:
    """By what reading it takes, and never so short that the next write would show the same time."""
    assert round(LEFT_ALONE_NS(size_bytes, ctime_ns) / 1e9, 3) == enough_s


def test_on_a_network_file_system_it_is_copied(house: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its times are of another machine's clock, and of what this one has kept of them: no write need show at once."""
    monkeypatch.setattr(databases, "is_remote_file_system", lambda fd: True)
    house.make("one", rows=ROWS)
    assert house.snapshot().verdict == "ok"
    assert (copies.in_place, copies.made) == (0, 1)


@pytest.fixture
def lost(house: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The house after its database was saved, by a look in its place, and lost. It counts as large."""
    house.make("one", rows=ROWS)
    house.snapshot()
    assert (copies.in_place, copies.made) == (1, 0)
    monkeypatch.setattr(databases, "left_alone_ns", lambda *_: HOUR_NS)
    monkeypatch.setattr(databases, "_LARGE_BYTES", 0)
    house.store.unlink()
    return house


def test_what_a_restore_has_brought_in_is_not_copied(
    lost: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its service does not run, so it is enough to wait until a write would show. A small one is copied sooner."""
    for large_bytes, quiet_ns, seen in ((0, 50_000_000, (2, 0)), (0, 1, (3, 0)), (1 << 30, 50_000_000, (3, 1))):
        monkeypatch.setattr(databases, "_LARGE_BYTES", large_bytes)
        monkeypatch.setattr(databases, "_QUIET_NS", quiet_ns)  # 1: some time has passed already
        lost.store.unlink(missing_ok=True)
        assert lost.restore().outcome == "restored"
        assert lost.users(lost.store)[0] == "one"
        assert (copies.in_place, copies.made) == seen


def test_what_a_restore_has_brought_in_where_times_are_coarse(
    lost: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until a write would show there, a copy is made long since."""
    monkeypatch.setattr(databases, "_settled_ns", lambda ctime_ns: HOUR_NS)
    assert lost.restore().outcome == "restored"
    assert (copies.in_place, copies.made) == (1, 1)


def test_somebody_writes_to_what_a_restore_has_brought_in(lost: Any, copies: Copies) -> None:
    """At once, while it is looked at: that is seen, as ever."""

    def damage() -> None:
        with lost.store.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xff" * 4096)

    copies.during = damage
    made = lost.restore()
    assert copies.made
    invalid = [one.why for one in made.attempts if one.result == "invalid"]
    assert invalid == ["store is not ok after it was written"], made


def test_it_is_not_read_to_its_end_in_vain(house: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody writes while it is read: the copy begins then, not when all has been read."""
    house.make("one", rows=6000)
    read: list[int] = []

    def stored(store: Any, blocks: list[bytes]) -> Any:
        if not copies.made:
            read.append(sum(map(len, blocks)))
        return copies._stored(store, blocks)

    monkeypatch.setattr(databases, "_put", stored)
    copies.during = lambda: os.utime(house.store)
    assert house.snapshot().verdict == "ok"
    assert (copies.in_place, copies.made) == (1, 1)
    assert read == [databases._TOGETHER]


@pytest.mark.parametrize("mode", ["wal", "delete", "persist", "truncate"])
def test_somebody_writes_meanwhile(house: Any, copies: Copies, mode: str) -> None:
    """What was read before and after a commit is no database: a copy is made, and that is of one instant."""
    house.make("one", mode="wal" if mode == "wal" else "delete", rows=ROWS)

    def write() -> None:
        with closing(sqlite3.connect(house.store)) as database, database:
            database.execute(f"PRAGMA journal_mode={mode}")
            database.execute("UPDATE users SET name = 'changed'")

    copies.during = write
    assert house.snapshot().verdict == "ok"
    assert (copies.in_place, copies.made) == (1, 1)
    assert set(house.users()) == {"changed"}


@pytest.mark.parametrize("lost", ["end", "all"])
def test_it_is_cut_meanwhile(house: Any, copies: Copies, lost: str) -> None:
    """SQLite's child may die of that; the capture goes on, and tells what is there now."""
    house.make("one", rows=ROWS)
    house.snapshot()
    house.make("two")
    copies.during = lambda: os.truncate(house.store, 8192 if lost == "end" else 0)
    made = house.snapshot()
    assert made.verdict == "partial" if made.outcome == "saved" else made.verdict == "invalid", made
    assert "truncated" in str(made) or "0 bytes" in str(made)
    assert "two" not in house.users(house.stored(1))


def test_a_large_one_is_cut_meanwhile(house: Any, copies: Copies) -> None:
    """Nothing comes of bytes of which there are fewer than there were: what is there now is copied, and told."""
    house.make("one", rows=6000)
    size = house.store.stat().st_size
    assert size > 2 * databases._TOGETHER
    copies.during = lambda: os.truncate(house.store, size // 4096 // 3 * 4096)
    made = house.snapshot()
    assert (copies.in_place, copies.made) == (1, 1)
    assert "truncated" in str(made), made


@pytest.mark.parametrize("left_alone_ns", [0, 1 << 62], ids=["in place", "copied"])
def test_the_copy_is_cut_by_its_owner(
    house: Any, copies: Copies, monkeypatch: pytest.MonkeyPatch, left_alone_ns: int
) -> None:
    """Promise 12: the private copy is its owner's to write to."""
    monkeypatch.setattr(databases, "left_alone_ns", lambda *_: left_alone_ns)
    house.make("one", rows=6000)
    entered = PrivateCopy.__enter__

    def entering(self: Any) -> Any:
        found = entered(self)
        copies.during = lambda: os.ftruncate(found.fd, 4096)
        return found

    monkeypatch.setattr(PrivateCopy, "__enter__", entering)
    if not left_alone_ns:
        copies.during = lambda: os.utime(house.store)
    made = house.snapshot()
    assert copies.made == 1
    assert "kept changing" in str(made), made


@pytest.mark.parametrize("how", ["renamed", "link"])
def test_another_file_takes_its_place_meanwhile(house: Any, copies: Copies, how: str) -> None:
    """Promise 12: what is stored and what was judged are one file, the one that was looked at."""
    house.make("one", rows=ROWS)
    other = house.root / "other.db"
    shutil.copy(house.store, other)
    with closing(sqlite3.connect(other)) as database, database:
        database.execute("UPDATE users SET name = 'planted'")

    def replace() -> None:
        if how == "renamed":
            other.rename(house.store)
        else:
            house.store.unlink()
            house.store.symlink_to(other)

    copies.during = replace
    made = house.snapshot()
    if how == "renamed":
        assert (made.verdict, copies.made) == ("ok", 1)
        assert set(house.users()) == {"planted"}
    else:
        # the name led elsewhere when it was to be copied; or all was read before, and then it is what was there
        assert made.verdict != "ok" or "planted" not in house.users()


def test_half_a_transaction(house: Any, copies: Copies, unfinished: str) -> None:
    """It lies in the file, with its journal beside it: that is never read as it is."""
    house.make("one", mode="delete", rows=ROWS)
    house.kill(house.writer("x", mode="delete", work=unfinished))
    assert house.snapshot().verdict == "ok"
    assert copies.made == 1
    assert house.users()[0] == "one"
    assert not any(name.startswith("unfinished") for name in house.users())


def test_a_writer_that_has_not_written_yet(house: Any, copies: Copies) -> None:
    """What it holds back is in no file: what was committed before counts, and it is not hindered."""
    house.make("one", mode="delete", rows=ROWS)
    with closing(sqlite3.connect(house.store, isolation_level=None, timeout=0)) as database:
        database.execute("BEGIN IMMEDIATE")
        assert house.snapshot().verdict == "ok"
        database.execute("INSERT INTO users (name) VALUES ('two')")
        database.execute("COMMIT")
    assert house.users()[0] == "one"
    assert "two" not in house.users()


def test_damage(house: Any, copies: Copies, torture: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that were hurt anywhere are found in place as they are in a copy: never the one without the other."""
    house.make("one", rows=ROWS)
    good = house.store.read_bytes()
    chance = random.Random(torture.seed)
    told = []
    for _ in range(200 if torture.full else 6):
        hurt = bytearray(good)
        at = chance.randrange(0, len(hurt), 4096)  # where pages begin
        hurt[at : at + 200] = chance.randbytes(len(hurt[at : at + 200]))
        house.store.write_bytes(hurt)
        verdicts = []
        for left_alone_ns in (0, 1 << 62):
            shutil.rmtree(house.root / "var", ignore_errors=True)  # where verdicts are remembered
            monkeypatch.setattr(databases, "left_alone_ns", lambda *_, enough=left_alone_ns: enough)
            verdicts.append(house.assess().verdict)
        assert verdicts[0] == verdicts[1], at
        told.append(str(verdicts[0]))
    found = f"{told.count('corrupt')} of them found so, in place as in a copy"
    torture.tell(len(told), "damaged databases", found)
