"""Bringing back a watched service that failed: its state is looked at, restored where it is bad, then it is started.

The same for processes that a service's document lists: where the document can't be believed, that comes first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from recoverd.config.model import Service
from recoverd.errors import LockHeld
from recoverd.operations import instances, resuming
from recoverd.operations.context import Context
from recoverd.operations.processes import driver_of
from recoverd.operations.restoration import Restoration
from recoverd.operations.restore import guarded, in_order, result_of, with_instances
from recoverd.operations.restore_results import (
    BLOCKED,
    RESTORE,
    UNTOUCHED,
    RestoreRequest,
    RestoreResult,
    ServiceRestore,
)
from recoverd.operations.resuming import FAILURE
from recoverd.recovery import intents
from recoverd.system import clock


def revive(context: Context, names: Sequence[str], *, replace: bool = False) -> RestoreResult:
    """Restore one service that should run and does not; with `replace`, one that runs and is not healthy. Or, where
    `names` are those of processes that one service's document lists, SERVICE@NAME, these.

    What was stopped on purpose meanwhile stays down, and what came up meanwhile is left alone.
    Raises UsageError for an unknown name, RepositoryError.
    """
    name, _, entry = names[0].partition("@")
    service = context.select((name,))[0]
    context.repository(create=True)
    request = RestoreRequest(services=(name,), why=FAILURE)

    def work(service: Service) -> ServiceRestore:
        if not entry:
            return _noted(context, service, request, lambda: _one(context, service, request, replace=replace))
        found = instances.listing(context, service)
        if found.error is None and _may_start(context, name):
            result = ServiceRestore(name, UNTOUCHED)
        else:
            result = _noted(context, service, request, lambda: _document(context, service, request, found.error))
        return with_instances(context, service, request, result, frozenset(names))

    done: dict[str, ServiceRestore] = {}
    in_order(context, {name: service}, work, done, flags=True)
    resuming.remember(context, ((one.resume, one.healthy) for one in done.values() if one.resume is not None))
    return result_of(context, done)


def _noted(
    context: Context, service: Service, request: RestoreRequest, work: Callable[[], ServiceRestore]
) -> ServiceRestore:
    """What became of one service, kept for `check`."""
    began = time.monotonic()
    result = guarded(context, service, request, work)
    if result.exit_status != LockHeld.exit_status:
        context.repository().catalog.record_run(
            service.name, RESTORE, clock.now_ns(), time.monotonic() - began, result.outcome, "; ".join(result.reasons)
        )
    return result


def _may_start(context: Context, name: str) -> bool:
    return context.repository().record(name).blocked is None and intents.load(context.state_dir, name) is None


def _document(context: Context, service: Service, request: RestoreRequest, error: str | None) -> ServiceRestore:
    """Restore the state with the document that lists processes, unless the service itself runs on it: what is at work
    and well is not stopped because of what it has started."""
    name = service.name
    with context.repository().service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        driver = driver_of(context, service)
        if driver is not None and driver.status().running:
            why = f"left as it is, for it runs: {error or 'it is blocked'}"
            return ServiceRestore(name, BLOCKED, reasons=(why,), exit_status=1)
        return Restoration(context, service, request).run()


def _one(context: Context, service: Service, request: RestoreRequest, *, replace: bool) -> ServiceRestore:
    name = service.name
    with context.repository().service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        driver = driver_of(context, service)
        if driver is not None:
            status = driver.status()
            if status.wanted != "running":
                return ServiceRestore(name, UNTOUCHED, reasons=(f"left as it is: {status.detail}",))
            if status.running and not replace:
                return ServiceRestore(name, UNTOUCHED, reasons=("it runs again already",))
            if replace:
                driver.stop()
        return Restoration(context, service, request).run()
