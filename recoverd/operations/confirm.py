"""`recoverd confirm`: the second phase of a boot. Services are started where nobody else does, asked, and proven.

Where one is not healthy on what the first phase has restored, that is taken back and rejected, and the next older
candidate is tried. What nobody restored is left alone, whatever a probe says.
"""

from __future__ import annotations

import os

from recoverd.config.model import Service
from recoverd.errors import StateError
from recoverd.operations import blocking, instances, rejecting, restore_records, resuming, unproven
from recoverd.operations.boot import forget_late, late_services
from recoverd.operations.context import Context
from recoverd.operations.processes import Up, bring_up, driver_of
from recoverd.operations.restoration import Restoration
from recoverd.operations.restore import broken, guarded, in_order, result_of, with_instances
from recoverd.operations.restore_results import (
    FAILED,
    RESTORED,
    UNTOUCHED,
    Attempt,
    RestoreRequest,
    RestoreResult,
    ServiceRestore,
)
from recoverd.operations.unproven import Unproven
from recoverd.recovery import quarantine, swapping
from recoverd.recovery.intents import intent_path
from recoverd.system import clock
from recoverd.values import replace

_REQUEST = RestoreRequest(why="confirm")


def confirm(context: Context, names: tuple[str, ...] = ()) -> RestoreResult:
    """Bring all enabled services (or the named ones) up and prove them, in the order of `after`.

    Raises UsageError for unknown names, RepositoryError when the repository can't be used.
    """
    services = {service.name: service for service in context.select(names)}
    context.repository(create=True)
    late = late_services(context.runtime_dir)
    done = {} if names else {failed.name: broken(failed) for failed in context.config.failed}

    def work(service: Service) -> ServiceRestore:
        one = guarded(context, service, _REQUEST, lambda: _one(context, service, unfinished=service.name in late))
        return with_instances(context, service, _REQUEST, one)

    in_order(context, services, work, done, flags=True)
    resuming.remember(context, ((one.resume, one.healthy) for one in done.values() if one.resume is not None))
    return result_of(context, done)


def _one(context: Context, service: Service, *, unfinished: bool) -> ServiceRestore:
    repository = context.repository()
    name = service.name
    with repository.service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        has_intent = os.path.lexists(intent_path(context.state_dir, name))
        if unfinished or has_intent or repository.record(name).blocked is not None:
            result = Restoration(context, service, _REQUEST).run()  # what the first phase did not bring to an end
            forget_late(context.runtime_dir, name)
            return result
        written = unproven.load(repository, name)
        up = bring_up(context, service, start=True)
        if written is None:
            return _result(service, UNTOUCHED, up)
        if up.healthy is False:
            return _fall_back(context, service, written, up)
        if up.healthy:
            with context.state_changes:
                sequences = {part.sequence for part in written.parts if part.sequence}
                restore_records.keep(context, service, sequences, up, clock.now_ns(), seen=None)
        attempt = Attempt(written.candidate, "restored")
        return replace(_result(service, RESTORED, up), attempts=(attempt,))


def _fall_back(context: Context, service: Service, written: Unproven, up: Up) -> ServiceRestore:
    """Reject what the first phase wrote, take it back, and restore again with the next older candidate.

    When none works, this rejection is withdrawn with the others: the cause is elsewhere. Raises RecoverdError.
    """
    name, repository = service.name, context.repository()
    why = up.why or "the service was not healthy on it"
    context.events.emit("restore.rejected", service=name, message=f"{written.candidate}: {why}")
    with context.state_changes:
        rejecting.reject(context, name, written.parts, why)
        driver = driver_of(context, service)
        ran = driver is not None and driver.stop().was_running
        unproven.save(repository, name, None)
        kept = ""
        try:
            swapping.finish_intent(name, context.state_dir)
            quarantine.undo(name, written.quarantine, state_dir=context.state_dir)
        except StateError as error:
            kept = error.message
    if kept:  # what was replaced is gone: then what was restored stays, and the service goes on with it
        again = bring_up(context, service, start=True)
        return replace(_result(service, FAILED, again), reasons=(why, kept), exit_status=1)
    result = Restoration(context, service, _REQUEST, was_running=ran).run()
    if result.outcome == FAILED or result.exit_status == 1:
        with context.state_changes:
            rejecting.withdraw(context, name, written.parts)
    attempts = (Attempt(written.candidate, "rejected", why), *result.attempts)
    return replace(result, attempts=attempts)


def _result(service: Service, outcome: str, up: Up) -> ServiceRestore:
    return ServiceRestore(
        service.name,
        outcome,
        healthy=up.healthy,
        verdict="",
        reasons=(up.why,) if up.why else (),
        pid=up.pid,
        started=up.started,
        exit_status=1 if up.healthy is False else 0,
    )


def start_only(context: Context, name: str) -> None:
    """Start one service, or one of its processes, and nothing else: what a transient unit runs.

    Raises UsageError, ServiceError.
    """
    service = instances.named(context, name, to_start=True) if "@" in name else context.select((name,))[0]
    driver = driver_of(context, service)
    if driver is not None:
        blocking.unblock(context.runtime_dir, name)
        driver.start()
