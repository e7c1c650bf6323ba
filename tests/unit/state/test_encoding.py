"""Whatever recoverd writes is written as it was: layout, escapes, order of keys, line ends, compression."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Format
from recoverd.errors import StateError
from recoverd.state.formats.compression import Compression, pack
from recoverd.state.formats.encoding import Encoding, describe, encode
from recoverd.state.formats.integers import decimal_digits, long_integer
from recoverd.state.formats.reading import read

TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
LONG = "8" * 9000


@given(
    VALUES,
    st.sampled_from([None, 0, 1, 2, 4, "\t"]),
    st.sampled_from([(",", ":"), (", ", ": "), (",", ": "), (", ", " : ")]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "\n"]),
    st.booleans(),
    st.sampled_from(list(Compression)),
)
def test_json_comes_back_byte_by_byte(
    value: Any,
    indent: int | str | None,
    separators: tuple[str, str],
    ascii_only: bool,
    sort_keys: bool,
    end: str,
    mark: bool,
    compression: Compression,
) -> None:
    """A document that any common writer left, read and written again without a change, is the very same."""
    if indent is not None:
        separators = (",", separators[1])
    text = json.dumps(value, indent=indent, separators=separators, ensure_ascii=ascii_only, sort_keys=sort_keys) + end
    data = pack((b"\xef\xbb\xbf" if mark else b"") + text.encode(), compression)
    found = read(data, Format.JSON)
    assert not found.problems
    assert encode(found.values[0], describe(data, Format.JSON)) == data


@pytest.mark.parametrize(
    "text",
    [
        '{\r\n  "a": [\r\n    1\r\n  ]\r\n}\r\n',
        '{"path":"\\/srv\\/x","n":1}',
        '{"html":"\\u003cb\\u003e \\u0026 more","n":1}',
        '{"b":1,"a":2}',
        '{\n\t"a": {},\n\t"b": []\n}',
        '{"huge":' + LONG + ',"small":-1}',
        '{"half":"\\ud800"}',
        '"text"',
        "[]",
        "17\n",
    ],
)
def test_what_other_writers_leave(text: str) -> None:
    """PHP escapes slashes, Go escapes HTML, Windows ends lines in its own way."""
    data = text.encode()
    (value,) = read(data, Format.JSON).values
    assert encode(value, describe(data, Format.JSON)) == data


@given(st.lists(VALUES, min_size=1, max_size=4), st.booleans(), st.sampled_from(["", "\n"]))
def test_json_lines_come_back(lines: list[Any], compact: bool, end: str) -> None:
    separators = (",", ":") if compact else None
    written = "\n".join(json.dumps(line, separators=separators) for line in lines) + end
    found = read(written.encode(), Format.JSON_LINES)
    again = encode(list(found.values), describe(written.encode(), Format.JSON_LINES))
    assert read(again, Format.JSON_LINES).values == tuple(lines)
    assert again.endswith(b"\n") == bool(end)
    if describe(written.splitlines()[0].encode(), Format.JSON_LINES).key_separator == (":" if compact else ": "):
        assert len(again) <= len(written)


@given(VALUES, st.sampled_from([2, 4]), st.booleans(), st.booleans())
def test_yaml_keeps_its_values_and_its_layout(value: Any, indent: int, ascii_only: bool, start: bool) -> None:
    document = {"first": {"second": value}, "list": [value], "z": 1, "a": 2}
    data = yaml.safe_dump(
        document, indent=indent, allow_unicode=not ascii_only, sort_keys=False, explicit_start=start, width=1 << 30
    ).encode()
    found = read(data, Format.YAML)
    encoding = describe(data, Format.YAML)
    again = encode(found.values[0], encoding)
    assert read(again, Format.YAML).values == found.values
    assert (encoding.indent, encoding.start_marker) == (" " * indent, start)
    if not any(mark in data.decode() for mark in "&\x85\u2028\u2029"):  # anchors are written out; these are escaped
        assert again == data


def test_yaml_as_others_indent_it() -> None:
    data = "---\na:\n    - x: 1\n      y: 'yes'\n    - 2026\nb: é\n".encode()
    encoding = describe(data, Format.YAML)
    assert encoding.indented_lists
    assert read(encode(read(data, Format.YAML).values[0], encoding), Format.YAML) == read(data, Format.YAML)
    assert encode({"n": long_integer(LONG, 10_000), "d": "2026-11-21"}, Encoding(Format.YAML)) == (
        f"n: {LONG}\nd: '2026-11-21'\n".encode()
    )


@given(st.integers(), st.integers(0, 40_000))
def test_all_digits_of_an_integer_are_written(small: int, bits: int) -> None:
    for number in (small, small << bits, (small << bits) - 1):
        digits = decimal_digits(number)
        assert long_integer(digits, 100_000) == number
        assert digits.lstrip("-")[:1] != "0" or number == 0


@pytest.mark.parametrize("data", [b"", b"\0\0\0", b'{\n  "a": [1,', b"\x1f\x8b\x08\0cut", b"\xff\xfe{\0}\0"])
@pytest.mark.parametrize("format", [Format.JSON, Format.JSON_LINES, Format.YAML, Format.TOML, Format.OPAQUE])
def test_a_damaged_document_is_described_as_far_as_it_goes(data: bytes, format: Format) -> None:
    """What is rebuilt often replaces one of which little is left."""
    encoding = describe(data, format)
    assert encoding.format is format
    if data.startswith(b"{"):
        assert encoding.indent == ("  " if format in {Format.JSON, Format.YAML} else None)


@pytest.mark.parametrize(
    "data",
    [
        b'"' + b'\\"' * 300_000,
        b'{"' + b'\\"' * 300_000 + b"\n",
        b'"a"' + b" " * 500_000,
        b'"a" ' * 200_000,
        b"[" * 500_000,
        b"a:" * 300_000,
        b"a:\n" * 200_000,
        b"a: " + b" \t" * 200_000,
        b"#\n" * 200_000,
        b"# \n \n" * 100_000 + b"--",
        b'"' + b"a" * 500_000 + b":",
    ],
    ids=lambda data: ascii(data[:10]),
)
@pytest.mark.parametrize("format", [Format.JSON, Format.JSON_LINES, Format.YAML])
def test_describing_what_is_hostile_is_linear(data: bytes, format: Format) -> None:
    """What lies in the place of a document may be anything; quadratic time would be minutes here."""
    began = time.monotonic()
    assert describe(data, format).format is format
    assert time.monotonic() - began < 20


def test_what_can_not_be_written_is_said() -> None:
    for form in (Format.TOML, Format.OPAQUE, Format.AUTO):
        with pytest.raises(StateError, match="can't be written"):
            encode({}, Encoding(form))
    with pytest.raises(StateError, match="a list only"):
        encode({}, Encoding(Format.JSON_LINES))


def test_reading_says_where_in_the_lines() -> None:
    found = read(b'{"a": 1}\n\n{"a": 1, "a": 2}\n{"a"\n', Format.JSON_LINES)
    assert found.places == ("line 1", "line 3", "line 4")
    assert str(found.notes[0]).startswith("line 3, #/a: stands twice")
    assert [problem.place for problem in found.problems] == ["line 4, column 5"]
    assert read(b"", Format.JSON_LINES).values == ()
    assert "compressed data" in str(read(pack(b"{}", Compression.ZSTD)[:-1], Format.JSON).problems[0])
