"""Judging a database, mostly a private copy. Runs in the child, with the rights of the database's owner."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from recoverd.state.databases.copying import code_of

MOST_PROBLEMS = 20
_CHECKS = {"quick": "quick_check", "full": "integrity_check"}
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_HEAP_BYTES = 256 << 20
_SETTINGS = (
    f"hard_heap_limit={_HEAP_BYTES}",
    "query_only=ON",
    "trusted_schema=OFF",
    "cell_size_check=ON",
    f"mmap_size={1 << 30}",
)
_READS = frozenset(
    (
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
        sqlite3.SQLITE_PRAGMA,
    )
)
# What the service's own program brings, and this one lacks: it says nothing about the state.
_LACKING = ("no such collation", "no such module", "no such function", "no such tokenizer", "unknown tokenizer")


def judge(
    database: sqlite3.Connection, check: str, require_tables: Sequence[str], assertions: Sequence[str]
) -> dict[str, Any]:
    """`{"verdict": ok | corrupt | unreadable, "problems": [sentence], "notes": [sentence]}` on a whole database."""
    problems: list[str] = []
    notes: list[str] = []
    try:
        database.isolation_level = None
        for setting in _SETTINGS:
            database.execute(f"PRAGMA {setting}").fetchall()
        if check in _CHECKS:
            problems += _checked(database, _CHECKS[check], notes)
        problems += _missing(database, require_tables)
        database.set_authorizer(_only_reads)
        problems += [sentence for query in assertions if (sentence := _refuted(database, query)) is not None]
    except sqlite3.Error as error:
        if code_of(error) not in _DAMAGED:
            return {"verdict": "unreadable", "problems": [f"could not be judged: {error}"], "notes": notes}
        problems.append(f"is damaged: {error}")
    except MemoryError:
        return {"verdict": "unreadable", "problems": ["could not be judged: it takes too much memory"], "notes": notes}
    return {"verdict": "corrupt" if problems else "ok", "problems": problems[:MOST_PROBLEMS], "notes": notes}


def _checked(database: sqlite3.Connection, check: str, notes: list[str]) -> list[str]:
    """What SQLite's own check finds."""
    try:
        found = [str(row[0]) for row in database.execute(f"PRAGMA {check}({MOST_PROBLEMS})")]
    except sqlite3.OperationalError as error:
        if not str(error).startswith(_LACKING):
            raise
        notes.append(f"is not checked by SQLite: {error}")
        return []
    found = [line for text in found for line in text.split("\n") if line and not line.startswith("*** in database")]
    return [] if found == ["ok"] else [f"is damaged: {line}" for line in found]


def _missing(database: sqlite3.Connection, wanted: Sequence[str]) -> list[str]:
    # names are compared as SQLite does: letters of ASCII whatever their case
    query = "SELECT 1 FROM sqlite_master WHERE type IN ('table', 'view') AND name = ? COLLATE NOCASE"
    return [f"has no table {name}" for name in wanted if database.execute(query, (name,)).fetchone() is None]


def _refuted(database: sqlite3.Connection, query: str) -> str | None:
    """A sentence when a query that must be true is not, or asks for what is not there."""
    try:
        row = database.execute(query).fetchone()
    except sqlite3.OperationalError as error:
        if not str(error).startswith(("no such table", "no such column")):
            raise
        return f"{query}: {error}"
    except sqlite3.ProgrammingError as error:  # several statements
        raise sqlite3.OperationalError(f"{query}: {error}") from error
    if row is None:
        return f"{query}: gives nothing"
    return None if row[0] else f"{query}: gives {'null' if row[0] is None else repr(row[0])}"


def _only_reads(action: int, *_: object) -> int:
    return sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY
