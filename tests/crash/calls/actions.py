"""The two tables: what recoverd is attacked at, and what happens to it there."""

from __future__ import annotations

import errno
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.crash.calls.house import BOUND, FEW, MANY, SERVICES, SPARE, TICKS, House, Told


@dataclass(frozen=True, slots=True)
class Action:
    """One command on one template, and what must be true if it says that it succeeded."""

    words: tuple[str, ...]
    template: str = "history"
    keep: str = MANY
    generation: int = TICKS  # of live state; TICKS - 1 is what the newest snapshots hold
    prepare: Callable[[House], object] = lambda house: None  # on top of the template
    true: Callable[[House, Told], object] = lambda house, told: None
    mend: Callable[[House], object] = lambda house: None  # what damage of the template needs before anything holds
    captures: bool = False  # each service may get a snapshot of live state
    marks: bool = False  # not about snapshots: all of them stay
    endless: bool = False
    compressing: bool = False  # a process of its own compresses
    broken: str = ""  # below `made`: what is read-only all the time


def captured(house: House, told: Told) -> None:
    """Each service has a snapshot that holds live state, and it is the one that was named."""
    newest = {name: max(int(x.split("/")[1]) for x in house.records() if x.startswith(name + "/")) for name in SERVICES}
    for one in told.json["snapshots"]:
        assert one["outcome"] in {"saved", "unchanged"}, one
        if one["outcome"] == "saved":
            assert one["id"] == f"{one['service']}/{newest[one['service']]}"
    found, _ = house.everything(SPARE if (house.made / "spare").exists() else MANY)
    for name in SERVICES:
        assert found[f"{name}/{newest[name]}"] == house.live_content(name)


def pruned(house: House, told: Told) -> None:
    """What is said to be kept is there; no pack is left over, unless it says that there was no room to rewrite some."""
    assert {one["id"] for one in told.json["kept"]} == house.records().keys()
    assert house.packs() == house.everything()[1] or any("no room" in note for note in told.json["notes"])


def listed(house: House, told: Told) -> None:
    assert {one["id"] for one in told.json["snapshots"]} == house.records().keys()


def pinned(house: House, wanted: bool) -> None:
    with house.open() as repository:
        assert repository.marks("app", 3).pinned is wanted


def paused(house: House, wanted: bool) -> None:
    with house.open() as repository:
        assert repository.record("app").paused is wanted


def lose_catalog(house: House) -> None:
    (house.state / "catalog.sqlite").unlink()


def age_catalog(house: House) -> None:
    shutil.copy(house.base / "old.sqlite", house.state / "catalog.sqlite")


def damage_catalog(house: House) -> None:
    path = house.state / "catalog.sqlite"
    assert not list(house.state.glob("catalog.sqlite-*"))  # all of it is in the file
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(data[:4096] + random.Random(1).randbytes(middle) + data[4096 + middle :])


def damage_pack(house: House) -> None:
    """A byte in the pack that was written last: all that is in it is live."""
    path = max(house.repository.glob("packs/*/*.tar.zst"), key=lambda one: one.stat().st_mtime_ns)
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.unlink()
    path.write_bytes(data)


def heal(house: House) -> None:
    house.run("verify", "--heal").fine()


def make_spare(house: House) -> None:
    house.write(TICKS - 1)  # nothing new to capture
    house.run("snapshot", keep=SPARE).fine()


def fill_spare(house: House) -> None:
    """A snapshot of each service in the spare, and the repository whole again."""
    make_spare(house)
    house.write(TICKS)
    house.run("snapshot", keep=SPARE, root=str(house.made), broken=str(house.repository)).fine()
    assert list((house.made / "spare").glob("snapshots/*/*.json"))
    house.learn()


SNAPSHOT = ("snapshot",)
ACTIONS = {
    "a first snapshot": Action(SNAPSHOT, "nothing", generation=0, true=captured, captures=True),
    "a first snapshot, compressed beside": Action(
        SNAPSHOT, "nothing", generation=0, true=captured, captures=True, compressing=True
    ),
    "a snapshot of nothing new": Action(SNAPSHOT, generation=TICKS - 1, true=captured),
    "a snapshot": Action(SNAPSHOT, true=captured, captures=True),
    "a snapshot with retention": Action(SNAPSHOT, keep=FEW, true=captured, captures=True),
    "a prune": Action(("prune",), keep=FEW, true=pruned),
    "a list without a catalog": Action(("list",), prepare=lose_catalog, true=listed),
    "a snapshot without a catalog": Action(SNAPSHOT, prepare=lose_catalog, true=captured, captures=True),
    "a snapshot with an old catalog": Action(SNAPSHOT, prepare=age_catalog, true=captured, captures=True),
    "a snapshot with a damaged catalog": Action(SNAPSHOT, prepare=damage_catalog, true=captured, captures=True),
    "a prune with a damaged catalog": Action(("prune",), keep=FEW, prepare=damage_catalog, true=pruned),
    "a prune to a bound": Action(("prune",), keep=BOUND, true=pruned),
    "a verify that heals": Action(
        ("verify", "--heal"),
        generation=TICKS - 1,
        prepare=damage_pack,
        true=lambda house, _: house.everything(),
        mend=heal,
    ),
    "a snapshot into the spare": Action(
        SNAPSHOT,
        keep=SPARE,
        prepare=make_spare,
        true=captured,
        captures=True,
        broken="state/repository",
    ),
    "a snapshot that brings others home": Action(
        SNAPSHOT, keep=SPARE, generation=TICKS + 1, prepare=fill_spare, true=captured, captures=True
    ),
    "a pin": Action(("pin", "app/3"), true=lambda house, _: pinned(house, True), marks=True),
    "an unpin": Action(
        ("unpin", "app/3"),
        prepare=lambda house: house.run("pin", "app/3").fine(),
        true=lambda house, _: pinned(house, False),
        marks=True,
    ),
    "a pause": Action(("pause", "app"), true=lambda house, _: paused(house, True), marks=True),
    "a run": Action(("run",), captures=True, endless=True),
}

SAMPLE = (
    "a first snapshot",
    "a snapshot with retention",
    "a snapshot with a damaged catalog",
    "a snapshot that brings others home",
    "a prune",
    "a verify that heals",
    "a pin",
    "a run",
)

# --- the faults: what happens at a call, and whether it goes on

FAULTS: dict[str, dict[str, Any]] = {
    "killed": {"fault": "kill"},
    "killed half-way": {"fault": "tear"},
    "short": {"fault": "short"},
    "EIO once": {"fault": "error", "error": errno.EIO},
    "ENOSPC once": {"fault": "error", "error": errno.ENOSPC},
    "a dead disk": {"fault": "error", "error": errno.EIO, "lasting": True},
    "a full disk": {"fault": "error", "error": errno.ENOSPC, "lasting": True},
    "a full quota": {"fault": "error", "error": errno.EDQUOT, "lasting": True},
    "a read-only disk": {"fault": "error", "error": errno.EROFS, "lasting": True},
}
