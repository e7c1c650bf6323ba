"""A database and what lies beside it are restored as one, and come back as one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest


def damage(house: Any) -> None:
    data = house.store.read_bytes()
    house.store.write_bytes(data[:16] + b"\xff" * 84 + data[100:])


def quarantined(house: Any) -> list[bytes]:
    return [path.read_bytes() for path in (house.root / "var" / "quarantine").rglob("*") if path.is_file()]


@pytest.mark.parametrize("ending", ["-wal", "-journal"])
def test_old_rows_do_not_come_back(house: Any, ending: str, unfinished: str) -> None:
    """What an old database left beside it would be read into the one that is brought back; all goes to quarantine."""
    mode = "wal" if ending == "-wal" else "delete"
    house.make("good", mode=mode)
    assert house.snapshot().outcome == "saved"
    house.kill(house.writer("old row", mode=mode, **({} if mode == "wal" else {"work": unfinished})))
    left = house.beside(ending).read_bytes()
    assert left
    house.store.unlink()
    before = house.contents()

    assert house.assess().verdict == "missing"
    result = house.restore()
    assert result.outcome == "restored", result
    assert sorted(house.contents()) == ["store.db"]
    assert house.users(house.store) == ["good"]
    assert left in quarantined(house)
    house.undo()
    assert house.contents() == before


def test_the_trap_is_one(house: Any) -> None:
    """What the test above relies on: SQLite itself reads an old -wal into a database that was copied over its path."""
    house.make("good", mode="wal")
    good = house.store.read_bytes()
    house.kill(house.writer("old row"))
    house.store.write_bytes(good)
    assert house.users(house.store) == ["good", "old row"]


def test_undo_takes_away_what_the_service_left_since(house: Any) -> None:
    """The -wal of the restored database does not go with the one that undo brings back."""
    house.make("good", mode="wal")
    assert house.snapshot().outcome == "saved"
    damage(house)
    before = house.contents()
    assert house.restore().outcome == "restored"
    house.kill(house.writer("since"))
    assert house.beside("-wal").stat().st_size
    house.undo()
    assert house.contents() == before
    assert not house.beside("-shm").exists()
    house.undo()  # of the undo
    assert house.users(house.store) == ["good", "since"]


def test_everything_of_a_named_snapshot(house: Any) -> None:
    """An explicit restore over good state replaces what is only in the -wal too."""
    house.make("one", mode="wal")
    assert house.snapshot().outcome == "saved"
    house.kill(house.writer("two"))
    assert house.snapshot().outcome == "saved"
    assert house.restore(snapshot="app/1").outcome == "restored"
    assert sorted(house.contents()) == ["store.db"]
    assert house.users(house.store) == ["one"]
    house.undo()
    assert house.users(house.store) == ["one", "two"]


def test_a_live_database_that_is_what_the_snapshot_holds(house: Any) -> None:
    """Nothing is replaced, though its bytes lie in two files."""
    house.make("one", mode="wal")
    house.kill(house.writer("two"))
    assert house.snapshot().outcome == "saved"
    before = house.contents()
    assert house.restore(snapshot="app/1").outcome == "untouched"
    assert house.contents() == before


def test_an_older_version_where_the_newest_fails_today(house: Any) -> None:
    """What was staged is judged by the rules of today before it replaces anything."""
    house.make("admin")
    assert house.snapshot().outcome == "saved"
    with closing(sqlite3.connect(house.store)) as database, database:
        database.execute("DELETE FROM users")
    assert house.snapshot().outcome == "saved"
    house.keys = {"assert": ["SELECT count(*) FROM users"]}
    assert house.assess().verdict == "corrupt"
    result = house.restore()
    assert result.outcome == "restored", result
    assert house.users(house.store) == ["admin"]


def test_an_interrupted_restore_is_finished_with_what_lies_beside(
    house: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Promise 5: killed between any two of its steps, the next one finishes all of it."""
    from recoverd.recovery.board import Board

    class Killed(BaseException):
        pass

    house.make("good", mode="wal")
    assert house.snapshot().outcome == "saved"
    forward = Board.forward
    for last in range(4):
        house.kill(house.writer(f"old {last}"))
        damage(house)
        done: list[str] = []

        def until(self: Board, step: Any, *, last: int = last, done: list[str] = done) -> None:
            if len(done) == last:
                raise Killed
            forward(self, step)
            done.append(step.target)

        with monkeypatch.context() as patched:
            patched.setattr(Board, "forward", until)
            try:
                house.restore()
            except Killed:
                pass
        result = house.restore()
        assert result.outcome in {"restored", "untouched"}, result
        assert house.users(house.store) == ["good"]
        assert sorted(house.contents()) == ["store.db"]
        assert all(not target.endswith("store.db") for target in done[:2]), "what lies beside goes first"


@pytest.mark.parametrize("ending", ["", "-wal"])
def test_something_else_in_its_place_comes_back_by_undo_and_stays(house: Any, ending: str) -> None:
    """Promise 4: undo implies accept of exactly that, or the next boot would redo it."""
    house.make("good")
    assert house.snapshot().outcome == "saved"
    path = house.beside(ending)
    path.unlink(missing_ok=True)
    path.symlink_to("elsewhere")
    assert house.restore().outcome == "restored"
    house.undo()
    assert path.is_symlink()
    assert house.restore().outcome == "untouched"
    path.unlink()
    path.symlink_to("somewhere")
    assert house.restore().outcome == "restored"
