"""JSON lines: every line is a document, a torn tail is found, memory is bounded by one line."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Format
from recoverd.state.formats.text import Limits
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Judgement, Verdict

LINES = Judge(Format.JSON_LINES)


def sentences(judgement: Judgement) -> list[str]:
    return [str(problem) for problem in judgement.problems]


@pytest.mark.parametrize(
    "data", [b'{"a":1}\n', b'{"a":1}', b'{"a":1}\r\n[2]\r\n3\n', b'{"a":1}\n\n{"b":2}\n', b"\xef\xbb\xbf{}\n"]
)
def test_valid_logs(data: bytes) -> None:
    judgement = LINES.judge("", data)
    assert judgement.verdict is Verdict.OK
    assert not judgement.blank


def test_a_torn_tail_is_corrupt_with_its_line() -> None:
    """redis#5177 and zwave-js#4122: the last append was cut off."""
    judgement = LINES.judge("", b'{"a":1}\n{"a":2}\n{"a":')
    assert judgement.verdict is Verdict.CORRUPT
    assert sentences(judgement) == ["line 3, column 6: ends in the middle of an object that begins at line 3, column 1"]


def test_a_nul_tail_is_corrupt_with_its_line() -> None:
    """AdGuardHome#753: NUL bytes in the log after a power loss."""
    assert sentences(LINES.judge("", b'{"a":1}\n\0\0\0\0')) == [
        "line 2: holds only NUL bytes (4 of them): typical of a power loss"
    ]
    assert sentences(LINES.judge("", b'{"a":1}\n{"b"\0\0\n{}\n')) == [
        "line 2, column 5: ends with 2 NUL bytes: typical of a power loss"
    ]


def test_bytes_that_are_not_text_have_their_line() -> None:
    assert sentences(LINES.judge("", b'{"a": "\xff"}\n{}\n\xfe\n')) == [
        "line 1, byte 7: is not valid UTF-8 (byte 0xff)",
        "line 3, byte 0: is not valid UTF-8 (byte 0xfe)",
    ]


def test_all_nul() -> None:
    judgement = LINES.judge("", b"\0" * 100)
    assert judgement.verdict is Verdict.CORRUPT
    assert sentences(judgement) == ["holds only NUL bytes (100 of them): typical of a power loss"]


@pytest.mark.parametrize("data", [b"", b"\n", b"\n\r\n  \n"])
def test_an_empty_log_is_blank(data: bytes) -> None:
    """It was just begun, or it was emptied: only the known-good can tell."""
    judgement = LINES.judge("", data)
    assert judgement.verdict is Verdict.OK
    assert judgement.blank
    assert judgement.notes


def test_blank_lines_are_one_note() -> None:
    judgement = LINES.judge("", b"{}\n\n{}\n \n")
    assert [str(note) for note in judgement.notes] == ["line 2: 2 blank lines, the first here"]
    assert [str(note) for note in LINES.judge("", b"{}\n\n").notes] == ["line 2: a blank line, the first here"]


def test_problems_are_bounded_and_counted() -> None:
    judgement = LINES.judge("", b"{\n" * 1000)
    assert len(judgement.problems) == 21
    assert sentences(judgement)[-1] == "and 980 more lines with problems"


def test_notes_are_bounded_and_have_their_line() -> None:
    judgement = LINES.judge("", b"{}\n" + b'{"a":1,"a":2}\n' * 1000)
    assert len(judgement.notes) == 5
    assert judgement.notes[0].place == "line 2, #/a"


def test_a_line_beyond_the_limit_is_a_problem_and_cut() -> None:
    """One endless line must not fill the memory."""
    judge = Judge(Format.JSON_LINES, limits=Limits(size_bytes=1000))
    examination = judge.begin("")
    tracemalloc.start()
    try:
        examination.feed(b'{}\n"')
        for _ in range(1000):
            examination.feed(b"x" * 100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000
    assert sentences(examination.finish()) == ["line 2: is longer than 1000 bytes"]


def test_a_long_log_takes_bounded_memory() -> None:
    examination = LINES.begin("")
    block = b'{"time":"2026-01-01","message":"something happened"}\n' * 1000
    tracemalloc.start()
    try:
        for _ in range(15):
            examination.feed(block)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * len(block)
    assert examination.finish().verdict is Verdict.OK


PIECES = st.lists(
    st.sampled_from([b"{}", b'{"a":1}', b'{"a', b"\n", b"\r\n", b" ", b"\0", b"\xff", b"[1,2]", b""]), max_size=12
)


@given(PIECES.map(b"".join), st.lists(st.integers(0, 40), max_size=5))
def test_how_the_bytes_come_changes_nothing(data: bytes, cuts: list[int]) -> None:
    """A file judged block by block gets the verdict it would get as a whole."""
    examination = LINES.begin("")
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        examination.feed(data[start:end])
    assert examination.finish() == LINES.judge("", data)


@given(PIECES.map(b"".join))
def test_a_log_is_ok_exactly_when_each_line_is_blank_or_valid(data: bytes) -> None:
    json = Judge(Format.JSON)
    lines = [line for line in data.split(b"\n") if line.strip(b" \t\r")]
    valid = all(json.judge("", line).verdict is Verdict.OK for line in lines)
    assert (LINES.judge("", data).verdict is Verdict.OK) == valid
