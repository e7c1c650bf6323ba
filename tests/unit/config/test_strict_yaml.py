"""Strict YAML: config.md, "strict YAML (duplicate keys, unknown keys, tags and wrong types are errors; …)"."""

# ruff: noqa: E501 (tables are read line by line, and lines that are printed stand here as they are printed)

from __future__ import annotations

import builtins
import math
import sys
import time
from typing import Any

import pytest
import yaml

from recoverd.config import strict_yaml
from recoverd.config.nodes import at, place_of


def read(text: str | bytes) -> Any:
    parsed = strict_yaml.parse(text.encode() if isinstance(text, str) else text, "f")
    assert parsed.problems == ()
    return None if parsed.node is None else parsed.node.plain()


def refuse(text: str | bytes) -> list[str]:
    parsed = strict_yaml.parse(text.encode() if isinstance(text, str) else text, "f")
    return [str(problem).removeprefix("f:") for problem in parsed.problems]


@pytest.fixture(params=["c", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both parsers that PyYAML may have; the second stands in where the library was built without libyaml."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader")
    return str(request.param)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None), ("~", None), ("", None),
        ("true", True), ("false", False),
        ("0", 0), ("-0", 0), ("12", 12), ("-12", -12), ("9223372036854775808", 2**63),
        ("1.5", 1.5), ("-0.25", -0.25), ("2e3", 2000.0), ("1.5E-2", 0.015),
    ],
)  # fmt: skip
def test_what_is_resolved(text: str, value: Any, loader: str) -> None:
    """Only null, true, false, integers and floats are resolved, spelt as JSON spells them (and `~`, and nothing)."""
    found = read(f"a: {text}\n")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["no", "yes", "on", "off", "True", "FALSE", "Null", "NULL", "0644", "0o17", "0x1F", "0b1", "1_000", "+1", ".5", "5.",
     "1e", "12:30", "2026-11-21", "2026-11-21T09:30:00Z", ".inf", ".nan", "-.inf", "=", "1.5.2", "١"],
)  # fmt: skip
def test_what_stays_text(text: str, loader: str) -> None:
    """`no`, `on`, `0644`, `12:30`, dates and all other spellings stay text."""
    assert read(f"a: {text}\n") == {"a": text}


@pytest.mark.parametrize("text", ['"1"', "'true'", '"null"', "'~'", "''"])
def test_quoted_is_text(text: str, loader: str) -> None:
    assert isinstance(read(f"a: {text}\n")["a"], str)


def test_blocks_of_text_are_text() -> None:
    assert read("a: |\n  12\nb: >-\n  true\n") == {"a": "12\n", "b": "true"}


def test_places() -> None:
    """Every key and value has its line and column, counted from 1."""
    node = strict_yaml.parse(b"a:\n  - x\n  - {k: v}\nb: &n [1]\nc: *n\n", "f").node
    assert node is not None
    assert str(place_of(node, ("a",))) == "f:2:3"
    assert str(place_of(node, ("a",), key=True)) == "f:1:1"
    assert str(place_of(node, ("a", 1, "k"))) == "f:3:9"
    assert str(place_of(node, ("a", 1, "k"), key=True)) == "f:3:6"
    assert str(place_of(node, ("c",), key=True)) == "f:5:1"
    assert str(place_of(node, ("a", 1, "missing"))) == "f:3:5"  # the nearest that exists
    assert at(node, "a", 7) is None


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "~\n", "\n\n", "\ufeff# BOM\n"])
def test_nothing_in_it(text: str) -> None:
    assert strict_yaml.parse(text.encode(), "f") == strict_yaml.Parsed(None, ())


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: 1\na: 2\n", ['2:1: duplicate key "a", first used in line 1']),
        ("{a: 1, b: {c: 1, c: 2}, a: 3}", ['1:18: duplicate key "c", first used in line 1', '1:25: duplicate key "a", first used in line 1']),
        ("a: !!str 1\n", ['1:4: tags such as "tag:yaml.org,2002:str" are not supported: values are read as they are']),
        ("a: !mine [1]\n", ['1:4: tags such as "!mine" are not supported: values are read as they are']),
        ("a: !!python/object/apply:os.system [x]", ['1:4: tags such as "tag:yaml.org,2002:python/object/apply:os.system" are not supported: values are read as they are']),
        ("--- {a: 1}\n--- {b: 1}\n", ["2:1: a second document starts here; one file holds one document"]),
        ("1: a\n", ["1:1: a key must be text, not a number: write it in quotes (1)"]),
        ("true: a\n", ["1:1: a key must be text, not true or false: write it in quotes (true)"]),
        ("~: a\n", ["1:1: a key must be text, not nothing: write it in quotes (~)"]),
        ("? [a]\n: b\n", ["1:3: a key must be text, not a mapping or a list"]),
        ("? {a: 1}\n: b\n", ["1:3: a key must be text, not a mapping or a list"]),
        ("&k a: 1\n", ["1:1: a key can't have an anchor"]),
        ("a: &x k\n*x : 1\n", ["2:1: a key must be written out, not an alias"]),
        ("<<: {a: 1}\n", ["1:1: merge keys (<<) are not supported: use `defaults`, or an alias for a whole value"]),
        ("a: *x\n", ["1:4: the alias *x stands for nothing: no &x before it"]),
        ("a: &x [*x]\n", ["1:8: the alias *x stands for nothing: no &x before it"]),
        ("a:\n\tb: 1\n", ["2:1: a tab can't indent in YAML: use spaces"]),
        ("\ta: 1\n", ["1:1: a tab can't indent in YAML: use spaces"]),
        ("a:\n  b: 1\n \t c: 1\n", ["3:2: a tab can't indent in YAML: use spaces"]),
        ("a:1\nb: 2\n", ['1:3: a space is missing after the colon of "a:"']),
        ("a: 1\nb:2\n", ['2:3: a space is missing after the colon of "b:"']),
        ("x:\n  - a:1\n    b: 2\n", ['2:7: a space is missing after the colon of "- a:"']),
        ("a: 'x\n", ["1:4: this quotation mark is never closed"]),
        ('a: "x\nb: 1\n', ["1:4: this quotation mark is never closed"]),
        ("a: [1, 2\nb: 3\n", ["1:4: this bracket is not closed, or a comma is missing before line 2"]),
        ("a: [1, 2\n\n", ["1:4: this bracket is never closed"]),
        ("version: 1\nsta", ["2:4: the file ends within this line: was it cut off?"]),
        ("a:\n  b: 1\n  sta\n\n\n", ["3:6: the file ends within this line: was it cut off?"]),
        ("a: {b: [}\n", ["1:8: this bracket is not closed, or a comma is missing before line 1"]),
        ("a: b: c\n", ["1:5: a key can't stand here: indent it like its neighbours, or quote text with a colon"]),
        ("a: 1\n  b: 2\n", ["2:4: a key can't stand here: indent it like its neighbours, or quote text with a colon"]),
        ("a:\n   b: 1\n c: 2\n", ["3:2: this line does not fit: check its indentation, and that its key ends with a colon"]),
        ("a: @b\n", ["1:4: text can't start with @: write it in quotes"]),
        ("a: `b`\n", ["1:4: text can't start with `: write it in quotes"]),
        ("a: %b\n", ["1:4: text can't start with %: write it in quotes"]),
        ("a: x\0y\n", ["1:5: a NUL byte stands here: the file is damaged, or is no text"]),
        ("a: 1\nb: \x1b[0m\n", ["2:4: the control character U+001B stands here: the file is damaged, or is no text"]),
        (b"a: 1\nb: \xff\n", ["2:4: the file is not UTF-8 text (byte 0xff)"]),
        ("a: 1\n".encode("utf-16"), ["1:1: the file is not UTF-8 text (byte 0xff)"]),
        ('a: "x\\0y"\n', ["1:4: no value can hold a NUL byte"]),
        ("a: 1e999\n", ["1:4: the number 1e999 is too large"]),
        ("a: " + "1" * 5000, ["1:4: a number with this many digits can't be meant: write text in quotes"]),
    ],
)  # fmt: skip
def test_refused(text: str | bytes, lines: list[str], loader: str) -> None:
    """Each with the place and a sentence; a slip does not hide the next one where reading can go on."""
    assert refuse(text) == lines


@pytest.mark.parametrize("text", ["%YAML 3.0\n---\na: 1\n", 'a: "\\q"\n', "a: - b\n", "a: 1\n...\nb", "a: &\n"])
def test_other_syntax_errors(text: str, loader: str) -> None:
    """Whatever else the parser complains about becomes one problem with a place."""
    (line,) = refuse(text)
    assert line[0].isdigit()
    assert "not valid YAML" in line or "does not fit" in line or "can't stand here" in line or "second document" in line


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{a: " * 100_000, "- " * 100_000, "? " * 100_000, "".join(" " * n + "a:\n" for n in range(1000)),
     "a: " + "[" * 65 + "]" * 65],
    ids=["brackets", "braces", "dashes", "questions", "indentation", "closed"],
)  # fmt: skip
def test_depth_is_bounded(text: str, loader: str) -> None:
    """Deep nesting is a clear problem, not a crash of the C library, and found at once."""
    start = time.monotonic()
    (line,) = refuse(text)
    assert "nested more than 64 levels deep" in line
    assert time.monotonic() - start < 5


def test_depth_through_aliases() -> None:
    """Aliases can't build what brackets may not: each level of these names repeats the depth of the former."""
    text = (
        "a: &a " + "[" * 30 + "]" * 30 + "\nb: &b " + "[" * 30 + "*a" + "]" * 30 + "\nc: " + "[" * 30 + "*b" + "]" * 30
    )
    assert refuse(text) == ["3:34: nested more than 64 levels deep"]


def test_expansion_is_bounded() -> None:
    """Aliases that multiply (a billion laughs) are refused before anything is expanded."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (line,) = refuse("\n".join(lines))
    assert "more than 100,000 values, counting what aliases repeat" in line


def test_aliases_give_the_same_value() -> None:
    assert read("a: &x {k: [1, 2]}\nb: *x\nc: [*x, *x]\n")["c"] == [{"k": [1, 2]}] * 2


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of more than 1 MiB is refused before YAML sees it."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert refuse(b"a" * (1024 * 1024 + 1)) == ["1:1: the file is larger than 1024 KiB"]


def test_largest_file_is_read_quickly() -> None:
    text = "a:\n" + "- b\n" * 90_000
    start = time.monotonic()
    assert len(read(text)["a"]) == 90_000
    assert time.monotonic() - start < 10


def test_nothing_is_made_infinite() -> None:
    assert math.isfinite(read("a: 1e308\n")["a"])


def test_fallback_is_really_another_parser(loader: str) -> None:
    """The parameter of these tests does what it says."""
    assert hasattr(yaml, "CSafeLoader") == (loader == "c" and yaml.__with_libyaml__)
    assert builtins.hasattr(yaml, "SafeLoader")
