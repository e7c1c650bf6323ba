"""Durations, sizes and percentages of config.md, both ways."""

# ruff: noqa: E501 (tables are read line by line, and lines that are printed stand here as they are printed)

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config import units
from recoverd.config.model import Span


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("30s", 30), ("5m", 300), ("1h30m", 5400), ("7d", 604_800), ("2w", 1_209_600), ("0s", 0), ("1w1d1h1m1s1ms", 694_861.001)],
)  # fmt: skip
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "such as 500ms"), ("30", "it has no unit"), ("1.5h", "numbers are whole"), ("30m1h", "the longest unit comes first"),
        ("1h1h", "the longest unit comes first"), ("30 s", "such as"), ("-5s", "such as"), ("5x", "such as"), ("s", "such as"),
        ("5m\n", "such as"), ("٣s", "such as"), ("1000000000000s", "such as"), ("1y", "longest unit"),
    ],
)  # fmt: skip
def test_no_durations(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        units.parse_duration(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_durations_round_trip(milliseconds: int) -> None:
    """What `config show` prints is read back as the same."""
    assert units.parse_duration(units.format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("1h", Span(seconds=3600)), ("6mo", Span(months=6)), ("1y6mo", Span(years=1, months=6)), ("2w3d12h", Span(days=17, seconds=43_200)),
        ("5m", Span(seconds=300)), ("1y5m", Span(years=1, seconds=300)), ("7d", Span(days=7)), ("0s", Span()),
    ],
)  # fmt: skip
def test_spans(text: str, span: Span) -> None:
    """`within*` counts months and years as the calendar does, and tells `5m` from `5mo`."""
    assert units.parse_span(text) == span


@pytest.mark.parametrize("text", ["", "1", "mo", "1d1w", "1mo1y", "2h1d", "1d2", "1y ", "1.5y", "1s\n"])
def test_no_spans(text: str) -> None:
    with pytest.raises(ValueError, match="is not a length of time"):
        units.parse_span(text)


@given(
    st.integers(0, 9999),
    st.integers(0, 99_999),
    st.integers(0, 6_999_999),
    st.integers(min_value=0, max_value=86_399_999),
)
def test_spans_round_trip(years: int, months: int, days: int, milliseconds: int) -> None:
    span = Span(years, months, days, milliseconds / 1000)
    assert units.parse_span(units.format_span(span)) == span


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("500", 500), (500, 500), ("0", 0), ("10kB", 10_000), ("64KiB", 65_536), ("1.5GiB", 1_610_612_736), ("2TB", 2 * 10**12), ("0.3kB", 300), ("7B", 7)],
)  # fmt: skip
def test_sizes(text: str | int, size_bytes: int) -> None:
    assert units.parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "KiB", "10K", "10 kB", "-1", "1e3", "10KB", "1.kB", "10kB\n"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size such as"):
        units.parse_size(text)


@given(st.integers(min_value=0, max_value=10**15 - 1))
def test_sizes_round_trip(size_bytes: int) -> None:
    assert units.parse_size(units.format_size(size_bytes)) == size_bytes


def test_sizes_are_shown_in_their_unit() -> None:
    assert [units.format_size(each) for each in (0, 500, 65_536, 10_000, 3 * 2**30)] == [
        "0",
        "500",
        "64KiB",
        "10kB",
        "3GiB",
    ]


@pytest.mark.parametrize(("text", "share"), [("0%", 0), ("5%", 0.05), ("12.5%", 0.125), ("100%", 1)])
def test_percentages(text: str, share: float) -> None:
    assert units.parse_percentage(text) == share
    assert units.parse_percentage(units.format_percentage(share)) == share


@pytest.mark.parametrize("text", ["5", "101%", "-5%", "%", "5 %", "1000%"])
def test_no_percentages(text: str) -> None:
    with pytest.raises(ValueError, match="is not a percentage"):
        units.parse_percentage(text)
