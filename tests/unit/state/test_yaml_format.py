"""YAML as services write it is read; damage is told at its place; what is hostile neither crashes nor hangs."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Format
from recoverd.state.formats.integers import LongInteger
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.state.formats.yaml_format import parse
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict


def value(text: str | bytes) -> Any:
    found = parse(text.encode() if isinstance(text, str) else text)
    assert not found.problems, found.problems
    assert len(found.values) == 1
    return found.values[0]


def problem(data: str | bytes, **limits: int) -> str:
    found = parse(data.encode() if isinstance(data, str) else data, limits=Limits(**limits))
    assert len(found.problems) == 1
    return str(found.problems[0])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        *((word, None) for word in ("a: ~", "a: null", "a: Null", "a: NULL", "a:")),
        *((f"a: {word}", True) for word in ("true", "True", "TRUE", "yes", "Yes", "on", "ON")),
        *((f"a: {word}", False) for word in ("false", "no", "NO", "off", "Off")),
        *((f"a: {word}", word) for word in ("y", "n", "yES", "nope", "nil", "none", "1.2.3", "0x", "0b2", "1__x")),
        *((f"a: '{word}'", word) for word in ("yes", "1", "~", "", "0x1f", "2026-11-21")),
        *((f"a: {word}", word) for word in ("2026-11-21", "2026-11-21T10:00:00Z", "2026-11-21 10:00:00.5 +01:00")),
        *((f"a: {word}", word) for word in ("12:30", "190:20:30", "1:2:3.5", "08", "09", "0o8", "1e", "e3", "+", ".")),
        *((f"a: {word}", number) for word, number in (("0", 0), ("-7", -7), ("+7", 7), ("1_000", 1000), ("0x1F", 31))),
        *((f"a: {word}", number) for word, number in (("0o17", 15), ("017", 15), ("0b101", 5), ("-0x10", -16))),
        *((f"a: {word}", number) for word, number in (("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("5.", 5.0))),
        *((f"a: {word}", number) for word, number in (("-1.5e-3", -0.0015), (".inf", math.inf), ("-.Inf", -math.inf))),
        ("a: 123456789012345678901234567890", 123456789012345678901234567890),
        ("a: !!str 12", "12"),
        ("a: !!int '12'", 12),
        ("a: !!float 3", 3.0),
        ("a: !!float 0x10", 16.0),
        ("a: !!int text", "text"),
        ("a: !!int yes", "yes"),
        ("a: !!bool yes", True),
        ("a: !!null ''", None),
        ("a: !!timestamp 2026-11-21", "2026-11-21"),
        ("a: !!binary aGVsbG8=", "aGVsbG8="),
        ("a: !secret 12", "12"),
        ("a: !include lights.yaml", "lights.yaml"),
        ("a: !include_dir_list {x: 1}", {"x": 1}),
        ("a: !!set {x, y}", {"x": None, "y": None}),
        ("a: !!omap [x: 1]", [{"x": 1}]),
        ("a: |\n  one\n  two\n", "one\ntwo\n"),
        ("a: >-\n  one\n  two\n", "one two"),
        ('a: "\\u263a\\n"', "☺\n"),
    ],
)
def test_scalars(text: str, expected: Any) -> None:
    """YAML 1.1 as its readers agree on; dates and numbers to the base of 60 stay text, the same for every schema."""
    found = value(text)
    assert found == {"a": expected}
    assert type(found["a"]) is type(expected)


def test_not_a_number_and_numbers_of_any_length() -> None:
    assert math.isnan(value("a: .nan")["a"])
    digits = "9" * 50_000
    assert value(f"a: {digits}")["a"] == value(f"a: -{digits}")["a"] * -1
    assert isinstance(value(f"a: 0x{digits}")["a"], LongInteger)
    assert (
        problem(f"- {'1' * 100_001}") == "line 1, column 3: holds an integer of 100001 digits; at most 100000 are read"
    )


def test_tags_construct_nothing(tmp_path: Any) -> None:
    marker = tmp_path / "run"
    assert value(f"!!python/object/apply:os.system ['touch {marker}']") == [f"touch {marker}"]
    assert value(f"a: !!python/object/new:subprocess.Popen [[touch, {marker}]]") == {"a": [["touch", str(marker)]]}
    assert not marker.exists()


def test_keys_become_text() -> None:
    text = "1: a\ntrue: b\n~: c\n2026-11-21: d\n? [x, {y: 1}]\n: e\n&k key: f\n? *k\n: g\n"
    assert value(text) == {"1": "a", "true": "b", "~": "c", "2026-11-21": "d", '["x", {"y": 1}]': "e", "key": "g"}


def test_merge_keys() -> None:
    """yaml.org/type/merge: the mapping's own keys count, then those of the first one in a list."""
    text = "base: &b {x: 1, y: 1}\nmore: &m {y: 2, z: 2}\none: {<<: *b, x: 0}\ntwo:\n  <<: [*m, *b]\n  w: 9\n"
    found = value(text)
    assert found["one"] == {"x": 0, "y": 1}
    assert found["two"] == {"x": 1, "y": 2, "z": 2, "w": 9}
    assert value("<<: 3") == {"<<": 3}
    assert value("a: {<<: [1]}") == {"a": {"<<": [1]}}
    assert value("'<<': {a: 1}") == {"<<": {"a": 1}}
    assert value("a: << ") == {"a": "<<"}


def test_several_documents() -> None:
    """Empty ones between markers are passed over; each of the others is judged."""
    found = parse(b"---\na: 1\n---\n---\n# nothing\n...\n---\n[2]\n")
    assert found.values == ({"a": 1}, [2])
    assert found.places == ("document 1", "document 4")
    assert [str(note) for note in found.notes] == ["holds 4 documents"]
    assert parse(b"a: &x 1\n---\nb: *x\n").problems[0].problem == "the alias *x stands for nothing"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (b" \n\n", "holds only white space (3 bytes)"),
        (b"\0\0\0", "holds only NUL bytes (3 of them): typical of a power loss"),
        (b"# nothing\n", "holds no value"),
        (b"---\n", "holds no value"),
        (b"---\n...\n---\n", "holds no value"),
        (b"null\n", "holds no value"),
        (b"~", "holds no value"),
        (b"a: 1\n\0\0", "line 2, column 1: ends with 2 NUL bytes: typical of a power loss"),
        (b"a: 1\nb: \0\0\nc: 2\n", "line 2, column 4: a NUL byte stands here"),
        (b"a: \x07", "line 1, column 4: holds a control character (U+0007)"),
        ("a: 1".encode("utf-16"), "byte 0: is UTF-16, not UTF-8"),
        (b"a: \xe9t\xe9", "byte 3: is not valid UTF-8 (byte 0xe9)"),
        (b"a: [1, 2", "line 1, column 9: ends in the middle of a list that begins at line 1"),
        (b"a:\n  b: {x: 1,\n\n", "line 2, column 12: ends in the middle of a mapping that begins at line 2"),
        (b"a: 'x\nb: 1\n", "line 2, column 5: ends in the middle of a text"),
        (b"a: b: c", "line 1, column 5: is not valid YAML (mapping values are not allowed in this context)"),
        (b"&a [*a]", "line 1, column 5: the alias *a stands for what it is itself a part of"),
        (b"a: 1\na\n", "line 2, column 2: ends in the middle of a mapping that begins at line 1"),
    ],
)
def test_damage_is_told_at_its_place(data: bytes, expected: str) -> None:
    assert problem(data) == expected
    assert Judge(Format.YAML).judge("", data).verdict is Verdict.CORRUPT


def test_duplicate_keys_are_noted_or_refused() -> None:
    text = b"a: 1\nl:\n- {x: 1}\n- {x: 1, x: 2}\na: 3\n"
    found = parse(text)
    places = ["#/l/1/x: stands twice in one mapping (the last one counts)", "#/a: stands twice in one mapping"]
    assert [str(note)[: len(place)] for note, place in zip(found.notes, places, strict=True)] == places
    assert found.values == ({"a": 3, "l": [{"x": 1}, {"x": 2}]},)
    assert len(parse(text, allow=frozenset({"duplicate-keys-error"})).problems) == 2
    assert str(parse(b"a: 1\n---\n{b: 1, b: 2}\n").notes[1]).startswith("document 2, #/b: ")
    assert len(parse(b"a: 1\n" * 1000).notes) == 21


def test_a_byte_order_mark_and_other_line_ends_are_fine() -> None:
    assert parse(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n").values == ({"a": 1, "b": 2},)
    assert str(parse(b"\xef\xbb\xbfa: 1").notes[0]) == "begins with a byte order mark"


def test_json_is_yaml_also_when_tabs_indent_it() -> None:
    assert value(b'{\n\t"a": [\n\t\t1\n\t]\n}\n') == {"a": [1]}
    assert value(b'{"a": "\x7f"}'.replace(b"\x7f", b"\\u007f")) == {"a": "\x7f"}


def test_a_single_text_is_noted() -> None:
    """The first bytes of a mapping are one."""
    assert str(parse(b"vers").notes[0]) == "holds a single text, no mapping and no list"
    assert parse(b"[vers]").notes == ()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES, st.booleans(), st.booleans())
def test_what_pyyaml_writes_is_what_it_meant(written: Any, flow: bool, ascii_only: bool) -> None:
    """Promise 2 turned around: a document that a service wrote is never judged corrupt."""
    data = yaml.safe_dump([written], default_flow_style=flow, allow_unicode=not ascii_only).encode()
    meant = yaml.safe_load(data)
    if meant == [written]:  # PyYAML folds U+0085 where it should not
        assert value(data) == [written]


class TestBounds:
    @pytest.mark.parametrize(
        "data",
        [
            "[" * 200_000,
            "{a: " * 200_000,
            "- " * 200_000,
            "? " * 200_000,
            "{? " * 200_000,
            "".join(" " * level + "a:\n" for level in range(1000)),
            "".join(" " * level + "-\n" for level in range(1000)),
            "a: &0 [[[[x]]]]\n" + "".join(f"b{n}: &{n} [[[[*{n - 1}]]]]\n" for n in range(1, 100)),
        ],
    )
    def test_depth(self, data: str) -> None:
        """The C library's own composing overflows its stack here and takes the process with it."""
        assert "is nested more than 128 levels deep" in problem(data) or "not valid YAML" in problem(data)

    def test_depth_is_counted_as_in_json(self) -> None:
        for form in (Format.JSON, Format.YAML):
            judge = Judge(form)
            assert judge.judge("", b"[" * 128 + b"]" * 128).verdict is Verdict.OK
            assert judge.judge("", b"[" * 129 + b"]" * 129).verdict is Verdict.CORRUPT

    @pytest.mark.parametrize(
        "data",
        [
            "a: &a [x,x,x,x,x,x,x,x,x]\n"
            + "".join(f"k{n}: &{n} [{','.join([f'*{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)),
            "a: &0 {x: 1, y: 2}\n" + "".join(f"b{n}: &{n} {{l: *{n - 1}, r: *{n - 1}}}\n" for n in range(1, 60)),
            f"a: &a {'x' * 100_000}\nb: [{'*a, ' * 1000}]\n",
            "[" + "1," * 1_100_000 + "]",
        ],
        ids=["lists", "mappings", "text", "no aliases"],
    )
    def test_a_billion_laughs_are_a_limit(self, data: str) -> None:
        """Small in memory, endless for whoever walks it; not judged, and not rolled back for it either."""
        judgement = Judge(Format.YAML).judge("", data.encode())
        assert judgement.verdict is Verdict.UNREADABLE
        assert "holds more than 1000000 values" in str(judgement.problems[0])

    def test_size(self) -> None:
        judge = Judge(Format.YAML, limits=Limits(yaml_bytes=1000))
        assert judge.judge("", b"a: " + b"x" * 997).verdict is Verdict.OK
        judgement = judge.judge("", b"a: " + b"x" * 998)
        assert judgement.verdict is Verdict.UNREADABLE
        examination = judge.begin("")
        for _ in range(1001):
            examination.feed(b"x")
        assert examination.finish() == judgement

    def test_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What takes too long is not judged, and says nothing about the document."""
        monkeypatch.setattr("recoverd.state.formats.yaml_format.DEADLINE_S", -1.0)
        judgement = Judge(Format.YAML).judge("", b"a: 1\n")
        assert judgement.verdict is Verdict.UNREADABLE
        assert "could not be read within" in str(judgement.problems[0])

    def test_tag_handles_are_bounded(self) -> None:
        """Each is compared with all before it: 300,000 of them take the library six minutes."""
        handles = "".join(f"%TAG !{number}! x\n" for number in range(101)) + "--- a: 1\n"
        with pytest.raises(Unjudgeable, match="more than 100 tag handles"):
            parse(handles.encode())
        assert value("%TAG !e! tag:example.com,2026:\n--- {a: !e!x 1}\n") == {"a": "1"}

    @pytest.mark.parametrize(
        "data",
        [
            "x" * 2_000_000,
            "x y " * 500_000,
            "x\n" * 500_000,
            "'" * 1_000_000,
            '"' + "\\n" * 500_000 + '"',
            "|\n" + " x\n" * 400_000,
            ">\n" + "\n x\n" * 200_000,
            "!" * 1_000_000,
            "%" * 1_000_000,
            "&a " * 300_000,
            "a: " * 300_000,
            "a" * 100 + "\n" + ":" * 1_000_000,
            "---\n" * 300_000,
            "{" + "a," * 300_000,
            "[" + "".join(f"&a{number} a," for number in range(60_000)) + "]",
            "a:\n" + " " * 1_000_000 + "b: 1",
            "{" + "? " * 300_000,
            "# \n" * 500_000,
        ],
        ids=lambda data: data[:12],
    )
    def test_hostile_text_is_linear(self, data: str) -> None:
        """None of them may hold up a boot; quadratic time would be minutes here."""
        began = time.monotonic()
        judgement = Judge(Format.YAML).judge("", data.encode())
        assert time.monotonic() - began < 30
        assert judgement.verdict in {Verdict.OK, Verdict.CORRUPT}

    @given(st.text(st.sampled_from("[]{}:,-?&*!|>'\"%#@` \n\ta1~<."), max_size=60))
    def test_any_text_is_read_or_told(self, text: str) -> None:
        found = parse(text.encode())
        assert bool(found.values) != bool(found.problems)
        assert Judge(Format.YAML).judge("", text.encode()).verdict in {Verdict.OK, Verdict.CORRUPT}

    @given(st.binary(max_size=60))
    def test_any_bytes_are_read_or_told(self, data: bytes) -> None:
        found = parse(data)
        assert bool(found.values) != bool(found.problems)

    def test_without_the_c_library_it_reads_the_same(self) -> None:
        """PyYAML can be installed without it."""
        program = (
            "import yaml; del yaml.CSafeLoader\n"
            "from recoverd.state.formats.yaml_format import parse\n"
            "print(parse(b'a: [1, *x]').problems[0], parse(b'a: {b: [yes, 1]}').values, parse(b'[' * 500).problems[0])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == (
            "line 1, column 8: the alias *x stands for nothing ({'a': {'b': [True, 1]}},) "
            "line 1, column 129: is nested more than 128 levels deep"
        )
