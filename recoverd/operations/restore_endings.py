"""How a restore of one service ends: what is recorded, and the result that text, JSON and exit status render."""

from __future__ import annotations

from recoverd.errors import RecoverdError, ServiceError
from recoverd.events.where import where_of
from recoverd.operations import migrating, rejecting, unproven
from recoverd.operations import restore_records as records
from recoverd.operations import restore_results as results
from recoverd.operations import restore_words as told
from recoverd.operations.choosing import Look
from recoverd.operations.context import Context
from recoverd.operations.pending_migrations import note_pending
from recoverd.operations.processes import Up, driver_of
from recoverd.operations.restore_results import Attempt, ItemOutcome, ServiceRestore
from recoverd.operations.restore_run import RestoreRun
from recoverd.operations.telling import Returned, finished
from recoverd.recovery import quarantine
from recoverd.recovery.choices import Choice
from recoverd.recovery.plan import Action, Origin, accepting_resets
from recoverd.state.verdicts import worst
from recoverd.system import clock
from recoverd.values import replace


def restored(run: RestoreRun, current: Look, choice: Choice, up: Up) -> ServiceRestore:
    """State was written, and the service was not found unhealthy on it."""
    now_ns = clock.now_ns()
    reason = "migration" if all(part.origin is Origin.LIVE for part in choice.parts) else "restore"
    try:
        if run.request.boot:
            records.remember_blocked(run.context, run.service.name, None)  # others start and prove it, later
        else:
            seen = run.after.survey if run.after is not None else None
            kept = run.service
            if run.chooser.is_asked and seen is not None:
                kept = accepting_resets(kept)
                records.remember_emptied(run.context, kept.name, seen)
            whole = not run.others
            asks = run.has_loaded
            records.keep(
                run.context, kept, choice.sequences, up, now_ns, seen=seen, whole=whole, reason=reason, ask_dumps=asks
            )
    except (RecoverdError, OSError) as error:  # the state is back and proven: that stands, also on a full disk
        run.notes.append(f"it could not be recorded: {error}")
    run.attempts.append(Attempt(choice.candidate, "restored"))
    items = run.items(current, choice, now_ns)
    if run.migrated and run.after is not None:
        migrating.tell_done(run)
        note_pending(run.context, run.service, run.after.survey)
    _tell_restored(run, choice, items, up)
    reasons = (*told.left_alone(current.damage, choice), *((up.why,) if up.why else ()))
    outcome = results.DEGRADED if choice.is_partial else results.RESTORED
    return result(run, current, outcome, up=up, items=items, reasons=reasons)


def not_started(run: RestoreRun, current: Look, choice: Choice, up: Up) -> ServiceRestore:
    """State was written, and recoverd could not start the service on it: the next restore does, and proves it."""
    if run.note is not None and run.note.starts:  # the start that was counted did not happen
        unproven.save(run.context.repository(), run.service.name, replace(run.note, starts=run.note.starts - 1))
    items = run.items(current, choice, clock.now_ns())
    reasons = (up.why, f"its state was restored from {choice.candidate}, and is not proven yet")
    return result(run, current, results.FAILED, up=up, items=items, reasons=reasons, exit_status=1)


def _tell_restored(run: RestoreRun, choice: Choice, items: tuple[ItemOutcome, ...], up: Up) -> None:
    after = run.after.survey.items.values() if run.after is not None else ()
    message, level, returned = finished(run.resume, f"from {choice.candidate}")
    where = where_of(run.service, [part.item for part in choice.parts])
    run.context.events.emit(
        "restore.finished",
        service=run.service.name,
        where=where,
        message=message,
        level=level,
        candidate=choice.candidate,
        items=len({part.item for part in choice.parts}),
        files=sum(one.files for one in after),
        size_bytes=sum(one.size_bytes for one in after),
        age_seconds=max((round(one.age_s, 3) for one in items if one.age_s is not None), default=None),
        seconds=round(clock.monotonic_s() - run.began_s, 3),
        attempts=len(run.attempts),
        healthy=up.healthy,
        restart_count=returned.restart_count,
        clean_shutdown=returned.clean_shutdown,
        in_flight=returned.in_flight,
        warnings=returned.warnings,
        messages=returned.messages,
        resume=returned.resume,
    )


def untouched(run: RestoreRun, current: Look, up: Up | None = None) -> ServiceRestore:
    """Live state is left alone, whatever a probe says; the service is brought up."""
    if up is None:
        up = run.bring_up(results.UNTOUCHED, told.live(current.survey))
    remember_blocked(run, None)
    _tell_resumed(run, up)
    left = tuple(told.sentence(one) for one in current.damage)
    reasons = (*left, up.why) if up.why else left
    return result(run, current, results.UNTOUCHED, up=up, reasons=reasons)


def not_migrated(run: RestoreRun, current: Look, why: str) -> ServiceRestore:
    """Everything stays as it was, and the service starts on it."""
    if run.migrates:
        migrating.give_up(run, why)
    up = run.bring_up(results.FAILED, told.live(current.survey))
    remember_blocked(run, None)
    left = tuple(told.sentence(one) for one in current.damage)
    reasons = ("its state is as it was before", *left, *((up.why,) if up.why else ()))
    return result(run, current, results.FAILED, up=up, reasons=reasons, exit_status=1)


def proven(run: RestoreRun, current: Look, note: unproven.Unproven, up: Up) -> ServiceRestore:
    """What an earlier restore wrote lies there, and the service is not unhealthy on it."""
    if up.healthy or not run.is_provable:
        sequences = {part.sequence for part in note.parts if part.sequence}
        records.keep(
            run.context, run.service, sequences, up, clock.now_ns(), seen=current.survey, ask_dumps=run.has_loaded
        )
    remember_blocked(run, None)
    run.attempts.append(Attempt(note.candidate, "restored"))
    if up.healthy:
        _tell_proven(run, note, up)
    else:
        _tell_resumed(run, up)
    left = tuple(told.sentence(one) for one in current.damage)
    return result(run, current, results.RESTORED, up=up, reasons=(*left, *((up.why,) if up.why else ())))


def _tell_proven(run: RestoreRun, note: unproven.Unproven, up: Up) -> None:
    """What an earlier phase or process has restored, and told of, holds. What was in flight is not told again."""
    report = run.resume
    sentence = f"{note.candidate} is proven: {up.why}"
    message, level, returned = finished(None if report is None or report.again else report, sentence)
    if report is not None and report.again:
        returned = Returned(report.restart_count, report.shutdown.clean, resume=report.path)
    where = where_of(run.service, [part.item for part in note.parts])
    run.context.events.emit(
        "restore.finished",
        service=run.service.name,
        where=where,
        message=message,
        level=level,
        candidate=note.candidate,
        items=len({part.item for part in note.parts}),
        seconds=round(clock.monotonic_s() - run.began_s, 3),
        attempts=len(run.attempts),
        healthy=True,
        restart_count=returned.restart_count,
        clean_shutdown=returned.clean_shutdown,
        in_flight=returned.in_flight,
        warnings=returned.warnings,
        messages=returned.messages,
        resume=returned.resume,
    )


def _tell_resumed(run: RestoreRun, up: Up) -> None:
    """A service is back on state that was left alone: told where it says what is to be resumed."""
    report = run.resume
    if report is not None and report.in_flight is not None and not report.again and up.healthy is not False:
        message, level, returned = finished(report, "its state was left as it is")
        run.context.events.emit(
            "restore.finished",
            service=run.service.name,
            message=message,
            level=level,
            items=0,
            seconds=round(clock.monotonic_s() - run.began_s, 3),
            healthy=up.healthy,
            restart_count=returned.restart_count,
            clean_shutdown=returned.clean_shutdown,
            in_flight=returned.in_flight,
            warnings=returned.warnings,
            messages=returned.messages,
            resume=returned.resume,
        )


def left_running(run: RestoreRun, current: Look) -> ServiceRestore:
    """Before services start, nothing is stopped: this one has been started already."""
    run.left_running = True
    reasons = ("it runs already, so its state was left as it is", *map(told.sentence, current.damage))
    return result(run, current, results.FAILED, reasons=reasons, exit_status=1)


def became(run: RestoreRun, again: Look) -> ServiceRestore:
    """The service's stop changed its state: a flush at exit, or a torn read before."""
    if again.action is Action.BLOCK:
        return blocked(run, again, blocking(again))
    run.notes.append("the state was ok once the service had stopped")
    return untouched(run, again)


def migration_put_back(run: RestoreRun, first: Look) -> ServiceRestore:
    """Not healthy on state that was only migrated: the service gets back what it had, and runs on that."""
    driver = driver_of(run.context, run.service)
    if driver is not None:
        driver.stop()
    take_back(run)
    unproven.save(run.context.repository(), run.service.name, None)
    last = run.attempts[-1].why if run.attempts else ""
    migrating.tell_failed(run, f"not healthy on migrated state, which was taken back: {last}")
    up = run.bring_up(results.FAILED, told.live(first.survey))
    if up.healthy:
        run.rejected.clear()  # it was the migration: that stays rejected
    remember_blocked(run, None)
    reasons = (
        f"not healthy on migrated state: {last}",
        "its state is as it was before",
        *((up.why,) if up.why else ()),
    )
    return result(run, first, results.FAILED, up=up, reasons=reasons, exit_status=1)


def put_back(run: RestoreRun, current: Look) -> ServiceRestore:
    """Healthy on none: the cause is elsewhere. The original state comes back, rejections are withdrawn."""
    driver = driver_of(run.context, run.service)
    name = run.service.name
    if driver is not None:
        driver.stop()
    take_back(run)
    rejecting.withdraw(run.context, name, dict.fromkeys(run.rejected))
    unproven.save(run.context.repository(), name, None)
    if run.was_running and driver is not None:
        try:
            driver.start()
        except ServiceError as error:
            run.notes.append(error.message)
    last = run.attempts[-1].why if run.attempts else ""
    if run.before is not None:
        migrating.tell_failed(run, f"not healthy on migrated state, which was taken back: {last}")
    loads = run.together is not None and not run.together.is_unhealthy
    what = "not healthy on any" if not loads else "could not be restored as a whole from any"
    reasons = (
        f"{what} of {len(run.attempts)} candidate{'s' if len(run.attempts) != 1 else ''}: {last}",
        "the original state was put back",
    )
    remember_blocked(run, None if run.was_running else reasons[0])
    return result(run, current, results.FAILED, healthy=None if loads else False, reasons=reasons, exit_status=1)


def take_back(run: RestoreRun) -> None:
    """Undo what this run wrote, the last first. Raises StateError."""
    while run.applied:
        which = run.applied[-1].quarantine.rpartition("/")[2]
        quarantine.undo(run.service.name, which, state_dir=run.context.state_dir)
        run.applied.pop()


def nothing_left(run: RestoreRun, current: Look) -> ServiceRestore:
    """No candidate, or none that is valid: what `restore.exhausted` says; state that is fit to run on stays so."""
    if not run.damaged:
        reasons = run.chooser.reasons
        if run.chooser.dumps_damaged and run.attempts:
            reasons = (f"none of {len(run.attempts)} candidates could be loaded: {run.attempts[-1].why}",)
        return result(run, current, results.FAILED, reasons=reasons, exit_status=1)
    if not run.chooser.given_up:
        return blocked(run, current, run.chooser.reasons or _passed_over(run))
    up = run.bring_up(results.DEGRADED, told.live(current.survey))
    remember_blocked(run, None)
    reasons = (*run.chooser.reasons, up.why) if up.why else run.chooser.reasons
    return result(run, current, results.DEGRADED, up=up, reasons=reasons)


def _passed_over(run: RestoreRun) -> tuple[str, ...]:
    """Why what was asked for by name can't be restored."""
    return tuple(f"{one.candidate} can't be restored: {one.why}" for one in run.attempts[-1:])


def blocked(run: RestoreRun, current: Look, reasons: tuple[str, ...]) -> ServiceRestore:
    remember_blocked(run, "; ".join(reasons))
    return result(run, current, results.BLOCKED, reasons=reasons, exit_status=1)


def blocking(current: Look) -> tuple[str, ...]:
    """What the policies say blocks the service, in sentences."""
    return tuple(told.sentence(one) for one in current.damage if one.action is Action.BLOCK)


def remember_blocked(run: RestoreRun, why: str | None) -> None:
    """Block the service, or free it: but while other state of it is damaged, what that has led to stays."""
    if why is not None or not run.others:
        records.remember_blocked(run.context, run.service.name, why)


def dry_run(run: RestoreRun, current: Look, choice: Choice | None) -> ServiceRestore:
    if choice is None and run.chooser.given_up:
        return result(run, current, results.DEGRADED, reasons=run.chooser.reasons)
    if current.action is Action.BLOCK or (choice is None and current.wrong):
        reasons = run.chooser.reasons or tuple(told.sentence(one) for one in current.damage)
        return result(run, current, results.BLOCKED, reasons=reasons, exit_status=1)
    if choice is None and run.explicit is not None and run.attempts:
        return result(run, current, results.FAILED, reasons=_passed_over(run), exit_status=1)
    if choice is None or not choice.replacements:
        return result(run, current, results.UNTOUCHED, reasons=tuple(told.sentence(one) for one in current.damage))
    items = run.items(current, choice, clock.now_ns())
    outcome = results.DEGRADED if choice.is_partial else results.RESTORED
    return result(run, current, outcome, items=items, reasons=told.left_alone(current.damage, choice))


def result(
    run: RestoreRun,
    current: Look,
    outcome: str,
    *,
    up: Up | None = None,
    healthy: bool | None = None,
    items: tuple[ItemOutcome, ...] | None = None,
    reasons: tuple[str, ...] = (),
    exit_status: int | None = None,
) -> ServiceRestore:
    """The result. Exit status 1 also where other state than was asked for stays damaged."""
    if up is not None:
        healthy = up.healthy
    if exit_status is None:
        exit_status = 1 if healthy is False or run.others else 3 if outcome == results.DEGRADED else 0
    return ServiceRestore(
        service=run.service.name,
        outcome=outcome,
        healthy=healthy,
        verdict=worst(item.verdict for item in current.survey.items.values()).value,
        attempts=tuple(run.attempts),
        items=items if items is not None else (*told.live(current.survey), *run.dump_items),
        reasons=(*reasons, *run.notes),
        pid=up.pid if up is not None else None,
        started=up.started if up is not None else False,
        exit_status=exit_status,
        resume=run.resume,
    )


def tell_unless_back(context: Context, result: ServiceRestore) -> None:
    """That a service could not be restored, or does not start; nothing where it is up or was left alone."""
    if result.outcome in {results.BLOCKED, results.FAILED}:
        context.events.emit(
            "restore.failed",
            service=result.service,
            message="; ".join(result.reasons),
            outcome=result.outcome,
            verdict=result.verdict,
            attempts=len(result.attempts),
            seconds=round(result.seconds, 3),
        )
