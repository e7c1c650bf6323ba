"""`clear`: live state goes to quarantine in one transaction, snapshots go for ever."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from recoverd.errors import UsageError
from recoverd.operations.clear import ClearRequest, ClearResult, clear
from recoverd.operations.pin import PinRequest, pin

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def cleared(house: House, **what: bool) -> ClearResult:
    house.assess()
    return clear(house.context, ClearRequest("app", **what))


def test_live_state_comes_back_with_undo(house: House) -> None:
    """Promise 4: nothing is lost; names that no item covers are not touched."""
    house.snapshot()
    (house.tasks / "notes.txt").write_text("not covered")
    before = house.contents()
    result = cleared(house, live=True)
    assert (result.files, result.removed, result.stopped) == (101, (), False)
    assert result.quarantine is not None
    assert os.path.isdir(result.quarantine)
    assert house.contents() == {"tasks/notes.txt": b"not covered"}
    house.undo()
    assert house.contents() == before
    assert house.verdict() == "ok"


def test_what_lies_in_the_place_of_state_goes_too(house: House) -> None:
    """A link, a FIFO, a directory that could not be captured: all that an item covers, and undo brings it back."""
    house.snapshot()
    for path in (house.state, house.tasks / "task-001.json", house.tasks / "task-002.json"):
        path.unlink()
    house.state.symlink_to("elsewhere")
    os.mkfifo(house.tasks / "task-001.json")
    (house.tasks / "task-002.json").mkdir()
    (house.tasks / "task-002.json" / "inside").touch()
    assert cleared(house, live=True).files == 101
    assert not house.state.is_symlink()
    assert os.listdir(house.tasks) == []
    house.undo()
    assert os.readlink(house.state) == "elsewhere"
    assert (house.tasks / "task-001.json").is_fifo()
    assert (house.tasks / "task-002.json" / "inside").exists()


def test_known_good_state_comes_back_with_a_restore(house: House) -> None:
    house.snapshot()
    before = house.contents()
    cleared(house, live=True)
    assert house.restore(snapshot="app/good").outcome == "restored"
    assert house.contents() == before


def test_a_running_service_is_stopped_first(judged: House) -> None:
    judged.snapshot()
    judged.start()
    assert cleared(judged, live=True).stopped
    assert not judged.running()
    assert judged.restore(snapshot="app/good").healthy  # it stays wanted


def test_snapshots_go_with_their_data_and_numbers_are_not_used_again(house: House) -> None:
    """Pinned ones too, which the result tells; live state stays."""
    house.write(1)
    house.snapshot()
    house.write(2)
    house.snapshot()
    pin(house.context, PinRequest(("app/1",)))
    before = house.contents()
    result = cleared(house, snapshots=True)
    assert (set(result.removed), result.pinned, result.files) == ({"app/1", "app/2"}, 1, 0)
    assert result.freed_bytes > 0
    assert house.list() == []
    assert house.packs == []
    assert house.contents() == before
    house.reopen()
    assert house.snapshot().id == "app/3"


def test_all_makes_a_fresh_service(house: House) -> None:
    house.snapshot()
    result = cleared(house, snapshots=True, live=True)
    assert (result.files, result.removed) == (101, ("app/1",))
    house.tasks.rmdir()
    assert house.verdict() == "new"


def test_a_dry_run_changes_nothing_and_says_the_same(judged: House) -> None:
    judged.snapshot()
    judged.start()
    before = judged.contents()
    result = cleared(judged, snapshots=True, live=True, dry_run=True)
    assert (result.files, len(result.removed), result.stopped, result.quarantine) == (
        101,
        len(judged.list()),
        True,
        None,
    )
    assert judged.running()
    assert judged.contents() == before
    assert judged.list()


def test_a_service_that_is_declared_no_more(house: House) -> None:
    """Its snapshots can go; where its state lies nobody knows any more."""
    from dataclasses import replace

    house.snapshot()
    context = house.context
    context.config = replace(context.config, services={})
    with pytest.raises(UsageError):
        clear(context, ClearRequest("app", live=True))
    assert clear(context, ClearRequest("app", snapshots=True)).removed == ("app/1",)
    with pytest.raises(UsageError):
        clear(context, ClearRequest("app", snapshots=True))


def test_nothing_there_is_nothing_cleared(house: House) -> None:
    assert clear(house.context, ClearRequest("app", snapshots=True, dry_run=True)).removed == ()
    for path in [house.state, *house.tasks.iterdir()]:
        path.unlink()
    result = cleared(house, live=True)
    assert (result.files, result.quarantine) == (0, None)
    assert result.to_json()["removed"] == []
