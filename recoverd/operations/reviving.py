"""Bringing back a watched service that failed: its state is looked at, restored where it is bad, then it is started."""

from __future__ import annotations

import time

from recoverd.config.model import Service
from recoverd.errors import LockHeld
from recoverd.operations import resuming
from recoverd.operations.context import Context
from recoverd.operations.processes import driver_of
from recoverd.operations.restoration import Restoration
from recoverd.operations.restore import guarded, in_order, result_of
from recoverd.operations.restore_results import RESTORE, UNTOUCHED, RestoreRequest, RestoreResult, ServiceRestore
from recoverd.operations.resuming import FAILURE
from recoverd.system import clock


def revive(context: Context, name: str, *, replace: bool) -> RestoreResult:
    """Restore one service that should run and does not; with `replace`, one that runs and is not healthy.

    What was stopped on purpose meanwhile stays down, and what came up meanwhile is left alone.
    Raises UsageError for an unknown name, RepositoryError.
    """
    service = context.select((name,))[0]
    context.repository(create=True)
    request = RestoreRequest(services=(name,), why=FAILURE)

    def work(service: Service) -> ServiceRestore:
        began = time.monotonic()
        result = guarded(context, service, request, lambda: _one(context, service, request, replace=replace))
        if result.exit_status != LockHeld.exit_status:
            context.repository().catalog.record_run(
                name, RESTORE, clock.now_ns(), time.monotonic() - began, result.outcome, "; ".join(result.reasons)
            )
        return result

    done: dict[str, ServiceRestore] = {}
    in_order(context, {name: service}, work, done, flags=True)
    resuming.remember(context, ((one.resume, one.healthy) for one in done.values() if one.resume is not None))
    return result_of(context, done)


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
