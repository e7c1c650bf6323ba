"""Promises 2 and 3: bad state never counts, and the last known-good snapshot can't be deleted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Retention

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

DAMAGES = {
    "empty": b"",
    "white space": b" \n\t ",
    "NUL": bytes(300),
    "NUL tail": b'{"version": "1", "counter": 5' + bytes(60),
    "cut in half": b'{"version": "1", "cou',
    "last byte gone": b'{"version": "1", "counter": 5',
    "two halves": b'{"version": "1", "counter": 5"1", "counter": 5}',
    "random": b"\x8f\x01\xfe\x00\x99garbage",
    "fails its schema": b'{"version": "1", "counter": -5}',
    "another shape": b"[]",
    "not a number": b'{"version": "1", "counter": NaN}',
    "one trailing quote": b'{"version": "1", "counter": 5}"',
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_evidence_and_the_good_version_comes_back(house: House, damage: str) -> None:
    """Whatever the damage: the capture is invalid, a restore brings back the very bytes from before."""
    good = house.write(42)
    house.snapshot()
    house.state.write_bytes(DAMAGES[damage])
    captured = house.snapshot()
    assert (captured.outcome, captured.verdict) == ("invalid", "invalid")
    assert house.verdict() == "corrupt"
    result = house.restore()
    assert (result.outcome, result.exit_status) == ("restored", 0)
    assert house.state.read_bytes() == good
    assert house.verdict() == "ok"


def test_one_task_of_a_hundred(house: House) -> None:
    """Later snapshots still count, the ninety-nine keep their history, the one comes back alone."""
    house.snapshot()
    good = (house.tasks / "task-050.json").read_bytes()
    (house.tasks / "task-050.json").write_bytes(bytes(200))
    for round_ in range(5):  # life goes on around the damage
        for number in range(100):
            if number != 50:
                house.write_task(f"task-{number:03d}", round=round_)
        captured = house.snapshot()
        assert (captured.outcome, captured.verdict) == ("saved", "partial")
    house.prune()
    listed = house.list()
    assert [one.snapshot.verdict for one in listed] == ["partial"] * 5 + ["ok"]
    assert all("last" in one.kept_by for one in listed)
    newest = json.loads((house.tasks / "task-010.json").read_bytes())
    inode = (house.tasks / "task-010.json").stat().st_ino
    result = house.restore()
    assert result.outcome == "restored"
    assert [one.document for one in result.items if one.source == "snapshot"] == ["task-050.json"]
    assert (house.tasks / "task-050.json").read_bytes() == good
    assert json.loads((house.tasks / "task-010.json").read_bytes()) == newest == {"id": "task-010", "round": 4}
    assert (house.tasks / "task-010.json").stat().st_ino == inode


def test_the_ninety_nine_can_be_read_from_a_partial_snapshot(house: House) -> None:
    """Their newest versions are in it, also when everything is lost afterwards."""
    house.snapshot()
    (house.tasks / "task-050.json").write_bytes(b"{")
    house.write_task("task-051", round=1)
    assert house.snapshot().verdict == "partial"
    for path in house.tasks.iterdir():
        path.unlink()
    house.tasks.rmdir()
    result = house.restore()
    assert result.outcome == "restored"
    assert json.loads((house.tasks / "task-051.json").read_bytes())["round"] == 1
    assert json.loads((house.tasks / "task-050.json").read_bytes())["id"] == "task-050"
    assert len(list(house.tasks.iterdir())) == 100


def test_a_crash_loop_of_bad_captures_pushes_nothing_good_out(house: House) -> None:
    """Fifty different damages are captured with retention applied after each: the good one is still there."""
    house.change(retention=Retention(last=2, keep_invalid=3))
    good = house.write(1)
    assert house.snapshot().id == "app/1"
    for number in range(50):
        house.state.write_bytes(b"damage %d" % number)
        assert house.snapshot().outcome == "invalid"
    listed = house.list()
    assert [one.snapshot.sequence for one in listed] == [51, 50, 49, 1]
    house.restore()
    assert house.state.read_bytes() == good


def test_damage_that_stays_is_captured_once(house: House) -> None:
    """An unchanged bad state makes no further snapshot: flash memory and the allowance are spared."""
    house.snapshot()
    house.state.write_bytes(b"")
    assert house.snapshot().outcome == "invalid"
    assert house.snapshot().outcome == "unchanged"


@pytest.mark.parametrize("years", [-30, -1, 1, 30])
def test_no_clock_makes_the_known_good_go(house: House, monkeypatch: pytest.MonkeyPatch, years: int) -> None:
    """The clock jumps, bad captures follow, retention keeps as little as it may: the good one stays."""
    from recoverd.system import clock

    house.change(retention=Retention(last=1, keep_invalid=0))
    good = house.write(1)
    house.snapshot()
    real = clock.now_ns
    monkeypatch.setattr(clock, "now_ns", lambda: max(1, real() + years * 365 * 86400 * 10**9))
    for number in range(3):
        house.state.write_bytes(b"damage %d" % number)
        house.snapshot()
    house.prune()
    house.restore()
    assert house.state.read_bytes() == good


def test_the_only_carrier_of_a_known_good_item_is_kept(house: House) -> None:
    """The newest snapshots lack the item (it was declared later): the one that carries it stays."""
    house.change(retention=Retention(last=1))
    house.snapshot()
    both = house.service.state
    house.change(state={"tasks": both["tasks"]})
    for number in range(3):
        house.write_task("task-000", number=number)
        house.snapshot()
    kept = {one.snapshot.sequence: one.kept_by for one in house.list()}
    assert kept[1] == ("known-good",)


def test_a_document_that_was_never_good_blocks_and_says_so(house: House) -> None:
    """There is no version to go back to: nothing is touched, exit status 1, and the reason names the document."""
    (house.tasks / "task-999.json").write_bytes(b"{")
    assert house.snapshot().verdict == "partial"
    before = house.contents()
    result = house.restore()
    assert (result.outcome, result.exit_status) == ("blocked", 1)
    assert any("task-999.json" in reason for reason in result.reasons)
    assert house.contents() == before


def test_a_deleted_document_is_no_damage(house: House) -> None:
    """Services delete documents."""
    house.snapshot()
    (house.tasks / "task-003.json").unlink()
    assert house.verdict() == "ok"
    assert house.snapshot().verdict == "ok"
    assert house.restore().outcome == "untouched"
    assert not (house.tasks / "task-003.json").exists()


def test_a_stricter_schema_makes_old_snapshots_unusable_not_restored(house: House) -> None:
    """What a snapshot called ok is judged again by the schema of today before it is written."""
    house.write(5)
    house.snapshot()
    good = house.write(50)
    house.snapshot()
    house.state.write_bytes(b"")
    strict = {"type": "object", "properties": {"counter": {"minimum": 60}}}
    main = replace(house.service.state["main"], schema=house.schema(strict))
    house.change(state={**house.service.state, "main": main})
    result = house.restore()
    assert (result.outcome, result.exit_status) == ("blocked", 1)
    assert [attempt.result for attempt in result.attempts] == ["invalid", "invalid"]
    looser = replace(main, schema=house.schema({"type": "object", "properties": {"counter": {"minimum": 40}}}))
    house.change(state={**house.service.state, "main": looser})
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good
