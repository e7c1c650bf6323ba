"""The keys of SQLite items."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recoverd.config.database_model import DatabaseRules
from recoverd.config.effective import decode_if_current, encode
from recoverd.config.loading import Loaded
from recoverd.config.rendering import as_plain

PLAIN_USER = 1000
ITEM = "services: {web: {state: {store: {%s}}}}"


def test_defaults(load_text: Callable[..., Loaded]) -> None:
    item = load_text(ITEM % "sqlite: /srv/web/a.db").config.services["web"].state["store"]
    assert (item.kind, item.path, item.database) == ("sqlite", "/srv/web/a.db", DatabaseRules())
    assert item.companions == ("-wal", "-shm", "-journal")
    assert item.is_unchecked


def test_all_of_them(load_text: Callable[..., Loaded], tmp_path: Path) -> None:
    """They survive the cache of the configuration, and `config show` gives them as they were written."""
    text = ITEM % "sqlite: /srv/a.db, check: full, require_tables: [users], assert: [SELECT 1], optional: true"
    loaded = load_text(text)
    config = loaded.config
    item = config.services["web"].state["store"]
    assert item.database == DatabaseRules("full", ("users",), ("SELECT 1",))
    assert not item.is_unchecked
    request = [str(tmp_path / "recoverd.yaml")]
    kept = encode(config, loaded.sources, request, euid=PLAIN_USER, home="/home/me")
    environ = {"STATE_DIRECTORY": "/var/lib/recoverd"}
    assert decode_if_current(kept, request, environ=environ, euid=PLAIN_USER, home="/home/me") == config
    shown = as_plain(config, mask=True)["services"]["web"]["state"]["store"]
    assert shown == {
        "sqlite": "/srv/a.db",
        "check": "full",
        "require_tables": ["users"],
        "assert": ["SELECT 1"],
        "optional": True,
    }


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("file: /a/b, check: quick", "check: is for sqlite items: a file has no tables"),
        ("directory: /a/b, require_tables: [x]", "require_tables: is for sqlite items: a directory has no tables"),
        ("file: /a/b, assert: [x]", "assert: is for sqlite items: a file has no tables"),
        ("sqlite: /a/b, format: json", "format: is for documents: what a database must hold, say"),
        ("sqlite: /a/b, magic: x", "magic: is for documents: what a database must hold, say"),
        ("sqlite: /a/b, guards: {require: [/x]}", "guards.require: is for documents: a database has no fields"),
        ("sqlite: /a/b, assert: [DELETE FROM a]", '"DELETE FROM a" asks nothing: a query begins with SELECT, WITH'),
        ("sqlite: /a/b, assert: [SELECT 1; SELECT 2]", "must be one query that is whole"),
        ("sqlite: /a/b, assert: ['SELECT ?']", "must be one query that is whole"),
        ("sqlite: /a/b, assert: [SELECT 1 FORM a]", 'is no query of SQLite\'s: near "a": syntax error'),
        ("sqlite: /a/b, assert: [SELECT (1]", "is no query of SQLite's: incomplete input"),
        ("sqlite: /a/b-wal", "/a/b-wal is what SQLite keeps beside a database"),
        ("sqlite: /a/b/", "/a/b/ is a directory by its name"),
        ("sqlite: /a/b, check: often", 'check: "often" is not one of none, quick, full'),
    ],
)  # fmt: skip
def test_problems(problems: Callable[..., list[str]], keys: str, sentence: str) -> None:
    found = problems(ITEM % keys)
    assert any(line.endswith(sentence) or sentence in line for line in found), found


@pytest.mark.parametrize(
    "query",
    [
        "SELECT count(*) > 0 FROM nobody_knows",
        "  with a AS (SELECT 1) SELECT * FROM a",
        "PRAGMA user_version",
        "VALUES(1)",
        "-- how many\nSELECT of_their_own(a) FROM b;",
        "SELECT '; ?'",
    ],
)
def test_what_can_be_asked(load_text: Callable[..., Loaded], query: str) -> None:
    """What the database and the service's own program hold is not known here."""
    rules = load_text(ITEM % f"sqlite: /srv/a.db, assert: [{json.dumps(query)}]").config.services["web"].state["store"]
    assert rules.database is not None and rules.database.assertions == (query,)


def test_in_a_directory_that_leaves_all_of_it_out(problems: Callable[..., list[str]]) -> None:
    """Its -wal would be captured, and replaced, with the directory."""
    text = "services: {web: {state: {all: {directory: /srv/w, exclude: ['%s']}, store: {sqlite: /srv/w/x.db}}}}"
    assert any("lies inside" in line for line in problems(text % "x.db"))
    assert problems(text % "x.db*") == []


def test_what_lies_beside_a_database_is_its_own(problems: Callable[..., list[str]]) -> None:
    """Two items, or two services, would replace one and the same file."""
    found = problems("services: {web: {state: {a: {sqlite: /srv/w/x.db}, b: {file: /srv/w/x.db-wal}}}}")
    assert any('goes with /srv/w/x.db, which is the database of item "a"' in line for line in found), found
    found = problems("services: {v: {state: {b: {file: /w/x.db-shm}}}, w: {state: {a: {sqlite: /w/x.db}}}}")
    assert any('which is the database of service "w"' in line for line in found), found
