from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.recovery.steps import (
    Condition,
    Node,
    Outcome,
    Seen,
    Step,
    StepKind,
    can_take_back,
    condition,
    decide,
)

NEW, OLD, OTHER = 11, 22, 33
EXCHANGE = Step(StepKind.EXCHANGE, "i", "/srv/x", "a", 0, "1", Node(1, NEW), Node(1, OLD))
CREATE = Step(StepKind.CREATE, "i", "/srv/x", "", 0, "2", Node(1, NEW), None)
REMOVE = Step(StepKind.REMOVE, "i", "/srv/x", "b\udcff", 0, "3", None, Node(1, OLD))
STEPS = st.sampled_from([EXCHANGE, CREATE, REMOVE])
INODES = st.sampled_from([None, NEW, OLD, OTHER])
SEEN = st.builds(Seen, INODES, INODES, INODES, st.just(True))


@given(STEPS, SEEN)
def test_done_if_and_only_if_the_target_is_the_staged_object(step: Step, seen: Seen) -> None:
    """recovery.md: neither one nor the other is never taken for done, nor for still to do."""
    how = condition(step, seen)
    wanted = None if step.new is None else step.new.inode
    assert (how is Condition.DONE) == (seen.target == wanted)
    if seen.target == OTHER:
        assert how in {Condition.FOREIGN, Condition.LOST}
    if how is Condition.TODO and wanted is not None:
        assert seen.slot == wanted


@given(st.lists(st.tuples(STEPS, SEEN), min_size=1, max_size=5))
def test_an_outcome_fits_every_step(found: list[tuple[Step, Seen]]) -> None:
    """Forward only if each step can go forward, back only if each can go back, and a reason for all else."""
    steps, seen = [step for step, _ in found], [one for _, one in found]
    outcome, paths = decide(steps, seen)
    conditions = [condition(step, one) for step, one in found]
    if outcome is Outcome.FORWARD:
        assert set(conditions) <= {Condition.DONE, Condition.TODO}
        assert paths == []
    elif outcome is Outcome.BACK:
        assert Condition.FOREIGN not in conditions
        assert Condition.LOST in conditions
        assert all(can_take_back(step, one) for step, one in found)
    else:
        assert paths


@pytest.mark.parametrize("step", [EXCHANGE, CREATE, REMOVE])
def test_steps_survive_json(step: Step) -> None:
    """Intents are read by the next run: inodes as strings, odd names intact, all that is no step refused."""
    value = step.to_json()
    assert Step.from_json(value) == step
    for side in ("new", "old"):
        assert value[side] is None or all(isinstance(number, str) for number in value[side].values())
    with pytest.raises((KeyError, ValueError)):
        Step.from_json({**value, "kind": "jump"})


def test_the_states_a_kill_leaves_behind() -> None:
    """Each system call of the way with two renames leaves a state that can be finished."""
    way = [Seen(OLD, NEW, None), Seen(OLD, NEW, OLD), Seen(None, NEW, OLD), Seen(NEW, NEW, OLD), Seen(NEW, None, OLD)]
    way += [Seen(NEW, OLD, OLD), Seen(NEW, OLD, None)]
    for seen in way:
        assert decide([EXCHANGE], [seen]) == (Outcome.FORWARD, [])
        assert can_take_back(EXCHANGE, seen)
    assert condition(EXCHANGE, Seen(OLD, NEW, None, reachable=False)) is Condition.LOST
    for pair in itertools.product([OTHER], [NEW, None], [OLD]):
        assert not can_take_back(EXCHANGE, Seen(*pair))
    assert can_take_back(REMOVE, Seen(None, OLD))
    assert not can_take_back(REMOVE, Seen(OTHER, OLD))
    assert not can_take_back(REMOVE, Seen(None, OLD, reachable=False))


def test_what_goes_with_a_database_lies_beside_it() -> None:
    """Also where it counts from a directory that it lies in: never beside that directory."""
    for target, relative in (("/srv/a.db", ""), ("/srv", "a.db"), ("/srv", "sub/a.db")):
        step = Step(StepKind.EXCHANGE, "i", target, relative, 0, "00001", Node(1, 2), Node(1, 3), ("-wal",))
        beside = step.companion("-wal", Node(1, 4))
        assert (beside.path, beside.slot) == (f"{step.path}-wal", "00001-wal")
        assert (beside.target, beside.kind) == (target if relative else f"{target}-wal", StepKind.REMOVE)
