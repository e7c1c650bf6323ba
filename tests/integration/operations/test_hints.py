"""Captures that are told what changed: what they look at, and when they look at everything all the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Autosave, Format, ItemKind, OnChange, StateItem
from recoverd.operations.pause import PauseRequest, pause
from recoverd.recovery.partial import Hints, ServiceHints

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


@pytest.fixture
def forest(house: House) -> House:
    """The house with one item, a directory of directories, captured once."""
    root = house.root / "forest"
    for place in ("", "a", "a/deep", "b"):
        (root / place).mkdir(exist_ok=True)
        (root / place / "x.json").write_text("[]")
    house.change(state={"forest": StateItem("forest", ItemKind.DIRECTORY, str(root), Format.JSON)})
    assert house.snapshot().directories == 4
    return house


def hints(*directories: str, since: int = 1) -> dict[str, ServiceHints]:
    return {"app": ServiceHints(since, {"forest": Hints(frozenset(directories))})}


def test_only_what_is_named_is_looked_at(forest: House) -> None:
    """Hints are believed: what they don't name is taken from the newest snapshot, until everything is looked at."""
    for place in ("a", "b"):
        (forest.root / "forest" / place / "x.json").write_text("[1]")
    first = forest.snapshot(hints=hints("a"))
    assert (first.outcome, first.directories, first.size_bytes) == ("saved", 1, 9)
    assert first.sequence == 2
    second = forest.snapshot()
    assert (second.outcome, second.directories, second.size_bytes) == ("saved", 4, 10)
    assert [one.snapshot.reason for one in forest.list()] == ["manual", "change", "manual"]


def test_hints_that_began_later_than_the_newest_snapshot(forest: House) -> None:
    """An older snapshot (the newer ones were deleted) does not stand for what was seen: everything is looked at."""
    (forest.root / "forest" / "b" / "x.json").write_text("[1]")
    assert forest.snapshot(hints=hints("a", since=2)).directories == 4
    assert forest.snapshot(hints=hints("a", since=2)).directories == 1


def test_everything_is_read_where_that_was_asked_for(forest: House) -> None:
    """A full read believes no hint."""
    (forest.root / "forest" / "b" / "x.json").write_text("[1]")
    found = forest.snapshot(hints=hints("a"), full_read=True)
    assert (found.outcome, found.directories) == ("saved", 4)


def test_a_damaged_snapshot_is_no_ground_to_stand_on(forest: House) -> None:
    """Promise 7: where the newest snapshot can't be read, nothing is taken from it unseen."""
    (forest.root / "forest" / "b" / "x.json").write_text("[1]")
    forest.snapshot()
    (forest.root / "forest" / "b" / "x.json").write_text("[2]")
    newest = max(forest.packs, key=lambda path: path.stat().st_mtime_ns)
    newest.write_bytes(bytes(newest.stat().st_size))
    (forest.state_dir / "catalog.sqlite").unlink()
    forest.reopen()
    found = forest.snapshot(hints=hints("a", since=2))
    assert (found.outcome, found.directories) == ("saved", 4)
    assert forest.verdict() == "ok"


def test_touches_are_handed_back(forest: House) -> None:
    """What was only touched makes no snapshot; who asks again with it gets the times that a full look would give."""
    path = forest.root / "forest" / "a" / "deep" / "x.json"
    os.utime(path, ns=(5, 5))
    first = forest.snapshot(hints=hints("a/deep"))
    assert (first.outcome, first.sequence) == ("unchanged", 1)
    assert first.touched == {"forest": Hints(frozenset({"a/deep"}))}
    (forest.root / "forest" / "b" / "x.json").write_text("[1]")
    assert forest.snapshot(hints=hints("b", "a/deep")).outcome == "saved"
    again = forest.snapshot()
    assert (again.outcome, again.touched) == ("unchanged", {})


def test_another_declaration_is_another_item(forest: House) -> None:
    """Hints of a path say nothing of another one."""
    other = forest.root / "other"
    (forest.root / "forest").rename(other)
    forest.change(state={"forest": StateItem("forest", ItemKind.DIRECTORY, str(other), Format.JSON)})
    found = forest.snapshot(hints=hints("a"))
    assert (found.outcome, found.directories) == ("saved", 4)


def test_a_service_saved_on_change_can_be_paused(house: House) -> None:
    """`pause` says of it that it is saved at all."""
    house.change(autosave=Autosave(on_change=OnChange()))
    (paused,) = pause(house.context, PauseRequest()).services
    assert (paused.paused, paused.scheduled) == (True, True)
