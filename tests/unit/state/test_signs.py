"""Signs of good state in a document's own content: pure rules, and the judge that applies them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.migration_model import VersionRule
from recoverd.config.model import Format, Guards, ItemKind, StateItem, Validation
from recoverd.state.judging import build_judge, decode_judgement, encode_judgement
from recoverd.state.signs import (
    NOT_IN_NAMES,
    at,
    emptied,
    is_absent,
    name_of,
    shrunk,
    version_of,
    why_misnamed,
    why_newer,
)
from recoverd.state.verdicts import Verdict

ITEM = StateItem("main", ItemKind.FILE, "/x/state.json", Format.JSON)
SCHEMA = {"type": "object", "required": ["tasks"]}


def judged(data: bytes, **keys: Any) -> tuple[Verdict, str]:
    judgement = build_judge(replace(ITEM, **keys)).judge("", data)
    assert decode_judgement(encode_judgement(judgement)) == judgement
    return judgement.verdict, "; ".join(map(str, judgement.problems))


@pytest.mark.parametrize(
    ("field", "document", "version"),
    [
        ("version", {"version": "1"}, "1"),
        ("a/b", {"a/b": 7, "a": {"b": 8}}, "7"),
        ("/a/b", {"a/b": 7, "a": {"b": 8}}, "8"),
        ("/a~1b/~0", {"a/b": {"~": 9.5}}, "9.5"),
        ("/a/0", {"a": ["1"]}, None),
        ("/a/b", {"a": {"b": {"c": 1}}}, None),
        ("/a/b", {"a": "b"}, None),
        ("/a/b", ["a"], None),
        ("version", {"version": True}, None),
        ("version", {"version": "1-" + "x" * 1000}, "1-" + "x" * 98),
    ],
)
def test_where_a_version_is(field: str, document: Any, version: str | None) -> None:
    """A name is a field of the document, a JSON pointer leads deeper; what it says is bounded: others write it."""
    assert version_of(VersionRule(field, "2"), document) == version


@pytest.mark.parametrize(
    ("version", "newer"),
    [
        ("2", False),
        ("2.0", False),
        ("v2", False),
        ("1.9", False),
        ("1.10.3", False),
        ("2.0.1", True),
        ("2.0-beta", False),
        ("10", True),
        ("3", True),
        ("next", True),
        ("", True),
    ],
)
def test_versions(version: str, newer: bool) -> None:
    """recovery.md: `newer`: its version field is newer than what is configured."""
    assert (why_newer(VersionRule("version", "2"), version) is not None) is newer


@given(
    st.lists(st.integers(0, 10**12), min_size=1, max_size=4), st.lists(st.integers(0, 10**12), min_size=1, max_size=4)
)
def test_versions_are_in_one_order(one: list[int], other: list[int]) -> None:
    """Of two different versions exactly one is newer."""
    first, second = ".".join(map(str, one)), ".".join(map(str, other))
    newer = [why_newer(VersionRule("v", a), b) is not None for a, b in ((first, second), (second, first))]
    padded = [[*parts, 0, 0, 0][: max(len(one), len(other))] for parts in (one, other)]
    assert newer == [padded[1] > padded[0], padded[0] > padded[1]]


def test_a_newer_document_is_never_called_corrupt() -> None:
    """What its own service wrote later fails the schema of today: rolling it back would lose data."""
    keys: dict[str, Any] = {"version": VersionRule("version", "2")}
    verdict, problems = judged(b'{"version": "3.1", "jobs": []}', **keys)
    assert (verdict, problems) == (Verdict.NEWER, "#/version: has version 3.1, newer than 2, which is configured")
    assert judged(b'{"version": 2}', **keys)[0] is Verdict.OK
    assert judged(b'{"version": true}', **keys)[0] is Verdict.OK
    assert judged(b"[]", **keys)[0] is Verdict.OK


@pytest.mark.parametrize(
    ("document", "lacks"),
    [
        ({"tasks": [1], "a/b": {"~": 1}}, []),
        ({"tasks": [], "a/b": {"~": 1}}, ["#/tasks: is an empty list: a guard asks for 1 entry"]),
        ({"tasks": 7, "a/b": {"~": 1}}, ["#/tasks: is 7, which has no entries: a guard asks for 1 entry"]),
        ({"tasks": [1], "a/b": {}}, ["#/a~1b/~0: is not there, although a guard requires it"]),
        ({"a/b": {"~": None}}, ["#/tasks: is not there: a guard asks for 1 entry"]),
        (
            [],
            [
                "#/a~1b/~0: is not there, although a guard requires it",
                "#/tasks: is not there: a guard asks for 1 entry",
            ],
        ),
    ],
)
def test_emptied(document: Any, lacks: list[str]) -> None:
    guards = Guards(require=("/a~1b/~0",), min_items={"/tasks": 1})
    assert [str(problem) for problem in emptied(guards, document)] == lacks
    verdict, _ = judged(json.dumps(document).encode(), guards=guards)
    assert verdict is (Verdict.RESET if lacks else Verdict.OK)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(max_size=4), below, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_a_pointer_finds_everything(document: Any) -> None:
    """RFC 6901: each value has its pointer, and nothing else is found."""

    def walk(value: Any, path: str) -> None:
        assert at(document, path) is value
        below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, each in below:
            walk(each, f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}")
        if not isinstance(value, dict):
            for absent in ("-", "x", "01", "9" * 30, "\u0661"):
                assert is_absent(at(document, f"{path}/{absent}"))

    walk(document, "")


@pytest.mark.parametrize(
    ("identity", "path", "fits"),
    [
        ("a1", "a1.json", True),
        ("a1", "deep/task_a1.json", True),
        ("a1", "task-a1.json.gz", True),
        ("a1", "a1", True),
        ("a.b", "task_a.b.json", True),
        (17, "task_17.json", True),
        ('a/b:c*"d', "abcd.json", True),
        ("a1", "a12.json", False),
        ("a1", "ba1.json", False),
        ("a1", "a1_old.json", False),
        ("aa", "aaa.json", False),
        (NOT_IN_NAMES, "x.json", False),
        (True, "True.json", False),
        (None, "None.json", False),
    ],
)
def test_names(identity: Any, path: str, fits: bool) -> None:
    """config.md: the document's id, less the characters that no name may have, must be its file name."""
    assert (why_misnamed("id", name_of("id", {"id": identity}), path) is None) is fits


def test_a_name_is_looked_at_after_the_memo() -> None:
    """Equal bytes under another name get another verdict."""
    judge = build_judge(replace(ITEM, kind=ItemKind.DIRECTORY, name_field="id"))
    judgement = decode_judgement(encode_judgement(judge.judge("a.json", b'{"id": "a"}')))
    assert judge.named("a.json", judgement).verdict is Verdict.OK
    misnamed = judge.named("b.json", judgement)
    assert misnamed.verdict is Verdict.CORRUPT
    assert 'says in its field "id" that it is "a"' in misnamed.problems[0].problem


@pytest.mark.parametrize("feed", ["whole", "blocks"])
@pytest.mark.parametrize(
    ("data", "verdict", "words"),
    [
        (b"REDIS0011", Verdict.OK, ""),
        (b"RED", Verdict.CORRUPT, 'begins with "RED", not with "REDIS"'),
        (b"", Verdict.CORRUPT, "is empty (0 bytes)"),
        (b"\0" * 9, Verdict.CORRUPT, "begins with hex:0000000000"),
        (b"REDIS", Verdict.RESET, "has 5 bytes: a guard asks for 6"),
    ],
)
def test_first_bytes_and_size(data: bytes, verdict: Verdict, words: str, feed: str) -> None:
    """recovery.md: state that nobody can parse is still judged, also block by block."""
    judge = build_judge(replace(ITEM, format=Format.OPAQUE, magic=b"REDIS".hex(), guards=Guards(min_bytes=6)))
    assert not judge.unchecked
    if feed == "whole":
        judgement = judge.judge("", data)
    else:
        examination = judge.begin("")
        for byte in data:
            examination.feed(bytes([byte]))
        judgement = examination.finish()
    assert judgement.verdict is verdict
    assert words in "; ".join(map(str, judgement.problems))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 1))
def test_shrinking(before: int, now: int, share: float) -> None:
    """Growth is never a reset; a fall to nothing is, unless all may go."""
    said = shrunk(Guards(max_shrink=share), before, now)
    assert (said is not None) is (now < before and (before - now) / before > share)
    assert shrunk(Guards(), before, now) is None


def test_each_sign_is_in_the_id() -> None:
    """A remembered verdict must not survive a change of what judged it."""
    variants: list[dict[str, Any]] = [
        {},
        {"guards": Guards()},
        {"guards": Guards(min_bytes=1)},
        {"guards": Guards(max_shrink=0.5)},
        {"guards": Guards(require=("/a",))},
        {"guards": Guards(min_items={"/a": 1})},
        {"version": VersionRule("a", "1")},
        {"version": VersionRule("a", "2")},
        {"name_field": "id"},
        {"magic": "00"},
        {"validate": Validation(("a", "{path}"))},
        {"validate": Validation(("b", "{path}"))},
    ]
    ids = [build_judge(replace(ITEM, **keys)).id for keys in variants]
    assert len(set(ids)) == len(variants)
