"""`recoverd restore --unit`: a unit has failed for good; bring its service back, but not for ever.

Each failure of the unit calls for another recovery, and a recovery that does not help ends in the next failure: after
a few within ten minutes the service is blocked, with the reason, until its operator restores it.
"""

from __future__ import annotations

import json
import os

from recoverd.config.model import Service
from recoverd.errors import UsageError
from recoverd.operations import blocking
from recoverd.operations.context import Context
from recoverd.operations.restore import restore
from recoverd.operations.restore_records import remember_blocked
from recoverd.operations.restore_results import BLOCKED, RestoreRequest, RestoreResult, ServiceRestore
from recoverd.operations.resuming import FAILURE
from recoverd.operations.units import services_of_unit, unit_name
from recoverd.system import clock, durable

MOST = 3
WITHIN_S = 600.0


def recover(context: Context, unit: str) -> RestoreResult:
    """Restore the services of a unit. Raises UsageError when none is declared for it, and what `restore` raises."""
    services = services_of_unit(context.config, unit)
    if not services:
        raise UsageError(
            f"no enabled service is run by {unit_name(unit)}", hint="`recoverd config show` lists the services"
        )
    names = tuple(service.name for service in services)
    held = [_held(context, service) for service in services]
    if any(held):  # systemd refused it, which is what a flag is for; a unit that needs another's is told of as failed
        return RestoreResult(
            tuple(_blocked(name, why or "its unit is blocked") for name, why in zip(names, held, strict=True))
        )
    path = os.path.join(context.runtime_dir, f"recovered-{unit_name(unit)}.json")
    now_s = clock.monotonic_s()
    before = [time_s for time_s in _load(path) if now_s - time_s < WITHIN_S]
    if len(before) >= MOST:
        why = f"{unit_name(unit)} failed again after {len(before)} recoveries within {round(WITHIN_S / 60)} minutes"
        hint = f"find the cause with `systemctl status {unit_name(unit)}`, then run `recoverd restore {names[0]}`"
        context.repository(create=True)
        for name in names:
            remember_blocked(context, name, why)
            context.events.emit("service.gave-up", service=name, message=why)
        return RestoreResult(tuple(_blocked(name, why, hint) for name in names))
    durable.make_directories(context.runtime_dir)
    durable.write_path(path, json.dumps([*before, now_s]).encode("ascii"))
    return restore(context, RestoreRequest(services=names, why=FAILURE))


def _held(context: Context, service: Service) -> str | None:
    """Why a service is kept down, itself or by one that it comes after."""
    why = blocking.reason(context.runtime_dir, service.name)
    for name in service.after:
        because = blocking.reason(context.runtime_dir, name)
        if why is None and because is not None:
            why = f"it comes after {name}, which is blocked: {because}"
    return why


def _blocked(name: str, why: str, hint: str | None = None) -> ServiceRestore:
    return ServiceRestore(name, BLOCKED, reasons=(why,), hint=hint, exit_status=1)


def _load(path: str) -> list[float]:
    try:
        with durable.open_own(path) as file:
            return [float(time_s) for time_s in json.loads(file.read())]
    except (OSError, ValueError, TypeError):
        return []
