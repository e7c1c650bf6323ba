"""A database in use in WAL mode is copied by one more reader; what others do meanwhile reaches no copy in part."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recoverd.state.databases import copying, files, images
from recoverd.state.databases.copying import copy_database

# Does what it is told, a statement a line, and says what came of it. It waits for nobody.
USER = """
import json, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=0)
for line in sys.stdin:
    print(json.dumps(database.execute(line).fetchall()), flush=True)
"""
ROWS = 2000  # of a kilobyte


class User:
    """A process that has a database open."""

    def __init__(self, store: Path) -> None:
        command = [sys.executable, "-c", USER, str(store)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def does(self, statement: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(statement + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def said(self, word: str) -> None:
        """In a row of its own, and at both ends of the database: half of a commit would show."""
        self.does("BEGIN IMMEDIATE")
        self.does(f"INSERT INTO said VALUES ('{word}')")
        self.does(f"UPDATE filler SET word = '{word}' WHERE id IN (1, {ROWS})")
        self.does("COMMIT")

    def checkpoint(self, kind: str) -> tuple[int, int, int]:
        """Whether it was hindered, frames in the -wal, frames of them that are in the database."""
        ((busy, frames, done),) = self.does(f"PRAGMA wal_checkpoint({kind})")
        return busy, frames, done


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[User]:
    monkeypatch.chdir(tmp_path)
    with closing(sqlite3.connect("store.db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("CREATE TABLE said (word TEXT)")
        database.execute("CREATE TABLE filler (id INTEGER PRIMARY KEY, word TEXT, data BLOB)")
        rows = ((number, "", bytes(1000)) for number in range(1, ROWS + 1))
        database.execute("BEGIN")
        database.executemany("INSERT INTO filler VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")
    made = User(Path("store.db"))
    try:
        made.does("PRAGMA wal_autocheckpoint=0")
        made.said("one")
        yield made
    finally:
        made.process.kill()
        made.process.communicate()


class Copying:
    """Copies; `during` happens when half of the database has been copied the first time, or each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, during: Callable[[], object]) -> None:
        self.times = 0
        real = files.pour

        def pour(source: int, out: int, **named: Any) -> None:
            real(source, out, most=ROWS * 500)
            self.times += 1
            if self.times == 1:
                during()
            real(source, out, **named)  # from the front; what was copied is written over

        monkeypatch.setattr(files, "pour", pour)

    def copy(self) -> list[str]:
        Path("target").write_bytes(b"")
        copied = copy_database("store.db", "target")
        assert (copied.how, copied.damage) == ("live", None)
        assert {path.name for path in Path().iterdir() if path.name.startswith("target")} == {"target"}
        with closing(sqlite3.connect("target")) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            words = [word for (word,) in database.execute("SELECT word FROM said ORDER BY rowid")]
            ends = database.execute(f"SELECT word FROM filler WHERE id IN (1, {ROWS})").fetchall()
            assert ends == [(words[-1],), (words[-1],)]
        return words


def test_it_is_left_as_it_is(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed is in the copy, wherever it lies, and nothing is brought into the database for that."""
    before = {name: Path(name).read_bytes() for name in ("store.db", "store.db-wal")}
    assert Copying(monkeypatch, lambda: None).copy() == ["one"]
    assert {name: Path(name).read_bytes() for name in before} == before


def test_commits_meanwhile(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits, and what was committed before the -wal was copied is there whole."""
    assert Copying(monkeypatch, lambda: user.said("two")).copy() == ["one", "two"]


def test_a_checkpoint_meanwhile(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """It moves what the reader sees into the database, and no more: the -wal stays, and has those pages."""
    seen: list[Any] = []

    def during() -> None:
        user.said("two")
        seen.append(user.checkpoint("PASSIVE"))
        seen.append(user.checkpoint("TRUNCATE"))

    assert Copying(monkeypatch, during).copy() == ["one", "two"]
    (_, frames, done), (busy, *_) = seen
    assert 0 < done < frames
    assert busy


@pytest.mark.parametrize("size", ["full", "empty"])
def test_a_wal_that_is_begun_meanwhile(user: User, monkeypatch: pytest.MonkeyPatch, size: str) -> None:
    """All was in the database, so the reader does not hold the -wal: a new one is begun. What it holds is not brought
    into the database while that is read, so a second copy is of one instant."""
    assert user.checkpoint("PASSIVE" if size == "full" else "TRUNCATE")[0] == 0
    seen: list[Any] = []

    def during() -> None:
        user.said("two")
        seen.append(user.checkpoint("PASSIVE"))

    copying = Copying(monkeypatch, during)
    assert copying.copy() == (["one", "two"] if size == "full" else ["one"])
    assert copying.times == (2 if size == "full" else 1)
    ((_, frames, done),) = seen
    assert (frames > 0, done) == (True, 0)


def test_a_wal_that_is_emptied_meanwhile(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """All was in the database before: without a -wal, that is the whole of it."""
    assert user.checkpoint("PASSIVE")[0] == 0
    copying = Copying(monkeypatch, lambda: user.checkpoint("TRUNCATE"))
    assert copying.copy() == ["one"]
    assert copying.times == 2
    assert Path("store.db-wal").stat().st_size == 0


def test_it_is_emptied_when_it_was_copied(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was copied of a -wal is not beside a later copy, which has another one, or none."""
    assert user.checkpoint("PASSIVE")[0] == 0
    real, poured = files.pour, []

    def pour(*given: Any, **named: Any) -> None:
        real(*given, **named)
        poured.append(given)
        assert user.checkpoint("TRUNCATE")[0] == 0

    monkeypatch.setattr(images, "pour", pour)
    copying = Copying(monkeypatch, lambda: None)
    real_pour = files.pour

    def alone(*given: Any, **named: Any) -> None:
        assert not Path("target-wal").exists()
        real_pour(*given, **named)

    monkeypatch.setattr(files, "pour", alone)
    assert copying.copy() == ["one"]
    assert (copying.times, len(poured)) == (2, 1)


def test_a_wal_that_is_begun_between_two_files(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a process that keeps the database for itself, so that nothing holds the old one: what that held came into the
    database after it was copied, and is not in the new one."""
    user.does("PRAGMA locking_mode=EXCLUSIVE")
    user.said("one more")
    real, poured = files.fill, []

    def fill(*given: Any, **named: Any) -> None:
        real(*given, **named)
        poured.append(given)
        if len(poured) == 1:
            user.does(f"UPDATE filler SET word = 'two' WHERE id = {ROWS // 2}")
            assert user.checkpoint("TRUNCATE") == (0, 0, 0)
            user.said("three")

    monkeypatch.setattr(images, "fill", fill)
    Path("target").write_bytes(b"")
    assert images.image("store.db", "target").damage is None
    with closing(sqlite3.connect("target")) as database:
        words = database.execute("SELECT word FROM said ORDER BY rowid").fetchall()
        assert words == [("one",), ("one more",), ("three",)]
        assert database.execute(f"SELECT word FROM filler WHERE id = {ROWS // 2}").fetchone() == ("two",)


def test_its_end_is_cut_off_meanwhile(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """By somebody who asks for no lock: no copy passes for a whole one, whatever SQLite makes of what is missing."""
    Copying(monkeypatch, lambda: os.truncate("store.db", ROWS // 4 * 1024 // 4096 * 4096))
    Path("target").write_bytes(b"")
    copied = copy_database("store.db", "target")
    if copied.damage is None:
        with closing(sqlite3.connect("target")) as database:
            assert database.execute("PRAGMA quick_check").fetchone() != ("ok",)


def test_a_wal_that_is_taken_away_meanwhile(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody who knows no SQLite: what can't be told for sure is copied anew, as it lies there."""
    copying = Copying(monkeypatch, lambda: Path("store.db-wal").unlink())
    Path("target").write_bytes(b"")
    copied = copy_database("store.db", "target")
    assert copied.damage is None
    assert copying.times >= 2
    with closing(sqlite3.connect("target")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM said").fetchone() == (0,)  # it was in the -wal alone


def test_another_wal_is_planted(user: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Just when the reader had opened the old one: what is read through that name afterwards is none of its."""
    shutil.copytree(tmp_path, tmp_path / "earlier")
    user.checkpoint("TRUNCATE")
    user.said("two")
    real, times = files.is_open_twice, []

    def is_open_twice(mine: int) -> bool:
        times.append(mine)
        if len(times) == 1:
            Path("earlier/store.db-wal").rename("store.db-wal")
        return real(mine)

    monkeypatch.setattr(copying, "is_open_twice", is_open_twice)
    Path("target").write_bytes(b"")
    copied = copy_database("store.db", "target")
    assert (copied.how, len(times)) == ("image", 1)
    with closing(sqlite3.connect("target")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_no_copy_twice_over(user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once is enough: SQLite brings the -wal into the copy itself."""
    poured: list[int] = []
    real = files.pour

    def pour(source: int, out: int, **named: Any) -> None:
        real(source, out, **named)
        poured.append(source)

    for module in (files, images):
        monkeypatch.setattr(module, "pour", pour)
    Path("target").write_bytes(b"")
    copy_database("store.db", "target")
    assert len(poured) == 2
