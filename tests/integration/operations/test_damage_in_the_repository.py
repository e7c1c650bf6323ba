"""Promise 7: damage in the repository is detected, never restored; the next candidate is taken."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recoverd.errors import RepositoryError
from recoverd.health.results import Status

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def _flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.chmod(0o600)
    path.write_bytes(data)


def _new_pack(house: House, before: list[Path]) -> Path:
    return next(path for path in house.packs if path not in before)


def test_a_damaged_pack_makes_the_next_older_candidate_win(house: House) -> None:
    old = house.write(1)
    house.snapshot()
    before = house.packs
    house.write(2)
    house.snapshot()
    pack = _new_pack(house, before)
    for offset in range(0, pack.stat().st_size // 2, 7):
        _flip(pack, offset)
    house.state.write_bytes(b"")
    house.reopen()
    result = house.restore()
    assert (result.outcome, result.exit_status) == ("restored", 0)
    assert house.state.read_bytes() == old
    assert next(one.candidate for one in result.items if one.source == "snapshot") == "app/1"


def test_no_flipped_bit_ever_reaches_the_disk(house: House) -> None:
    """Seeded flips anywhere in any pack: what is restored is one of the versions that were captured, or nothing."""
    versions = [house.write(0)]
    house.snapshot()
    for counter in (1, 2):
        versions.append(house.write(counter))
        house.snapshot()
    originals = {path: path.read_bytes() for path in house.packs}
    dice = random.Random(20260)
    outcomes = set()
    for _ in range(25):
        path = dice.choice(list(originals))
        _flip(path, dice.randrange(len(originals[path])))
        house.state.write_bytes(b"")
        house.reopen()
        result = house.restore()
        outcomes.add(result.outcome)
        if result.outcome == "restored":
            assert house.state.read_bytes() in versions
        else:
            assert result.exit_status == 1
            assert house.state.read_bytes() == b""
        for each, data in originals.items():
            if not each.exists() or each.read_bytes() != data:
                each.write_bytes(data)
    assert "restored" in outcomes


def test_a_deleted_pack_is_named_and_passed_over(house: House) -> None:
    old = house.write(1)
    house.snapshot()
    before = house.packs
    house.write(2)
    house.snapshot()
    _new_pack(house, before).unlink()
    house.state.write_bytes(b"")
    house.reopen()
    result = house.restore()
    assert result.outcome == "restored"
    assert house.state.read_bytes() == old


def test_known_good_is_carried_forward_past_a_damaged_parent(house: House) -> None:
    """The newest snapshot's trees are gone: the next capture builds on the newest that can still be read."""
    house.write(1)
    house.snapshot()
    before = house.packs
    house.write(2)
    house.snapshot()
    _new_pack(house, before).unlink()
    (house.state_dir / "catalog.sqlite").unlink()
    house.state.write_bytes(b"")
    house.reopen()
    captured = house.snapshot()
    assert captured.outcome in {"saved", "invalid"}
    house.reopen()
    assert house.restore().outcome == "restored"
    assert b'"counter": 1' in house.state.read_bytes()


def test_a_damaged_record_is_told_and_the_others_still_work(house: House) -> None:
    good = house.write(1)
    house.snapshot()
    house.write(2)
    house.snapshot()
    record = house.state_dir / "repository" / "snapshots" / "app" / "000000000002.json"
    _flip(record, 100)
    house.state.write_bytes(b"")
    house.reopen()
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good
    assert any(result.status != "OK" and "read" in result.message for result in house.check().results)


def test_without_a_catalog_everything_still_works(house: House) -> None:
    good = house.write(1)
    house.snapshot()
    for damage in ("gone", "garbage"):
        house.context.repository().close()
        for path in house.state_dir.glob("catalog.sqlite*"):
            path.unlink()
        if damage == "garbage":
            (house.state_dir / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
        house.reopen()
        house.state.write_bytes(b"")
        assert house.restore().outcome == "restored"
        assert house.state.read_bytes() == good


@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_check_tells_of_a_repository_that_lost_its_packs(house: House, instead: str) -> None:
    """cli.md: one list of results; that the repository can't be listed hides nothing that is known of services."""
    house.snapshot()
    packs = Path(house.context.repository().packs_path)
    packs.rename(packs.with_name("elsewhere"))
    if instead == "a file":
        packs.touch()
    house.reopen()
    results = {one.name: one for one in house.check().results}
    assert results["repository"].status is Status.CRITICAL
    assert results["repository"].hint
    assert "can't be listed" in results["repository"].message
    assert results["snapshots"].figures["snapshots"].value == 1


def test_into_a_directory_the_next_older_snapshot_is_written_whole(house: House) -> None:
    """Promise 7, and `restore --to`: what is damaged is passed over and named; nothing is left by half."""
    from recoverd.errors import DamagedObject
    from recoverd.operations.extract import ExtractRequest, extract

    old = house.write(1)
    house.snapshot()
    before = house.packs
    house.write(2)
    house.write_task("task-000", n=2)
    house.snapshot()
    _new_pack(house, before).unlink()
    house.reopen()
    out = house.root / "out"
    result = extract(house.context, ExtractRequest(str(out)))
    assert {one.snapshot for one in result.items} == {"app/1"}
    assert result.exit_status == 0
    assert "app/2 is passed over" in result.notes[0]
    assert [path.name for path in out.iterdir()] == ["app"]
    assert (out / "app" / "main" / "state.json").read_bytes() == old
    with pytest.raises(DamagedObject):
        extract(house.context, ExtractRequest(str(house.root / "named"), snapshot="app/2"))
    assert list((house.root / "named").iterdir()) == []


@pytest.mark.parametrize("instead", ["nothing", "a FIFO", "a link"])
def test_a_repository_that_lost_its_format_is_not_taken_for_none(house: House, instead: str) -> None:
    """Promise 7: else every service would count as new, and start empty."""
    house.snapshot()
    path = house.state_dir / "repository" / "format.json"
    path.unlink()
    if instead == "a FIFO":
        os.mkfifo(path)
    elif instead == "a link":
        path.symlink_to("/dev/zero")
    house.state.unlink()
    house.reopen()
    for work in (house.list, house.assess, house.restore, house.snapshot):
        with pytest.raises(RepositoryError) as raised:
            work()
        assert "format.json" in f"{raised.value.message} {raised.value.hint}"
    assert not house.state.exists()
    assert house.check().status is Status.CRITICAL


def test_what_lies_in_the_place_of_the_reserve_is_not_waited_for(house: House) -> None:
    house.snapshot()
    for path in house.state_dir.rglob("reserve"):
        path.unlink()
        os.mkfifo(path)
    house.write(5)
    assert house.snapshot().outcome == "saved"
    assert house.prune().exit_status == 0


def test_no_memory_of_recoverd_is_waited_for(house: House) -> None:
    """A FIFO in the place of any file that it keeps beside the repository hangs nothing; state comes back."""
    good = house.write(1)
    house.snapshot()
    house.state.write_bytes(b"")
    house.restore()
    house.state.write_bytes(b"")
    house.restore()
    house.snapshot()
    house.reopen()
    found = [path for path in house.state_dir.rglob("*.json") if "repository" not in path.parts]
    assert len(found) > 3  # evidence of two restores, what is remembered of the service and of its restores
    for path in found:
        path.unlink()
        os.mkfifo(path)
    house.state.write_bytes(b"")
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good
    assert house.check().results
    assert house.snapshot().outcome == "unchanged"
