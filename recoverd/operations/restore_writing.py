"""Bringing one choice onto the disk: staged, judged, the service stopped, looked at again, swapped, validated."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from recoverd.errors import DamagedObject, RepositoryError, ServiceError, StateError
from recoverd.events.where import where_of
from recoverd.operations import migrating, unproven
from recoverd.operations import restore_endings as endings
from recoverd.operations import restore_words as told
from recoverd.operations import staged_judging as judging
from recoverd.operations.choosing import Look
from recoverd.operations.processes import driver_of
from recoverd.operations.rejecting import taken
from recoverd.operations.restore_results import Attempt, ServiceRestore
from recoverd.operations.restore_run import RestoreRun
from recoverd.operations.room import at_most_bytes
from recoverd.operations.whole_restoring import unusable_dump
from recoverd.recovery import staging, swapping
from recoverd.recovery.choices import Choice, damaged_targets
from recoverd.recovery.plan import Action, Origin, Target
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot
from recoverd.system import clock
from recoverd.values import replace

_MOST_LOOKS = 3  # how often live state may change under a restore before it gives up
_MOST_TOLD = 3  # of the documents that can't be swapped in


def write_next(run: RestoreRun, reader: Reader, current: Look) -> tuple[Look, Choice] | ServiceRestore | None:
    """Bring the next choice onto the disk, validated. None: there is none left; a result ends the restore."""
    with ExitStack() as readers:
        return _write_next(run, reader, current, readers)


def _write_next(
    run: RestoreRun, reader: Reader, current: Look, readers: ExitStack
) -> tuple[Look, Choice] | ServiceRestore | None:
    driver = driver_of(run.context, run.service)
    for _ in range(_MOST_LOOKS):
        if run.applied:  # the last choice lies there now: what was wrong before is what is to be replaced
            now = run.look(reader)
            current = replace(now, damage=current.damage)
        before: Snapshot | None = None
        if older := migrating.older(run, current):
            if current.wrong and run.chooser.next(reader, current) is None:
                return None  # what is damaged can't be repaired: nothing is stopped, and nothing migrated
            try:  # what is saved before a migration is what the service left behind when it stopped
                if driver is not None and not run.request.boot:
                    run.was_running = driver.stop().was_running or run.was_running
                now = run.asked_for(run.look(reader))
                if run.explicit is None and now.action is Action.BLOCK:
                    return endings.blocked(run, now, endings.blocking(now))
                if not migrating.decide(run, now):
                    if not now.wrong and run.explicit is None:
                        return endings.untouched(run, now)
                    current = now
                    continue
                before = run.before = migrating.save_before(run, older)
            except ServiceError as error:
                return endings.blocked(run, current, (f"{run.service.name} could not be stopped: {error.message}",))
            except (RepositoryError, StateError) as error:
                if not current.wrong and run.explicit is None:
                    return endings.not_migrated(run, current, error.message)
                migrating.give_up(run, error.message)
                older = {}
            else:
                reader = readers.enter_context(run.context.repository().reader())
                current, older = now, migrating.older(run, now)
        while True:
            choice = plain = run.chooser.next(reader, current)
            if older and before is not None and (plain is not None or not current.wrong):
                choice = migrating.joined(run, plain, older, before, reader)
            if choice is None:
                return None
            staged = _stage(run, reader, choice, plain)
            if staged is not None:
                break
            if not run.migrates and older:
                older = {}
                if plain is None:
                    return endings.not_migrated(run, current, run.unmigrated)
        if not choice.replacements and choice.dumps:
            staged.discard()  # only the dumps may differ, of which nobody knows before the service runs
            run.chooser.tried |= {one.key for one in (choice, plain) if one is not None}
            if run.applied:
                _note(run, choice, run.applied[-1].quarantine, ())
            return current, choice
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
            is_other = run.explicit is None and again.wrong != current.wrong
            if not run.applied and (is_other or migrating.older(run, again) != migrating.older(run, current)):
                staged.discard()
                if again.action is not Action.RESTORE and run.explicit is None and not migrating.older(run, again):
                    return endings.became(run, again)
                current = again
                continue
            where = where_of(run.service, [part.item for part in choice.parts])
            run.context.events.emit(
                "restore.started",
                service=run.service.name,
                where=where,
                message=f"from {choice.candidate}",
                candidate=choice.candidate,
                items=len({part.item for part in choice.parts}),
            )
            evidence = told.evidence(current.survey, choice, run.migrated)
            rows = judging.rows(run.context, run.service, staged, clock.now_ns())
            _note(run, choice, staged.id, run.applied)
            applied = swapping.apply(staged, state_dir=run.context.state_dir, evidence=evidence)
        except ServiceError as error:
            staged.discard()
            return endings.blocked(run, current, (f"{run.service.name} could not be stopped: {error.message}",))
        except BaseException:
            staged.discard()
            raise
        run.applied.append(applied)
        run.chooser.tried |= {one.key for one in (choice, plain) if one is not None}
        after = run.look(reader, rows, service=run.meant(choice), at_rest=True)
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


def _note(run: RestoreRun, choice: Choice, newest: str, before: Sequence[swapping.Applied]) -> None:
    """Before the swap: that what will lie there is unproven, and, as the service is started on it next, its start.

    `newest`: the quarantine of what is swapped, by its id; those `before` it are of this run too.
    """
    if not run.request.boot and not (run.request.start and run.is_provable and not run.others):
        if run.together is not None:
            sequences = {part.item: part.sequence for part in choice.dumps}
            files = (*(one.quarantine for one in before), newest)
            run.together.wait(sequences, asked=run.explicit is not None, files=files)
        return
    written = unproven.Unproven(
        choice.candidate,
        (*(os.path.basename(one.quarantine) for one in before), os.path.basename(newest)),
        taken(choice),
        asked=run.explicit is not None,
        rejected=tuple(dict.fromkeys(run.rejected)),
    )
    run.note = unproven.counted(unproven.again(run.note, written))
    unproven.save(run.context.repository(), run.service.name, run.note)


def _stage(run: RestoreRun, reader: Reader, choice: Choice, plain: Choice | None) -> staging.Staging | None:
    """Stage, migrate and judge; None when the choice turned out to be damaged, or not to be valid today.

    `plain`: the choice without the live documents that are only to be migrated.
    """
    known = plain or choice
    try:
        staged = staging.stage(
            run.chooser.source(reader),
            run.service.name,
            choice.replacements,
            state_dir=run.context.state_dir,
            at_most_bytes=at_most_bytes(choice, run.context.repository().snapshots(run.service.name)),
        )
    except DamagedObject as error:
        _pass_over(run, known, "damaged", damaged_targets(run.chooser.source(reader), known), error.message)
        return None
    try:
        problems = migrating.bring_to_current(run, staged, choice)
        if not problems:
            changed = {one.item for one in run.migrated}
            problems = judging.problems(run.context, run.meant(choice), staged, choice, changed)
    except BaseException:
        staged.discard()
        raise
    if not problems:
        # before services start there is no time for that
        unusable = None if run.request.boot else unusable_dump(run, choice)
        if unusable is None:
            return staged
        staged.discard()
        item, how, why = unusable
        _pass_over(run, known, how, [(item, "")], why)
        return None
    staged.discard()
    told_of = [f"{item}{'/' if document else ''}{document} {text}" for (item, document), text in problems.items()]
    more = [f"and {len(told_of) - _MOST_TOLD} more"] if len(told_of) > _MOST_TOLD else []
    why = "; ".join((*told_of[:_MOST_TOLD], *more))
    live = {part.target for part in choice.parts if part.origin is Origin.LIVE}
    if live.intersection(problems):
        migrating.give_up(run, why)
    else:
        _pass_over(run, known, "invalid", list(problems), why)
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
