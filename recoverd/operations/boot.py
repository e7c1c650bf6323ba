"""`recoverd restore --boot`: repair files before services start. Starts and stops nothing, and does not wait for ever.

What is blocked gets a flag that systemd looks at. What was not reached in time starts as it is (`boot_late: start`),
but for what was found damaged by then: that is blocked until `confirm` has repaired it.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterable

from recoverd.config.model import Service
from recoverd.operations import blocking, resuming
from recoverd.operations.context import Context
from recoverd.operations.restoration import Restoration
from recoverd.operations.restore import SIGNALS_S, broken, guarded, in_order, result_of
from recoverd.operations.restore_endings import tell_unless_back
from recoverd.operations.restore_results import FAILED, RestoreRequest, RestoreResult, ServiceRestore
from recoverd.recovery.plan import Action
from recoverd.system import durable
from recoverd.system.answering import silent

_LOG = logging.getLogger("recoverd.operations")
_REQUEST = RestoreRequest(start=False, boot=True, why="boot")


def boot(context: Context) -> tuple[RestoreResult, bool]:
    """The result, and whether everything came to an end: if not, threads still work, and only the end of this process
    ends them. Every point at which that happens is one that the next restore goes on from.

    Raises RepositoryError when the repository can't be used; then services start as they are.
    """
    began = time.monotonic()
    context.repository(create=True)
    services = {service.name: service for service in context.select(())}
    done = {failed.name: broken(failed) for failed in context.config.failed}
    io_timeout_s = context.config.io_timeout_s
    under_way: dict[str, Restoration] = {}
    faults: list[BaseException] = []
    interrupted = threading.Event()

    def work(service: Service) -> ServiceRestore:
        if interrupted.is_set():
            raise KeyboardInterrupt
        restoration = under_way[service.name] = Restoration(context, service, _REQUEST)
        result = guarded(context, service, _REQUEST, lambda: _locked(context, restoration))
        if result.outcome == FAILED and restoration.found is Action.RESTORE and not restoration.left_running:
            # known to be damaged, and nothing could be done: it would start on that, and perhaps reset it
            blocking.block(context.runtime_dir, service.name, "; ".join(result.reasons))
        return result

    def everything() -> None:
        try:
            # all of them at once: who hangs is known from here on, and waited for once
            paths = [item.path for one in services.values() for item in one.state.values() if item.path]
            silent(paths, within_s=io_timeout_s)
            in_order(context, services, work, done, flags=True)
        except BaseException as fault:  # told by the caller's thread
            faults.append(fault)

    thread = threading.Thread(target=everything, name="boot", daemon=True)
    try:
        thread.start()
        while (left_s := context.config.boot_timeout_s - (time.monotonic() - began)) > 0 and thread.is_alive():
            thread.join(min(left_s, SIGNALS_S))
    except KeyboardInterrupt:
        interrupted.set()  # what was begun comes to a safe point before this process ends, nothing else is begun
        raise
    if faults:
        raise faults[0]
    ended = dict(done)  # who is late goes on meanwhile, and may still be done
    late = [name for name in services if name not in ended]
    for name in late:
        ended[name] = _late(context, name, under_way.get(name))
        tell_unless_back(context, ended[name])
    resuming.remember(context, ((one.resume, one.healthy) for one in ended.values() if one.resume is not None))
    _remember_late(context.runtime_dir, [*late, *(name for name in ended if _runs(under_way.get(name)))])
    return result_of(context, ended), not late


def _locked(context: Context, restoration: Restoration) -> ServiceRestore:
    """Whoever holds the lock sees to that service, and may be waiting for us: starting a unit starts our unit first."""
    name = restoration.service.name
    with context.repository().service_lock(name, wait_s=0.0, what=f"service {name}"):
        return restoration.run()


def _runs(restoration: Restoration | None) -> bool:
    return restoration is not None and restoration.left_running


def _late(context: Context, name: str, restoration: Restoration | None) -> ServiceRestore:
    """What becomes of a service that the time was too short for."""
    limit = f"{context.config.boot_timeout_s:g} s (boot_timeout)"
    found = restoration.found if restoration is not None else None
    if found in {Action.RESTORE, Action.BLOCK}:
        why = f"it is damaged, and was not restored within {limit}"
    elif found is None and context.config.boot_late == "block":
        why = f"its state was not assessed within {limit}"
    else:
        why = f"its state was not assessed within {limit}, so it starts as it is"
        return ServiceRestore(name, FAILED, verdict="", reasons=(why,), exit_status=1)
    blocking.block(context.runtime_dir, name, why)
    return ServiceRestore(name, FAILED, verdict="", reasons=(why,), hint=_HINT, exit_status=1)


_HINT = "`recoverd confirm` goes on with it once the machine is up"


def late_services(runtime_dir: str) -> frozenset[str]:
    """What the first phase of this boot has left to `confirm`."""
    try:
        with durable.open_own(os.path.join(runtime_dir, "late.json")) as file:
            return frozenset(str(name) for name in json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return frozenset()


def _remember_late(runtime_dir: str, names: Iterable[str]) -> None:
    path = os.path.join(runtime_dir, "late.json")
    try:
        os.makedirs(runtime_dir, mode=0o700, exist_ok=True)
        durable.write_path(path, json.dumps(sorted(set(names))).encode("ascii"))
    except OSError as error:
        _LOG.warning("what is left for `recoverd confirm` can't be noted: %s", error)


def forget_late(runtime_dir: str, name: str) -> None:
    left = late_services(runtime_dir) - {name}
    _remember_late(runtime_dir, left)
