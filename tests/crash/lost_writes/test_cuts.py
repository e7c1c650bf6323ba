"""Promises 3, 6 and 9 when the power fails: real commands, cut after each of their calls, and each time the disks that
a file system may leave, at its least kind.

On every one of them: all that a command had reported is there, bit for bit, and nothing torn is shown; pins and pauses
hold; the next snapshot gets a sequence that nobody was told before; the next prune works and deletes nothing that is
needed; nothing is left over.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest

from tests.crash.lost_writes import choices as left
from tests.crash.lost_writes.disk import Choice
from tests.crash.lost_writes.house import House

T = TypeVar("T")


def live(house: House, *, long: bool) -> None:
    """What happens to a repository in its first days, from nothing on."""
    house.run("snapshot")
    house.run("pin", "notes/1")
    house.write(1, big=3)
    house.run("snapshot", "--label", "one")
    for number in range(2, 6 if long else 4):
        house.write(number)
        house.run("snapshot")  # with a prune from the fourth on
    if long:
        house.run("snapshot")  # nothing new
        house.run("pause", "notes")
        (house.app / "page.txt").write_text("page 1")
        house.write(7, big=600)
        house.run("snapshot", "other", "notes")
        house.run("resume", "notes")
        (house.app / "state.json").write_text("{")  # damaged
        house.run("snapshot", "notes", status=1)
        house.run("unpin", "notes/1")
        (house.app / "page.txt").write_text("page 2")
        house.run("snapshot", "other")
        house.run("prune")
        house.write(8)
        house.run("snapshot")


def some(torture: Any, points: Sequence[T], most: int) -> list[T]:
    """A seeded choice in their order, with the first and the last: the same command makes hundreds of calls."""
    if len(points) <= most:
        return list(points)
    inner = sorted(torture.random.sample(range(1, len(points) - 1), most - 2))
    return [points[0], *(points[at] for at in inner), points[-1]]


def all_kinds(house: House, seed: int) -> Callable[[int], list[Choice]]:
    """Every way to lose that has a name, and four by chance."""

    def choices(at: int) -> list[Choice]:
        serial = house.recorder.disk.serial
        found = [left.NOTHING, left.NAMES, left.ZEROS, left.DATA, left.EVERYTHING, left.REMOVALS, left.CREATIONS]
        found += [left.late(serial - back) for back in (0, 1, 2, 4, 8)]
        return found + [left.torn(f"{seed} {at} {number}") for number in range(4)]

    return choices


def test_no_cut_loses_what_was_reported(house: House, torture: Any) -> None:
    kinds = all_kinds(house, torture.seed)
    house.choices = lambda at: kinds(at) if torture.full or at % 10 == torture.seed % 10 or house.told else []
    live(house, long=torture.full)
    cuts = some(torture, list(house.cuts.values()), 4000 if torture.full else 40)
    house.examine_all(cuts)
    found = f"{house.images} disks left by them, {len(cuts)} unequal ones examined: nothing lost"
    torture.tell(house.cut_points, "cuts", found)


KILLED = {
    "the first snapshot": (("snapshot",), (("snapshot",),)),
    "a snapshot that prunes": (("snapshot",), (("snapshot",), ("prune",))),
    "a pin": (("pin", "notes/3"), (("pin", "notes/3"),)),
    "a pause": (("pause", "notes"), (("pause", "notes"),)),
    "a snapshot that is pinned then": (("snapshot",), (("pin", "notes/4"),)),
}


# the gate tries the rest in one process only: test_syncs.py
@pytest.mark.parametrize("title", KILLED if os.environ.get("RECOVERD_TORTURE") else ["a snapshot that prunes"])
def test_what_a_killed_process_did_is_durable_before_the_next_one_builds_on_it(
    house: House, torture: Any, title: str
) -> None:
    """First a kill, then a command that finds things as they were left and reports success, then the power fails: what
    was visible after the kill was not durable yet."""
    killed, following = KILLED[title]
    if title != "the first snapshot":
        for number in range(1, 4):
            house.write(number)
            house.run("snapshot")
        house.write(4)
    kinds = all_kinds(house, torture.seed)
    house.choices = lambda at: kinds(at) if house.told else []
    count = examined = 0
    for _ in house.attempts(lambda points: some(torture, points, 30 if torture.full else 2), *killed):
        record = house.state / "repository/snapshots/notes/000000000004.json"
        if following[0] == ("pin", "notes/4") and not record.exists():
            continue  # it was killed before there was anything to pin
        for words in following:
            house.run(*words)
        count += 1
        cuts = some(torture, list(house.cuts.values()), 20 if torture.full else 5)
        examined += len(cuts)
        house.examine_all(cuts)
        house.write(4)
    torture.tell(count, "kills", f"then {' and '.join(' '.join(one) for one in following)}, {examined} disks examined")
