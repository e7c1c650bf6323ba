"""`repository.max_bytes` and `repository.min_free`: what goes for them, and what never does."""

from __future__ import annotations

import errno
import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.config.model import Retention
from recoverd.health.results import Status
from recoverd.operations.bounding import room_of
from recoverd.operations.context import Context
from recoverd.operations.pin import PinRequest, pin
from recoverd.operations.rejecting import Taken
from recoverd.operations.snapshot import SnapshotRequest, snapshot
from recoverd.operations.unproven import Unproven, save
from recoverd.recovery import intents
from recoverd.repository.records import Marks
from recoverd.system.clock import now_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from recoverd.operations.prune import PruneResult
    from tests.integration.operations.conftest import House

NEVER = 1 << 60  # more than any disk has


def bound(house: House, **keys: Any) -> None:
    """From now on the repository has these bounds, as after a change of the configuration."""
    config = house.context.config
    config = replace(config, repository=replace(config.repository, **keys))
    house._context = Context(config, house.context.events, house.context.runtime_dir, wait_s=1)


def save_versions(house: House, count: int, *, first: int = 1) -> None:
    """So many snapshots, each with 100 kB that no other has."""
    for number in range(first, first + count):
        house.write(number, payload=random.Random(number).randbytes(50_000).hex())
        assert house.snapshot(prune=False).outcome == "saved"


def kept(house: House, service: str = "app") -> list[int]:
    return house.context.repository().sequences(service)


def size_bytes(house: House) -> int:
    return house.context.repository().statistics().size_bytes


def told(house: House) -> list[str]:
    return [one.message for one in house.events if one.name == "disk.low"]


def results(house: House) -> Mapping[str, Status]:
    return {one.name: one.status for one in house.check().results}


@pytest.fixture
def roomy(house: House) -> House:
    """Ten snapshots of about the same size, all kept by retention."""
    house.change(retention=Retention(last=100))
    save_versions(house, 10)
    return house


def test_the_oldest_go_until_the_repository_is_small_enough(roomy: House) -> None:
    """And no more than needed: with one less the bound would not be met. The result says why each went."""
    limit, whole = size_bytes(roomy) // 2, size_bytes(roomy)
    bound(roomy, max_bytes=limit)
    result = roomy.prune()
    assert size_bytes(roomy) <= limit
    assert limit - size_bytes(roomy) < 1.1 * whole / 10
    assert kept(roomy) == list(range(len(result.removed) + 1, 11))
    assert result.to_json()["removed"] == [
        {"id": f"app/{number}", "because": ["max_bytes"]} for number in range(1, len(result.removed) + 1)
    ]
    assert (result.exit_status, result.unmet, told(roomy)) == (0, (), [])
    assert result.freed_bytes == whole - size_bytes(roomy)
    again = roomy.prune()
    assert (again.removed, again.freed_bytes) == ((), 0)
    assert results(roomy)["repository"] is Status.OK


def test_each_snapshot_that_adds_one_keeps_the_bound(roomy: House) -> None:
    """Without `recoverd prune` and without its cron, as long as something is saved."""
    limit = size_bytes(roomy)
    bound(roomy, max_bytes=limit)
    for number in range(11, 16):
        roomy.write(number, payload=random.Random(number).randbytes(50_000).hex())
        assert roomy.snapshot().outcome == "saved"
        assert size_bytes(roomy) <= limit
    assert kept(roomy)[-1] == 15
    assert len(kept(roomy)) in {8, 9, 10}


def test_what_retention_removes_has_another_reason(roomy: House) -> None:
    """Both in one prune: first what retention lets go, then for the bound."""
    bound(roomy, max_bytes=size_bytes(roomy) // 2)
    roomy.service = replace(roomy.service, retention=Retention(last=8))
    config = replace(roomy.context.config, services={"app": roomy.service})
    roomy.context.config = config
    reasons = {one["id"]: one["because"] for one in roomy.prune().to_json()["removed"]}
    assert (reasons["app/1"], reasons["app/2"], reasons["app/3"]) == (["retention"], ["retention"], ["max_bytes"])


def test_what_must_stay_stays_and_is_told_loudly(roomy: House) -> None:
    """Promise 3: the last known-good snapshot can't be deleted by a full disk. Nor pinned and proven ones."""
    repository = roomy.context.repository()
    pin(roomy.context, PinRequest(("app/3",)))
    repository.set_marks("app", 5, lambda marks: replace(marks, proven_ns=1))
    repository.set_marks("app", 4, lambda marks: replace(marks, proven_ns=1))  # an older one may go
    bound(roomy, max_bytes=1)
    result = roomy.prune()
    assert kept(roomy) == [3, 5, 10]
    (unmet,) = result.unmet
    assert (unmet.bound, result.exit_status) == ("max_bytes", 1)
    assert any("no more snapshots may go" in note for note in result.notes)
    assert result.to_json()["unmet"] == [{"bound": "max_bytes", "limit_bytes": 1, "found_bytes": size_bytes(roomy)}]
    roomy.prune()
    (message,) = told(roomy)  # once, until it was met again
    assert "max_bytes" in message
    assert results(roomy)["repository"] is Status.WARNING
    roomy.state.unlink()
    assert roomy.restore().outcome == "restored"
    assert json.loads(roomy.state.read_bytes())["counter"] == 10


@pytest.mark.parametrize("keys", [{"min_free_bytes": NEVER}, {"min_free_share": 0.999999}])
def test_no_history_is_given_up_for_what_it_can_not_bring(roomy: House, keys: dict[str, Any]) -> None:
    """A disk that others have filled: where all snapshots together are too little, none goes, and that is told."""
    bound(roomy, **keys)
    assert roomy.prune(dry_run=True).removed == ()
    result = roomy.prune()
    assert (result.removed, result.exit_status, len(kept(roomy))) == ((), 1, 10)
    assert [one.bound for one in result.unmet] == ["min_free"]
    assert "lacks more than all snapshots take" in result.notes[-1]
    assert "lacks more than all snapshots take" in told(roomy)[0]
    assert results(roomy)["repository-space"] in {Status.WARNING, Status.CRITICAL}


def test_a_bound_that_is_met_again_is_told_again_when_it_is_not(roomy: House) -> None:
    """One event for each time it happens."""
    for limit in (1, NEVER, 1):
        config = roomy.context.config
        roomy.context.config = replace(config, repository=replace(config.repository, max_bytes=limit))
        roomy.prune()
    assert len(told(roomy)) == 2


def test_evidence_goes_before_anything_good(roomy: House) -> None:
    """Promise 2: what is invalid never pushes a good one out, however young it is."""
    for number in (11, 12):  # the second carries the known-good version on
        roomy.state.write_bytes(random.Random(number).randbytes(200_000))
        assert roomy.snapshot(prune=False).outcome == "invalid"
    bound(roomy, max_bytes=size_bytes(roomy) - 1)
    result = roomy.prune()
    assert result.removed == ("app/11",)
    assert kept(roomy) == [*range(1, 11), 12]


def test_what_a_restore_under_way_has_taken_from_stays(roomy: House) -> None:
    """repository.md: never deletable is what a restore in progress names; also for retention."""
    evidence = {"plan": [{"item": "main", "from": "app/2"}, {"item": "tasks", "from": "sibling x"}]}
    intent = intents.Intent("id", "app", "restore", 0, 1, "/q", (), (), evidence)
    intents.save(str(roomy.state_dir), intent)
    bound(roomy, max_bytes=1)
    roomy.prune()
    assert kept(roomy) == [2, 10]
    assert dict(roomy.prune().kept)["app/2"][-1] == "restore"
    intents.clear(str(roomy.state_dir), "app")
    roomy.prune()
    assert kept(roomy) == [10]


def test_a_restore_whose_record_is_damaged_may_need_anything(roomy: House) -> None:
    """What can't be read lets nothing be deleted."""
    path = roomy.state_dir / "intents" / "app.json"
    path.parent.mkdir()
    path.write_text("{")
    bound(roomy, max_bytes=1)
    assert roomy.prune().exit_status == 1
    assert kept(roomy) == list(range(1, 11))


def test_what_was_restored_at_boot_and_is_not_proven_stays(roomy: House) -> None:
    """Between the two phases of a boot a restore is in progress."""
    repository = roomy.context.repository()
    save(repository, "app", Unproven("app/4", ("quarantine",), (Taken(4, "main", ""),)))
    bound(roomy, max_bytes=1)
    roomy.prune()
    assert kept(roomy) == [4, 10]


def test_services_that_are_not_declared_keep_theirs(roomy: House) -> None:
    """Nobody says what is worth what of them: that takes `clear`."""
    config = roomy.context.config
    other = replace(roomy.service, name="other")
    roomy.context.config = replace(config, services={"app": roomy.service, "other": other})
    assert len(snapshot(roomy.context, SnapshotRequest(services=("other",), prune=False)).services) == 1
    roomy.context.config = config
    bound(roomy, max_bytes=1)
    roomy.prune()
    assert (kept(roomy), kept(roomy, "other")) == ([10], [1])


def test_all_services_give_also_when_one_is_pruned(roomy: House) -> None:
    """The bounds are the repository's. A service that another recoverd works on waits for next time."""
    config = roomy.context.config
    other = replace(roomy.service, name="other", retention=Retention(last=1))
    roomy.context.config = replace(config, services={"app": roomy.service, "other": other})
    assert snapshot(roomy.context, SnapshotRequest(services=("other",))).services[0].outcome == "saved"
    bound(roomy, max_bytes=1)
    repository = roomy.context.repository()
    with repository.service_lock("app", wait_s=0, what="the test"):
        result = roomy.prune(services=("other",))
    assert (len(kept(roomy)), result.exit_status) == (10, 1)
    assert any(note.startswith("app is left for next time") for note in result.notes)
    roomy.prune(services=("other",))
    assert kept(roomy) == [10]


def test_while_no_data_may_be_deleted_no_snapshot_goes_for_it(roomy: House) -> None:
    """An unreadable record stops deletion of data: removing more records would free nothing."""
    (roomy.state_dir / "repository" / "snapshots" / "app" / "000000000002.json").write_text("{")
    bound(roomy, max_bytes=1)
    result = roomy.prune()
    assert (result.removed, result.exit_status) == ((), 1)
    assert len(kept(roomy)) == 10


def test_somebody_who_reads_costs_one_round(roomy: House) -> None:
    """Packs wait for readers; meanwhile no more snapshots go than the next prune needs."""
    bound(roomy, max_bytes=1)
    with roomy.context.repository().reader():
        first = roomy.prune()
    assert len(first.removed) <= 1
    assert first.notes
    assert roomy.prune().freed_bytes > 0
    assert kept(roomy) == [10]


def test_a_dry_run_foresees_it_and_changes_nothing(roomy: House) -> None:
    """What removals free is an estimate, here a good one."""
    bound(roomy, max_bytes=size_bytes(roomy) // 2)
    foreseen = roomy.prune(dry_run=True)
    assert kept(roomy) == list(range(1, 11))
    assert foreseen.exit_status == 0
    done = roomy.prune()
    assert abs(len(foreseen.removed) - len(done.removed)) <= 1
    assert set(foreseen.bounded.values()) == {("max_bytes",)}


def test_without_bounds_nothing_is_looked_at(roomy: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cheap enough to forget: retention alone never lists the repository for this."""
    roomy.prune()  # has noted the size for the hour
    monkeypatch.setattr("recoverd.operations.bounding.room_of", None)
    assert roomy.prune().removed == ()


def test_where_too_little_is_free_a_capture_prunes_first_and_still_happens(
    roomy: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`min_free`: the order is prune, then capture; nobody loses a capture for a bound."""
    bound(roomy, min_free_bytes=NEVER)
    roomy.write(11)
    assert roomy.snapshot(prune=False).outcome == "saved"
    names = [one.name.value for one in roomy.events]
    assert names.index("disk.low") < len(names) - names[::-1].index("snapshot.saved") - 1
    assert kept(roomy) == list(range(1, 12))
    roomy.write(12)
    # the last prune could not help, so there is no other at once
    monkeypatch.setattr("recoverd.operations.bounding.lacks_free", None)
    assert roomy.snapshot(prune=False).outcome == "saved"


def test_a_snapshot_from_the_future_goes_for_no_bound(roomy: House) -> None:
    """A wrong clock removes nothing."""
    assert roomy.snapshot(time_ns=2**62, prune=False).id == "app/11"
    bound(roomy, max_bytes=1)
    roomy.prune()
    assert kept(roomy) == [10, 11]


def test_the_newest_good_version_of_every_item_stays(roomy: House) -> None:
    """Where snapshots of an unhealthy service are all that is left."""
    for number in range(1, 11):
        roomy.context.repository().set_marks("app", number, lambda _: Marks(unhealthy=True))
    bound(roomy, max_bytes=1)
    roomy.prune()
    assert kept(roomy) == [10]


def test_growth_is_noted_once_an_hour(roomy: House) -> None:
    """And bounded: it lies in the run history, which keeps the newest 200 of each kind."""
    repository = roomy.context.repository()
    room = room_of(repository)
    yesterday_ns = now_ns() - 24 * 3600 * 10**9
    detail = f"0 {room.free_bytes} {room.total_bytes}"
    repository.catalog.record_run("", "size", yesterday_ns, 0.0, "done", detail)
    for _ in range(3):
        roomy.prune()
    assert len(repository.catalog.runs("", "size", 10)) == 2
    (space,) = [one for one in roomy.check().results if one.name == "repository-space"]
    assert space.figures["growth_bytes_per_day"].value == pytest.approx(size_bytes(roomy), rel=0.2)
    left = space.figures["seconds_until_full"]
    assert (left.unit, left.warn, left.crit) == ("s", 7 * 86400, 86400)


def test_a_missing_reserve_is_told_and_set_up_again(roomy: House) -> None:
    """`recoverd check` names the directory; the next prune allocates it."""
    reserve = roomy.state_dir / "reserve"
    assert "no space reserve" not in roomy.check().results[2].message
    reserve.unlink()
    (space,) = [one for one in roomy.check().results if one.name == "repository-space"]
    assert f"no space reserve in {roomy.state_dir}" in space.message
    assert space.status is not Status.OK
    roomy.prune()
    assert reserve.stat().st_blocks * 512 >= 2 * 1024**2


def kept_ids(result: PruneResult) -> list[str]:
    return [name for name, _ in result.kept]


def test_kept_and_removed_are_all_there_was(roomy: House) -> None:
    """The result tells every snapshot exactly once."""
    bound(roomy, max_bytes=size_bytes(roomy) // 3)
    result = roomy.prune()
    assert sorted([*kept_ids(result), *result.removed]) == sorted(f"app/{number}" for number in range(1, 11))


def test_what_went_before_the_disk_was_full_is_told(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second try, with the room of the reserve, finds those snapshots gone: the result and the event name them."""
    from recoverd.repository.store import Repository

    for counter in range(4):
        house.write(counter)
        house.snapshot(prune=False)
    house.change(retention=Retention(last=1))
    real, full = Repository.delete_records, [True]

    def delete_records(self: Repository, service: str, sequences: list[int]) -> None:
        real(self, service, sequences)
        if full:
            full.clear()
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Repository, "delete_records", delete_records)
    house.events.clear()
    found = house.prune()
    assert set(found.removed) == {"app/1", "app/2", "app/3"}
    assert "prune.finished" in {event.name for event in house.events}
    assert kept(house) == [4]
