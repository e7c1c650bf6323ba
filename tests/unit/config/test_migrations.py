"""Steps from older versions: all that is wrong with them is told at once, each at its place."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from recoverd.config import effective
from recoverd.config.loading import Loaded
from recoverd.config.migration_model import MigrationStep, chain

HEAD = """\
version: 1
services:
  app:
    state:
      main:
        file: /var/lib/app/state.json
        format: {format}
        version: {{field: version, current: "3"}}
        migrate:
"""
PREFIX = "services.app.state.main.migrate"


def text(*steps: str, format: str = "json") -> str:
    return HEAD.format(format=format) + "".join(f"          - {step}\n" for step in steps)


def test_a_chain_is_read_with_all_that_it_says(load_text: Callable[..., Loaded]) -> None:
    """config.md: a step is a patch, a rename or a command; names become pointers, a new name stands beside the old."""
    loaded = load_text(
        text(
            '{from: "1", to: "2", patch: [{op: add, path: /sessions, value: []}]}',
            '{from: "2", to: 2.5.0, rename: {tool: agent, /a/b: c, /a~1b: /x/y}}',
            "{from: 2.5.0, to: 3, command: [upgrade], timeout: 5s}",
        )
    )
    steps = loaded.config.services["app"].state["main"].migrate
    assert steps == (
        MigrationStep("1", "2", patch=({"op": "add", "path": "/sessions", "value": []},)),
        MigrationStep("2", "2.5.0", rename={"/tool": "/agent", "/a/b": "/a/c", "/a~1b": "/x/y"}),
        MigrationStep("2.5.0", "3", command=("upgrade",), timeout_s=5.0),
    )


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (['{from: "1", to: "2", patch: []}'], '10:29: PLACE[0].to: no step leads on from "2" to "3"'),
        (
            ['{from: "1", to: "2", patch: []}', '{from: "2", to: "1.0", patch: []}'],
            '10:29: PLACE[0].to: leads back to "1", and never to "3"|'
            '11:29: PLACE[1].to: leads back to "2", and never to "3"',
        ),
        (
            ['{from: "1", to: "3", patch: []}', '{from: "1.0", to: "3", patch: []}'],
            '11:20: PLACE[1].from: there is a step from "1.0" already (FILE:10)',
        ),
        (['{from: "1", to: "1.0", patch: []}'], '10:29: PLACE[0].to: "1.0" is the version that the step begins with'),
        (
            ['{from: "3", to: "4", patch: []}'],
            '10:20: PLACE[0].from: "3" is the current version: nothing leads on from there',
        ),
        (
            ['{from: "4", to: "3", patch: []}'],
            '10:20: PLACE[0].from: "4" is newer than the current version: what is newer is left alone',
        ),
        (['{from: "1", to: "5", patch: []}'], '10:29: PLACE[0].to: "5" is newer than the current version, "3"'),
        (['{from: "1", to: "3", patch: [{op: add, path: /a}]}'], "10:42: PLACE[0].patch[0]: add needs `value`"),
        (
            ['{from: "1", to: "3", patch: [{op: remove, path: a, value: 1}]}'],
            "10:71: PLACE[0].patch[0].value: goes with add, replace and test, not with remove|"
            '10:61: PLACE[0].patch[0].path: "a" is no JSON pointer: one such as /tasks/0 starts with a slash',
        ),
        (
            ['{from: "1", to: "3", rename: {/a: /a/b}}'],
            "10:47: PLACE[0].rename./a: /a and /a/b are the same field, or one is part of the other",
        ),
        (
            ['{from: "1", to: "3", patch: [{op: move, from: /a, path: /a/b}]}'],
            "10:69: PLACE[0].patch[0].path: nothing can be moved into itself",
        ),
        (
            ['{from: "1", to: "3", rename: {a: c, b: c}}'],
            "10:52: PLACE[0].rename.b: two fields can't both become /c",
        ),
        (['{from: "1", to: "3", patch: [], timeout: 1s}'], "10:54: PLACE[0].timeout: goes with `command` only"),
        (['{from: "1", to: "3", command: [""]}'], "10:43: PLACE[0].command: the program must not be empty"),
    ],
)
def test_what_leads_nowhere_is_told_at_its_place(
    problems: Callable[..., list[str]], steps: list[str], expected: str
) -> None:
    """Gaps, loops, two steps from one version, downgrades, patches that are none: all of them, with line and column."""
    found = [one.replace(PREFIX, "PLACE").replace("recoverd.yaml:", "FILE:") for one in problems(text(*steps))]
    assert sorted(found) == sorted(expected.split("|"))


def test_the_version_field_is_a_name_or_a_pointer(
    load_text: Callable[..., Loaded], problems: Callable[..., list[str]]
) -> None:
    """Deeper in the document, as guards and renames name places; one that is no pointer is told."""
    steps = text('{from: "1", to: "3", patch: []}')
    deeper = load_text(steps.replace("field: version", "field: /meta~1data/version"))
    rule = deeper.config.services["app"].state["main"].version
    assert rule is not None
    assert (rule.keys, rule.pointer) == (("meta/data", "version"), "/meta~1data/version")
    (told,) = problems(steps.replace("field: version", 'field: "/meta~2"'))
    assert "version.field" in told
    assert "is no JSON pointer" in told


def test_a_migration_needs_a_version_and_a_format_that_can_be_written(problems: Callable[..., list[str]]) -> None:
    without = text('{from: "1", to: "3", patch: []}').replace('        version: {field: version, current: "3"}\n', "")
    assert ["needs `version`" in one for one in problems(without)] == [True]
    (toml,) = problems(text('{from: "1", to: "3", patch: []}', format="toml"))
    assert "TOML can't be written" in toml
    assert problems(text('{from: "1", to: "3", command: [upgrade]}', format="toml")) == []
    (lines,) = problems(text('{from: "1", to: "3", patch: []}', format="json-lines"))
    assert "have no version field" in lines


def test_what_is_remembered_of_the_configuration_says_the_same(load_text: Callable[..., Loaded]) -> None:
    """The parsed configuration is kept between runs: steps come back from there as they were."""
    item = (
        load_text(
            text(
                '{from: 1, to: "2", rename: {a: b}}',
                '{from: "2", to: "3", patch: [{op: test, path: "", value: {a: [1]}}]}',
            )
        )
        .config.services["app"]
        .state["main"]
    )
    plain = json.loads(json.dumps([effective._plain(step) for step in item.migrate]))
    decode = effective._list(effective._object(MigrationStep, patch=tuple, command=tuple))
    assert decode(plain) == item.migrate


def test_chains_lead_to_the_current_version_or_nowhere() -> None:
    steps = (MigrationStep("1", "2"), MigrationStep("2.0", "4"), MigrationStep("4", "2"))
    assert chain("1.0.0", steps, "4") == steps[:2]
    assert chain("4.0", steps, "4") == ()
    assert chain("3", steps, "4") == ()
    assert chain("1", steps, "9") == ()  # round and round
