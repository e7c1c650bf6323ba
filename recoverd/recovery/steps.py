"""The steps of a transaction, and what the disk says about each (pure).

A step is done if and only if its target *is* the staged inode. Every state that a kill can leave behind is
told apart here by looking at three names: the target, the slot (where the staged object waits, and where the
replaced one ends up), and aside (where the replaced one waits while a file system without exchange needs
two renames).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from recoverd.values import dataclass

ASIDE = ".old"  # suffix of the slot's name


class StepKind(StrEnum):
    EXCHANGE = "exchange"  # target and slot change places
    CREATE = "create"  # nothing is at the target: the slot moves there
    REMOVE = "remove"  # the target moves to the slot


@dataclass(frozen=True, slots=True)
class Node:
    """A file, directory or link on a disk."""

    device: int
    inode: int

    def to_json(self) -> dict[str, str]:
        return {"device": str(self.device), "inode": str(self.inode)}


@dataclass(frozen=True, slots=True)
class Step:
    """One name to change. `relative` is the path below the declared `target`, "" for the target itself."""

    kind: StepKind
    item: str
    target: str
    relative: str
    place: int  # which of the transaction's places holds the slot
    slot: str  # path below that place
    new: Node | None  # what is to be at the target; None for a removal
    old: Node | None  # what is there before; None where nothing is
    companions: tuple[str, ...] = ()  # endings of names beside it that go with it: each has a step of its own

    @property
    def path(self) -> str:
        return f"{self.target}/{self.relative}" if self.relative else self.target

    def to_json(self) -> dict[str, Any]:
        """A JSON object; devices and inodes are strings (64-bit). Names that are not UTF-8 survive as surrogates."""
        companions = {"companions": list(self.companions)} if self.companions else {}
        return companions | {
            "kind": self.kind.value,
            "item": self.item,
            "target": self.target,
            "relative": self.relative,
            "place": self.place,
            "slot": self.slot,
            "new": None if self.new is None else self.new.to_json(),
            "old": None if self.old is None else self.old.to_json(),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Step:
        """The reverse of `to_json`. Raises KeyError, TypeError, ValueError."""
        return Step(
            StepKind(value["kind"]),
            str(value["item"]),
            str(value["target"]),
            str(value["relative"]),
            int(value["place"]),
            str(value["slot"]),
            _node(value["new"]),
            _node(value["old"]),
            tuple(str(ending) for ending in value.get("companions", ())),
        )

    def companion(self, ending: str, old: Node | None) -> Step:
        """The step that takes away what lies beside the target under its name with this ending."""
        target, relative = (self.target, self.relative + ending) if self.relative else (self.target + ending, "")
        return Step(StepKind.REMOVE, self.item, target, relative, self.place, self.slot + ending, None, old)


def _node(value: Mapping[str, Any] | None) -> Node | None:
    return None if value is None else Node(int(value["device"]), int(value["inode"]))


ELSEWHERE = -1  # an object of another file system: certainly neither the staged nor the replaced one


@dataclass(frozen=True, slots=True)
class Seen:
    """The inodes found under a step's three names; None where there is nothing.

    Inodes are enough: an object that is not on the place's own file system is ELSEWHERE, and device numbers do
    not survive a reboot.
    """

    target: int | None
    slot: int | None
    aside: int | None = None
    reachable: bool = True  # whether the directory that holds the target exists


class Condition(StrEnum):
    DONE = "done"
    TODO = "to do"
    LOST = "lost"  # not done, and the staged object is gone
    FOREIGN = "foreign"  # the target is neither the staged object nor the one it was to replace


def condition(step: Step, seen: Seen) -> Condition:
    """How far a step got."""
    new = None if step.new is None else step.new.inode
    old = None if step.old is None else step.old.inode
    if new is None:
        if seen.target is None:
            return Condition.DONE
        return Condition.TODO if seen.target == old and seen.slot in {None, old} else Condition.FOREIGN
    if seen.target == new:
        return Condition.DONE
    if seen.slot != new or not seen.reachable:
        return Condition.LOST
    if seen.target is None or seen.target == old:
        return Condition.TODO
    return Condition.FOREIGN


def can_take_back(step: Step, seen: Seen) -> bool:
    """Whether the target can be made what it was, without touching anything that is not ours."""
    if step.new is not None and seen.target == step.new.inode:
        return True
    if step.new is None or seen.aside is not None:
        # what was replaced waits elsewhere: the target's name must be free for it, or never have changed
        waiting = seen.slot if step.new is None else seen.aside
        return waiting is None or seen.target == waiting or (seen.target is None and seen.reachable)
    # this step never began: what is there must be what was there
    return seen.target is None or (step.old is not None and seen.target == step.old.inode)


class Outcome(StrEnum):
    FORWARD = "forward"
    BACK = "back"
    STUCK = "stuck"


def decide(steps: Sequence[Step], seen: Sequence[Seen]) -> tuple[Outcome, list[str]]:
    """What becomes of an unfinished transaction, and the paths that are in the way of a better answer.

    Forward if every step is done or can be done, what is staged having been validated. Back if a staged object is
    gone. Stuck where a target is neither one nor the other: somebody else wrote there since.
    """
    found = [condition(step, one) for step, one in zip(steps, seen, strict=True)]
    foreign = [step.path for step, one in zip(steps, found, strict=True) if one is Condition.FOREIGN]
    if foreign:
        return Outcome.STUCK, foreign
    lost = [step.path for step, one in zip(steps, found, strict=True) if one is Condition.LOST]
    if not lost:
        return Outcome.FORWARD, []
    stuck = [step.path for step, one in zip(steps, seen, strict=True) if not can_take_back(step, one)]
    # a replaced object that went with its place can't come back
    stuck += [
        step.path
        for step, one, how in zip(steps, seen, found, strict=True)
        if how is Condition.DONE and step.old is not None and one.slot is None and one.aside is None
    ]
    return (Outcome.STUCK, stuck) if stuck else (Outcome.BACK, lost)
