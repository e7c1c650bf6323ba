"""Promise 5: a restore is all or nothing, across all the paths of a service, wherever it is killed."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from recoverd.recovery.quarantine import list_quarantine, undo
from recoverd.recovery.swapping import apply, finish_intent

EXCHANGE, NOREPLACE = 2, 1
ALL = 10**9


def restore(world: Any, *, whole: bool = True) -> None:
    apply(world.stage(whole=whole), state_dir=world.state_dir, evidence={"why": "test"})


def quarantined(world: Any, tools: Any) -> set[bytes]:
    """Every content that is kept in quarantine, also beside the targets."""
    kept: set[bytes] = set()
    for one in list_quarantine(world.state_dir, "svc"):
        for step in one.evidence["steps"]:
            path = step["quarantined"]
            if path is not None and os.path.isdir(path):
                kept |= {data for data in tools.contents(Path(path)).values() if data is not None}
            elif path is not None and os.path.lexists(path):
                kept.add(Path(path).read_bytes())
    return kept


def check_whole(world: Any, tools: Any) -> bool:
    """Wholly old or wholly new, nothing lost, nothing left over; True for new."""
    state = {name: data for name, data in world.state().items() if not name.startswith(".recoverd-")}
    assert world.leftovers() == []
    assert state in (world.old, world.new)
    if state == world.old:
        assert list_quarantine(world.state_dir, "svc") == []
        assert not [name for name in world.state() if name.startswith(".recoverd-")]
        return False
    assert quarantined(world, tools) == {b"", b'{"damaged', b"{}", b"\0\0\0"}
    return True


def total_of(world: Any, tools: Any, work: Any) -> int:
    """How many mutating calls the whole work makes, found by doing it."""
    died, total = tools.run_and_die(work, ALL)
    assert not died
    return int(total)


@pytest.fixture(params=["exchange", "two renames", "links"])
def kind_of_disk(request: pytest.FixtureRequest, tools: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system with all flags of renameat2; one without exchange; one with none of them."""
    if request.param != "exchange":
        tools.refuse(monkeypatch, EXCHANGE, *([NOREPLACE] if request.param == "links" else []))
    return str(request.param)


def fresh(tools: Any, world: Any, number: int) -> Any:
    place = world.live.parent / f"{number}"
    return tools.World(place, Path(world.state_dir) / f"{number}", world.store)


def test_a_restore_killed_anywhere_is_all_or_nothing(world: Any, tools: Any, kind_of_disk: str) -> None:
    """kill -9 before any system call of a restore that touches three items: all old or all new, and a second look
    at it changes nothing."""
    total = total_of(world, tools, lambda: restore(world))
    assert check_whole(world, tools)
    seen = set()
    for number in tools.points(total, seed=1, at_most=20):
        one = fresh(tools, world, number)
        died, _ = tools.run_and_die(lambda one=one: restore(one), number)
        assert died
        finish_intent("svc", one.state_dir)
        seen.add(check_whole(one, tools))
        before = (one.state(), tools.contents(Path(one.state_dir)))
        assert finish_intent("svc", one.state_dir) is None
        assert (one.state(), tools.contents(Path(one.state_dir))) == before
    assert seen == {True, False}


def test_the_finishing_can_be_killed_too(world: Any, tools: Any, kind_of_disk: str) -> None:
    """A power cut during the repair of a power cut, any number of times: still all or nothing in the end."""
    total = total_of(world, tools, lambda: restore(world))
    chance = random.Random(2)
    for number in tools.points(total, seed=2, at_most=8):
        one = fresh(tools, world, number)
        tools.run_and_die(lambda one=one: restore(one), number)
        for _ in range(6):
            tools.run_and_die(lambda one=one: finish_intent("svc", one.state_dir), chance.randrange(25))
        finish_intent("svc", one.state_dir)
        check_whole(one, tools)


def test_an_undo_killed_anywhere_is_all_or_nothing(world: Any, tools: Any, kind_of_disk: str) -> None:
    """The way back is the same transaction: all restored or all undone, and the other side is in quarantine."""
    restore(world)
    total = total_of(world, tools, lambda: undo("svc", None, state_dir=world.state_dir))
    assert {k: v for k, v in world.state().items() if not k.startswith(".recoverd-")} == world.old
    seen = set()
    for number in tools.points(total, seed=3, at_most=12):
        one = fresh(tools, world, number)
        restore(one)
        died, _ = tools.run_and_die(lambda one=one: undo("svc", None, state_dir=one.state_dir), number)
        assert died
        finish_intent("svc", one.state_dir)
        state = {name: data for name, data in one.state().items() if not name.startswith(".recoverd-")}
        assert state in (one.old, one.new)
        assert one.leftovers() == []
        kept = quarantined(one, tools)
        if state == one.old:
            assert kept == {b'{"good": 1}', b'{"a": 1}', b'{"m": 1}', b'{"n": 1}', b"x" * 1000, b"z"}
        else:
            assert kept == {b"", b'{"damaged', b"{}", b"\0\0\0"}
        seen.add(state == one.old)
        assert len(list_quarantine(one.state_dir, "svc")) == 1
        undo("svc", None, state_dir=one.state_dir)  # whichever it was, the other way still works
        assert {k: v for k, v in one.state().items() if not k.startswith(".recoverd-")} != state
    assert seen == {True, False}


@pytest.mark.parametrize("seed", range(2))
def test_file_by_file_killed_anywhere(world: Any, tools: Any, seed: int) -> None:
    """A directory that is not swapped whole is still part of one transaction; files it lacks stay."""
    new = {**world.new, "data/old": None, "data/old/x": b"\0\0\0"}
    total = total_of(world, tools, lambda: restore(world, whole=False))
    assert {k: v for k, v in world.state().items() if not k.startswith(".recoverd-")} == new
    for number in tools.points(total, seed=4 + seed, at_most=8):
        one = fresh(tools, world, number)
        tools.run_and_die(lambda one=one: restore(one, whole=False), number)
        finish_intent("svc", one.state_dir)
        assert one.leftovers() == []
        state = {name: data for name, data in one.state().items() if not name.startswith(".recoverd-")}
        assert state in (one.old, new)
