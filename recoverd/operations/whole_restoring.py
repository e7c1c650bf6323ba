"""How the dumps of a service take part in its restore as a whole: asked, loaded, put off, and what comes of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recoverd.operations import restore_endings as endings
from recoverd.operations import restore_records as records
from recoverd.operations import restore_results as results
from recoverd.operations import restore_words as told
from recoverd.operations import resuming
from recoverd.operations.choosing import Look
from recoverd.operations.processes import Up
from recoverd.operations.rejecting import Taken, reject
from recoverd.operations.restore_results import Attempt, ServiceRestore
from recoverd.operations.restore_run import RestoreRun
from recoverd.operations.unproven import Unproven
from recoverd.recovery.choices import Choice
from recoverd.repository.objects import Reader
from recoverd.system import clock
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.operations.dumps_together import DumpsTogether


def unusable_dump(run: RestoreRun, choice: Choice) -> tuple[str, str, str] | None:
    """Before anything is swapped: the first dump that goes with it and can't be loaded, how it is and why."""
    if run.together is None or not choice.dumps:
        return None
    return run.together.unusable({part.item: part.sequence for part in choice.dumps}, asked=run.explicit is not None)


def would_take(run: RestoreRun, reader: Reader, current: Look) -> Choice | None:
    """The choice of a dry run: where dumps go with it, the first one whose dumps can be loaded."""
    while (choice := run.chooser.next(reader, current)) is not None:
        unusable = unusable_dump(run, choice)
        if unusable is None:
            return choice
        item, how, why = unusable
        run.chooser.pass_over(choice, [(item, "")])
        run.attempts.append(Attempt(choice.candidate, how, why))
    return None


def with_noted_dumps(run: RestoreRun, note: Unproven, up: Up) -> Up:
    """The same for what an earlier restore has written, and nobody has proven."""
    if run.together is None:
        return up
    names = run.together.service.dumps
    sequences = {part.item: part.sequence for part in note.parts if part.item in names}
    return _with_dumps(run, sequences, up, asked=note.asked, files=note.quarantines)


def with_dumps(run: RestoreRun, choice: Choice, up: Up) -> Up:
    """Load what belongs to the files that lie there now, and prove the whole; `up` is how the service is on the files.

    Where it can't be asked now, because it is down on purpose or was not to be started, whoever brings it up loads
    them. Raises LockHeld, StateError, RepositoryError, OSError: then the next restore goes on with it.
    """
    files = tuple(one.quarantine for one in run.applied)
    sequences = {part.item: part.sequence for part in choice.dumps}
    return _with_dumps(run, sequences, up, asked=run.explicit is not None, files=files)


def _with_dumps(run: RestoreRun, sequences: Mapping[str, int], up: Up, *, asked: bool, files: Sequence[str]) -> Up:
    together = run.together
    if together is None or not sequences:
        return up
    if not run.request.boot and _answers(run, up):
        up = together.load(sequences, up, asked=asked, files=files)
        if together.loaded:
            items = run.dump_items
            again = resuming.announce(run.context, run.service, run.request, results.RESTORED, items, written=True)
            run.resume = again or run.resume
        return up
    if up.healthy is False:  # it does not even run on these files
        together.is_unhealthy = True
        return up
    if not run.request.boot:  # there the note of what is not proven tells
        together.wait(sequences, asked=asked, files=files)
    what = ", ".join(f"{name} from {run.service.name}/{sequence}" for name, sequence in sequences.items())
    run.notes.append(f"still to be loaded once the service runs: {what}")
    return up


def dumps_of_untouched(run: RestoreRun, current: Look, up: Up) -> ServiceRestore | None:
    """The files are left alone: what is there of the dumps. None: nothing more is to be done about them, or, with
    `dumps_damaged` of the chooser, the whole is to be restored."""
    together = run.together
    if together is None or not run.request.start or run.request.boot or not _answers(run, up):
        return None
    back, why = together.take_back()
    if why is not None:
        return endings.result(run, current, results.FAILED, up=up, reasons=(why,), exit_status=1)
    if back:
        up = run.bring_up(results.UNTOUCHED, told.live(current.survey))
    if together.waiting():
        ended = _load_waiting(run, together, current, up)
        if ended is not None:
            return ended
    found = together.look()
    run.asked_dumps = found.items
    run.notes += found.told
    if found.refused:
        return endings.result(run, current, results.FAILED, up=up, reasons=found.refused, exit_status=1)
    run.chooser.dumps_damaged = bool(found.damage)
    run.notes += found.damage
    return None


def _load_waiting(run: RestoreRun, together: DumpsTogether, current: Look, up: Up) -> ServiceRestore | None:
    """What was put off, or interrupted, comes to its end; None where that could not be, and what was there is back."""
    waiting = together.waiting()
    sequences = {name: one.sequence for name, one in waiting.items()}
    asked = any(one.asked for one in waiting.values())
    candidate = f"{run.service.name}/{max(sequences.values())}"
    tried = together.load(sequences, up, asked=asked, files=[name for one in waiting.values() for name in one.files])
    if tried.healthy is False:
        run.attempts.append(Attempt(candidate, "rejected", tried.why))
        if asked:
            together.forget_waiting()
            return endings.result(run, current, results.FAILED, up=tried, reasons=(tried.why,), exit_status=1)
        parts = [Taken(sequence, name) for name, sequence in sequences.items()]
        reject(run.context, run.service.name, parts, tried.why)
        run.rejected += parts
        return None
    if not together.loaded:
        return None
    run.attempts.append(Attempt(candidate, "restored"))
    numbers = set(sequences.values())
    records.keep(run.context, run.service, numbers, tried, clock.now_ns(), seen=current.survey, ask_dumps=True)
    ended = endings.result(run, current, results.RESTORED, up=tried)
    again = resuming.announce(run.context, run.service, run.request, results.RESTORED, ended.items, written=True)
    return replace(ended, resume=again or ended.resume)


def _answers(run: RestoreRun, up: Up) -> bool:
    """Whether the service can be asked now: it runs, or is nothing that runs."""
    if not run.request.start or not run.service.enabled:
        return False
    return run.service.run is None or (up.was_tried and run.runs())
