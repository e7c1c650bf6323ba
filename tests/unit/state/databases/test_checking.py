"""What a copy is held to, and what can't be asked."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.database_model import DatabaseRules
from recoverd.state.databases.process import Examination, Source
from recoverd.state.verdicts import Judgement, Verdict


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as made:
        made.create_collation("OWN", lambda a, b: (a > b) - (a < b))
        made.execute("CREATE TABLE users (name TEXT)")
        made.execute("INSERT INTO users VALUES ('x')")
        made.execute("CREATE VIEW all_users AS SELECT * FROM users")
        made.commit()
    return path


def judged(
    path: Path, check: str = "quick", tables: Sequence[str] = (), queries: Sequence[str] = (), **more: Any
) -> Judgement:
    """By a real child, of a file that is given to it."""
    target = path.with_name("copy")
    target.touch()
    fd = os.open(path, os.O_RDONLY)
    try:
        source = Source(path.stat().st_size, os.geteuid(), os.getegid(), file=fd)
        with Examination(
            source, str(target), DatabaseRules(check, tuple(tables), tuple(queries)), **more
        ) as examination:
            assert examination.copied().damage is None
            return examination.judged(unchecked=False)
    finally:
        os.close(fd)


def test_tables(database: Path) -> None:
    """A view does as well; names are SQLite's, for which case is none."""
    assert judged(database, tables=["USERS", "all_users"]).verdict is Verdict.OK
    found = judged(database, tables=["users", "sessions"])
    assert found.verdict is Verdict.CORRUPT
    assert [one.problem for one in found.problems] == ["has no table sessions"]


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("SELECT count(*) > 0 FROM users", None),
        ("SELECT name FROM users", None),
        ("SELECT 0", "SELECT 0: gives 0"),
        ("SELECT ''", "SELECT '': gives ''"),
        ("SELECT NULL", "SELECT NULL: gives null"),
        ("SELECT 1 WHERE 0", "SELECT 1 WHERE 0: gives nothing"),
        ("SELECT 1 FROM sessions", "SELECT 1 FROM sessions: no such table: sessions"),
    ],
)
def test_assert(database: Path, query: str, problem: str | None) -> None:
    found = judged(database, queries=["SELECT 1", query])
    assert [one.problem for one in found.problems] == ([] if problem is None else [problem])
    assert found.verdict is (Verdict.OK if problem is None else Verdict.CORRUPT)


@pytest.mark.parametrize(
    "query", ["DELETE FROM users", "ATTACH '/tmp/x' AS x", "SELECT own_function(1)", "nonsense", "SELECT 1; SELECT 2"]
)
def test_what_can_not_be_asked(database: Path, query: str) -> None:
    """A query that is none, or would write, says nothing about the state."""
    assert judged(database, queries=[query]).verdict is Verdict.UNREADABLE


def test_collations_of_the_service(database: Path) -> None:
    """SQLite can't compare an index whose order only the service knows: that is no damage."""
    with closing(sqlite3.connect(database)) as made:
        made.create_collation("OWN", lambda a, b: (a > b) - (a < b))
        made.execute("CREATE INDEX i ON users (name COLLATE OWN)")
        made.commit()
    found = judged(database, "full")
    assert found.verdict is Verdict.OK
    assert "no such collation sequence: OWN" in found.notes[0].problem
    assert judged(database, "quick").verdict is Verdict.OK


def test_a_deadline(database: Path) -> None:
    """A query that never ends holds nobody up; it does not say that anything is wrong."""
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    found = judged(database, queries=[endless], deadline_s=1.0)
    assert found.verdict is Verdict.UNREADABLE
    assert "could not be judged within 1 s" in found.problems[0].problem


def test_memory_is_bounded(database: Path) -> None:
    found = judged(database, queries=["SELECT length(zeroblob(900000000) || zeroblob(90000000))"])
    assert found.verdict is Verdict.UNREADABLE
