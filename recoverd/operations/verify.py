"""`recoverd verify`: read the repository, name what is damaged and whom it hurts; `--heal` gets back what it can."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from recoverd.operations.context import Context
from recoverd.operations.verify_due import places_of, sentence
from recoverd.repository import verifying
from recoverd.repository.healing import Healed, Outcome
from recoverd.repository.packs import SUFFIX
from recoverd.repository.store import Repository
from recoverd.repository.verify_record import Damage
from recoverd.system import locks
from recoverd.values import dataclass

_LOCK_NAME = "verify.lock"
_NICE = 19
_IDLE_CLASS = 3  # ioprio_set(2): the disk is given when nobody else wants it
_TOLD = 20  # damages that are told one by one


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    sample: float | None = None  # share of the packs to read, 0 < share <= 1; None: everything
    heal: bool = False
    background: bool = False  # give way to everybody else


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What was read, all damage that is known now, and what was healed."""

    checked_bytes: int
    objects: int
    packs: int
    of_packs: int
    damage: tuple[Damage, ...]
    snapshots: tuple[str, ...]  # that are hurt
    seconds: float
    healed: tuple[Healed, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_status(self) -> int:
        return 1 if self.damage else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "checked_bytes": self.checked_bytes,
            "objects": self.objects,
            "damage": [
                {
                    "object": one.object,
                    "pack": one.pack,
                    "snapshots": list(one.snapshots),
                    "files": list(one.files),
                    "path": one.path,
                    "problem": one.problem,
                    "more": one.more,
                }
                for one in self.damage
            ],
            "healed": [
                {"object": one.object, "pack": one.pack, "path": one.path, "from": one.origin} for one in self.healed
            ],
            "packs": self.packs,
            "of_packs": self.of_packs,
            "snapshots": list(self.snapshots),
            "seconds": round(self.seconds, 3),
            "notes": list(self.notes),
        }


def bytes_to_read(context: Context, request: VerifyRequest) -> int:
    """How much a verify will read, about. Raises RepositoryError."""
    return verifying.bytes_to_read(context.repository(), request.sample)


def verify(context: Context, request: VerifyRequest, told: Callable[[int], None] | None = None) -> VerifyResult:
    """Verify the repository. `told` gets bytes as they are read.

    Readers, captures and restores go on meanwhile; a prune leaves the data for its next time. Raises LockHeld when
    another verify is under way or a prune deletes packs, RepositoryError.
    """
    started = time.monotonic()
    repository = context.repository()
    if request.background:
        give_way()
    told = told or (lambda _: None)
    outcomes = []
    places = places_of(repository)
    with _alone(repository, 0.0 if request.background else context.wait_s):
        for place in places:
            found = verifying.verify(place, sample=request.sample, told=told)
            if request.heal:
                from recoverd.operations.heal import heal

                outcomes.append(heal(context, place, found, [one for one in places if one is not place], told))
            else:
                outcomes.append(Outcome(found, found))
    damage = tuple(one for outcome in outcomes for one in outcome.found.damage)
    where = [_path(place, one) for place, outcome in zip(places, outcomes, strict=True) for one in outcome.found.damage]
    for one, path in islice(zip(damage, where, strict=True), _TOLD):
        context.events.emit("verify.damage", message=sentence(one), path=path, snapshots=len(one.snapshots))
    return VerifyResult(
        sum(one.first.checked_bytes for one in outcomes),
        sum(one.first.objects for one in outcomes),
        sum(one.first.packs for one in outcomes),
        sum(one.first.of_packs for one in outcomes),
        damage,
        tuple(dict.fromkeys(name for one in outcomes for name in one.found.hurt)),
        time.monotonic() - started,
        tuple(healed for one in outcomes for healed in one.healed),
        tuple(note for one in outcomes for note in one.notes),
    )


def _path(place: Repository, damage: Damage) -> str:
    """Of what is damaged: a record, a pack, or the repository."""
    if damage.path is None and damage.pack is not None:
        return os.path.join(place.packs_path, damage.pack[:2], f"{damage.pack}{SUFFIX}")
    return os.path.join(place.path, damage.path) if damage.path is not None else place.path


def give_way() -> None:
    """From now on this process gets what processor and disk have to spare."""
    os.nice(_NICE)
    try:
        import psutil

        psutil.Process().ionice(_IDLE_CLASS)
    except (ImportError, OSError, AttributeError, ValueError):
        pass  # a kernel without it; the processor matters more


def _alone(repository: Repository, wait_s: float) -> locks.FileLock:
    """One verify at a time: two would only take the disk from each other."""
    path = os.path.join(repository.state_dir, _LOCK_NAME)
    try:
        return locks.acquire(path, wait_s=wait_s, what="the verify of the repository")
    except OSError:
        return locks.FileLock(-1, path)  # on a read-only medium any number may read
