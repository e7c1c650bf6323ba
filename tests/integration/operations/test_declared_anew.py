"""Promises 1 to 4 where what is declared changes; tests/damage/model/ tries any sequence of the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from recoverd.config.model import Retention, StateItem

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def test_an_item_that_was_not_declared_for_a_while_is_missed(house: House) -> None:
    """Its known-good version is found further back, when its path is empty and when it is damaged."""
    both = house.service.state
    good = house.write(7)
    house.snapshot()
    house.change(state={"tasks": both["tasks"]})
    house.write_task("task-000", n=1)
    house.snapshot()
    house.state.unlink()
    house.change(state=both)
    assert house.verdict() == "missing"
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good


def test_an_item_declared_at_another_path_is_another_item(house: House) -> None:
    """What lay at the old path is never written to the new one, and is kept for the day it is declared again."""
    house.change(retention=Retention(last=1))
    good = house.write(7)
    house.snapshot()
    old = house.service.state
    moved = replace(old["main"], path=str(house.root / "elsewhere" / "state.json"))
    house.change(state={**old, "main": moved})
    Path(moved.path).parent.mkdir()
    assert house.verdict() == "new"
    Path(moved.path).write_bytes(b"{")
    assert house.snapshot().outcome == "invalid"
    assert house.restore().outcome == "blocked"
    Path(moved.path).write_bytes(json.dumps({"version": "1", "counter": 8}).encode())
    for number in range(3):
        house.write_task("task-000", n=number)
        house.snapshot()
    house.state.unlink()
    house.change(state=old)
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good


def test_the_same_bytes_at_another_path_are_captured(house: House) -> None:
    """Else nothing would be known of the new path."""
    house.snapshot()
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    house.state.rename(elsewhere / "state.json")
    moved = replace(house.service.state["main"], path=str(elsewhere / "state.json"))
    house.change(state={**house.service.state, "main": moved})
    assert house.snapshot().outcome == "saved"
    (elsewhere / "state.json").unlink()
    assert house.verdict() == "missing"


def test_an_explicit_restore_of_what_is_not_declared_any_more_is_refused(house: House) -> None:
    """A directory is never written where a file is declared."""
    house.snapshot()
    state: dict[str, StateItem] = {"tasks": replace(house.service.state["main"], name="tasks")}
    house.change(state=state)
    before = house.contents()
    result = house.restore(snapshot="app/1")
    assert (result.outcome, result.exit_status) == ("failed", 1)
    assert "holds nothing" in result.reasons[0]
    assert house.contents() == before
