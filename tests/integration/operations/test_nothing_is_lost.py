"""Promise 4: what a restore replaces goes to quarantine first, and `recoverd undo` puts it back."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recoverd.errors import StateError, UsageError
from recoverd.operations.clear import ClearRequest, clear
from recoverd.operations.processes import driver_of
from recoverd.recovery import board

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def _quarantined(house: House) -> dict[str, bytes]:
    base = house.state_dir / "quarantine"
    return {str(p.relative_to(base)): p.read_bytes() for p in base.rglob("*") if p.is_file()}


def test_what_was_replaced_is_in_quarantine_with_the_evidence(house: House) -> None:
    house.snapshot()
    torn = b'{"version": "1", "count'
    house.state.write_bytes(torn)
    result = house.restore()
    place = next(one.quarantine for one in result.items if one.source == "snapshot")
    assert place is not None
    files = {p.name: p.read_bytes() for p in Path(place).rglob("*") if p.is_file()}
    evidence = json.loads(files.pop("evidence.json"))
    assert list(files.values()) == [torn]
    assert "app/1" in json.dumps(evidence)
    assert "ends" in json.dumps(evidence) or "not" in json.dumps(evidence)


def test_undo_puts_it_back_and_the_next_restore_leaves_it_alone(house: House) -> None:
    """An undo implies accept of exactly that content, or the next boot would redo the restore."""
    house.snapshot()
    house.state.write_bytes(b"broken, and wanted so")
    (house.tasks / "task-001.json").write_bytes(b"{")
    before = house.contents()
    assert house.restore().outcome == "restored"
    assert house.contents() != before
    undone = house.undo()
    assert undone.exit_status == 0
    assert house.contents() == before
    result = house.restore()
    assert (result.outcome, result.exit_status) == ("untouched", 0)
    assert house.contents() == before


def test_accepted_damage_that_changes_is_damage_again(house: House) -> None:
    good = house.write(3)
    house.snapshot()
    house.state.write_bytes(b"broken, and wanted so")
    house.restore()
    house.undo()
    house.state.write_bytes(b"broken in another way")
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good


def test_an_undo_can_be_undone(house: House) -> None:
    house.snapshot()
    house.state.write_bytes(b"broken")
    before = house.contents()
    house.restore()
    after = house.contents()
    for _ in range(3):
        house.undo()
        assert house.contents() == before
        house.undo()
        assert house.contents() == after


def test_what_a_restore_created_goes_away_with_its_undo(house: House) -> None:
    """The path was absent before; after the undo it is absent again, and the restored file is in quarantine."""
    good = house.write(8)
    house.snapshot()
    house.state.unlink()
    assert house.verdict() == "missing"
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good
    house.undo()
    assert not house.state.exists()
    assert good in _quarantined(house).values()


def test_an_explicit_restore_over_good_state_loses_nothing(house: House) -> None:
    """Tasks that the snapshot lacks go to quarantine with the rest; undo brings all back."""
    house.write(1)
    house.snapshot()
    house.write(2)
    house.write_task("task-new")
    (house.tasks / "task-000.json").unlink()
    before = house.contents()
    result = house.restore(snapshot="app/1")
    assert (result.outcome, result.exit_status) == ("restored", 0)
    assert json.loads(house.state.read_bytes())["counter"] == 1
    assert (house.tasks / "task-000.json").exists()
    assert not (house.tasks / "task-new.json").exists()
    house.undo()
    assert house.contents() == before


def test_names_that_the_item_does_not_cover_are_never_touched(house: House) -> None:
    """`include: ["*.json"]`: what else lies in the directory stays, also under an explicit restore."""
    (house.tasks / "notes.txt").write_text("mine")
    (house.tasks / "sub").mkdir()
    (house.tasks / "sub" / "other.bin").write_bytes(b"\0\1")
    house.snapshot()
    for path in house.tasks.glob("task-0[0-4]*.json"):
        path.unlink()
    (house.tasks / "notes.txt").write_text("still mine")
    assert house.restore(snapshot="app/good").outcome == "restored"
    assert (house.tasks / "notes.txt").read_text() == "still mine"
    assert (house.tasks / "sub" / "other.bin").read_bytes() == b"\0\1"
    assert len(list(house.tasks.glob("*.json"))) == 100


def test_mode_and_times_come_back(house: House) -> None:
    house.state.chmod(0o640)
    os.utime(house.state, ns=(1_600_000_000_123_456_789, 1_600_000_000_123_456_789))
    house.snapshot()
    house.state.write_bytes(b"")
    house.state.chmod(0o600)
    house.restore()
    status = house.state.stat()
    assert (status.st_mode & 0o7777, status.st_mtime_ns) == (0o640, 1_600_000_000_123_456_789)


def test_a_dry_run_changes_nothing_and_says_what_would_be(house: House) -> None:
    house.snapshot()
    house.state.write_bytes(b"")
    before = house.contents()
    result = house.restore(dry_run=True)
    assert result.outcome == "restored"
    assert [(one.item, one.candidate) for one in result.items if one.source == "snapshot"] == [("main", "app/1")]
    assert house.contents() == before
    assert house.verdict() == "corrupt"
    assert not _quarantined(house)


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda path, elsewhere: path.symlink_to(elsewhere), "symbolic link"),
        (lambda path, elsewhere: os.mkfifo(path), "FIFO"),
        (lambda path, elsewhere: path.mkdir(), "directory"),
    ],
    ids=["symlink", "FIFO", "directory"],
)
@pytest.mark.parametrize("document", ["state.json", "tasks/task-004.json"])
def test_something_planted_in_a_documents_place(house: House, plant, words: str, document: str) -> None:  # type: ignore[no-untyped-def]
    """Promise 12: it is never followed or opened; it goes to quarantine, and the document comes back."""
    secret = house.root / "secret.json"
    secret.write_bytes(b'{"version": "1", "counter": 666, "id": "secret"}')
    path = house.root / "state" / document
    good = path.read_bytes()
    house.snapshot()
    path.unlink()
    plant(path, secret)
    assessed = house.assess()
    assert assessed.services[0].verdict == "corrupt"
    assert any(words in str(p) for item in assessed.services[0].items.values() for p in item.problems)
    house.snapshot()
    assert house.restore().outcome == "restored"
    assert path.read_bytes() == good
    assert not path.is_symlink()
    assert secret.read_bytes() == b'{"version": "1", "counter": 666, "id": "secret"}'


def test_there_is_nothing_to_undo_at_first(house: House) -> None:
    house.snapshot()
    with pytest.raises(UsageError, match="nothing to undo"):
        house.undo()


def test_undo_of_a_name_that_does_not_exist(house: House) -> None:
    house.snapshot()
    house.state.write_bytes(b"")
    house.restore()
    with pytest.raises(UsageError, match="no quarantine") as raised:
        house.undo("app/nonsense")
    assert "app/" in (raised.value.hint or "")


def test_a_service_that_was_stopped_for_an_undo_that_fails_is_up_again(judged: House) -> None:
    """Everything is as it was, and so is the service."""
    judged.snapshot()
    judged.state.write_bytes(b"damaged")
    assert judged.restore().healthy
    away = judged.root / "away"
    judged.state.parent.rename(away)
    with pytest.raises(StateError, match="is gone"):
        judged.undo()
    away.rename(judged.state.parent)
    driver = driver_of(judged.context, judged.service)
    assert driver is not None and driver.status().running


def test_a_service_that_was_stopped_for_a_clearing_that_fails_is_up_again(
    judged: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged.snapshot()
    assert judged.restore().healthy

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(board, "_shift", fails)
    with pytest.raises(StateError, match="everything is as it was"):
        clear(judged.context, ClearRequest("app", live=True))
    assert json.loads(judged.state.read_bytes())["counter"] == 0
    driver = driver_of(judged.context, judged.service)
    assert driver is not None and driver.status().running


@pytest.mark.parametrize("fit", [True, False], ids=["on state that is ok", "on damaged state"])
def test_a_service_that_was_stopped_for_a_restore_that_fails(
    judged: House, monkeypatch: pytest.MonkeyPatch, fit: bool
) -> None:
    """It is up again where its state is fit to run on, and never started on damaged state."""
    judged.snapshot()
    assert judged.restore().healthy
    judged.write(5) if fit else judged.state.write_bytes(b"damaged")

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(board, "exchange", fails)
    result = judged.restore(snapshot="app/1") if fit else judged.restore()
    assert (result.outcome, result.exit_status) == ("failed", 1)
    assert "everything is as it was" in result.reasons[0]
    driver = driver_of(judged.context, judged.service)
    assert driver is not None and driver.status().running is fit
