"""`format: auto`: what a document is follows from its content; damage to JSON does not make it something else."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Format
from recoverd.state.formats.detection import HEAD_BYTES, detect, looks_parsable
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict

AUTO = Judge(Format.AUTO)


@pytest.mark.parametrize(
    "data",
    [
        b'{"a": 1}',
        b"{}",
        b"[]",
        b"[1, 2]",
        b"[-1.5e3,true]",
        b"[null]",
        b'["a"]',
        b"[[[{}]]]",
        b'\xef\xbb\xbf \r\n{\n "a": 1\n}\n',
        b'{\n\t"a": 1}\n\n',
        b"[\n  {\n",
        b"{",
        b"[",
        b'{"a": 1}"',
        b'{"a": 1}\0\0\0\n\0',
        b'{"a": 1}\n\0\0',
        b'{"a": 1}\n\n \n',
        b'{"a": [1,\n2],\n"b',
        b'["a\0b"]',
    ],
)
def test_json(data: bytes) -> None:
    assert detect(data) is Format.JSON


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":1}\n{"a":2}\n',
        b"[1]\n[2]\n",
        b'{"a":1}\r\n{"a"',
        b"{}\n\n{}",
        b'{"a":NaN}\n{"a":1}\n',
        b'{"a":1}\ngarbage',
    ],
)
def test_json_lines(data: bytes) -> None:
    assert detect(data) is Format.JSON_LINES


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\0",
        b"hello",
        b"42",
        b'"text"',
        b"[global]\nworkgroup = X\n",
        b"[1]\nname = x\n",
        b"[network]\n",
        b"[true]\nname = x",
        b"[[bin]]\nname = 'x'\n",
        b"{a: 1}",
        b"{'a': 1}",
        b"{{ template }}",
        b"{ // comment\n}",
        b"SQLite format 3\0",
        b"\x1f\x8b\x08",
        b"<xml/>",
        b"key: [1]\n",
        bytes(range(255, -1, -1)),
    ],
)
def test_opaque(data: bytes) -> None:
    assert detect(data) is Format.OPAQUE


DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
).filter(lambda value: isinstance(value, dict | list))


@given(DOCUMENTS, st.sampled_from([None, 1]), st.data())
def test_json_cut_anywhere_does_not_pass_as_opaque(value: object, indent: int | None, data: st.DataObject) -> None:
    """Promise 2 under `auto`: a torn document stays a document (but for a few bytes, where nobody can tell)."""
    whole = json.dumps(value, indent=indent).encode()
    assert detect(whole) is Format.JSON
    cut = data.draw(st.integers(0, len(whole)))
    if cut > 0 and whole[:1] == b"{":
        assert looks_parsable(whole[:cut])
        assert (AUTO.judge("", whole[:cut]).verdict is Verdict.OK) == (cut == len(whole))


@given(DOCUMENTS, st.integers(1, 3000))
def test_looking_at_the_head_is_enough(value: object, repeat: int) -> None:
    """Deciding must not depend on how much was read."""
    data = json.dumps([value] * repeat).encode()
    assert looks_parsable(data[:HEAD_BYTES]) == looks_parsable(data) is True


def test_a_number_at_the_edge_of_the_head() -> None:
    data = b"[" + b" " * (HEAD_BYTES - 3) + b"12345]"
    assert detect(data) is Format.JSON


def test_detecting_is_linear() -> None:
    """Hostile beginnings must not cost more than reading them (a bound in steps would be a bound in seconds)."""
    for head in (
        b"[" * HEAD_BYTES,
        b"[ " * HEAD_BYTES,
        b" " * HEAD_BYTES,
        b"[" + b"1" * HEAD_BYTES,
        b"{" + b" " * HEAD_BYTES,
    ):
        detect(head)


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_nothing_but_nul_is_blank(size: int) -> None:
    """mosquitto#2639: whether that is damage depends on what the known-good was."""
    for judge in (AUTO, Judge(Format.OPAQUE)):
        judgement = judge.judge("", b"\0" * size)
        assert judgement.verdict is Verdict.OK
        assert judgement.blank
        assert judgement.unchecked
        assert "is empty (0 bytes)" in str(judgement.notes[0]) or f"({size} of them)" in str(judgement.notes[0])


def test_something_is_not_blank() -> None:
    examination = Judge(Format.OPAQUE).begin("")
    for block in (b"\0" * 1000, b"\0x", b"\0" * 1000):
        examination.feed(block)
    judgement = examination.finish()
    assert (judgement.verdict, judgement.blank, judgement.notes) == (Verdict.OK, False, ())


def test_what_was_detected_is_told() -> None:
    """So that random bytes over what was JSON can be told from a file that never was any."""
    assert AUTO.judge("", b"{}").detected == "json"
    assert AUTO.judge("", b"{}\n{}").detected == "json-lines"
    assert AUTO.judge("", b"text").detected == "opaque"
    assert Judge(Format.JSON).judge("", b"{}").detected == ""
