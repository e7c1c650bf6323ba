"""Quarantine: where what restores replaced is kept, and the way back.

An undo is the same transaction the other way round: the quarantine itself is the staging, its objects change
places with the live ones, and with the new evidence it becomes the quarantine of what was undone. So an undo
can be undone.
"""

from __future__ import annotations

import os

from recoverd.errors import StateError
from recoverd.recovery.board import Board, WholeRefused
from recoverd.recovery.evidence import Quarantined, list_quarantine, next_quarantine
from recoverd.recovery.intents import Intent, PlaceRecord
from recoverd.recovery.places import Place, reopen
from recoverd.recovery.steps import ELSEWHERE, Node, Step, StepKind
from recoverd.recovery.swapping import Applied, refuse_open, run

__all__ = ["Quarantined", "list_quarantine", "undo"]


def undo(service: str, quarantine_id: str | None, *, state_dir: str) -> Applied:
    """Put back what a restore (or an undo) replaced: the newest, or the one named; all or nothing.

    What is live now goes to quarantine in exchange; what the restore created where nothing was goes there too.
    The caller holds the service's lock and has called `finish_intent`. Raises StateError: nothing was changed then,
    unless the hint says that the undo is left unfinished.
    """
    refuse_open(state_dir, service)
    chosen = _choose(list_quarantine(state_dir, service), service, quarantine_id)
    places: list[Place] = []
    try:
        places += _open_places(chosen)
        board = Board(places)
        try:
            done = _with_companions([Step.from_json(value) for value in reversed(chosen.evidence["steps"])])
            steps = [step for each in done if (step := _reverse(each, board)) is not None]
            if not steps:
                raise StateError(f"{service}: there is nothing to undo in {chosen.id}: what it replaced is gone")
            transaction = os.urandom(6).hex()
            path, sequence, time_ns = next_quarantine(state_dir, service, transaction)
            records = tuple(PlaceRecord(place.path, place.inode) for place in places)
            evidence = {"undo": chosen.id}
            intent = Intent(transaction, service, "undo", time_ns, sequence, path, records, tuple(steps), evidence)
            return run(intent, board, state_dir)
        finally:
            board.close()
    except (OSError, WholeRefused) as error:
        raise StateError(f"{service}: the undo failed and everything is as it was: {error}") from error
    except (LookupError, TypeError, ValueError) as error:
        raise StateError(f"{service}: the evidence of {chosen.id} is damaged: {error!r}") from error
    finally:
        for place in places:
            place.close()


def _choose(quarantines: list[Quarantined], service: str, wanted: str | None) -> Quarantined:
    if wanted is None:
        usable = [one for one in quarantines if one.evidence]
        if not usable:
            raise StateError(f"{service}: there is nothing to undo: no restore has replaced anything")
        return usable[-1]
    for one in quarantines:
        if wanted in {one.id, one.evidence.get("id")}:
            return one
    known = ", ".join(one.id for one in quarantines) or "none"
    raise StateError(f"{service}: there is no quarantine {wanted}", hint=f"there are: {known}")


def _open_places(chosen: Quarantined) -> list[Place]:
    records = [PlaceRecord.from_json(value) for value in chosen.evidence["places"]]
    # the home has moved since its path was written down
    paths = [PlaceRecord(chosen.path, records[0].inode), *records[1:]]
    places: list[Place] = []
    try:
        for number, record in enumerate(paths):
            place = reopen(record.path, record.inode if number else None)
            if place is None:
                raise StateError(
                    f"{record.path}: what was kept there is gone, so {chosen.id} can't be undone as a whole"
                )
            places.append(place)
    except BaseException:
        for place in places:
            place.close()
        raise
    return places


def _with_companions(steps: list[Step]) -> list[Step]:
    """The steps, and one for each name that goes with a target and was not there then: it may be now. These come first:
    beside another database they would do harm."""
    beside = {one.path: one for step in steps for ending in step.companions for one in (step.companion(ending, None),)}
    beside |= {step.path: step for step in steps if step.path in beside}
    return [*beside.values(), *(step for step in steps if step.path not in beside)]


def _reverse(step: Step, board: Board) -> Step | None:
    """The step that brings the slot's object back, given what is live now; None where nothing is on either side."""
    seen = board.look(step)
    device = board.device(step.place)
    if ELSEWHERE in {seen.target, seen.slot} or not seen.reachable:
        raise StateError(
            f"{step.path}: the directory that held it is gone or was mounted over",
            hint="make the directory again, with its owner and mode, then undo again",
        )
    new = None if seen.slot is None else Node(device, seen.slot)
    old = None if seen.target is None else Node(device, seen.target)
    if new is None and old is None:
        return None
    kind = StepKind.REMOVE if new is None else StepKind.CREATE if old is None else StepKind.EXCHANGE
    return Step(kind, step.item, step.target, step.relative, step.place, step.slot, new, old, step.companions)
