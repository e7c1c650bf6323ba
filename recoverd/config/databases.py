"""SQLite items: what a database is held to, and which keys say nothing of one."""

from __future__ import annotations

import re
from contextlib import closing

from recoverd.config.database_model import DatabaseRules
from recoverd.config.model import ItemKind
from recoverd.config.sections import Section

_OF_DATABASES = ("check", "require_tables", "assert")
_ASKS = ("SELECT", "WITH", "VALUES", "PRAGMA")
_OF_DOCUMENTS = (
    *("format", "schema", "include", "exclude", "allow", "version", "name_field", "magic"),
    *("siblings", "rebuild", "initial"),
)


def build_database(item: Section, kind: ItemKind) -> DatabaseRules | None:
    """None for other kinds, of which these keys are problems; as are the keys of documents for a database."""
    if kind is not ItemKind.SQLITE:
        for key in _OF_DATABASES:
            if item.has(key):
                item.problem(key, f"is for sqlite items: a {kind.value} has no tables")
        return None
    for key in _OF_DOCUMENTS:
        if item.has(key):
            item.problem(key, "is for documents: what a database must hold, say require_tables and assert")
    if item.has("guards"):
        for key in ("require", "min_items"):
            if item.section("guards").has(key):
                item.section("guards").problem(key, "is for documents: a database has no fields; use assert")
    usual = DatabaseRules()
    for query in item.texts("assert"):
        if query and (reason := _why_no_query(query)):
            item.problem("assert", f'"{query}" {reason}')
    return DatabaseRules(item.text("check") or usual.check, item.texts("require_tables"), item.texts("assert"))


def _why_no_query(query: str) -> str | None:
    """Why nothing can be asked so, whatever the database holds: of one that can't be asked nobody knows the state."""
    import sqlite3

    begins = re.match(r"\s*(\w+)", query)
    if begins is not None and begins[1].upper() not in _ASKS:
        return f"asks nothing: a query begins with {', '.join(_ASKS[:-1])} or {_ASKS[-1]}"
    try:
        with closing(sqlite3.connect(":memory:")) as empty:
            empty.execute(f"EXPLAIN {query}")
    except (sqlite3.Warning, sqlite3.ProgrammingError):
        return "must be one query that is whole: neither several, nor one with parameters"
    except sqlite3.Error as error:
        if str(error).endswith("syntax error") or str(error).startswith(("incomplete input", "unrecognized token")):
            return f"is no query of SQLite's: {error}"
    return None
