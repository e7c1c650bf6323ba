"""The transaction: intent, swap, quarantine, clear; and what the next run does with one that was interrupted.

At any instant the disk holds either no intent (all old or all new) or one from which `finish_intent` gets to all
new, or back to all old.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from recoverd.errors import StateError
from recoverd.recovery import intents
from recoverd.recovery.assembling import assemble
from recoverd.recovery.board import Board, WholeRefused
from recoverd.recovery.evidence import EVIDENCE, encode_evidence, next_quarantine, pending_name, where_kept
from recoverd.recovery.intents import Intent, PlaceRecord
from recoverd.recovery.leftovers import clean_leftovers, sweep
from recoverd.recovery.places import Place, remove_place, reopen, same_file_system
from recoverd.recovery.staging import RECORD, Staging
from recoverd.recovery.steps import Outcome, Step, decide
from recoverd.system.durable import make_directories, sync_directory, write_file, write_path
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class AppliedStep:
    """One name that was changed. `old` is where the replaced object is kept, None where there was none."""

    kind: str  # exchange | create | remove
    item: str
    target: str
    relative: str
    old: str | None


@dataclass(frozen=True, slots=True)
class Applied:
    """A finished transaction. `quarantine` is the absolute path of its quarantine; "" when there was nothing to do."""

    id: str
    quarantine: str
    steps: tuple[AppliedStep, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of an interrupted transaction: `outcome` is `forward` (all new) or `back` (all old)."""

    id: str
    outcome: str
    quarantine: str
    paths: tuple[str, ...]


def apply(staging: Staging, *, state_dir: str, evidence: Mapping[str, Any]) -> Applied:
    """Swap in what was staged and judged, all or nothing; what it replaces goes to quarantine with the evidence.

    `evidence` is any JSON object: who, why, plan, verdicts. The staging is used up, also on an error. The caller
    holds the service's lock and has called `finish_intent`. Raises StateError: everything is as it was, unless the
    hint says that the restore is left unfinished.
    """
    board = Board(staging.places)
    expand: set[str] = set()
    swapped = False
    try:
        refuse_open(state_dir, staging.service)
        while True:
            steps = assemble(staging, board, expand)
            if not steps:
                return Applied(staging.id, "", ())
            intent = _intent(staging, steps, state_dir, evidence)
            try:
                _swap(intent, board, state_dir)
            except WholeRefused as refused:
                slot = refused.step.slot
                if slot in expand or slot not in {one.slot for one in staging.staged}:
                    raise _failed(staging.service, refused.cause) from refused
                expand.add(slot)  # file by file then
                continue
            swapped = True  # the places hold what was replaced now, wherever they lie: they stay, whatever fails
            return _end(intent, board, state_dir)
    except OSError as error:
        raise _failed(staging.service, error) from error
    finally:
        board.close()
        if swapped or _names(state_dir, staging):
            staging.close()
        else:
            staging.discard()


def run(intent: Intent, board: Board, state_dir: str) -> Applied:
    """Carry out an intent. Raises as `_swap` and `_end`."""
    _swap(intent, board, state_dir)
    return _end(intent, board, state_dir)


def _swap(intent: Intent, board: Board, state_dir: str) -> None:
    """Every step of an intent; what is replaced waits in its places then.

    Raises StateError and OSError with everything taken back, StateError with a hint when that failed too and the
    intent stays, WholeRefused with everything taken back.
    """
    home = board.places[0]
    assert home is not None
    _prepare_quarantine(home, intent)
    # before anything is swapped: what follows the swap needs no room on the disk
    write_file(home.fd, pending_name(intent), encode_evidence(intent))
    try:
        intents.save(state_dir, intent)
        for step in intent.steps:
            board.forward(step)
        board.verify(intent.steps)
        board.sync()
    except (OSError, StateError, WholeRefused) as cause:
        _take_back(intent, board, cause)
        if os.path.lexists(intents.intent_path(state_dir, intent.service)):
            intents.clear(state_dir, intent.service)
        _rename_if_there(home, pending_name(intent), None)
        raise


def _end(intent: Intent, board: Board, state_dir: str) -> Applied:
    """Everything is swapped in. Raises StateError with a hint; what was replaced is in quarantine or in its places."""
    try:
        return _conclude(intent, board, state_dir)
    except OSError as error:
        raise StateError(
            f"{intent.service}: everything was swapped in, but the restore did not come to its end: {error}",
            hint=f"run `recoverd restore {intent.service}` again: it finishes that first",
        ) from error


def finish_intent(service: str, state_dir: str) -> Finished | None:
    """Finish, or take back, a restore of this service that was interrupted; None when there was none.

    What the next restore of any kind does first, under the service's lock; doing it twice changes nothing more.
    Stagings that dead processes left behind are removed too. Raises StateError when a target is neither what was
    staged nor what was to be replaced (nothing is touched then, and the intent stays), or the intent can't be read.
    """
    intent = intents.load(state_dir, service)
    try:
        finished = None if intent is None else _finish(intent, state_dir)
        clean_leftovers(service, state_dir)
    except OSError as error:
        raise StateError(
            f"{service}: what an interrupted restore left could not be finished: {_what(error)}",
            hint=f"run `recoverd restore {service}` again: it goes on with that; nothing was lost",
        ) from error
    return finished


def _finish(intent: Intent, state_dir: str) -> Finished:
    concluded = reopen(intent.quarantine, intent.places[0].inode)
    if concluded is not None:
        # all that was missing is the end of the intent; make sure that the rename before it is on the disk
        concluded.close()
        sync_directory(os.path.dirname(intent.quarantine))
        with suppress(FileNotFoundError):  # somebody has cleared away the empty directory
            sync_directory(os.path.dirname(intent.places[0].path))
        intents.clear(state_dir, intent.service)
        return _finished(intent, Outcome.FORWARD)
    places = [reopen(place.path, place.inode) for place in intent.places]
    board = Board(places)
    try:
        outcome, paths = decide(intent.steps, [board.look(step) for step in intent.steps])
        if outcome is Outcome.FORWARD:
            try:
                for step in intent.steps:
                    board.forward(step)
                board.sync()
            except (OSError, StateError, WholeRefused) as cause:
                _take_back(intent, board, cause)
                outcome = Outcome.BACK
            else:
                _conclude(intent, board, state_dir)
        elif outcome is Outcome.BACK:
            _take_back(intent, board, None)
        else:
            raise _stuck(intent, paths)
        if outcome is Outcome.BACK:
            intents.clear(state_dir, intent.service)
            _drop(intent, places)
    finally:
        board.close()
        for place in places:
            if place is not None:
                place.close()
    return _finished(intent, outcome)


def _drop(intent: Intent, places: Sequence[Place | None]) -> None:
    """After all was taken back: what was staged goes; the quarantine that an undo began with stays."""
    for place in reversed(places):
        if place is not None and intent.kind == "restore":
            remove_place(place, last=RECORD)
    if places[0] is not None and intent.kind == "undo":
        _rename_if_there(places[0], pending_name(intent), None)


def refuse_open(state_dir: str, service: str) -> None:
    """Raises StateError while an earlier transaction of the service is unfinished."""
    if os.path.lexists(intents.intent_path(state_dir, service)):
        raise StateError(
            f"{service}: an earlier restore is unfinished",
            hint=f"run `recoverd restore {service}`: it finishes it first",
        )


def _intent(staging: Staging, steps: Sequence[Step], state_dir: str, evidence: Mapping[str, Any]) -> Intent:
    path, sequence, time_ns = next_quarantine(state_dir, staging.service, staging.id)
    places = tuple(PlaceRecord(place.path, place.inode) for place in staging.places)
    return Intent(staging.id, staging.service, "restore", time_ns, sequence, path, places, tuple(steps), evidence)


def _prepare_quarantine(home: Place, intent: Intent) -> None:
    directory = os.path.dirname(intent.quarantine)
    make_directories(directory)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not same_file_system(fd, home.fd):
            raise StateError(
                f"{directory} and {os.path.dirname(home.path)} are on different file systems",
                hint="keep the whole state directory on one file system",
            )
    finally:
        os.close(fd)


def _take_back(intent: Intent, board: Board, cause: Exception | None) -> None:
    try:
        for step in reversed(intent.steps):
            board.take_back(step)
        board.sync()
    except (OSError, StateError) as error:
        why = f" ({cause})" if cause is not None else ""
        raise StateError(
            f"{intent.service}: the restore failed{why} and could not be taken back: {error}",
            hint=f"free the path named here, then run `recoverd restore {intent.service}` again; nothing was deleted",
        ) from error


def _conclude(intent: Intent, board: Board, state_dir: str) -> Applied:
    """All steps are done and on the disk: evidence, quarantine, end of the intent."""
    steps: list[AppliedStep] = []
    for step in intent.steps:
        old = where_kept(intent, step) if board.look(step).slot is not None else None
        steps.append(AppliedStep(step.kind.value, step.item, step.target, step.relative, old))
    home = board.places[0]
    if home is None:  # somebody deleted what was replaced; there still is a record of what was done
        make_directories(intent.quarantine)
        write_path(os.path.join(intent.quarantine, EVIDENCE), encode_evidence(intent))
    else:
        _rename_if_there(home, pending_name(intent), EVIDENCE)
        _rename_if_there(home, RECORD, None)
        sweep(home.fd)
        os.fsync(home.fd)
        os.rename(intent.places[0].path, intent.quarantine)
        sync_directory(os.path.dirname(intent.quarantine))
        sync_directory(os.path.dirname(intent.places[0].path))
    intents.clear(state_dir, intent.service)
    return Applied(intent.id, intent.quarantine, tuple(steps))


def _rename_if_there(home: Place, name: str, new_name: str | None) -> None:
    try:
        if new_name is None:
            os.unlink(name, dir_fd=home.fd)
        else:
            os.rename(name, new_name, src_dir_fd=home.fd, dst_dir_fd=home.fd)
    except FileNotFoundError:
        pass  # done before an interruption; an undo has no staging record


def _finished(intent: Intent, outcome: Outcome) -> Finished:
    forward = outcome is Outcome.FORWARD
    return Finished(
        intent.id, outcome.value, intent.quarantine if forward else "", tuple(step.path for step in intent.steps)
    )


def _stuck(intent: Intent, paths: Sequence[str]) -> StateError:
    shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return StateError(
        f"{intent.service}: an earlier restore was interrupted, and since then somebody else wrote {shown}",
        hint=f"move that away if you do not need it, then run `recoverd restore {intent.service}` again; what was "
        f"to be restored or was replaced is in {', '.join(place.path for place in intent.places)}",
    )


def _failed(service: str, error: OSError) -> StateError:
    return StateError(f"{service}: the restore failed and everything is as it was: {_what(error)}")


def _what(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def _names(state_dir: str, staging: Staging) -> bool:
    """Whether the open intent is about this staging, so that it must stay."""
    try:
        intent = intents.load(state_dir, staging.service)
    except StateError:
        return True  # nobody can tell: keep everything
    return intent is not None and intent.id == staging.id
