"""Promise 5 by model: whatever part of a plan was carried out, planning again or finishing reaches the same end.

The model says what each step does to the three names that it is about, one change of a directory after the other, on
disks that can exchange names, that can't, and that can only link and unlink. A test holds it against the real one.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.recovery.board import Board
from recoverd.recovery.places import opened
from recoverd.recovery.plan import Action, Damage, Plan, Target, Version, plans
from recoverd.recovery.steps import ASIDE, Condition, Node, Outcome, Seen, Step, StepKind, condition, decide
from recoverd.repository.trees import Entry
from recoverd.state.verdicts import Verdict
from recoverd.system import swap

EXCHANGE, NOREPLACE = 2, 1  # flags of renameat2(2)
STRANGER = 7


@dataclass(frozen=True)
class Disk:
    """What a file system can do."""

    name: str
    refused: frozenset[int]


DISKS = (
    Disk("exchange", frozenset()),
    Disk("two renames", frozenset({EXCHANGE})),
    Disk("links", frozenset({EXCHANGE, NOREPLACE})),
)


@dataclass
class World:
    """The names of all steps, and the inodes under them; every method gives way after each change of a directory."""

    disk: Disk
    steps: list[Step]
    names: dict[tuple[int, str], int]  # (number of the step, target | slot | aside) -> inode

    @staticmethod
    def of(disk: Disk, kinds: Sequence[StepKind]) -> World:
        steps, names = [], {}
        for number, kind in enumerate(kinds):
            new = None if kind is StepKind.REMOVE else Node(1, 100 + number)
            old = None if kind is StepKind.CREATE else Node(1, 200 + number)
            steps.append(Step(kind, "i", f"/srv/{number}", "", 0, f"{number}", new, old))
            if new is not None:
                names[number, "slot"] = new.inode
            if old is not None:
                names[number, "target"] = old.inode
        return World(disk, steps, names)

    def seen(self, number: int) -> Seen:
        target, slot, aside = (self.names.get((number, name)) for name in ("target", "slot", "aside"))
        return Seen(target, slot, aside)

    def outcome(self) -> Outcome:
        return decide(self.steps, [self.seen(number) for number in range(len(self.steps))])[0]

    def forward(self) -> Iterator[None]:
        for number in range(len(self.steps)):
            yield from self.step_forward(number)

    def back(self) -> Iterator[None]:
        for number in reversed(range(len(self.steps))):
            yield from self.step_back(number)

    def step_forward(self, number: int) -> Iterator[None]:
        step, seen = self.steps[number], self.seen(number)
        how = condition(step, seen)
        assert how in {Condition.TODO, Condition.DONE}
        if step.new is None:
            if seen.target is not None:
                yield from self._shift(number, "target", "slot")
            return
        if how is Condition.TODO:
            if seen.target is not None and EXCHANGE not in self.disk.refused:
                yield from self._exchange(number)
            else:
                if seen.target is not None:
                    yield from self._shift(number, "target", "aside")
                yield from self._move(number, "slot", "target")
        elif seen.slot == step.new.inode:
            del self.names[number, "slot"]
            yield
        if (number, "aside") in self.names:
            yield from self._shift(number, "aside", "slot")

    def step_back(self, number: int) -> Iterator[None]:
        step, seen = self.steps[number], self.seen(number)
        if step.new is None:
            if seen.slot is not None:
                yield from self._put_back(number, "slot")
            return
        if seen.target == step.new.inode:
            if seen.slot in {None, step.new.inode}:
                yield from self._shift(number, "target", "slot")
            elif EXCHANGE not in self.disk.refused:
                yield from self._exchange(number)
            else:
                yield from self._shift(number, "slot", "aside")
                yield from self._move(number, "target", "slot")
        if (number, "aside") in self.names:
            yield from self._put_back(number, "aside")

    def _put_back(self, number: int, waiting: str) -> Iterator[None]:
        if self.names.get((number, "target")) == self.names[number, waiting]:
            del self.names[number, waiting]
            yield
        else:
            yield from self._move(number, waiting, "target")

    def _exchange(self, number: int) -> Iterator[None]:
        target, slot = self.names[number, "target"], self.names[number, "slot"]
        self.names |= {(number, "target"): slot, (number, "slot"): target}
        yield

    def _shift(self, number: int, source: str, name: str) -> Iterator[None]:
        if (number, name) in self.names:
            assert self.names[number, name] == self.names[number, source], "nothing is ever replaced"
            del self.names[number, source]
            yield
        else:
            yield from self._move(number, source, name)

    def _move(self, number: int, source: str, name: str) -> Iterator[None]:
        assert (number, name) not in self.names, "nothing is ever replaced"
        self.names[number, name] = self.names[number, source]
        if NOREPLACE in self.disk.refused:
            yield
        del self.names[number, source]
        yield


def some(work: Iterator[None], changes: int) -> None:
    """Do so many changes of a work, or all of it."""
    for _ in itertools.islice(work, changes):
        pass


def finish(work: Iterator[None]) -> int:
    """Do all of it; how many changes that took."""
    return sum(1 for _ in work)


WORLDS = st.builds(World.of, st.sampled_from(DISKS), st.lists(st.sampled_from(StepKind), min_size=1, max_size=4))
STOPS = st.lists(st.integers(0, 12), max_size=5)


def everything(world: World) -> dict[tuple[int, str], int]:
    """Where everything is in the end."""
    found: dict[tuple[int, str], int] = {}
    for number, step in enumerate(world.steps):
        found |= {(number, "target"): step.new.inode} if step.new is not None else {}
        found |= {(number, "slot"): step.old.inode} if step.old is not None else {}
    return found


@given(WORLDS, STOPS)
def test_a_swap_that_is_entered_again_ends_the_same(world: World, stops: list[int]) -> None:
    """Stopped after any number of changes, any number of times: it still goes forward, to one and the same end."""
    for changes in stops:
        some(world.forward(), changes)
        assert world.outcome() is Outcome.FORWARD
    finish(world.forward())
    assert world.names == everything(world)
    assert finish(world.forward()) == 0, "once more changes nothing"


@given(WORLDS, st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=6), st.booleans())
def test_forward_and_back_by_turns_lose_nothing(world: World, turns: list[tuple[bool, int]], forward: bool) -> None:
    """An error is taken back, a kill in that is finished, and so on: all old or all new, and every object is there."""
    before, objects = dict(world.names), set(world.names.values())
    for goes_forward, changes in turns:
        some(world.forward() if goes_forward else world.back(), changes)
        assert set(world.names.values()) == objects
        assert world.outcome() is Outcome.FORWARD
    finish(world.forward() if forward else world.back())
    assert world.names == (everything(world) if forward else before)


@given(WORLDS, st.integers(0, 12), st.randoms(use_true_random=False), STOPS)
def test_where_something_staged_is_lost_all_goes_back(
    world: World, changes: int, chance: Random, stops: list[int]
) -> None:
    """However often the way back is interrupted, it is the way back that is taken again, and all is as it was."""
    before = {key: inode for key, inode in world.names.items() if key[1] == "target"}
    some(world.forward(), changes)
    waiting = [n for n, step in enumerate(world.steps) if condition(step, world.seen(n)) is Condition.TODO and step.new]
    if not waiting:
        return
    del world.names[chance.choice(waiting), "slot"]
    for stop in stops:
        assert world.outcome() is Outcome.BACK
        some(world.back(), stop)
    assert world.outcome() is Outcome.BACK
    finish(world.back())
    assert {key: inode for key, inode in world.names.items() if key[1] == "target"} == before
    assert not [key for key in world.names if key[1] == "aside"]


@given(WORLDS, st.integers(0, 12), st.randoms(use_true_random=False))
def test_what_a_stranger_wrote_stops_it_until_that_is_gone(world: World, changes: int, chance: Random) -> None:
    """Neither old nor new at a target: nothing is decided; moved away, it all goes on to the same end."""
    some(world.forward(), changes)
    number = chance.randrange(len(world.steps))
    mine = world.names.get((number, "target"))
    world.names[number, "target"] = STRANGER
    assert world.outcome() is Outcome.STUCK
    if mine is None:
        del world.names[number, "target"]
    else:
        world.names[number, "target"] = mine
    assert world.outcome() is Outcome.FORWARD
    finish(world.forward())
    assert world.names == everything(world)


# --- the model is what the disk does


class Stop(BaseException):
    """The end of a process."""


def stop_after(changes: int, monkeypatch: pytest.MonkeyPatch, disk: Disk) -> None:
    """So many renames, links and deletions, and then none. What has failed does not count."""
    left = [changes]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **options: object) -> object:
            if left[0] == 0:
                raise Stop
            answer = real(*args, **options)  # one that fails changes nothing
            left[0] -= not answer
            return answer

        return call

    rename = swap._renameat2()
    counted_rename = counted(rename)

    def renameat2(*args: object) -> object:
        return errno.EINVAL if args[-1] in disk.refused else counted_rename(*args)

    monkeypatch.setattr(swap, "_renameat2", lambda: renameat2)
    monkeypatch.setattr(os, "link", counted(os.link))
    monkeypatch.setattr(os, "unlink", counted(os.unlink))


class Both:
    """One step on a real disk, and the same in the model."""

    def __init__(self, base: Path, kind: StepKind, disk: Disk) -> None:
        (base / "place").mkdir(parents=True)
        self.world = World.of(disk, [kind])
        names = {"target": base / "target", "slot": base / "place" / "0", "aside": base / "place" / f"0{ASIDE}"}
        real = {inode: _made(names[name]) for (_, name), inode in self.world.names.items()}
        self._modelled = {number: inode for inode, number in real.items()}
        new, old = (
            None if one is None else Node(base.stat().st_dev, real[one.inode])
            for one in (self.world.steps[0].new, self.world.steps[0].old)
        )
        self._step = Step(kind, "i", str(names["target"]), "", 0, "0", new, old)
        self._place = opened(str(base / "place"), os.open(base / "place", os.O_RDONLY))
        self._board = Board([self._place])

    def go(self, forward: bool, changes: int) -> None:
        """So many changes, in both; then they are the same."""
        with pytest.MonkeyPatch.context() as patch:
            stop_after(changes, patch, self.world.disk)
            with suppress(Stop):
                (self._board.forward if forward else self._board.take_back)(self._step)
        some(self.world.forward() if forward else self.world.back(), changes)
        seen = self._board.look(self._step)
        target, slot, aside = (
            None if one is None else self._modelled[one] for one in (seen.target, seen.slot, seen.aside)
        )
        found = Seen(target, slot, aside)
        assert found == self.world.seen(0)

    def close(self) -> None:
        self._board.close()
        self._place.close()


@pytest.mark.parametrize("kind", StepKind)
@pytest.mark.parametrize("disk", DISKS, ids=lambda disk: str(disk.name))
def test_the_model_is_what_a_board_does(tmp_path: Path, kind: StepKind, disk: Disk) -> None:
    """After each number of changes the real names are as the model has them, also when they go on from there."""
    for number, (first, changes, second) in enumerate(itertools.product((True, False), range(6), (True, False))):
        both = Both(tmp_path / f"{number}", kind, disk)
        if not first:
            both.go(True, 100)
        both.go(first, changes)
        both.go(second, 2)
        both.go(not second, 100)
        both.go(True, 100)
        assert both.world.names == everything(both.world)
        both.close()


def _made(path: Path) -> int:
    path.write_bytes(b"")
    return path.stat().st_ino


# --- plans

TARGETS: list[Target] = [("main", ""), ("tasks", "a"), ("tasks", "b"), ("third", "")]
Documents = dict[Target, str | None]  # what lies there: the letter of a good version, "?" for damage


def version(sequence: int, letter: str) -> Version:
    entry = Entry(letter, "file", 0o640, 0, 0, "", "", 1, 0, hash=letter)
    return Version(sequence, sequence, entry)


@st.composite
def histories(draw: st.DrawFn) -> dict[Target, list[Version]]:
    found = {}
    for target in TARGETS:
        letters = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4))
        found[target] = [version(9 - number, letter) for number, letter in enumerate(letters)]
    return found


def planned(
    documents: Documents, versions: dict[Target, list[Version]], unusable: set[tuple[str, str, str]], exhausted: str
) -> Plan:
    found = [
        Damage(*target, Verdict.CORRUPT, (), Action.RESTORE, "corrupt state is restored")
        for target, content in documents.items()
        if content == "?"
    ]
    return plans("app", found, versions, unusable=frozenset(unusable), exhausted=exhausted)[0]


def carried_out(documents: Documents, plan: Plan, number: int) -> None:
    step = plan.steps[number]
    documents[step.item, step.document] = None if step.version.entry is None else step.version.entry.hash


@given(
    histories(),
    st.sets(st.sampled_from(TARGETS)),
    st.sets(st.tuples(st.sampled_from(TARGETS), st.sampled_from("abcdef"))),
    st.sampled_from(["block", "leave", "empty"]),
    st.randoms(use_true_random=False),
)
def test_a_plan_that_is_made_again_after_some_of_its_steps_ends_the_same(
    versions: dict[Target, list[Version]],
    damaged: set[Target],
    bad: set[tuple[Target, str]],
    exhausted: str,
    chance: Random,
) -> None:
    """Scope item: whatever steps were carried out, planning anew from what lies there then brings the same documents;
    and when nothing is left to do, a plan has no step.
    """
    start: Documents = {target: "?" if target in damaged else "good" for target in TARGETS}
    unusable = {(*target, letter) for target, letter in bad}
    whole = planned(start, versions, unusable, exhausted)
    end = dict(start)
    for number in range(len(whole.steps)):
        carried_out(end, whole, number)

    now, plan = dict(start), whole
    while plan.steps:
        for number in chance.sample(range(len(plan.steps)), chance.randint(1, len(plan.steps))):
            carried_out(now, plan, number)
        plan = planned(now, versions, unusable, exhausted)
        assert {(step.item, step.document) for step in plan.steps} <= damaged
    assert now == end
    assert plan.action in {Action.LEAVE, whole.action}
    assert now.keys() - damaged == {target for target in TARGETS if now[target] == "good"}
