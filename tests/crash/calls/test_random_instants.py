"""Promises 3, 6 and 9: real recoverd processes, one or two at a time, are killed whenever it happens."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import Torture
from tests.crash.calls.house import FEW, SERVICES, TICKS, House

RECOVERD = str(Path(sys.executable).with_name("recoverd"))
LAST = 2  # snapshots of each service that retention keeps
TOGETHER = (
    (("snapshot",),),
    (("prune",),),
    (("run",),),
    (("snapshot",), ("prune",)),
    (("snapshot",), ("snapshot", "--label", "other")),
    (("run",), ("snapshot",)),
    (("prune",), ("verify",)),
)


def spawn(house: House, *words: str) -> subprocess.Popen[bytes]:
    command = [RECOVERD, "--config", str(house.base / f"{FEW}.yaml"), *words]
    return subprocess.Popen(command, env=house.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def of(names: set[str], service: str) -> list[str]:
    """The snapshots of a service among these, the newest last."""
    return sorted((name for name in names if name.startswith(f"{service}/")), key=sequence_of)


def sequence_of(name: str) -> int:
    return int(name.partition("/")[2])


def look(house: House, before: set[str]) -> set[str]:
    """What is there is as the model has it; what retention keeps is there; new ones, learnt now, have new numbers."""
    there = set(house.records())
    house.learn()
    assert house.everything()[0] == {name: house.known[name] for name in there}
    for service in SERVICES:
        assert set(of(before | there, service)[-LAST:]) <= there
        last = sequence_of(of(before, service)[-1])
        assert all(sequence_of(name) > last for name in of(there - before, service))
    return there


@pytest.fixture
def usual_s(house: House) -> float:
    """How long an undisturbed snapshot takes here, in seconds."""
    house.use("history")
    house.write(TICKS)
    started = time.monotonic()
    assert spawn(house, "snapshot").wait(120) == 0
    house.use("history")
    return time.monotonic() - started


def test_killed_at_random_instants(house: House, torture: Torture, usual_s: float) -> None:
    """SIGKILL at any time, to one or two: all that was there is there, and the next commands work at once."""
    rounds = 250 if torture.full else 3
    there = set(house.records())
    killed = changed = 0
    for number in range(rounds):
        house.write(TICKS + number)
        children = [spawn(house, *words) for words in torture.random.choice(TOGETHER)]
        time.sleep(torture.random.uniform(0.2, 1.1) * usual_s * len(children))
        for one in children:
            one.kill()
        killed += [one.wait(60) for one in children].count(-9)
        assert house.held_locks() == []
        before, there = there, look(house, there)
        changed += before != there
        if number % 3 == 0:  # else the next one meets what is left
            house.run("snapshot", keep=FEW).fine()
            house.run("prune", keep=FEW).fine()
            house.run("verify", keep=FEW).fine()
            assert house.temporaries() == []
            assert house.packs() == house.everything()[1]
            there = look(house, there)
            for service in SERVICES:
                assert house.known[of(there, service)[-1]] == house.live_content(service)
    torture.tell(killed, "processes killed at random instants", f"{changed} of {rounds} rounds changed the repository")
