"""`config show`: every effective value, where it comes from, and nothing secret. Loaded again, it is the same."""

# ruff: noqa: E501 (whole configurations, and tables read line by line)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config import strict_yaml
from recoverd.config.loading import Loaded
from recoverd.config.model import Config, Place, SchemaSource, Service, StateItem
from recoverd.config.rendering import as_plain, flow, yaml_lines

Load = Callable[..., Loaded]
NOWHERE = Place("", 0, 0)
TEXT = """\
state_dir: /srv/recoverd
defaults: {autosave: {jitter: 3s}}
services:
  web:
    root: /srv/web
    run: {command: [/usr/bin/web, "a b", "${X}", ""], env: {A: "1", "no": 'x: #', B: {credential: c}}, stop_timeout: 1500ms}
    state:
      main: {file: "st ate.json", schema: {type: object, properties: {"a\\tb": {const: 0.5}}}, allow: [nan]}
      tasks: {directory: tasks, include: ["*.json"]}
    autosave: {every: 1h30m, cron: "0 4 * * 1-5"}
    retention: {last: forever, tags: [a, [b, "true"]], within: 1y2mo3w4h}
    health: {probes: [{http: "http://a/"}, {command: [x]}, {running: true}]}
    check: {max_age: 2w}
"""


def without_places(config: Config) -> Config:
    """Places and search directories are of a file, not of what it says."""

    def item(each: StateItem) -> StateItem:
        schema = each.schema and SchemaSource(each.schema.document, each.schema.path, (), NOWHERE)
        return replace(each, schema=schema)

    def service(each: Service) -> Service:
        return replace(each, place=NOWHERE, state={name: item(below) for name, below in each.state.items()})

    return replace(config, services={name: service(each) for name, each in config.services.items()})


def test_shown_and_loaded_again(load_text: Load) -> None:
    """What `config show` prints is a configuration, and the same one."""
    loaded = load_text(TEXT)
    shown = "\n".join(yaml_lines(as_plain(loaded.config, mask=False), loaded.provenance)) + "\n"
    assert without_places(load_text(shown).config) == without_places(loaded.config)


def test_every_value_tells_where_it_comes_from(load_text: Load, tmp_path: Path) -> None:
    loaded = load_text(TEXT)
    lines = list(yaml_lines(as_plain(loaded.config, mask=True), loaded.provenance))
    assert all("  # " in line for line in lines if not line.endswith(":"))
    found = {line.strip().split(":")[0]: line.split("  # ")[1] for line in lines if "  # " in line}
    file = f"from {tmp_path}/recoverd.yaml"
    assert found["every"] == f"{file}:10"
    assert found["jitter"] == f"{file}:2"  # from `defaults`
    assert found["schema"] == f"{file}:8"
    assert found["probes"] == f"{file}:12"
    assert found["B"] == f"{file}:6"
    assert found["timezone"] == found["hourly"] == found["stable_for"] == found["path"] == "default"


def test_secrets_are_masked(load_text: Load) -> None:
    """References are shown, since nobody has read them; passwords in URLs and telling variables are not."""
    text = (
        "services: {a: {run: {command: [x, 'postgres://u:hunter2@h/'], env: {API_TOKEN: hunter2, DB: 'pg://u:hunter2@h', "
        "S: {file: /run/s}}}, health: {probes: [{http: 'http://u:hunter2@h/'}, {command: [y, 'http://:hunter2@h']}]}}}"
    )
    loaded = load_text(text)
    shown = "\n".join(yaml_lines(as_plain(loaded.config, mask=True), loaded.provenance))
    assert "hunter2" not in shown
    assert "{file: /run/s}" in shown
    assert shown.count("***") == 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("30s", "30s"), ("1h30m", "1h30m"), ("a-b_c/d.e", "a-b_c/d.e"), ("/srv/x", "/srv/x"),
        ("12", '"12"'), ("0644", '"0644"'), ("1e3", '"1e3"'), ("true", '"true"'), ("null", '"null"'), ("", '""'), ("~", '"~"'),
        ("a b", '"a b"'), ("a: b", '"a: b"'), ("- x", '"- x"'), ('"', '"\\""'), ("\\", '"\\\\"'), ("\n", '"\\x0a"'), ("\u2028", '"\\u2028"'),
        ("\U0001f600", '"\U0001f600"'), ("\ufeff", '"\\ufeff"'), (None, "null"), (True, "true"), (1.5, "1.5"), ({}, "{}"), ([], "[]"),
        ({"a b": [1, {"c": "~"}]}, '{"a b": [1, {c: "~"}]}'),
    ],
)  # fmt: skip
def test_flow(value: Any, text: str) -> None:
    assert flow(value) == text


LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(LETTERS),
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(LETTERS), each, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_written_is_read_back(value: Any) -> None:
    """Any text, whatever YAML would make of it unquoted, any number, any nesting."""
    parsed = strict_yaml.parse(f"v: {flow(value)}\n".encode(), "f")
    assert parsed.problems == ()
    assert parsed.node is not None
    assert parsed.node.plain() == {"v": value}
