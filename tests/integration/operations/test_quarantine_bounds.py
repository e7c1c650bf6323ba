"""The quarantine is kept within its bounds, and what goes from it is never needed any more (promise 4)."""

from __future__ import annotations

import errno
import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.config.model import QuarantineConfig
from recoverd.errors import UsageError
from recoverd.operations.quarantining import tend, tend_if_due
from recoverd.recovery import quarantine_removing
from recoverd.recovery.evidence import Quarantined, list_quarantine
from recoverd.values import replace

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

DAY_NS = 86400 * 1_000_000_000


def bound(house: House, **rules: Any) -> None:
    house.context.config = replace(house.context.config, quarantine=QuarantineConfig(**rules))


def names(house: House) -> list[str]:
    return [one.id for one in list_quarantine(str(house.state_dir), "app")]


def fill(house: House, count: int) -> list[str]:
    """So many restores, each with something in quarantine, and a good snapshot after the last."""
    house.snapshot()
    for number in range(count):
        house.state.write_bytes(b"damaged" * (number + 1))
        assert house.restore().outcome == "restored"
    house.write(77)
    house.snapshot()
    return names(house)


def test_old_ones_go_and_the_newest_stays(house: House) -> None:
    before = fill(house, 3)
    bound(house, keep_s=0.0)
    done = tend(house.context)
    assert [one for one, _ in done.removed] == [f"app/{one}" for one in before[:2]]
    assert done.freed_bytes > 21
    assert names(house) == before[2:]
    assert sorted(os.listdir(house.state_dir / "quarantine" / "app")) == before[2:]
    assert tend(house.context).removed == ()


def test_the_youngest_bytes_stay(house: House) -> None:
    before = fill(house, 4)
    found = list_quarantine(str(house.state_dir), "app")
    sizes = [quarantine_removing.size_of(one) for one in found]
    bound(house, max_bytes=sum(sizes[2:]))
    assert tend(house.context, dry_run=True).removed == tuple((f"app/{one}", "max_bytes") for one in before[:2])
    assert names(house) == before
    done = tend(house.context)
    assert names(house) == before[2:]
    assert done.kept_bytes == sum(sizes[2:])
    bound(house, max_bytes=1)
    assert "more than quarantine.max_bytes" in tend(house.context).notes[-1]
    assert names(house) == before[3:]


def test_nothing_goes_before_a_proven_snapshot_follows(judged: House) -> None:
    """What was replaced may be all there is of what somebody needs, until the service was healthy without it."""
    judged.start()
    judged.snapshot()
    for _ in range(2):
        judged.state.write_bytes(b"damaged")
        assert judged.restore(start=False).outcome == "restored"
    bound(judged, keep_s=0.0)
    assert tend(judged.context).removed == ()
    assert len(names(judged)) == 2
    judged.state.write_bytes(b"damaged")
    assert judged.restore().healthy
    assert len(tend(judged.context).removed) == 2
    assert len(names(judged)) == 1


def test_the_rest_can_still_be_undone(house: House) -> None:
    fill(house, 3)
    bound(house, keep_s=0.0)
    tend(house.context)
    house.undo()
    assert house.state.read_bytes() == b"damaged" * 3
    with pytest.raises(UsageError, match="there is no quarantine"):
        house.undo("20000101T000000Z-000000")


def test_at_most_once_an_hour_and_by_itself(house: House) -> None:
    """A capture looks after it too; a walk through all that is kept is not made each time."""
    before = fill(house, 2)
    catalog = house.context.repository().catalog
    assert len(catalog.runs("", "quarantine", 9)) == 1  # by the first restore that found any
    bound(house, keep_s=0.0)
    tend_if_due(house.context)
    assert names(house) == before
    run = catalog.runs("", "quarantine", 1)[0]
    catalog.record_run("", "quarantine", run.time_ns - DAY_NS, 0.0, "done", "0")
    house.write(5)
    house.snapshot()
    assert names(house) == before[1:]


def test_one_that_dies_in_between(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a quarantine is never offered for an undo, and the next removal finishes it."""
    before = fill(house, 3)
    bound(house, keep_s=0.0)
    with monkeypatch.context() as patched:
        patched.setattr(
            quarantine_removing, "_remove", lambda path, evidence: (_ for _ in ()).throw(KeyboardInterrupt("killed"))
        )
        with pytest.raises(KeyboardInterrupt):
            tend(house.context)
    assert names(house) == before[1:]
    assert len(os.listdir(house.state_dir / "quarantine" / "app")) == 3
    tend(house.context)
    assert os.listdir(house.state_dir / "quarantine" / "app") == before[2:]


def test_while_another_is_at_it(house: House) -> None:
    """Never under the hands of a restore, and never while one is unfinished."""
    before = fill(house, 2)
    bound(house, keep_s=0.0)
    repository = house.context.repository()
    with repository.service_lock("app", wait_s=0, what="a test"):
        assert "left for next time" in tend(house.context).notes[0]
    intent = Path(house.state_dir / "intents" / "app.json")
    intent.parent.mkdir(exist_ok=True)
    intent.write_text("{")
    assert "unfinished" in tend(house.context).notes[0]
    intent.unlink()
    assert names(house) == before


def test_a_link_in_it_is_not_followed(house: House) -> None:
    """Promise 12: what a service user left in its state is deleted as it is."""
    outside = house.root / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    house.snapshot()
    (house.tasks / "task-000.json").unlink()
    (house.tasks / "task-000.json").symlink_to(outside)
    assert house.restore().outcome == "restored"
    house.state.write_bytes(b"damaged")
    assert house.restore().outcome == "restored"
    house.write(3)
    house.snapshot()
    bound(house, keep_s=0.0)
    assert len(tend(house.context).removed) == 1
    assert (outside / "kept").read_text() == "kept"


def test_check_tells_what_it_takes(house: House) -> None:
    """OK within its bound; a warning, with what to do, when what must stay takes more."""
    house.snapshot()
    assert "quarantine" not in {one.name for one in house.check().results}
    fill(house, 2)
    bound(house, max_bytes=1)
    tend(house.context)
    (found,) = [one for one in house.check().results if one.name == "quarantine"]
    assert found.status == "WARNING"
    assert found.figures["quarantines"].value == 1
    assert found.figures["bytes"].warn == 1
    assert found.figures["bytes"].value > 1
    bound(house, max_bytes=10_000_000)
    (found,) = [one for one in house.check().results if one.name == "quarantine"]
    assert found.status == "OK"


def test_places_beside_targets_go_too(house: House) -> None:
    """What is kept on another file system than the state directory leaves nothing behind there."""
    memory = "/dev/shm"
    if not os.access(memory, os.W_OK) or os.stat(memory).st_dev == os.stat(house.root).st_dev:
        pytest.skip("needs a second file system to write to")
    with tempfile.TemporaryDirectory(dir=memory) as name:
        state = Path(name) / "state.json"
        state.write_bytes(house.state.read_bytes())
        main = replace(house.service.state["main"], path=str(state))
        house.change(state={"main": main})
        house.snapshot()
        for text in ("one", "two"):
            state.write_text(text)
            assert house.restore().outcome == "restored"
        assert len(os.listdir(name)) == 3
        bound(house, keep_s=0.0)
        state.write_bytes(state.read_bytes().replace(b"0", b"1"))
        house.snapshot()
        assert len(tend(house.context).removed) == 1
        assert len(os.listdir(name)) == 2
        house.undo()
        assert state.read_text() == "two"


def test_directories_nested_without_end(house: House, request: pytest.FixtureRequest) -> None:
    """Promise 12: what a service's user nests in its state, and a restore moves aside, stops no later capture."""
    request.addfinalizer(lambda: subprocess.run(["rm", "-rf", str(house.state_dir / "quarantine")], check=True))
    before = fill(house, 1)
    place = house.state_dir / "quarantine" / "app" / before[0]
    fd = os.open(place, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=fd)
        below = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    assert tend(house.context).kept_bytes > 0
    house.state.write_bytes(b"damaged")
    assert house.restore().outcome == "restored"
    house.write(78)
    house.snapshot()
    bound(house, keep_s=0.0)
    catalog = house.context.repository().catalog
    run = catalog.runs("", "quarantine", 1)[0]
    catalog.record_run("", "quarantine", run.time_ns - DAY_NS, 0.0, "done", "0")
    house.write(79)
    assert house.snapshot().outcome == "saved"
    assert "prune.failed" not in {event.name for event in house.events}
    assert before[0] not in names(house)


def test_one_that_can_not_be_removed_keeps_none_of_the_others(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 12: whoever hinders the removal of one quarantine hinders only that; it is told, and tried again."""
    before = fill(house, 4)
    bound(house, keep_s=0.0)
    real = quarantine_removing.remove

    def hindered(one: Quarantined) -> None:
        if one.id == before[0]:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), one.path)
        real(one)

    monkeypatch.setattr(quarantine_removing, "remove", hindered)
    with pytest.raises(OSError, match="not empty"):
        tend(house.context)
    assert names(house) == [before[0], before[-1]]
    monkeypatch.setattr(quarantine_removing, "remove", real)
    assert len(tend(house.context).removed) == 1


def test_nothing_goes_while_a_restore_waits_for_its_proof(house: House) -> None:
    """What it replaced may have to come back, from more than one quarantine."""
    from recoverd.operations import unproven

    before = fill(house, 3)
    bound(house, keep_s=0.0)
    repository = house.context.repository()
    unproven.save(repository, "app", unproven.Unproven("app/1", (), ()))
    assert tend(house.context).removed == ()
    assert names(house) == before
    unproven.save(repository, "app", None)
    assert len(tend(house.context).removed) == 2
