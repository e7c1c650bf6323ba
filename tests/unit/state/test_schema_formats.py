# ruff: noqa: E501 - a table
"""Formats: what the RFCs define is accepted, everything close to it is not, and no text takes long."""

from __future__ import annotations

import re
import time
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.state.ecma_patterns import is_pattern
from recoverd.state.schema_formats import CHECKERS, checkers

GOOD = {
    "date": ["2026-11-21", "2024-02-29", "2000-02-29", "0000-01-01", "9999-12-31"],
    "time": ["03:12:45Z", "03:12:45z", "03:12:45.5+02:00", "23:59:60Z", "00:59:60+01:00", "15:59:60-08:00"],
    "date-time": ["2026-11-21T03:12:45Z", "2026-11-21t03:12:45.123456789-11:30", "2016-12-31T23:59:60Z"],
    "duration": ["P1D", "PT1H30M", "P1Y2M3DT4H5M6S", "P2W", "PT0S", "P0001D"],
    "email": [
        "me@example.org",
        "a.b+c@localhost",
        '"two words"@example.org',
        r'"\" \\"@example.org',
        "x@[192.0.2.1]",
        "x@[IPv6:2001:db8::1]",
        "!#$%&'*+/=?^_`{|}~-@a",
    ],
    "hostname": ["localhost", "a", "a-b.c", "1.2.3.4", "xn--bcher-kva.example", "a" * 63, ".".join(["a" * 49] * 5)],
    "ipv4": ["0.0.0.0", "255.255.255.255", "192.0.2.10"],
    "ipv6": ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::ffff:192.0.2.1", "1:2:3:4:5:6:192.0.2.1"],
    "uri": [
        "a:",
        "https://me@example.org:80/a/b?c=d#e",
        "urn:isbn:0451450523",
        "mailto:me@example.org",
        "file:///etc/hosts",
        "http://[::1]:8080/",
        "http://[v1.x:y]/",
        "x://",
        "a:/b",
        "a:b/c",
        "http://h/%7E?q=/?#/?",
    ],
    "uuid": ["3f9c0a7b-e215-4c2a-9b52-0d9f0f1c2e3d", "00000000-0000-0000-0000-000000000000"],
    "regex": [
        "",
        "^a+$",
        r"[^\]\-a-z]",
        "(?<year>[0-9]{4})-\\k<year>",
        "(?<!a)b(?=c)",
        "a{2}b{2,}c{2,3}?",
        r"\u{1F600}\x41é\/\.",
        "a{x}{",
        "]}",
        r"[\d-x]",
        "[]|[^]",
        "(?i:a)(?s-m:b)",
        r"\p{Lu}\P{Script=Greek}",
        "(?=a)*",
        "(a)\\1",
    ],
}
BAD = {
    "date": ["2026-02-29", "1900-02-29", "2026-13-01", "2026-00-10", "2026-04-31", "26-1-1", "2026-11-21\n", "２０２６-11-21"],
    "time": ["03:12:45", "24:00:00Z", "03:60:00Z", "03:12:61Z", "03:12:60Z", "03:12:45+24:00", "03:12:45.Z", "3:1:4Z"],
    "date-time": ["2026-11-21 03:12:45Z", "2026-11-21T03:12:45", "2026-11-21", "2026-02-30T00:00:00Z", "T03:12:45Z"],
    "duration": ["", "P", "PT", "P1", "1D", "P1DT", "P1Y1D", "PT1H1S", "P1W1D", "PT1.5S", "-P1D", "P1D\n", "p1d"],
    "email": ["", "@", "a@", "@b", "a b@c", ".a@b", "a.@b", "a..b@c", "a@b@c", "a@b_c", "a@[1.2.3]", "é@b", "a@b\n", "x" * 65 + "@b"],
    "hostname": ["", ".", "a.", ".a", "a..b", "-a", "a-", "a_b", "é", "a" * 64, ".".join(["a" * 50] * 5), "a\n"],
    "ipv4": ["", "1.2.3", "1.2.3.4.5", "01.2.3.4", "256.1.1.1", "1.2.3.4\n", "1.2.3.٤", "0x1.2.3.4"],
    "ipv6": ["", ":", ":::", "1", "1:2:3:4:5:6:7", "1::2::3", "12345::", "::1%eth0", "1.2.3.4::", "1:2:3:4:5:6:7:8::", "::1.2.3", "[::1]"],
    "uri": ["", "a", "//a/b", "/a", ":a", "1a:b", "a b:c", "a:b c", "a:%", "a:%G0", "a:é", "http://[::1", "http://h:x/", "a:#b#c", "a://b@c@d/", "a:[b]"],
    "uuid": ["", "3f9c0a7be2154c2a9b520d9f0f1c2e3d", "{3f9c0a7b-e215-4c2a-9b52-0d9f0f1c2e3d}", "3f9c0a7b-e215-4c2a-9b52-0d9f0f1c2e3g"],
    "regex": [
        "(", ")", "[", "[a", "a**", "*", "?", "+a", "a{2,1}", "{2}", "^*", "(?i)a", "(?P<n>a)", "(?#c)", "\\", "\\a",
        "\\Z", "[z-a]", "[\\", "[a\\", "\\u12", "\\x1", "\\u{110000}", "\\c1", "\\k<no>", "(?<1>a)", "(?<=a)*", "a|*",
        "(?ii:a)", "(?-:a)", "a++",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in GOOD.items() for text in texts])
def test_what_the_rfc_has(name: str, text: str) -> None:
    assert CHECKERS[name](text)


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in BAD.items() for text in texts])
def test_what_it_has_not(name: str, text: str) -> None:
    assert not CHECKERS[name](text)


def test_all_have_cases() -> None:
    assert set(GOOD) == set(BAD) == set(CHECKERS)


@pytest.mark.parametrize("name", CHECKERS)
def test_long_texts_take_linear_time(name: str) -> None:
    """Promise 12: the text may come from somebody who wants a boot to hang. Quadratic would be hours here."""
    check = CHECKERS[name]
    for part in ("a", ".", ":", "1", "%41", "(", "[", "a@", "x.", "1:", "\\", "{1", "P1", "-", "/", '"', "a?", "(?<a>"):
        for end in ("", "!", "@b", "\n", ")", "]"):
            for start in ("", '"', "P", "a:", "[", "http://"):
                check(start + part * 3000 + end)


@given(st.dates())
def test_every_day_is_a_date(day: date) -> None:
    assert CHECKERS["date"](day.isoformat())


@given(st.datetimes(), st.integers(-1439, 1439))
def test_what_python_writes_of_a_moment_is_a_date_time(moment: datetime, minutes: int) -> None:
    assert CHECKERS["date-time"](moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).isoformat())
    assert CHECKERS["date-time"](moment.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z"))
    assert not CHECKERS["date-time"](moment.isoformat())


@given(st.integers(0, 2**128 - 1))
def test_every_number_is_an_address_and_a_uuid(number: int) -> None:
    assert CHECKERS["uuid"](str(uuid.UUID(int=number)))
    assert CHECKERS["ipv4"](str(IPv4Address(number % 2**32)))
    for written in (IPv6Address(number).compressed, IPv6Address(number).exploded):
        assert CHECKERS["ipv6"](written)


@given(st.text("0123456789abcdef:.", max_size=24))
def test_addresses_are_those_that_python_reads(text: str) -> None:
    for name, kind in (("ipv4", IPv4Address), ("ipv6", IPv6Address)):
        try:
            kind(text)
        except ValueError:
            assert not CHECKERS[name](text)
        else:
            assert CHECKERS[name](text)


@given(st.text("ab.^$*+?{}()[]|-,12\\dwsbBfnrtv0", max_size=12))
def test_what_both_dialects_have_is_accepted(text: str) -> None:
    """Of these characters Python's patterns and those of ECMA-262 make the same, but for a few that are known."""
    try:
        re.compile(text)
    except (re.error, OverflowError):
        return
    if re.search(r"\\a|[*+?}]\+|\\b[*+?{]|\\B[*+?{]|[$^][*+?{]|\[[\]^]|\(\?|\{,", text):
        return
    assert is_pattern(text)


def test_a_leap_second_is_one_in_utc_only() -> None:
    assert CHECKERS["time"]("01:29:60+01:30")
    assert not CHECKERS["time"]("23:59:60+01:30")


def test_draft_3_has_other_names() -> None:
    old = checkers("http://json-schema.org/draft-03/schema")
    assert {"host-name", "ip-address"} <= set(old)
    assert not {"hostname", "ipv4", "time"} & set(old)


def test_a_hundred_thousand_of_them_cost_little() -> None:
    """Promise 11: a snapshot of ten thousand documents asserts as many."""
    began = time.process_time()
    for _ in range(20_000):
        CHECKERS["date-time"]("2026-11-21T03:12:45.123Z")
    assert time.process_time() - began < 2
