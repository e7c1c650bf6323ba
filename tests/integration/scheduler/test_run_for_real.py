"""`recoverd run` with the real operations on a real repository, read through its records."""

from __future__ import annotations

import json
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.repository.store import Repository

if TYPE_CHECKING:
    from .conftest import World

REAL = Path(__file__).with_name("real_child.py")


def save(world: World, name: str, value: Any) -> None:
    """As a careful service writes: a temporary file, renamed."""
    world.write(f"{name}.json", json.dumps(value))


def snapshots(world: World, name: str) -> list[dict[str, Any]]:
    """The records on disk, by sequence."""
    directory = world.directory / "state" / "repository" / "snapshots" / name
    return [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]


def packs(world: World) -> list[Path]:
    return list((world.directory / "state" / "repository" / "packs").glob("*/*.tar.zst"))


def contents(world: World, name: str) -> list[Any]:
    """The document in each snapshot, read back through its hashes."""
    state_dir = world.directory / "state"
    repository = Repository.open(str(state_dir / "repository"), state_dir=str(state_dir))
    found = []
    with repository.reader() as reader:
        for snapshot in repository.snapshots(name):
            entry = reader.item_entry(snapshot.items["main"].root)
            assert entry is not None
            found.append(json.loads(b"".join(part for part in reader.file_chunks(entry) if isinstance(part, bytes))))
    return found


@pytest.fixture
def real(world: World) -> World:
    save(world, "a", {"n": 0})
    save(world, "b", {"n": 0})
    world.script = REAL
    return world


def test_two_services_share_a_pack_and_idle_ones_write_nothing(real: World) -> None:
    """repository.md: one pack for each tick; nothing changed since the parent: no snapshot."""
    run = real.start()
    run.until(lambda: snapshots(real, "b"), "the first snapshots")
    assert len(packs(real)) == 1
    run.until(lambda: run.log().count("snapshot.unchanged b") >= 2, "confirmations")
    assert (len(packs(real)), len(snapshots(real, "a")), len(snapshots(real, "b"))) == (1, 1, 1)
    save(real, "a", {"n": 1})
    run.until(lambda: len(snapshots(real, "a")) == 2, "the second snapshot")
    assert len(snapshots(real, "b")) == 1
    assert run.stop() == 0


def test_what_was_written_just_before_the_stop_is_saved(real: World) -> None:
    """config.md, `on_shutdown`: the last state is in the repository when `run` has ended."""
    run = real.start()
    run.until(lambda: snapshots(real, "b"), "the first snapshots")
    save(real, "b", {"n": "last words"})
    assert run.stop() == 0
    assert contents(real, "b")[-1] == {"n": "last words"}


def test_killed_again_and_again_it_goes_on_where_it_was(real: World) -> None:
    """Promises 6 and 9: `kill -9` at any instant leaves every committed snapshot, and no lock in the way."""
    moments, counted = random.Random(7), 0
    for round_number in range(4):
        run = real.start()
        save(real, "a", {"n": round_number})
        run.until(partial(_more_than, real, counted), "a snapshot of this round")
        for n in range(3):
            save(real, "a", {"n": [round_number, n]})
            time.sleep(moments.random() * 0.3)
        before = [one["sequence"] for one in snapshots(real, "a")]
        run.signal(signal.SIGKILL)
        assert run.ended() == -signal.SIGKILL
        after = [one["sequence"] for one in snapshots(real, "a")]
        assert after[: len(before)] == before
        assert len(set(after)) == len(after)
        counted = len(after)
    save(real, "a", {"n": "end"})
    run = real.start()
    run.until(partial(_more_than, real, counted), "a snapshot after the kills")
    assert "snapshot.failed" not in run.log()
    assert run.stop() == 0
    documents = contents(real, "a")
    assert len(documents) == len(snapshots(real, "a"))
    assert documents[-1] == {"n": "end"}


def _more_than(world: World, count: int) -> bool:
    return len(snapshots(world, "a")) > count
