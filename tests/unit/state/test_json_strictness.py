"""RFC 8259, production by production: what it derives is ok, what it does not is corrupt; nothing takes long.

The grammar is walked here on its own, so that the reader is not held against itself.
"""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Format
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Verdict

JUDGE = Judge(Format.JSON)
SPACE = st.text(st.sampled_from(" \t\r\n"), max_size=2)

NUMBERS = ["0", "-0", "7", "-7", "10", "0.0", "-0.10", "1e1", "1E+1", "0e-0", "12.5e22", "1e9999", "9" * 30, "9" * 9000]
NOT_NUMBERS = [
    *("+1", "-", "--1", "- 1", "01", "-01", "00", "1.", ".1", "-.1", "1.e1", "1e", "1e+", "1e1.5", "1e 1", "0x1F"),
    *(
        "1_000",
        "1,000",
        "1a",
        "1.2.3",
        "0e",
        "0b1",
        "１",
        "1l",
        "Infinity",
        "-Infinity",
        "NaN",
        "nan",
        "inf",
        "+Infinity",
    ),
]
STRINGS = [
    *('""', '"a"', '"é"', '"\\u00e9"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u0000"', '"\\ud83d\\ude00"', '"\\uD83D"'),
    *('"\\ude00\\ud83d"', '"\x7f"', '"\u2028\u2029"', '"\ufeff"', '"\uffff"', '"\U0010ffff"', '"/*x*/"', '"// x"'),
]
NOT_STRINGS = [
    *('"', "'a'", '"a', 'a"', '"\\"', '"\\x41"', '"\\a"', '"\\u12"', '"\\u12g4"', '"\\U0041"', '"\\ "', '"\\', "`a`"),
    *('"\t"', '"\n"', '"\x00"', '"\x1f"', '"a" "b"', '"a"b"', "a", '\\"a"', '"\\u"', '"\\ud83d\\u"', '"\\é"', "“a”"),
]
WORDS = ["true", "false", "null"]
NOT_WORDS = [
    "True",
    "TRUE",
    "tru",
    "truee",
    "t",
    "nul",
    "NULL",
    "None",
    "undefined",
    "yes",
    "fals",
    "true1",
    "nulltrue",
]
LISTS = ["[]", "[ ]", "[1]", "[1,2]", "[[],[[]]]", '["",null]', "[\n1\r\n,\t2 ]"]
NOT_LISTS = [
    *(
        "[",
        "]",
        "[1",
        "[1,",
        "[1,]",
        "[,1]",
        "[,]",
        "[1,,2]",
        "[1 2]",
        "[1;2]",
        "[]]",
        "[[]",
        "[1}",
        "(1)",
        "[1:2]",
        "<1>",
    ),
    *(
        "[...]",
        "[*]",
        "[1]x",
        "[1],",
        ",[1]",
        "[\x0b1]",
        "[\x0c1]",
        "[\xa01]",
        "[\u20601]",
        "[1/**/]",
        "[1]//",
        "[#\n1]",
    ),
]
OBJECTS = ["{}", "{ }", '{"a":1}', '{"":{}}', '{"a":1,"b":[]}', '{"a":1,"a":2}', ' { "a" : null } ', '{"\\u0000":0}']
NOT_OBJECTS = [
    *(
        "{",
        "}",
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,',
        '{"a":1,}',
        '{,"a":1}',
        '{"a":1,,"b":2}',
        '{"a" 1}',
        '{"a"}',
        "{1:1}",
    ),
    *(
        "{a:1}",
        "{'a':1}",
        '{"a"::1}',
        '{"a":1 "b":2}',
        '{"a":1]',
        '{"a","b"}',
        "{null:1}",
        '{"a":1}}',
        '{"a":}',
        "{:1}",
    ),
    *(
        '{"a":1;}',
        '{"a"=1}',
        '{["a"]:1}',
        '{"a":1}{"b":2}',
        '{"a":1}/**/',
        '{"a":1}#',
        "{{}}",
        '{"a":1}\x00',
        '{"a":1}x',
    ),
]
VALUES = NUMBERS + STRINGS + WORDS + LISTS + OBJECTS
NOT_VALUES = NOT_NUMBERS + NOT_STRINGS + NOT_WORDS + NOT_LISTS + NOT_OBJECTS


def verdict(data: bytes) -> Verdict:
    began = time.monotonic()
    found = JUDGE.judge("", data)
    assert time.monotonic() - began < 10
    examination = JUDGE.begin("")
    for start in range(0, len(data), 5):
        examination.feed(data[start : start + 5])
    assert examination.finish() == found
    assert bool(found.problems) == (found.verdict is not Verdict.OK)
    return found.verdict


@pytest.mark.parametrize("text", VALUES, ids=lambda text: ascii(text[:20]))
def test_what_the_grammar_derives_is_ok(text: str) -> None:
    for around in ("%s", " %s\n", "[%s]", '{"k":%s}', '[1,%s,"x"]', "[[[%s]]]", '\r\n{"k" : [ %s ] }\t'):
        assert verdict(around.replace("%s", text).encode()) is Verdict.OK


@pytest.mark.parametrize("text", NOT_VALUES, ids=lambda text: ascii(text[:20]))
def test_what_it_does_not_is_corrupt(text: str) -> None:
    assert verdict(text.encode()) is Verdict.CORRUPT
    assert verdict(f'{{"k":{text}}}'.encode()) is Verdict.CORRUPT
    assert verdict(f'{{"{text}'.encode()) is Verdict.CORRUPT


@given(st.sampled_from(VALUES), st.sampled_from(NOT_VALUES), SPACE, SPACE)
def test_one_bad_value_spoils_all(good: str, bad: str, before: str, after: str) -> None:
    assert verdict(f"[{before}{good}{after}]".encode()) is Verdict.OK
    assert verdict(f'{{"k":[{before}{good}{after},{before}{bad}{after}]}}'.encode()) is Verdict.CORRUPT


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"\n\n",
        b"\0",
        b"\xef\xbb\xbf",
        b"\xef\xbb",
        b"\xef\xbb\xbf\xef\xbb\xbf{}",
        b"\xff\xfe{\0}\0",
        b"\xfe\xff\0{\0}",
        b"{\0}\0",
        b'"\xff"',
        b'"\xe9"',
        b'"\xed\xa0\x80"',
        b'"\xc0\xaf"',
        b'"\xf4\x90\x80\x80"',
        b'"\xe2\x82"',
        b'{"a":"\xc3',
        b"[1]\0\0\0\0",
        b"[1]\xc2\xa0",
        b"[1]\xc2\x85",
        b"[1]\x1a",
    ],
    ids=ascii,
)
def test_bytes_that_are_no_json_text(data: bytes) -> None:
    assert verdict(data) is Verdict.CORRUPT


def test_a_byte_order_mark_is_passed_over() -> None:
    """RFC 8259, 8.1 lets a reader do so."""
    assert verdict(b"\xef\xbb\xbf[1]") is Verdict.OK


@pytest.mark.parametrize("text", ["[", '{"a":', '[{"a":', "[[],"])
@pytest.mark.parametrize("count", [1000, 100_000])
def test_nesting_without_end_is_told_at_once(text: str, count: int) -> None:
    assert verdict((text * count).encode()) is Verdict.CORRUPT
