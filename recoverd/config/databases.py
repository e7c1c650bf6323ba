"""SQLite items: what a database is held to, and which keys say nothing of one."""

from __future__ import annotations

from recoverd.config.database_model import DatabaseRules
from recoverd.config.model import ItemKind
from recoverd.config.sections import Section

_OF_DATABASES = ("check", "require_tables", "assert")
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
    return DatabaseRules(item.text("check") or usual.check, item.texts("require_tables"), item.texts("assert"))
