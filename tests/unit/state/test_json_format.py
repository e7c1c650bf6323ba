"""JSON is read as RFC 8259 says: what it allows is accepted, what it does not is a problem with a place."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recoverd.state.formats.integers import LongInteger
from recoverd.state.formats.json_format import (
    ALLOW_NAN,
    DUPLICATES_ARE_ERRORS,
    _parse_exactly,
    _parse_ordinary,
    parse,
)
from recoverd.state.formats.text import Limits, Parsed

NAN = frozenset({"nan"})
STRICT_KEYS = frozenset({"duplicate-keys-error"})


def problem(data: bytes, *, allow: frozenset[str] = frozenset(), limits: Limits | None = None, line: int = 1) -> str:
    parsed = parse(data, allow=allow, limits=limits, line=line)
    assert len(parsed.problems) == 1, parsed
    return str(parsed.problems[0])


def good(data: bytes, *, allow: frozenset[str] = frozenset()) -> Parsed:
    parsed = parse(data, allow=allow)
    assert parsed.problems == ()
    return parsed


DAMAGED = {
    b"": "is empty (0 bytes)",
    b"\0" * 4096: "holds only NUL bytes (4096 of them): typical of a power loss",
    b" ": "holds only white space (1 byte)",
    b" \r\n\t": "holds only white space (4 bytes)",
    b"\n\0\0": "holds only NUL bytes and white space (3 bytes)",
    b'{"a":1}\0': "line 1, column 8: ends with 1 NUL byte: typical of a power loss",
    b'{"a":\n1\0\0\0': "line 2, column 2: ends with 3 NUL bytes: typical of a power loss",
    b'\0\0{"a":1}': "line 1, column 1: begins with 2 NUL bytes",
    b'{"a": "x\0y"}': "line 1, column 9: holds a NUL byte inside a text",
    b'["a\nb"]': "line 1, column 4: holds a control character (U+000A) inside a text",
    b'{\n  "a": [1,\n  2': "line 3, column 4: ends in the middle of a list that begins at line 2, column 8",
    b'{"a": 1, "b': "line 1, column 12: ends in the middle of a text that begins at line 1, column 10",
    b'{"a": tru': "line 1, column 10: ends in the middle of a value",
    b'{"a": 1.': "line 1, column 9: ends in the middle of a value",
    b'{"a": 1e+': "line 1, column 10: ends in the middle of a value",
    b'{"a": -': "line 1, column 8: ends in the middle of a value",
    b'["\\u00': "line 1, column 7: ends in the middle of a value",
    b'{"a":': "line 1, column 6: ends in the middle of an object that begins at line 1, column 1",
    b'[{"a":[]},': "line 1, column 11: ends in the middle of a list that begins at line 1, column 1",
    b"\xef\xbb\xbf": "line 1, column 1: ends where a value is expected",
    b'{"a":1}"': "line 1, column 8: goes on after its end, with a quotation mark",
    b"[1,2]]": 'line 1, column 6: goes on after its end, with "]"',
    b'{"a":1}\n{"a":2}': 'line 2, column 1: goes on after its end, with "{"',
    b"01": 'line 1, column 2: goes on after its end, with "1"',
    b"[1,]": "line 1, column 3: has a trailing comma",
    b'{"a":1\n, }': "line 2, column 1: has a trailing comma",
    b"[1 2]": 'line 1, column 4: "2" stands where a comma or the end of the list or object is expected',
    b'{"a" 1}': 'line 1, column 6: "1" stands where a colon is expected',
    b"{'a':1}": 'line 1, column 2: "\'" stands where a key in double quotes is expected',
    b"\x1b[0m": "line 1, column 1: a control character (U+001B) stands where a value is expected",
    b'["\\x41"]': "line 1, column 3: holds an invalid escape inside a text",
    b"NaN": "line 1, column 1: NaN is not JSON (`allow: [nan]` accepts it)",
    b'["NaN", -Infinity]': "line 1, column 9: -Infinity is not JSON (`allow: [nan]` accepts it)",
    b'{"a":"\xff"}': "byte 6: is not valid UTF-8 (byte 0xff)",
    '{"a":1}'.encode("utf-16"): "byte 0: is UTF-16, not UTF-8",
    b"\x1f\x8b\x08\x00": "byte 1: is compressed data, not text",
    b"\x28\xb5\x2f\xfd": "byte 1: is compressed data, not text",
}


@pytest.mark.parametrize("data", DAMAGED, ids=lambda data: repr(data[:24]))
def test_damage_is_told_with_its_place(data: bytes) -> None:
    assert problem(data) == DAMAGED[data]


@pytest.mark.parametrize(
    "data",
    [b"{}", b"[]", b'""', b"null", b"0", b"-0.0e+3", b" [1 , 2]\r\n", b'"\\u0000"', '"\U0001f600"'.encode(), b"1e400"],
)
def test_what_the_rfc_allows_is_accepted(data: bytes) -> None:
    assert good(data).notes == ()


def test_nan_can_be_allowed() -> None:
    """`allow: [nan]` is for services that write it; it allows nothing else."""
    value = good(b'[NaN, Infinity, -Infinity, {"a": 1, "a": 2}]', allow=NAN).value
    assert value[1:3] == [float("inf"), float("-inf")]
    assert "trailing comma" in problem(b"[NaN,]", allow=NAN)


def test_duplicate_keys_are_a_note_with_a_place() -> None:
    parsed = good(b'{"a": [{"x": 1, "x": 2}], "b~/": 1, "b~/": 2}')
    assert parsed.value == {"a": [{"x": 2}], "b~/": 2}
    assert [str(note) for note in parsed.notes] == [
        "#/a/0/x: stands twice in one object (the last one counts)",
        "#/b~0~1: stands twice in one object (the last one counts)",
    ]


def test_duplicate_keys_can_be_problems() -> None:
    assert problem(b'{"a":1,"a":1}', allow=STRICT_KEYS).startswith("#/a: stands twice")
    assert good(b'[{"a":1},{"a":1}]', allow=STRICT_KEYS).notes == ()


def test_many_duplicate_keys_make_few_notes() -> None:
    parsed = good(b"{" + b",".join(b'"k":1' for _ in range(5000)) + b"}")
    assert len(parsed.notes) == 21


def test_integers_beyond_64_bits_survive() -> None:
    assert good(b"[18446744073709551616]").value == [2**64]


@pytest.mark.parametrize("sign", ["", "-"])
def test_integers_beyond_pythons_limit_survive(sign: str) -> None:
    """Python refuses to read or print more than 4300 digits; a document that holds one is still valid."""
    assert sys.get_int_max_str_digits() == 4300
    digits = sign + "7" * 10_001
    value = good(f'{{"n": {digits}, "m": {digits}}}'.encode()).value["n"]
    assert value == (-1 if sign else 1) * 7 * (10**10_001 - 1) // 9
    assert isinstance(value, LongInteger)
    assert repr(value) == str(value) == "an integer of about 10001 digits"


def test_absurd_integers_are_a_problem_and_cost_nothing() -> None:
    assert problem(b"[1," + b"9" * 3_000_000 + b"]") == (
        "line 1, column 4: holds an integer of 3000000 digits; at most 100000 are read"
    )


@pytest.mark.parametrize(
    ("data", "lone"),
    [
        (b'["\\ud83d\\ude00"]', False),
        (b'["\\ud800"]', True),
        (b'["\\uDC00"]', True),
        (b'["\\ud800\\ud800\\udc00"]', True),
        (b'["\\ud800 \\udc00"]', True),
        (b'["\\ud800\\n\\udc00"]', True),
        (b'["\\\\ud800"]', False),
        (b'["\\uD83D\\uDE00", "\\u0041\\uD83D\\uDE00"]', False),
    ],
)
def test_lone_surrogates_are_a_note(data: bytes, lone: bool) -> None:
    notes = good(data).notes
    assert bool(notes) == lone
    assert all(note.problem == "holds half of a character (a lone surrogate)" for note in notes)
    assert any(0xD800 <= ord(char) < 0xE000 for text in json.loads(data) for char in text) == lone, "checked by Python"


def test_a_byte_order_mark_is_a_note() -> None:
    parsed = good(b'\xef\xbb\xbf{"a":1,"a":2}')
    assert next(note.problem for note in parsed.notes) == "begins with a byte order mark"
    assert parsed.value == {"a": 2}


@pytest.mark.parametrize(
    "data", [b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000, b"[" * 129 + b"]" * 129]
)
def test_depth_is_bounded(data: bytes) -> None:
    """A hundred thousand brackets are one clear problem, no RecursionError and no crash."""
    column = 129 if data[:1] == b"[" else 128 * 5 + 1
    assert problem(data) == f"line 1, column {column}: is nested more than 128 levels deep"


def test_depth_counts_nesting_and_not_brackets() -> None:
    good(b"[" * 128 + b"]" * 128)
    good(b"[" + b",".join([b"[]"] * 10_000) + b"]")
    good(json.dumps(["[" * 1000, '"{' * 500]).encode())
    assert problem(b"[[[1]]]", limits=Limits(depth=2)) == "line 1, column 3: is nested more than 2 levels deep"


def test_a_line_of_a_file_is_named_by_its_number() -> None:
    assert problem(b'{"a"', line=7).startswith("line 7, column 5: ")


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON_VALUES, st.booleans(), st.sampled_from([None, 2]))
def test_what_a_writer_writes_is_accepted_and_means_the_same(value: Any, escaped: bool, indent: int | None) -> None:
    """Promise 1: valid state is never called damaged."""
    data = json.dumps(value, ensure_ascii=escaped, indent=indent).encode("utf-8", "surrogatepass")
    try:
        data.decode()
    except UnicodeDecodeError:
        return
    assert good(data).value == value


@given(JSON_VALUES.filter(lambda value: isinstance(value, dict | list)), st.data())
def test_every_truncation_of_an_object_or_list_is_a_problem(value: Any, data: st.DataObject) -> None:
    """Promise 2: a document cut anywhere never passes."""
    whole = json.dumps(value, indent=data.draw(st.sampled_from([None, 1]))).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    sentence = problem(whole[:cut])
    assert "is empty" in sentence or "ends " in sentence


@given(st.binary(max_size=60) | st.text('{}[]",:\\u0dD8 \n-1eEtrufalsnN\0\ufeff', max_size=40).map(str.encode))
@example(b"\xef\xbb\xbf\0")
@example(b'"\\')
@example(b'"\\u')
@example(b"{} \0 ")
def test_no_bytes_make_it_raise_and_it_agrees_with_python(data: bytes) -> None:
    """Differential: where we are not stricter on purpose, Python's own reader says the same."""
    parsed = parse(data)
    for found in parsed.problems:
        assert (found.place + found.problem).isprintable()

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        expected = json.loads(data.decode().removeprefix("\ufeff"), parse_constant=refuse)
    except ValueError:
        assert parsed.problems
    else:
        assert not parsed.problems
        assert parsed.value == expected


_PIECES = st.sampled_from(
    [
        *'{}[]:,"\\ \n\t\r0-1.eE+u',
        '"a":1',
        '"a":{"a":[]}',
        '"\\ud800"',
        '"\\ud83d\\ude00"',
        '"\\u0041"',
        '"é"',
        "\ufeff",
        "\0",
        "\x0b",
        "NaN",
        "-Infinity",
        "true",
        "null",
        "1" * 5000,
        "1e999",
        "[" * 120,
        "]" * 120,
        '{"a":' * 9,
        "}" * 9,
    ]
)
_ALLOW = st.sets(st.sampled_from([ALLOW_NAN, DUPLICATES_ARE_ERRORS]))


@given(st.lists(_PIECES, max_size=14).map("".join), _ALLOW)
@example('{"a":1,"a":2}', set())
@example('[{"b":{"a":1,"a":2}}]', set())
@example(" {} \n", set())
@example("{}\x0b", set())
@example("{}\u00a0", set())
@example("[NaN]", {ALLOW_NAN})
@example("[" * 128 + "]" * 128, set())
@example("[" * 129 + "]" * 129, set())
@example('{"a":["\\ud800"]}', set())
@example('["\\\\ud800"]', set())
@example("\ufeff{}", set())
@example("[]" * 2, set())
@example("", set())
@settings(max_examples=400, deadline=None)
def test_reading_fast_is_reading_exactly(text: str, allow: set[str]) -> None:
    """Verdicts do not depend on how a document was read: what the fast reading accepts, the exact one accepts without
    a word and with the same value; of all else it says nothing."""
    for data in (text.encode(), text.encode()[:-1]):
        exact = _parse_exactly(data, frozenset(allow), Limits(), 1)
        fast = _parse_ordinary(data, frozenset(allow), Limits())
        assert fast is None or repr(fast) == repr(exact)
        assert fast is None or not exact.problems + exact.notes


@given(JSON_VALUES)
def test_what_is_ordinary_is_read_fast(value: Any) -> None:
    """What writers usually write does not take the slow way."""
    document = {"value": value}
    for text in (json.dumps(document), json.dumps(document, indent=2, ensure_ascii=False) + "\n"):
        if "\\u" not in text and _is_text(text):
            assert _parse_ordinary(text.encode(), frozenset(), Limits()) == Parsed(document)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
