"""Whether the machine went down in order: what the scheduler notes when it starts, and when it is told to stop.

At a shutdown the units of services stop before recoverd's own, so what it finds down then has ended in order.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Mapping

from recoverd.config.model import EMPTY, Service
from recoverd.errors import RecoverdError
from recoverd.operations.context import Context
from recoverd.operations.processes import driver_of
from recoverd.recovery.resume import Shutdown
from recoverd.services.driver import Driver
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.system import clock, durable
from recoverd.values import dataclass, field

_NAME = "lifetime.json"
_PATIENCE_S = 5.0
_log = logging.getLogger("recoverd.operations")


@dataclass(frozen=True, slots=True)
class Lifetime:
    """The last run of the scheduler. `ended`: it was told to stop; `down`: service -> whether it was down by then."""

    boot_id: str
    ended: bool
    down: Mapping[str, bool] = field(default_factory=lambda: EMPTY)


def begin(context: Context) -> None:
    """The scheduler runs: unless `end` follows, the machine went down without warning. Best effort."""
    _save(context.state_dir, Lifetime(clock.boot_id(), ended=False))


def end(context: Context, *, within_s: float = _PATIENCE_S) -> None:
    """The scheduler was told to stop: note which services have ended before it. Best effort.

    All are asked at once; of who does not answer within `within_s` nothing is known: a shutdown waits for us.
    """
    down: dict[str, bool] = {}

    def ask(service: Service, driver: Driver) -> None:
        try:
            status = driver.status()
            down[service.name] = not status.running and status.settled
        except (RecoverdError, OSError) as error:
            _log.debug("whether %s is down is not known: %s", service.name, error)

    threads = []
    for service in context.config.services.values():
        try:
            driver = driver_of(context, service)
        except (RecoverdError, OSError):
            continue  # the repository can't be reached: nothing is noted of any
        if driver is not None:
            threads.append(threading.Thread(target=ask, args=(service, driver), daemon=True))
            threads[-1].start()
    deadline_s = clock.monotonic_s() + within_s
    for thread in threads:
        thread.join(max(0.0, deadline_s - clock.monotonic_s()))
    _save(context.state_dir, Lifetime(clock.boot_id(), ended=True, down=dict(down)))


def load(state_dir: str) -> Lifetime | None:
    """None where no scheduler ever ran, or its note can't be read."""
    try:
        with durable.open_own(os.path.join(state_dir, _NAME)) as file:
            document = json.loads(file.read())
        down = {str(name): value is True for name, value in document["down"].items()}
        return Lifetime(str(document["boot_id"]), document["ended"] is True, down)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _save(state_dir: str, lifetime: Lifetime) -> None:
    document = {"boot_id": lifetime.boot_id, "ended": lifetime.ended, "down": dict(lifetime.down)}
    try:
        durable.write_path(os.path.join(state_dir, _NAME), json.dumps(document).encode("ascii") + b"\n")
    except OSError as error:
        _log.warning("how this run ends can't be noted: %s", error)


def last_shutdown(
    record: ProcessRecord, lifetime: Lifetime | None, service: str, boot_id: str, *, is_own: bool
) -> Shutdown:
    """How the last run of a service ended, as far as recoverd or the scheduler saw it. Pure.

    `is_own`: recoverd starts its process itself, so that an end it did not ask for is none in order.
    """
    if record.phase is Phase.STOPPED:
        if record.ended_cleanly:
            return Shutdown(True, f"stopped at {clock.rfc3339(record.last_stop_ns)}")
        return Shutdown(False, f"killed at {clock.rfc3339(record.last_stop_ns)}: it did not stop when it was told to")
    if record.phase is Phase.FAILED:
        return Shutdown(None, "its last start failed")
    began = record.identity.boot_id if record.identity is not None else None
    if lifetime is not None and boot_id not in {lifetime.boot_id, began}:
        if not lifetime.ended:
            return Shutdown(False, "the machine went down without warning")
        if lifetime.down.get(service):
            return Shutdown(True, "the machine was shut down in order")
    if is_own and record.phase in {Phase.RUNNING, Phase.STARTING} and began is not None:
        where = "with a former boot" if began != boot_id else "by itself"
        return Shutdown(False, f"its process ended {where}")
    return Shutdown(None, "nobody saw how it ended")
