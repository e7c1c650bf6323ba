from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.system import clock

_YEAR_9999_NS = 253_402_300_799_999_999_999


@given(st.integers(-62_135_596_800_000_000_000, _YEAR_9999_NS))
def test_times_survive_their_spelling(time_ns: int) -> None:
    """One spelling everywhere: what is written is read back, cut to the millisecond, in every year from 1 to 9999."""
    text = clock.rfc3339(time_ns)
    assert len(text) == 24
    assert clock.parse_rfc3339(text) == time_ns - time_ns % 1_000_000


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-21T09:30:00.123456789Z", 1_795_253_400_123_456_789),
        ("2026-11-21T10:30:00.5+01:00", 1_795_253_400_500_000_000),
        ("2026-11-21 09:30:00z", 1_795_253_400_000_000_000),
    ],
)
def test_rfc3339_as_others_write_it(text: str, time_ns: int) -> None:
    """RFC 3339, section 5.6: fractions, offsets, lower case."""
    assert clock.parse_rfc3339(text) == time_ns


@pytest.mark.parametrize(
    "text", ["", "2026-11-21", "2026-11-21T09:30:00", "2026-13-21T09:30:00Z", "20261121T093000Z", "now"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """A time without a zone, or half a time, is never guessed at."""
    with pytest.raises(ValueError):
        clock.parse_rfc3339(text)


@pytest.mark.parametrize("time_ns", [10**30, -(10**30), _YEAR_9999_NS + 1])
def test_times_beyond_the_calendar_are_refused(time_ns: int) -> None:
    """A wrong clock gives an error that names the cause, not an overflow."""
    with pytest.raises(ValueError):
        clock.rfc3339(time_ns)


def test_clocks_and_names() -> None:
    """The boot id is the kernel's and does not change while we run; clocks go forward."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        assert clock.boot_id() == file.read().strip()
    assert clock.now_ns() > 1_600_000_000_000_000_000
    assert clock.monotonic_s() <= clock.monotonic_s()
    assert clock.host_name()
