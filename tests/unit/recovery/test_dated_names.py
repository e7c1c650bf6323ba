"""Of which time a copy is, by its name and by what somebody says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from recoverd.errors import UsageError
from recoverd.recovery.dated_names import asked_time, parse_time, time_in_name
from recoverd.system import clock

NOW = clock.parse_rfc3339("2026-11-21T12:00:00Z")
EAST = timezone(timedelta(hours=2))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("state.json.2026-11-20", "2026-11-20T00:00:00.000Z"),
        ("state-20261120.json", "2026-11-20T00:00:00.000Z"),
        ("state_2026.11.20.json", "2026-11-20T00:00:00.000Z"),
        ("backup-2026-11-20T093000Z.json", "2026-11-20T09:30:00.000Z"),
        ("backup-20261120-0930.json", "2026-11-20T09:30:00.000Z"),
        ("backup-2026-11-20_09-30-15.json", "2026-11-20T09:30:15.000Z"),
        ("backup 2026-11-20 09:30:15.json", "2026-11-20T09:30:15.000Z"),
        ("state.backup.2026-11-20T09-30-15.678Z.json", "2026-11-20T09:30:15.678Z"),
        ("state.backup.2026-11-20T09-30-15-678Z.json", "2026-11-20T09:30:15.678Z"),  # as JavaScript programs do it
        ("state.2026-11-20T09:30:15.678901.json", "2026-11-20T09:30:15.678Z"),
        ("state.2026-11-20T09:30:15.6.json", "2026-11-20T09:30:15.000Z"),
        ("state-20261120-1.json", "2026-11-20T00:00:00.000Z"),  # the first one of that day
        ("state.backup.1700000000.json", "2023-11-14T22:13:20.000Z"),
        ("state.backup.1700000000123.json", "2023-11-14T22:13:20.123Z"),
        ("state-2026-13-45.2026-11-20.json", "2026-11-20T00:00:00.000Z"),  # the first that is a date
        ("state-2026-02-30.json", None),
        ("state-2027-01-01.json", None),  # the future
        ("state-120261120.json", None),  # a longer number
        ("state.json.bak", None),
        ("état-٢٠٢٦-11-20", None),
    ],
)
def test_the_time_in_a_name(name: str, expected: str | None) -> None:
    found = time_in_name(name, UTC, NOW)
    assert (None if found is None else clock.rfc3339(found)) == expected


def test_names_tell_local_time_unless_a_z_follows() -> None:
    """Programs name their backups by the clock on the wall."""
    assert time_in_name("a-2026-11-20T0930", EAST, NOW) == clock.parse_rfc3339("2026-11-20T07:30:00Z")
    assert time_in_name("a-2026-11-20T0930Z", EAST, NOW) == clock.parse_rfc3339("2026-11-20T09:30:00Z")
    assert time_in_name("a-2026-11-20T09-30-15-678Z", EAST, NOW) == clock.parse_rfc3339("2026-11-20T09:30:15.678Z")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-20T09:30:00Z", datetime(2026, 11, 20, 9, 30, tzinfo=UTC)),
        ("2026-11-20", datetime(2026, 11, 20, tzinfo=EAST)),
        ("2026-11-20 09:30", datetime(2026, 11, 20, 9, 30, tzinfo=EAST)),
        ("20261120T0930Z", datetime(2026, 11, 20, 9, 30, tzinfo=UTC)),
    ],
)
def test_times_that_are_asked_for(text: str, expected: datetime) -> None:
    assert parse_time(text, EAST) == int(expected.timestamp()) * 10**9


@pytest.mark.parametrize("text", ["", "yesterday", "2026-02-30", "12:30", "2026-11-20 and more", "2999-01-01"])
def test_what_is_no_time_of_an_import(text: str) -> None:
    """A sentence and a hint, also for the future: a snapshot from there would never count."""
    with pytest.raises(UsageError) as caught:
        asked_time(text, "UTC")
    assert caught.value.message.startswith("--time: ")
    assert caught.value.hint
