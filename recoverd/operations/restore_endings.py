"""How a restore of one service ends: what is recorded, and the result that text, JSON and exit status render."""

from __future__ import annotations

from recoverd.errors import RecoverdError, ServiceError
from recoverd.operations import rejecting, unproven
from recoverd.operations import restore_records as records
from recoverd.operations import restore_results as results
from recoverd.operations import restore_words as told
from recoverd.operations.choosing import Look
from recoverd.operations.context import Context
from recoverd.operations.processes import Up, driver_of
from recoverd.operations.restore_results import Attempt, ItemOutcome, ServiceRestore
from recoverd.operations.restore_run import RestoreRun
from recoverd.recovery import quarantine
from recoverd.recovery.choices import Choice
from recoverd.recovery.plan import Action, accepting_resets
from recoverd.state.verdicts import worst
from recoverd.system import clock


def restored(run: RestoreRun, current: Look, choice: Choice, up: Up) -> ServiceRestore:
    """State was written, and the service was not found unhealthy on it."""
    now_ns = clock.now_ns()
    try:
        with run.context.state_changes:
            if run.request.boot:
                records.remember_blocked(run.context, run.service.name, None)  # others start and prove it, later
            else:
                seen = run.after.survey if run.after is not None else None
                kept = run.service
                if run.chooser.is_asked and seen is not None:
                    kept = accepting_resets(kept)
                    records.remember_emptied(run.context, kept.name, seen)
                records.keep(run.context, kept, choice.sequences, up, now_ns, seen=seen, whole=not run.others)
    except (RecoverdError, OSError) as error:  # the state is back and proven: that stands, also on a full disk
        run.notes.append(f"it could not be recorded: {error}")
    run.attempts.append(Attempt(choice.candidate, "restored"))
    items = run.items(current, choice, now_ns)
    _tell_restored(run, choice, items, up)
    reasons = (*told.left_alone(current.damage, choice), *((up.why,) if up.why else ()))
    outcome = results.DEGRADED if choice.is_partial else results.RESTORED
    return result(run, current, outcome, up=up, items=items, reasons=reasons)


def _tell_restored(run: RestoreRun, choice: Choice, items: tuple[ItemOutcome, ...], up: Up) -> None:
    after = run.after.survey.items.values() if run.after is not None else ()
    run.context.events.emit(
        "restore.finished",
        service=run.service.name,
        message=f"from {choice.candidate}",
        candidate=choice.candidate,
        items=len({part.item for part in choice.parts}),
        files=sum(one.files for one in after),
        size_bytes=sum(one.size_bytes for one in after),
        age_seconds=max((round(one.age_s, 3) for one in items if one.age_s is not None), default=None),
        seconds=round(clock.monotonic_s() - run.began_s, 3),
        attempts=len(run.attempts),
        healthy=up.healthy,
    )


def untouched(run: RestoreRun, current: Look, up: Up | None = None) -> ServiceRestore:
    """Live state is left alone, whatever a probe says; the service is brought up."""
    if up is None:
        up = run.bring_up(results.UNTOUCHED, told.live(current.survey))
    remember_blocked(run, None)
    left = tuple(told.sentence(one) for one in current.damage)
    reasons = (*left, up.why) if up.why else left
    return result(run, current, results.UNTOUCHED, up=up, reasons=reasons)


def proven(run: RestoreRun, current: Look, note: unproven.Unproven, up: Up) -> ServiceRestore:
    """What an earlier restore wrote lies there, and the service is not unhealthy on it."""
    if up.healthy or not run.is_provable:
        with run.context.state_changes:
            sequences = {part.sequence for part in note.parts if part.sequence}
            records.keep(run.context, run.service, sequences, up, clock.now_ns(), seen=current.survey)
    remember_blocked(run, None)
    run.attempts.append(Attempt(note.candidate, "restored"))
    left = tuple(told.sentence(one) for one in current.damage)
    return result(run, current, results.RESTORED, up=up, reasons=(*left, *((up.why,) if up.why else ())))


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


def put_back(run: RestoreRun, current: Look) -> ServiceRestore:
    """Healthy on none: the cause is elsewhere. The original state comes back, rejections are withdrawn."""
    driver = driver_of(run.context, run.service)
    name = run.service.name
    with run.context.state_changes:
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
    reasons = (
        f"not healthy on any of {len(run.attempts)} candidate{'s' if len(run.attempts) != 1 else ''}: {last}",
        "the original state was put back",
    )
    remember_blocked(run, None if run.was_running else reasons[0])
    return result(run, current, results.FAILED, healthy=False, reasons=reasons, exit_status=1)


def take_back(run: RestoreRun) -> None:
    """Undo what this run wrote, the last first. Raises StateError."""
    while run.applied:
        which = run.applied[-1].quarantine.rpartition("/")[2]
        quarantine.undo(run.service.name, which, state_dir=run.context.state_dir)
        run.applied.pop()


def nothing_left(run: RestoreRun, current: Look) -> ServiceRestore:
    """No candidate, or none that is valid: what `restore.exhausted` says; state that is fit to run on stays so."""
    if not run.damaged:
        return result(run, current, results.FAILED, reasons=run.chooser.reasons, exit_status=1)
    if not run.chooser.given_up:
        return blocked(run, current, run.chooser.reasons)
    up = run.bring_up(results.DEGRADED, told.live(current.survey))
    remember_blocked(run, None)
    reasons = (*run.chooser.reasons, up.why) if up.why else run.chooser.reasons
    return result(run, current, results.DEGRADED, up=up, reasons=reasons)


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
        items=items if items is not None else told.live(current.survey),
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
