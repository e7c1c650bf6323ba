"""Bringing one choice onto the disk: staged, judged, the service stopped, looked at again, swapped, validated."""

from __future__ import annotations

import os
from collections.abc import Sequence

from recoverd.errors import DamagedObject, ServiceError, StateError
from recoverd.operations import restore_endings as endings
from recoverd.operations import restore_words as told
from recoverd.operations import staged_judging as judging
from recoverd.operations import unproven
from recoverd.operations.choosing import Look
from recoverd.operations.processes import driver_of
from recoverd.operations.rejecting import taken
from recoverd.operations.restore_results import Attempt, ServiceRestore
from recoverd.operations.restore_run import RestoreRun
from recoverd.operations.room import at_most_bytes
from recoverd.recovery import staging, swapping
from recoverd.recovery.choices import Choice, damaged_targets
from recoverd.recovery.plan import Action, Origin, Target
from recoverd.repository.objects import Reader
from recoverd.system import clock
from recoverd.values import replace

_MOST_LOOKS = 3  # how often live state may change under a restore before it gives up


def write_next(run: RestoreRun, reader: Reader, current: Look) -> tuple[Look, Choice] | ServiceRestore | None:
    """Bring the next choice onto the disk, validated. None: there is none left; a result ends the restore."""
    driver = driver_of(run.context, run.service)
    for _ in range(_MOST_LOOKS):
        if run.applied:  # the last choice lies there now: what was wrong before is what is to be replaced
            now = run.look(reader)
            current = replace(now, damage=current.damage)
        while (choice := run.chooser.next(reader, current)) is not None:
            staged = _stage(run, reader, choice)
            if staged is not None:
                break
        else:
            return None
        if not choice.replacements:
            staged.discard()
            run.notes += (f"live state is what {choice.candidate} holds", *choice.left)
            return endings.untouched(run, current)
        try:
            if driver is not None and run.request.boot:
                if driver.status().running:
                    staged.discard()
                    return endings.left_running(run, current)
            elif driver is not None:
                stopped = driver.stop()  # also what would start it, where it does not run
                run.was_running = run.was_running or (stopped.was_running and not run.applied)
            again = run.asked_for(run.look(reader))
            if not run.applied and run.explicit is None and again.wrong != current.wrong:
                staged.discard()
                if again.action is not Action.RESTORE:
                    return endings.became(run, again)
                current = again
                continue
            run.context.events.emit(
                "restore.started",
                service=run.service.name,
                message=f"from {choice.candidate}",
                candidate=choice.candidate,
                items=len({part.item for part in choice.parts}),
            )
            evidence = told.evidence(current.survey, choice)
            rows = judging.rows(run.context, run.service, staged, clock.now_ns())
            _note(run, choice, staged)
            applied = swapping.apply(staged, state_dir=run.context.state_dir, evidence=evidence)
        except ServiceError as error:
            staged.discard()
            return endings.blocked(run, current, (f"{run.service.name} could not be stopped: {error.message}",))
        except BaseException:
            staged.discard()
            raise
        run.applied.append(applied)
        run.chooser.tried.add(choice.key)
        after = run.look(reader, rows, service=run.meant(choice))
        written = {part.target for part in choice.parts if part.origin is not Origin.EMPTY}
        bad = sorted(one for one in after.wrong if one in written or (one[0], "") in written)
        if not bad:
            run.after = after
            run.notes += [note for note in staged.notes if note not in run.notes]
            return current, choice
        run.attempts.append(Attempt(choice.candidate, "invalid", f"{bad[0][0]} is not ok after it was written"))
    raise StateError(
        f"the state of {run.service.name} keeps changing while it is restored",
        hint=f"stop whatever writes to it, then run `recoverd restore {run.service.name}` again",
    )


def _note(run: RestoreRun, choice: Choice, staged: staging.Staging) -> None:
    """Before the swap: that what will lie there is unproven, and, as the service is started on it next, its start."""
    if not run.request.boot and not (run.request.start and run.is_provable and not run.others):
        return
    written = unproven.Unproven(
        choice.candidate,
        (*(os.path.basename(one.quarantine) for one in run.applied), staged.id),
        taken(choice),
        asked=run.explicit is not None,
        rejected=tuple(dict.fromkeys(run.rejected)),
    )
    run.note = unproven.counted(unproven.again(run.note, written))
    unproven.save(run.context.repository(), run.service.name, run.note)


def _stage(run: RestoreRun, reader: Reader, choice: Choice) -> staging.Staging | None:
    """Stage and judge; None when the choice turned out to be damaged, or not to be valid today."""
    try:
        staged = staging.stage(
            run.chooser.source(reader),
            run.service.name,
            choice.replacements,
            state_dir=run.context.state_dir,
            at_most_bytes=at_most_bytes(choice, run.context.repository().snapshots(run.service.name)),
        )
    except DamagedObject as error:
        _pass_over(run, choice, "damaged", damaged_targets(run.chooser.source(reader), choice), error.message)
        return None
    try:
        problems = judging.problems(run.context, run.meant(choice), staged, choice)
    except BaseException:
        staged.discard()
        raise
    if not problems:
        return staged
    staged.discard()
    why = "; ".join(f"{item}{'/' if document else ''}{document} {text}" for (item, document), text in problems.items())
    _pass_over(run, choice, "invalid", list(problems), why)
    return None


def _pass_over(run: RestoreRun, choice: Choice, result: str, targets: Sequence[Target], why: str) -> None:
    run.chooser.pass_over(choice, targets)
    run.attempts.append(Attempt(choice.candidate, result, why))
    run.context.events.emit(
        "restore.rejected",
        service=run.service.name,
        message=f"{choice.candidate}: {why}",
        candidate=choice.candidate,
    )
