"""Promises 4, 5, 9 and 10: a restore stopped at every call that changes a disk, and each such call made to fail.

A real recoverd restores three items of different kinds and starts a real process on them. Whatever happened to it: what
is not marked as unfinished is wholly old or wholly new, and no process runs on anything else; the next restore ends
well; then all is new, everything that was replaced lies in quarantine, once, nothing else is left anywhere, and the
service runs, once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from recoverd.recovery.swapping import finish_intent
from tests.conftest import Torture
from tests.crash.calls.actions import FAULTS
from tests.crash.calls.house import Told, Warm
from tests.crash.calls.restoring import SAMPLE, VARIANTS, Restored, Seen, Tree
from tests.crash.calls.stopping import WRITES

FAILURES = ("EIO once", "a dead disk", "ENOSPC once", "a full disk", "short")
BESIDE = re.compile(r"/catalog\.sqlite|/state/(services|resume|repository|logs)|/run")  # is the same in all variants


class Attack:
    """One variant under attack: what it does when nothing happens to it, and what must hold whatever does."""

    def __init__(self, name: str, house: Restored) -> None:
        self.name, self.house, self.variant = name, house, house.variant
        house.use()
        self.old = house.seen()
        house.interrupt()
        told = house.act().fine()
        self.calls: list[str] = told.calls
        self.new = house.seen()
        assert self.new[0] == (house.before or house.generations[self.variant.brings])
        assert self.new[1] - self.old[1] >= _replaced(self.old[0], self.new[0])
        self.well(told)
        self.examine(house.run("restore"), [self.new])
        self.allowed = [self.new]
        if self.variant.good:
            self.allowed.append(self.old)
        if self.variant.killed_before:
            # two starts that came to no proof: what was written gives way to the next older snapshot
            older = house.generations[self.variant.brings - 1]
            self.allowed.append((older, _replaced(self.old[0], older) + _replaced(self.new[0], self.old[0])))

    def well(self, told: Told) -> None:
        """A command that says that it succeeded: the state is there, and the service was healthy on it."""
        told.fine()
        for one in told.json.get("services", [told.json]):
            assert one["healthy"] is True, told.out
            assert one.get("outcome", "restored") in {"restored", "untouched"}, told.out
        assert len(self.house.processes()) == 1

    def examine(self, told: Told, allowed: list[Seen]) -> Seen:
        """After a restore that nothing happened to."""
        self.well(told)
        seen = self.house.seen()
        assert seen in allowed, _difference(seen, allowed)
        assert self.house.leftovers() == []
        assert self.house.held_locks() == []
        return seen

    def outcome_of(self, fault: dict[str, Any], at: int) -> str:
        """Try one point. What became of it; raises AssertionError with all there is to know."""
        self.house.use()
        self.house.interrupt()
        told = self.house.act(at=at, **fault)
        if not told.hit:
            return "not reached"
        following: Told | None = None
        try:
            outcome = self._first(told)
            if at % 2 and self.house.intent.exists():
                assert finish_intent("app", str(self.house.made / "state")) is not None
                assert self.house.seen()[0] in (self.old[0], self.new[0])
            following = self.house.run("restore")
            seen = self.examine(following, self.allowed)
            if at % 8 == 0:
                again = self.house.run("restore")
                assert again.json["services"][0]["outcome"] == "untouched", again.out
                self.examine(again, [seen])
                self.house.run("prune").fine()
                assert self.house.leftovers(pruned=True) == []
        except Exception as error:
            why = "".join(traceback.format_exception(error)[-2:])
            both = [{"status": x.status, "out": x.out, "err": x.err} for x in (told, following) if x is not None]
            text = json.dumps(both, indent=1).replace("\\n", "\n")
            raise AssertionError(f"{self.name}, {fault}, at call {at}: {told.hit}\n{why}\n{text}") from error
        return outcome

    def _first(self, told: Told) -> str:
        """What the disturbed command left, before anybody else comes."""
        state, unfinished = self.house.seen_state(), self.house.intent.exists()
        assert unfinished or state in (self.old[0], self.new[0]), _difference_of(state, [self.old[0], self.new[0]])
        assert state in (self.old[0], self.new[0]) or self.house.processes() == []
        how = "unfinished" if unfinished else "new" if state == self.new[0] else "old"
        if told.status == -signal.SIGKILL:
            return f"killed, {how}"
        assert "Traceback" not in told.err, told.err
        assert told.status in {0, 1}
        if told.status == 0:
            assert state == self.new[0]
            self.well(told)
            return "succeeded"
        document = told.json
        sentences = [document["error"]["message"]] if "error" in document else document["services"][0]["reasons"]
        assert sentences, told.out
        return f"failed, {how}"


def _replaced(old: Tree, new: Tree) -> Counter[bytes]:
    """What must be in quarantine: every content that lay where there is another one now, or none."""
    return Counter(was[-1] for name, was in old.items() if was[0] == "file" and new.get(name, ("",))[-1] != was[-1])


def _difference(seen: Seen, allowed: list[Seen]) -> str:
    told = [_difference_of(seen[0], [one[0] for one in allowed])]
    told += [f"quarantine: {_short(seen[1] - one[1])} more, {_short(one[1] - seen[1])} less" for one in allowed]
    return "\n".join(told)


def _difference_of(state: Tree, allowed: list[Tree]) -> str:
    return "\n".join(
        f"{name}: {str(state.get(name))[:80]} instead of {str(one.get(name))[:80]}"
        for one in allowed
        for name in sorted(state.keys() | one.keys())
        if state.get(name) != one.get(name)
    )


def _short(contents: Counter[bytes]) -> list[bytes]:
    return [one[:40] for one in contents.elements()]


def attack(one: Attack, torture: Torture, fault_name: str, points: list[int]) -> int:
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    for at in points:
        try:
            outcomes[one.outcome_of(FAULTS[fault_name], at)] += 1
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, f"{len(wrong)} of {len(points)} points\n" + "\n\n".join(wrong[:8])
    found = ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items()))
    torture.tell(outcomes.total() - outcomes["not reached"], f"points of {one.name}, {fault_name}", found)
    return outcomes.total()


@pytest.fixture(scope="module")
def attacks(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Attack]]:
    """Each variant is made once."""
    houses: list[Restored] = []
    known: dict[str, Attack] = {}

    def get(name: str) -> Attack:
        variant = VARIANTS[name]
        if name not in known:
            if variant.other_disk and (
                not os.access("/dev/shm", os.W_OK)
                or os.stat("/dev/shm").st_dev == tmp_path_factory.getbasetemp().stat().st_dev
            ):
                pytest.skip("needs a second file system to write to")
            houses.append(Restored(tmp_path_factory.mktemp("restored") / "house", warm, variant))
            if variant.refused and warm.refused:
                pytest.skip(f"nobody can refuse an exchange here: {warm.refused}")
            known[name] = Attack(name, houses[-1])
        return known[name]

    yield get
    for house in houses:
        house.close()


def points_of(one: Attack, fault_name: str, *, everywhere: bool) -> list[int]:
    """The calls at which a fault makes a difference; not `everywhere`: those of the transaction alone."""
    short = FAULTS[fault_name]["fault"] == "short"
    return [
        number
        for number, call in enumerate(one.calls, 1)
        if (everywhere or not BESIDE.search(call)) and (not short or call.split()[0] in WRITES)
    ]


@pytest.mark.parametrize("name", VARIANTS if os.environ.get("RECOVERD_TORTURE") else SAMPLE)
def test_killed_at_every_call(attacks: Callable[[str], Attack], torture: Torture, name: str) -> None:
    """SIGKILL before each call; of ways that differ in the transaction alone, before every other call of that."""
    one, step = attacks(name), 1 if name in SAMPLE else 2
    points = points_of(one, "killed", everywhere=name in SAMPLE or bool(one.variant.killed_before))
    attack(one, torture, "killed", torture.sample(points[torture.random.randrange(step) :: step], 3))


@pytest.mark.parametrize("name", VARIANTS if os.environ.get("RECOVERD_TORTURE") else SAMPLE)
def test_an_error_at_every_call(attacks: Callable[[str], Attack], torture: Torture, name: str) -> None:
    """Each call fails, once or from there on; a write takes only half: then all goes well.

    At each call of the first way; of others at some of those of the transaction.
    """
    one, first = attacks(name), name == SAMPLE[0]
    step = 1 if first else 8 if name in SAMPLE else 16
    for fault_name in FAILURES if torture.full else [torture.random.choice(FAILURES)]:
        points = points_of(one, fault_name, everywhere=first or bool(one.variant.killed_before))
        some = points[torture.random.randrange(min(step, len(points))) :: step]
        attack(one, torture, fault_name, some if torture.full else [torture.random.choice(points)])
