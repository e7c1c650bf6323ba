"""`accept`: what is on disk now is good, and stays as it is until it changes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from recoverd.errors import LockHeld, StateError, UsageError
from recoverd.operations.accept import AcceptRequest, AcceptResult, accept

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

APP = AcceptRequest("app")


def accepted(house: House) -> AcceptResult:
    house.assess()  # once what was just written has settled
    return accept(house.context, APP)


def test_a_deliberate_reset_is_pinned_as_known_good(house: House) -> None:
    house.write(1, tasks=list(range(50)))
    house.snapshot()
    house.write(0)
    result = accepted(house)
    assert (result.id, result.verdict, result.accepted) == ("app/2", "ok", ())
    newest = house.list()[0]
    assert (newest.snapshot.reason, newest.marks.pinned, newest.snapshot.verdict.value) == ("accept", True, "ok")
    assert house.restore().outcome == "untouched"


def test_what_is_unchanged_pins_the_snapshot_that_holds_it(house: House) -> None:
    """No second snapshot of the same; done twice it is the same."""
    house.snapshot()
    assert [accepted(house).id for _ in range(2)] == ["app/1", "app/1"]
    assert house.list()[0].marks.pinned


def test_damage_is_left_alone_as_long_as_it_does_not_change(house: House) -> None:
    """cli.md: what stays corrupt by format is left alone and reported as long as its content does not change."""
    house.write(1)
    house.snapshot()
    house.state.write_bytes(b'{"half')
    (house.tasks / "task-001.json").write_bytes(b"")
    result = accepted(house)
    assert result.verdict == "corrupt"
    assert set(result.accepted) == {("main", "", "corrupt"), ("tasks", "task-001.json", "corrupt")}
    restored = house.restore()
    assert restored.outcome == "untouched"
    assert any("accepted by its operator" in reason for reason in restored.reasons)
    assert house.state.read_bytes() == b'{"half'
    assert house.verdict() == "corrupt"  # reported all the same
    house.state.write_bytes(b'{"hal')
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() != b'{"hal'
    assert (house.tasks / "task-001.json").read_bytes() == b""


def test_the_last_good_version_stays_restorable(house: House) -> None:
    """Promise 3: accepting damage throws no known-good version away."""
    good = house.write(1)
    house.snapshot()
    house.state.write_bytes(b"\0" * 100)
    accepted(house)
    house.restore(snapshot="app/1")
    assert house.state.read_bytes() == good


def test_an_absence_can_be_accepted(house: House) -> None:
    """State that was removed on purpose stays removed; once it is back, its absence is damage again."""
    house.snapshot()
    house.state.unlink()
    assert accepted(house).accepted == (("main", "", "missing"),)
    assert house.restore().outcome == "untouched"
    assert not house.state.exists()
    assert not [one for one in house.check().results if one.name == "state-path/main" and one.status.value != "OK"]
    house.write(5)
    house.snapshot()
    accepted(house)
    house.state.unlink()
    assert house.restore().outcome == "restored"


def test_an_undo_that_takes_a_restored_file_away_again_holds(house: House) -> None:
    """recovery.md: undo implies accept of exactly that content, or the next boot would redo it; absence too."""
    house.snapshot()
    house.state.unlink()
    assert house.restore().outcome == "restored"
    house.undo()
    assert not house.state.exists()
    assert house.restore().outcome == "untouched"
    assert not house.state.exists()


def test_nothing_at_all_can_be_accepted(house: House) -> None:
    house.state.unlink()
    for path in house.tasks.iterdir():
        path.unlink()
    house.tasks.rmdir()
    result = accepted(house)
    assert (result.id, result.verdict) == (None, "new")


def test_what_can_not_be_read_can_not_be_accepted(house: House) -> None:
    """Nobody knows what is there; nothing is changed."""
    house.snapshot()
    if os.geteuid() == 0:  # who reads everything, but follows no link of others
        os.rename(house.root / "state", house.root / "elsewhere")
        os.symlink(house.root / "elsewhere", house.root / "state")
        os.lchown(house.root / "state", 12345, 12345)
    else:
        os.chmod(house.root / "state", 0)
    try:
        with pytest.raises(StateError, match="can't be accepted"):
            accepted(house)
    finally:
        os.chmod(house.root / "state", 0o755)
    assert not house.list()[0].marks.pinned


def test_it_waits_for_the_service_lock(house: House) -> None:
    """A restore that is under way is not interfered with."""
    house.snapshot()
    house.context.wait_s = 0.1
    with house.context.repository().service_lock("app", wait_s=0, what="x"), pytest.raises(LockHeld):
        accepted(house)
    with pytest.raises(UsageError):
        accept(house.context, AcceptRequest("nobody"))
