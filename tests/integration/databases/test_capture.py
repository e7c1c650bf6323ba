"""Captures of databases that real processes write to, and that they left when they were killed."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recoverd.recovery import databases
from tests.doors import open_the_way

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_a_database_in_use(house: Any, mode: str) -> None:
    """What was committed is captured, wherever SQLite keeps it, and nothing that is live changes."""
    house.make("before", mode=mode)
    house.writer("after", mode=mode)
    before = house.contents()
    assert house.snapshot().outcome == "saved"
    assert house.contents() == before
    assert house.users() == ["before", "after"]


def test_a_killed_writers_wal(house: Any) -> None:
    """What is only in the -wal of a dead process is captured, and stays there: to open it would delete it."""
    house.make("before", mode="wal")
    house.kill(house.writer("only in the wal"))
    before = house.contents()
    assert before["store.db-wal"]
    assert house.assess().verdict == "ok"
    assert house.snapshot().verdict == "ok"
    assert house.contents() == before
    assert house.users() == ["before", "only in the wal"]


def test_an_unfinished_transaction_in_a_wal(house: Any, unfinished: str) -> None:
    """Frames without a commit count for nothing."""
    house.make("before", mode="wal")
    house.kill(house.writer("x", work=unfinished))
    before = house.contents()
    assert len(before["store.db-wal"]) > 100_000
    assert house.snapshot().verdict == "ok"
    assert house.contents() == before
    assert house.users() == ["before"]


@pytest.mark.parametrize("killed", [True, False], ids=["killed", "under way"])
def test_a_hot_journal(house: Any, unfinished: str, killed: bool) -> None:
    """Half of a transaction lies in the database: the copy is rolled back, and the database is left alone."""
    house.make("before", mode="delete")
    writer = house.writer("x", mode="delete", work=unfinished)
    if killed:
        house.kill(writer)
    before = house.contents()
    assert before["store.db-journal"]
    assert b"unfinished" in before["store.db"]
    assert house.snapshot().verdict == "ok"
    assert house.contents() == before
    assert house.users() == ["before"]


def test_a_stopped_database_gets_no_files_beside_it(house: Any) -> None:
    """SQLite would create a -wal and a -shm to look at it, as whoever looks."""
    house.make("one", mode="wal")
    names = os.listdir(house.live)
    assert house.snapshot().outcome == "saved"
    assert house.assess().verdict == "ok"
    assert os.listdir(house.live) == names == ["store.db"]


def test_unchanged_is_seen_without_a_copy(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: the stat of database and -wal tells, while a service has it open."""
    monkeypatch.setattr(databases, "_QUIET_NS", 1_000_000)
    monkeypatch.setattr(databases, "_COARSE_NS", 1_000_000)
    house.make("one", mode="wal")
    house.writer("two")
    assert house.snapshot().outcome == "saved"

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a copy was made")

    with monkeypatch.context() as patched:
        patched.setattr(databases, "Examination", refuse)
        assert house.snapshot().outcome == "unchanged"
        assert house.assess().verdict == "ok"
    with closing(sqlite3.connect(house.store)) as database, database:
        database.execute("INSERT INTO users (name) VALUES ('three')")
    assert house.snapshot().outcome == "saved"
    assert house.users() == ["one", "two", "three"]


def test_a_checkpoint_is_no_change(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same content is the same bytes, in a -wal, in the database, and once the service is gone."""
    monkeypatch.setattr(databases, "_QUIET_NS", 1_000_000)
    monkeypatch.setattr(databases, "_COARSE_NS", 1_000_000)
    house.make("one", mode="wal")
    writer = house.writer("two")
    assert house.snapshot().outcome == "saved"
    with closing(sqlite3.connect(house.store)) as database:
        assert database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
    assert house.snapshot().outcome == "unchanged"
    house.kill(writer)
    assert house.snapshot().outcome == "unchanged"
    with closing(sqlite3.connect(house.store)) as database:
        database.execute("SELECT * FROM users").fetchall()
    assert os.listdir(house.live) == ["store.db"]
    assert house.snapshot().outcome == "unchanged"
    monkeypatch.setattr(databases, "Examination", None)
    assert house.snapshot().outcome == "unchanged", "and then it is seen without a copy"


def test_one_change_costs_some_pages(house: Any) -> None:
    """A snapshot shares with the one before it what did not change, wherever in the file it lies."""
    house.make(rows=6000)
    assert house.store.stat().st_size > 6_000_000
    first = house.snapshot()
    with closing(sqlite3.connect(house.store)) as database, database:
        database.execute("UPDATE users SET name = ? WHERE id % 1000 = 7", (os.urandom(500).hex(),))
    second = house.snapshot()
    assert second.outcome == "saved"
    assert second.new_bytes < 150_000 < first.new_bytes


def test_a_changed_row_stores_its_pages_and_few_lists(house: Any) -> None:
    """Promise 11: of a database of some hundred blocks, what a commit changed, and one list of each level."""
    house.make("first", rows=3000)
    house.snapshot()

    def objects() -> dict[str, bytes]:
        repository = house.open().repository()
        found: dict[str, bytes] = {}
        with repository.reader() as reader:
            for pack in repository.catalog.listed():
                for name in repository.catalog.trust.objects_of([pack]):
                    found[name] = reader.read(name)
        return found

    before = objects()
    assert sum(data.startswith(b'{"blocks":') for data in before.values()) > 6
    with closing(sqlite3.connect(house.store)) as database, database:
        database.execute("UPDATE users SET name = 'other' WHERE id = 1500")
    house.snapshot()
    after = objects()
    fresh = [data for name, data in after.items() if name not in before]
    lists = [data for data in fresh if data.startswith(b'{"blocks":')]
    blocks = [data for data in fresh if len(data) == 16384]
    assert 1 <= len(blocks) <= 2, "the page of the row, and the first one, which counts"
    assert len(lists) <= 1 + len(blocks)
    assert len(fresh) == len(lists) + len(blocks) + 1, "and the tree"
    assert "other" in house.users()


@pytest.mark.parametrize("ending", ["", "-wal", "-journal", "-shm"])
@pytest.mark.parametrize("kind", ["symlink", "fifo"])
def test_something_else_in_its_place(house: Any, ending: str, kind: str) -> None:
    """Promise 12: nothing that was planted is opened or followed."""
    house.make("one", mode="wal")
    elsewhere = house.root / "elsewhere.db"
    shutil.copy(house.store, elsewhere)
    planted = house.beside(ending)
    planted.unlink(missing_ok=True)
    if kind == "symlink":
        planted.symlink_to(elsewhere)
    else:
        os.mkfifo(planted)
    found = house.assess()
    assert found.verdict == "corrupt"
    assert "where a regular file is expected" in found.problems[0].problem
    assert elsewhere.read_bytes()


def test_a_lock_is_no_damage(house: Any) -> None:
    """Whoever holds it for himself delays a capture; what it finds is what a crash would leave."""
    house.make("one")
    work = 'database.execute("PRAGMA locking_mode=EXCLUSIVE"); database.execute("BEGIN EXCLUSIVE")'
    house.writer("x", mode="delete", work=work)
    assert house.assess().verdict == "ok"


def test_gone_and_new(house: Any) -> None:
    assert house.assess().verdict == "new"
    house.make("one")
    assert house.snapshot().outcome == "saved"
    house.store.unlink()
    assert house.assess().verdict == "missing"


@root_only
@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_child_is_the_owner(house: Any, mode: str) -> None:
    """As root, all that SQLite does happens as the user whose database it is; nothing of root's is left there."""
    house.make("one", mode=mode)
    house.writer("two", mode=mode)
    for path in (house.live, *house.live.iterdir()):
        os.chown(path, 54321, 54322)
    house.live.chmod(0o700)
    open_the_way(house.root)
    assert house.snapshot().verdict == "ok"
    assert {(path.stat().st_uid, path.stat().st_gid) for path in house.live.iterdir()} == {(54321, 54322)}
    assert house.users() == ["one", "two"]


@root_only
def test_a_path_that_its_owner_may_not_walk(house: Any) -> None:
    """As below /var/lib/private: the directory was entered for the child, and SQLite goes by the whole path."""
    house.make("one", mode="wal")
    house.writer("two")
    for path in (house.live, *house.live.iterdir()):
        os.chown(path, 54321, 54321)
    house.root.chmod(0o700)
    before = house.contents()
    assert house.snapshot().verdict == "ok"
    assert house.contents() == before
    assert house.users() == ["one", "two"]


@root_only
def test_what_its_owner_may_not_read(house: Any) -> None:
    """Another user's database that was planted under the name is not read with root's rights but with his."""
    house.make("one")
    os.chown(house.store, 54321, 54321)
    house.store.chmod(0)
    found = house.assess()
    assert found.verdict == "unreadable"


def test_no_room_for_a_copy(house: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It can't be judged then, which is no damage; and nothing is left behind."""
    from recoverd.recovery import private_copies

    house.make("one")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(private_copies, "_SPARE_BYTES", 1 << 60)
    found = house.assess()
    assert found.verdict == "unreadable"
    assert "room" in found.problems[0].problem
    assert not list(tmp_path.glob("recoverd-copy*"))


def test_a_copy_of_a_killed_recoverd_goes(house: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    left = tmp_path / "recoverd-copy.tmp-00000000-0000-0000-0000-000000000000-1-1-0000000000000000"
    left.mkdir()
    (left / "copy").write_bytes(b"x")
    house.make("one")
    assert house.assess().verdict == "ok"
    assert not list(tmp_path.glob("recoverd-copy*"))


def test_a_copy_beside_is_imported(house: Any, users_in: Callable[[Path], list[str]]) -> None:
    """A program's own backup becomes a snapshot: judged like any other."""
    from recoverd.operations.import_ import ImportRequest, import_copies

    house.make("old")
    backup = house.root / "store-2026-01-02.db"
    shutil.copy(house.store, backup)
    result = import_copies(house.open(), ImportRequest("app", (str(backup),)))
    assert [one.outcome for one in result.imports] == ["saved"]
    assert users_in(house.stored(1)) == ["old"]
