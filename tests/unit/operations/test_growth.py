"""Days until the disk is full: from the notes of the last week and what there is now."""

from __future__ import annotations

import pytest

from recoverd.operations.growth import Growth, growth
from recoverd.repository.bounds import Room
from recoverd.repository.catalog import Run

HOUR_NS = 3600 * 10**9
NOW = 1_800_000_000 * 10**9
GB = 10**9


def note(hours_ago: float, size_bytes: int, free_bytes: int, total_bytes: int = 100 * GB) -> Run:
    return Run("", "size", NOW - int(hours_ago * HOUR_NS), 0.0, "done", f"{size_bytes} {free_bytes} {total_bytes}")


@pytest.mark.parametrize(
    ("notes", "found"),
    [
        ([], None),
        ([note(5, GB, 60 * GB)], None),  # too young to tell of days
        ([note(24, 10 * GB, 50 * GB)], Growth(0, None)),
        ([note(24, 5 * GB, 55 * GB)], Growth(5 * GB, 10)),  # it is the repository that grows
        ([note(48, 10 * GB, 70 * GB)], Growth(0, 5)),  # others fill the disk
        ([note(24, 12 * GB, 48 * GB)], Growth(-2 * GB, None)),  # it shrinks
        ([note(1, 9 * GB, 51 * GB), note(24, 5 * GB, 55 * GB)], Growth(5 * GB, 10)),
        ([note(24, 5 * GB, 55 * GB), note(25, 0, 5 * GB, 50 * GB)], Growth(5 * GB, 10)),  # that was another disk
        ([note(-2, 10 * GB, 50 * GB)], None),  # from the future
        ([note(168, 3 * GB, 57 * GB), note(169, 0, 100 * GB)], Growth(GB, 50)),  # what is older than a week
    ],
)
def test_growth(notes: list[Run], found: Growth | None) -> None:
    """10 GB in the repository now, 50 of 100 GB free."""
    told = growth(notes, Room(10 * GB, 50 * GB, 100 * GB), NOW)
    if found is None or told is None:
        assert told == found
    else:
        assert told.bytes_per_day == pytest.approx(found.bytes_per_day)
        assert told.days_until_full == (None if found.days_until_full is None else pytest.approx(found.days_until_full))
