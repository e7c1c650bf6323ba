"""TOML: what TOML 1.0 accepts is read, dates as text, integers of any length; hostile text is bounded beforehand."""

from __future__ import annotations

import math
import time
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Format
from recoverd.state.formats.text import Limits
from recoverd.state.formats.toml_format import parse
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict


def value(text: str) -> Any:
    found = parse(text.encode())
    assert not found.problems, found.problems
    return found.values[0]


def problem(data: str | bytes) -> str:
    (found,) = parse(data.encode() if isinstance(data, str) else data).problems
    return str(found)


def test_values_that_json_has() -> None:
    text = (
        "a = 1\nb = [1.5, {c = true}]\n'quoted key' = '''x'''\n[t.u]\nzulu = 2026-11-21T10:00:00Z\n"
        "offset = 2026-11-21 10:00:00.25+01:00\nlocal = 2026-11-21T10:00:00\nday = 2026-11-21\ntime = 10:00:00\n"
        "[[l]]\n[[l]]\nx = -inf\n"
    )
    assert value(text) == {
        "a": 1,
        "b": [1.5, {"c": True}],
        "quoted key": "x",
        "t": {
            "u": {
                "zulu": "2026-11-21T10:00:00Z",
                "offset": "2026-11-21T10:00:00.250000+01:00",
                "local": "2026-11-21T10:00:00",
                "day": "2026-11-21",
                "time": "10:00:00",
            }
        },
        "l": [{}, {"x": -math.inf}],
    }


def test_integers_of_any_length() -> None:
    digits = "7" * 20_000
    text = f"a = {digits}\nb = [-{digits}, 0x{digits}]\nc = '{digits}'\nd = 0.{digits}\n{digits} = 1\n"
    found = value(text)
    assert found["a"] == -found["b"][0]
    assert found["a"] % 10**20 == int("7" * 20)
    assert (found["c"] == digits, found["d"], digits in found) == (True, 0.7777777777777778, True)
    assert repr(found["a"]) == "an integer of about 20000 digits"
    assert problem("a = " + "1" * 100_001) == (
        "line 1, column 5: holds an integer of 100001 digits; at most 100000 are read"
    )
    assert value(f"recoverd-negative-integer = 1\na = {digits}")["recoverd-negative-integer"] == 1


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "is empty (0 bytes)"),
        (b"\n \n", "holds only white space (3 bytes)"),
        (b"# only this\n\n# and that", "holds no value"),
        (b"\0\0", "holds only NUL bytes (2 of them): typical of a power loss"),
        (b"a = 1\n\0\0\0", "line 2, column 1: ends with 3 NUL bytes: typical of a power loss"),
        (b"a = 1\n[b", "line 2, column 3: ends where more is expected"),
        (b"a = 'x\n", "line 1, column 7: ends where more is expected"),
        (b"a = 'x\nb = 1", "line 2, column 6: ends where more is expected"),
        (b"a = ", "line 1, column 4: ends where more is expected"),
        (b"a = 1\na = 2\n", "line 2, column 6: is not valid TOML"),
        (b"a = 1 b = 2", "line 1, column 7: is not valid TOML"),
        (b"a = \xff", "byte 4: is not valid UTF-8 (byte 0xff)"),
        ("a = 1".encode("utf-16"), "byte 0: is UTF-16, not UTF-8"),
        (b'{"a": 1}', "line 1, column 1: is not valid TOML"),
    ],
)
def test_damage_is_told_at_its_place(data: bytes, expected: str) -> None:
    assert problem(data).startswith(expected)
    assert Judge(Format.TOML).judge("", data).verdict is Verdict.CORRUPT


def test_a_byte_order_mark_is_noted() -> None:
    found = parse(b"\xef\xbb\xbfa = 1\r\n")
    assert (found.values, str(found.notes[0])) == (({"a": 1},), "begins with a byte order mark")


class TestBounds:
    @pytest.mark.parametrize(
        "data",
        [
            "a = " + "[" * 300_000,
            "a = " + "[" * 200 + "]" * 200,
            "a = " + "{a = " * 300_000,
            ".".join("a" * 100_000) + " = 1",
            "[" + ".".join("a" * 100_000) + "]",
            "[[" + " . ".join(["'a'"] * 30_000) + "]]",
            "a = {" + ".".join("a" * 100_000) + " = 1}",
            "." * 1_000_000,
        ],
        ids=lambda data: data[:16],
    )
    def test_depth(self, data: str) -> None:
        """The library calls itself for each bracket, and takes quadratic time for long dotted keys."""
        began = time.monotonic()
        assert "is nested more than 128 levels deep" in problem(data)
        assert time.monotonic() - began < 20

    def test_brackets_and_dots_in_texts_and_comments_are_no_depth(self) -> None:
        dots = "[.{" * 500
        text = f'a = \'{dots}\' # {dots}\nb = """\n{dots}\n"quoted" {dots}"""\n'
        text += f"c = '''{dots}\n'{dots}'''\n# '{dots}\n"
        assert value(text) == tomllib.loads(text)
        assert value("x = " + "[" * 127 + "]" * 127)["x"]

    def test_size(self) -> None:
        judge = Judge(Format.TOML, limits=Limits(toml_bytes=100))
        assert judge.judge("", b"a = 1" + b" " * 95).verdict is Verdict.OK
        assert judge.judge("", b"a = 1" + b" " * 96).verdict is Verdict.UNREADABLE

    @pytest.mark.parametrize(
        "data",
        [
            "[x]\n" * 100_000,
            "".join(f"[x{number}]\n" for number in range(30_000)),
            "[[x]]\n" * 50_000,
            "x = [" + "1," * 200_000 + "]",
            "'" * 500_000,
            '"' * 500_000,
            'a = "' + "\\\\" * 200_000 + '"',
            'a = """' + '"" ' * 200_000,
            "".join(f"a.b{number} = 1\n" for number in range(30_000)),
            "\n" * 500_000 + "a",
            "a = 1" + "#\n" * 300_000,
            "a = 1" + "\t" * 500_000 + "x",
            "1" * 500_000,
            "a = " + "1_" * 200_000,
            "#" * 200 + "\na",
            " #" * 100_000 + "\r\n" * 100_000 + "x",
            '\\"""\n' * 100_000,
            'a = "' + '\\"' * 200_000 + "\n",
            "a = " + "'" * 200_001 + "\n" + "''\n" * 100_000,
        ],
        ids=lambda data: data[:12],
    )
    def test_hostile_text_is_linear(self, data: str) -> None:
        began = time.monotonic()
        assert Judge(Format.TOML).judge("", data.encode()).verdict in {Verdict.OK, Verdict.CORRUPT}
        assert time.monotonic() - began < 30

    @given(st.text(st.sampled_from("[]{}=.,#'\"\\ \n\tax1_-+:TZ"), max_size=50))
    def test_any_text_is_read_as_the_library_reads_it(self, text: str) -> None:
        found = parse(text.encode())
        assert bool(found.values) != bool(found.problems)
        if found.values:
            tomllib.loads(text)

    @given(st.binary(max_size=50))
    def test_any_bytes_are_read_or_told(self, data: bytes) -> None:
        found = parse(data)
        assert bool(found.values) != bool(found.problems)
