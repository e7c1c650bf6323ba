"""Promises 3, 6 and 9 when the power fails: real commands, cut after each of their calls, and each time the disks that a
file system may leave, at its least kind.

On every one of them: all that a command had reported is there, bit for bit, and nothing torn is shown; pins and pauses
hold; the next snapshot gets a sequence that nobody was told before; the next prune works and deletes nothing that is
needed; nothing is left over.
"""

from __future__ import annotations

from typing import Any

from tests.crash.lost_writes import choices as left
from tests.crash.lost_writes.house import House


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


def test_no_cut_loses_what_was_reported(house: House, torture: Any) -> None:
    def choices(at: int) -> list[left.Choice]:
        serial = house.recorder.disk.serial
        found = [left.NOTHING, left.NAMES, left.ZEROS, left.DATA, left.EVERYTHING, left.REMOVALS, left.CREATIONS]
        found += [left.late(serial - back) for back in (0, 1, 2, 4, 8)]
        return found + [left.torn(f"{torture.seed} {at} {number}") for number in range(4)]

    house.choices = choices
    live(house, long=torture.full)
    cuts = torture.sample(list(house.cuts.values()), 60)
    house.examine_all(cuts)
    torture.tell(house.points, "cuts", f"{house.images} disks left by them, {len(cuts)} unequal ones examined: nothing lost")
