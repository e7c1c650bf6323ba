"""What migrations pin is bounded: a machine that migrates often, or tries often, keeps no snapshot for ever unasked."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.migration_model import MigrationStep
from recoverd.config.model import Retention
from recoverd.operations.migration_pins import MOST_STEPS, superseded
from recoverd.operations.pin import PinRequest, pin

_STEPS = st.sets(st.sampled_from([f"{n} to {n + 1}" for n in range(15)]), min_size=1, max_size=3)


@given(st.dictionaries(st.integers(1, 200), _STEPS, max_size=60), st.sets(st.integers(1, 200), max_size=3))
def test_of_each_step_the_first_and_the_newest_stay(pinned: dict[int, set[str]], just: set[int]) -> None:
    """Bounded whatever the history: two for each of the newest steps, and what the migration itself is about."""
    gone = superseded(pinned, just)
    left = {sequence: steps for sequence, steps in pinned.items() if sequence not in gone}
    assert not just.intersection(gone)
    assert len(left) <= 2 * MOST_STEPS + len(just)
    newest = {step: max(n for n, steps in pinned.items() if step in steps) for each in pinned.values() for step in each}
    for step in sorted(newest, key=lambda one: (newest[one], one))[-MOST_STEPS:]:
        found = [sequence for sequence, steps in pinned.items() if step in steps]
        assert {min(found), max(found)} <= left.keys()
    assert superseded(left, just) == []  # what was decided stays decided


def again(update: Any, counter: int) -> int:
    """The old version of the service came back and wrote; then it was updated once more: the snapshot from before."""
    update.house.write(counter)
    done = update.migrate()
    assert done.outcome == "migrated", done
    update.migrations.append(done.quarantine.rpartition("/")[2])
    return int(done.snapshot.rpartition("/")[2])


def test_many_migrations_keep_two_snapshots_pinned(update: Any) -> None:
    """The first and the newest; the others fall to retention, and every undo still works (promise 4)."""
    made = [again(update, counter) for counter in range(6)]
    assert update.pinned() == [made[0], made[-1]]
    marks = {one.snapshot.sequence: one for one in update.house.list()}
    assert marks[made[0]].kept_by[-2:] == ("pinned", "migration")
    assert marks[made[0]].to_json()["migrated"] == ["1 to 2"]
    update.house.change(retention=Retention(last=1))
    removed = update.house.prune().removed
    assert {f"app/{one}" for one in made[1:-1]} <= set(removed)
    assert update.pinned() == [made[0], made[-1]]
    for counter, quarantine in reversed(list(enumerate(update.migrations))):
        update.house.undo(quarantine)
        assert update.main == {"version": "1", "counter": counter}


def test_a_failed_try_costs_no_pin_more(update: Any) -> None:
    """Tries that fail, state that changes in between: at most two pinned snapshots whatever happens."""
    update.declare(MigrationStep("1", "2", command=("false",)))
    for counter in range(5):
        update.house.write(counter)
        assert update.migrate().outcome == "failed"
    assert len(update.pinned()) == 2
    assert update.main == {"version": "1", "counter": 4}


def test_what_somebody_pinned_by_hand_stays(update: Any) -> None:
    """Whoever pins a snapshot that a migration had pinned makes it his own; his are never unpinned."""
    first = again(update, 1)
    mine = again(update, 2)
    (told,) = pin(update.house.context, PinRequest((f"app/{mine}",))).snapshots
    assert (told.pinned, told.changed) == (True, True)
    update.house.write(3)
    update.house.snapshot()
    pin(update.house.context, PinRequest(("app/latest",)))
    by_hand = update.pinned()[-1]
    newest = [again(update, counter) for counter in (3, 4, 5)][-1]
    assert update.pinned() == [first, mine, by_hand, newest]
    (told,) = pin(update.house.context, PinRequest((f"app/{first}",), pinned=False)).snapshots
    assert (told.pinned, told.changed) == (False, True)
    again(update, 6)
    assert first not in update.pinned()


def test_restores_of_old_snapshots_are_bounded_too(update: Any) -> None:
    """Each restore from a snapshot of an older version pins what it took, until the next one took another."""
    update.house.change(retention=Retention(last=20))
    for counter in range(5):
        update.house.write(counter)
        update.house.snapshot()
    assert update.migrate().outcome == "migrated"
    for sequence in (4, 2, 3):
        assert update.house.restore(snapshot=f"app/{sequence}").outcome == "restored"
        assert update.main == {"version": "2", "counter": sequence - 1, "runs": []}
        assert sequence in update.pinned()
    assert update.pinned() == [2, 3, 6]  # the first, what the last restore took, and the one from before the update


def test_another_step_keeps_its_own(update: Any) -> None:
    """The next update of the service takes nothing from the last one's."""
    first = again(update, 1)
    schema = {"type": "object", "required": ["version"], "properties": {"version": {"const": "3"}}}
    update.declare(MigrationStep("2", "3", rename={"/runs": "/history"}), current="3", schema=schema)
    done = update.migrate()
    assert (done.outcome, update.main["history"]) == ("migrated", [])
    assert json.loads(update.house.state.read_bytes())["version"] == "3"
    assert update.pinned() == [first, int(done.snapshot.rpartition("/")[2])]
