"""Promises 3, 6 and 9: recoverd stopped at every call that changes a disk, and each such call made to fail.

The child is real, and so is what it leaves. Afterwards, whatever happened: the repository opens; every snapshot that
was there before, and every one whose command reported success, gives back bit for bit what the model holds; a new one
is wholly there or not at all; no lock is left; the next snapshot and the next prune work, use no sequence twice, and
leave no temporary file and no pack that nothing needs; nothing is damaged.
"""

from __future__ import annotations

import errno
import json
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Torture
from tests.crash.calls.actions import ACTIONS, FAULTS, SAMPLE, Action
from tests.crash.calls.house import BOUND, SERVICES, House, Told
from tests.crash.calls.stopping import WRITES

KILLS = ("killed", "killed half-way")
EVERYWHERE = ("EIO once", "a full disk", "short")
NOW_AND_THEN = ("ENOSPC once", "a dead disk", "a full quota", "a read-only disk")


@dataclass(frozen=True)
class Undisturbed:
    """What an action does when nothing happens to it."""

    name: str
    calls: list[str]
    before: dict[str, Any]  # records of the template
    doomed: set[str]  # snapshots that it deletes


Look = Callable[[str], Undisturbed]


@pytest.fixture(scope="session")
def undisturbed(house: House) -> Look:
    """An action, prepared and tried once; its template has its name."""
    known: dict[str, Undisturbed] = {}

    def look(name: str) -> Undisturbed:
        action = ACTIONS[name]
        if name not in known:
            house.use(action.template)
            house.write(action.generation)
            action.prepare(house)
            house.write(action.generation)
            house.keep(name)
            before = house.records()
            told = act(house, action).fine()
            action.true(house, told)
            known[name] = Undisturbed(name, told.calls, before, before.keys() - house.records().keys())
            afterwards(house, action, known[name])
        house.write(action.generation)
        return known[name]

    return look


def act(house: House, action: Action, **fault: Any) -> Any:
    broken = f"{house.made}/{action.broken}" if action.broken else ""
    fault |= {"endless": action.endless, "compressing": action.compressing, "broken": broken}
    return house.run(*action.words, keep=action.keep, root=str(house.made), **fault)


def afterwards(house: House, action: Action, usual: Undisturbed, *, hopeless: bool = False) -> bool:
    """All that must hold whatever happened; whether anything is other than before.

    `hopeless`: a bound could not be met, so any snapshot may have gone but the newest of each service.
    """
    assert house.held_locks() == []
    action.mend(house)
    records = house.records()
    ever = usual.before.keys() | records.keys()
    doomed = usual.doomed if not hopeless else usual.before.keys() - newest(usual.before)
    assert usual.before.keys() - records.keys() <= doomed
    assert all(records[name] == record for name, record in usual.before.items() if name in records)
    fresh = records.keys() - usual.before.keys()
    assert len(fresh) <= len(SERVICES) * action.captures
    expected = {name: house.known[name] for name in records.keys() & usual.before.keys()}
    expected |= {name: house.live_content(name.partition("/")[0]) for name in fresh}
    assert house.everything(action.keep)[0] == expected

    following = house.run("snapshot", "--label", "next", keep=action.keep).fine()
    saved = {one["service"]: one["id"] for one in following.json["snapshots"] if one["outcome"] == "saved"}
    assert saved.keys() == set(SERVICES), following.out
    for service, name in saved.items():
        assert all(sequence_of(name) > sequence_of(one) for one in ever if one.startswith(f"{service}/"))
        expected[name] = house.live_content(service)
    kept = {one["id"] for one in house.run("prune", keep=action.keep).fine().json["kept"]}
    found, needed = house.everything()  # also of a spare: all has come home
    assert found == {name: expected[name] for name in kept}
    assert set(saved.values()) <= kept
    assert house.packs() == needed
    house.run("verify", keep=action.keep).fine()
    assert house.temporaries() == []
    assert house.held_locks() == []
    return bool(fresh) or records.keys() != usual.before.keys()


def newest(names: Iterable[str]) -> set[str]:
    found: dict[str, str] = {}
    for name in sorted(names, key=sequence_of):
        found[name.partition("/")[0]] = name
    return set(found.values())


def sequence_of(name: str) -> int:
    return int(name.partition("/")[2])


def says_so(told: Told, action: Action) -> None:
    """A failure is told in a sentence with a hint, and never as a traceback."""
    assert "Traceback" not in told.err, told.err
    assert told.status in {0, 1}
    if told.status == 1 and action.endless:
        assert "error" in told.err  # it has its log
    elif told.status == 1:
        document = told.json
        if document.get("damage") or document.get("unmet"):
            return  # a verify, or a prune that can't meet a bound, which tell all there is to tell
        failed = [document["error"]] if "error" in document else document["snapshots"]
        for one in failed:
            assert one.get("message") or one["outcome"] != "failed" or one["error"], one
            assert one["hint"] or one["outcome"] != "failed", one
        assert "error" in document or any(one["outcome"] == "failed" for one in failed)


def outcome_of(house: House, usual: Undisturbed, fault: dict[str, Any], at: int) -> str:
    """Try one point. What became of the command; raises AssertionError with all there is to know."""
    action = ACTIONS[usual.name]
    house.use(usual.name)
    told = act(house, action, at=at, **fault)
    if not told.hit:
        return "not reached"
    try:
        if told.status == -signal.SIGKILL:
            outcome = "killed"
        else:
            says_so(told, action)
            outcome = "failed" if told.status else "succeeded"
            if not told.status:
                action.true(house, told)
        assert fault["fault"] != "short" or told.status == 0
        is_full = fault["fault"] == "error" and fault.get("lasting") and fault["error"] in {errno.ENOSPC, errno.EDQUOT}
        changed = afterwards(house, action, usual, hopeless=bool(is_full and action.keep == BOUND))
    except Exception as error:
        why = "".join(traceback.format_exception(error)[-2:])
        text = json.dumps({"status": told.status, "out": told.out, "err": told.err}, indent=1).replace("\\n", "\n")
        raise AssertionError(f"{usual.name}, {fault}, at call {at}: {told.hit}\n{why}\n{text}") from error
    return f"{outcome} {'after' if changed else 'before'} the commit" if action.captures else outcome


def attack(house: House, torture: Torture, usual: Undisturbed, fault_name: str, points: list[int]) -> None:
    fault = FAULTS[fault_name]
    outcomes: Counter[str] = Counter()
    refused = f" (of Python alone: {house.refused})" if house.refused else ""
    wrong: list[str] = []
    for at in points:
        try:
            outcomes[outcome_of(house, usual, fault, at)] += 1
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, f"{len(wrong)} of {len(points)} points\n" + "\n\n".join(wrong[:8])
    found = ", ".join(f"{count} {what}" for what, count in sorted(outcomes.items()))
    torture.tell(outcomes.total() - outcomes["not reached"], f"points of {usual.name}, {fault_name}{refused}", found)


def points_of(usual: Undisturbed, fault: dict[str, Any]) -> list[int]:
    only = WRITES if fault["fault"] in {"tear", "short"} else None
    return [number for number, call in enumerate(usual.calls, 1) if only is None or call.partition(" ")[0] in only]


def test_killed_at_every_call(house: House, torture: Torture, undisturbed: Look, action_name: str) -> None:
    """SIGKILL before each call, and in the middle of each write."""
    usual = undisturbed(action_name)
    step = 1 if action_name in SAMPLE else 2
    for name in KILLS if torture.full else [torture.random.choice(KILLS)]:
        points = points_of(usual, FAULTS[name])[torture.random.randrange(step) :: step]
        attack(house, torture, usual, name, torture.sample(points, 2))


def test_an_error_at_every_call(house: House, torture: Torture, undisturbed: Look, action_name: str) -> None:
    """Each call fails, once or from there on; a write takes only half: then all goes well.

    Of actions and faults that differ little from others some points are tried.
    """
    usual = undisturbed(action_name)
    steps = dict.fromkeys(EVERYWHERE, 1 if action_name in SAMPLE else 5) | dict.fromkeys(NOW_AND_THEN, 20)
    for name, step in steps.items() if torture.full else [(torture.random.choice(list(steps)), 1)]:
        points = points_of(usual, FAULTS[name])
        some = points[torture.random.randrange(min(step, len(points))) :: step]
        attack(house, torture, usual, name, some if torture.full else [torture.random.choice(points)])


def test_where_the_kernel_stops_nothing(house: House, undisturbed: Look) -> None:
    """Then the calls of Python are stopped in the child itself, and the log says so."""
    usual = undisturbed("a snapshot")
    seen = set()
    for name, at in (("killed", 6), ("killed half-way", 8), ("EIO once", 9), ("short", 8), ("killed", 1000)):
        house.use(usual.name)
        told = act(house, ACTIONS[usual.name], at=at, in_process=True, **FAULTS[name])
        seen.add((name, told.status, bool(told.hit)))
        afterwards(house, ACTIONS[usual.name], usual)
    assert seen == {
        ("killed", -9, True),
        ("killed half-way", -9, True),
        ("EIO once", 1, True),
        ("short", 0, True),
        ("killed", 0, False),
    }
