"""How much room a choice needs at most: only where records really tell."""

from __future__ import annotations

from typing import Any

import pytest

from recoverd.operations.room import at_most_bytes
from recoverd.recovery.choices import Choice, Part
from recoverd.recovery.plan import Origin
from recoverd.recovery.staging import ENTRY_BYTES
from recoverd.repository.records import ItemRecord, Snapshot, SnapshotVerdict


def snapshot(sequence: int, **items: ItemRecord) -> Snapshot:
    return Snapshot("app", sequence, 0, "boot", "host", SnapshotVerdict.OK, items)


WHOLE = ItemRecord("directory", "/srv/a", "a" * 64, "a" * 64, 10, 1000, "ok")
PARTIAL = ItemRecord("directory", "/srv/b", "a" * 64, "b" * 64, 10, 1000, "corrupt")
SNAPSHOTS = [snapshot(1, whole=WHOLE, partial=PARTIAL)]


def part(item: str, document: str = "", sequence: int = 1, **facts: Any) -> Part:
    return Part(item, document, sequence, 0, "c", **facts)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([part("whole")], 1000 + 10 * ENTRY_BYTES),
        ([part("whole", "a"), part("whole", "b")], 1000 + 10 * ENTRY_BYTES),
        ([part("whole"), part("partial")], None),
        ([part("whole", sequence=7)], None),
        ([part("other")], None),
        ([part("whole", origin=Origin.SALVAGE)], None),
    ],
)
def test_an_upper_bound_or_nothing(parts: list[Part], expected: int | None) -> None:
    """Promise 5, free space first: a bound that might be too low is none, and what is needed is summed up instead."""
    assert at_most_bytes(Choice("app", tuple(parts), ()), SNAPSHOTS) == expected
