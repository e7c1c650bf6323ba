"""Promise 7: damage of any file of a repository is detected, never restored, and costs nothing but what it hurts.

Each damage is done to a whole repository; then commands run in a child of this process, as the command line runs
them, and a second reader of the format and a model of every snapshot judge what they did.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import RepositoryError
from recoverd.repository.packs import read_index

TORTURE = 10_000
SAMPLE = 40
LOOSE = {"lost directory", "file for a directory", "permissions of a directory"}
NO_FILES = {"directory", "symlink", "FIFO", "permissions"}


def attack(scene: Any, dice: random.Random, kinds: tuple[str, ...]) -> str:
    """One damage, and a few commands on it. Returns what it hurt."""
    world, judge = scene.world, scene.judge
    damage = scene.maker.damage(dice, kinds)
    damage.do(world.base / damage.path)
    judge.look()
    judge.loose = (
        damage.kind in LOOSE
        or damage.path.endswith("format.json")
        or (damage.path.endswith(".lock") and damage.kind in NO_FILES)
    )
    hurt = judge.hurt()
    services = sorted({name.partition("/")[0] for name in hurt}) or sorted(world.items)
    service = dice.choice(services)
    words, judged = judge.question(dice)
    commands = [words, ("restore", service)]
    if dice.random() < 0.3:
        commands += [("snapshot",), ("prune",), ("list",)]
    try:
        done = world.run(*commands)
        before, objects = judge.readable, judge.perhaps
        if words[:2] == ("verify", "--heal"):  # what it has put right may be taken again
            judge.look()
            judged(done[0], damage)
            judge.restored(service, done[1], damage)
        else:
            judged(done[0], damage)
            judge.restored(service, done[1], damage)
            judge.look()
        lost = before - judge.readable
        assert not lost, f"{damage}: the records of {lost} are gone: {done}"
        needed = {one for name in before for one in judge.needs[name]}
        assert (objects & needed) <= judge.perhaps, f"{damage}: data was deleted: {done}"
        for one in done[2:]:
            assert one.status in {0, 1, 3}, f"{damage}: {one}"
            assert "Traceback" not in one.err, f"{damage}: {one}"
    finally:
        world.reset()
    return ", ".join(sorted(hurt)) if hurt else "nothing"


@pytest.mark.parametrize("half", [pytest.param(n, marks=pytest.mark.xdist_group(f"damage-{n}")) for n in range(2)])
def test_damage_is_detected_and_costs_only_what_it_hurts(scene: Any, torture: Any, half: int) -> None:
    count = (TORTURE if torture.full else SAMPLE) // 2
    hurt = sum(attack(scene, torture.random, scene.damages.ORDINARY) != "nothing" for _ in range(count))
    assert hurt
    torture.tell(count, "damages to repository files", f"{hurt} hurt snapshots; none was restored, nothing else lost")


@pytest.mark.xdist_group("damage-0")
def test_every_bit_of_a_footer(scene: Any, tmp_path: Path) -> None:
    """Both readers find it, whatever size or place it makes them read."""
    whole = min(scene.world.repository.glob("packs/*/*.tar.zst")).read_bytes()
    assert scene.oracle.index_of(whole)
    for bit in range(len(whole) * 8 - 640, len(whole) * 8):
        hurt = bytearray(whole)
        hurt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(scene.oracle.Unreadable):
            scene.oracle.index_of(bytes(hurt))
        (tmp_path / "pack").write_bytes(hurt)
        with (tmp_path / "pack").open("rb") as file, pytest.raises(RepositoryError):
            read_index(file.fileno(), "0" * 64)


@pytest.mark.xdist_group("damage-1")
def test_what_may_not_be_read_is_told_and_passed_over(plain_scene: Any, torture: Any) -> None:
    """As a plain user, whom wrong permissions keep from files and directories of the repository."""
    count = 400 if torture.full else 6
    for _ in range(count):
        attack(plain_scene, torture.random, plain_scene.damages.FORBIDDING)
    torture.tell(count, "wrong permissions in a repository", "nothing wrong restored, nothing lost")
