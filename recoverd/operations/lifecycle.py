"""`recoverd start|stop|restart|status`: the processes of services, in order; declared against real."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import LockHeld, RecoverdError, ServiceError
from recoverd.operations import given_up
from recoverd.operations.context import Context, unknown_service
from recoverd.operations.processes import driver_of
from recoverd.operations.resume_files import load_history
from recoverd.recovery import intents
from recoverd.services import adoption
from recoverd.services.driver import Driver, ServiceStatus, Stopped
from recoverd.services.drivers import build_driver
from recoverd.services.ordering import blocked_by, start_order
from recoverd.system import clock
from recoverd.system.processes import ProcessIdentity
from recoverd.values import dataclass, replace

STARTED, RESTARTED, RUNNING = "started", "restarted", "running"
STOPPED, FAILED, BLOCKED, UNKNOWN, STATELESS = "stopped", "failed", "blocked", "unknown", "state only"
_GLANCE_S = 0.25  # without waiting for more, so much time to fail at once
_SIDE_BY_SIDE = 16  # services that are proven or stopped at the same time; most of that is waiting


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """What became of the process of one service, or how it is.

    `outcome`: of start "started", or "running" where it ran already; of restart "restarted"; of stop "stopped"; of
    status "running", "stopped" or "state only" (nothing to run). Besides "failed", "blocked" (by its state, or by a
    service that it comes after) and "unknown" (no such service, or its manager does not answer).
    """

    service: str
    outcome: str
    running: bool | None = None  # None: not known, or there is nothing to run
    pid: int | None = None
    since_ns: int | None = None
    restarts: int = 0
    wanted: str = "unknown"  # running | stopped | unknown
    healthy: bool | None = None  # None: nobody asked
    detail: str = ""
    hint: str | None = None
    seconds: float = 0.0
    exit_status: int = 0
    resumed: Mapping[str, Any] | None = None  # the newest resume report, for `status`

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "outcome": self.outcome,
            "running": self.running,
            "pid": self.pid,
            "since": None if self.since_ns is None else clock.rfc3339(self.since_ns),
            "restarts": self.restarts,
            "wanted": self.wanted,
            "healthy": self.healthy,
            "detail": self.detail,
            "hint": self.hint,
            "seconds": round(self.seconds, 3),
            "restart_count": None if self.resumed is None else self.resumed.get("restart_count"),
            "clean_shutdown": None if self.resumed is None else self.resumed.get("clean_shutdown"),
            "resumed": None if self.resumed is None else self.resumed.get("time"),
        }


@dataclass(frozen=True, slots=True)
class LifecycleResult:
    services: tuple[ServiceProcess, ...]

    @property
    def exit_status(self) -> int:
        """0: what was asked for is true of all. 64 or 75 where that is all that went wrong, else 1."""
        wrong = {one.exit_status for one in self.services} - {0}
        return wrong.pop() if len(wrong) == 1 else int(bool(wrong))

    def to_json(self) -> dict[str, Any]:
        return {"services": [one.to_json() for one in self.services]}


def start(context: Context, names: Sequence[str], *, wait: bool = True) -> LifecycleResult:
    """Start services in the order of `after` and, with `wait`, prove that they are healthy. Clears that they were
    stopped on purpose. Of all errors, only those of the configuration and the repository as a whole are raised.
    """
    return _upwards(context, names, lambda service: _start(context, service, wait=wait))


def restart(context: Context, names: Sequence[str], *, wait: bool = True) -> LifecycleResult:
    """Stop and start services, one after the other in the order of `after`; also those that did not run."""
    return _upwards(context, names, lambda service: _start(context, service, wait=wait, stop_first=True))


def stop(context: Context, names: Sequence[str]) -> LifecycleResult:
    """Stop services, what comes after others first, and remember that it was on purpose: only `start` starts them."""
    services, results = _selected(context, names)
    for wave in reversed(start_order(services)):
        for one in _side_by_side(lambda service: _guarded(service, lambda: _stop(context, service)), wave, services):
            results[one.service] = one
    return _in_order(context, names, results)


def status(context: Context, names: Sequence[str]) -> LifecycleResult:
    """How the processes of services are. Changes nothing, and creates no repository."""
    services, results = _selected(context, names, stateless=True)
    for one in _side_by_side(lambda service: _guarded(service, lambda: _status(context, service)), services, services):
        results[one.service] = one
    return _in_order(context, names, results)


def looking_driver_of(context: Context, service: Service) -> Driver | None:
    """The service's driver, to look with: where there is no repository it remembers nothing, and creates none."""
    if context.repository_if_any() is not None:
        return driver_of(context, service)
    return build_driver(service, _NoLedger(), log_dir=os.path.join(context.state_dir, "logs"))


class _NoLedger:
    def load(self) -> Mapping[str, Any]:
        return {}

    def save(self, process: Mapping[str, Any]) -> None:
        raise ServiceError(f"nothing is remembered while somebody only looks: {process}")


def _selected(
    context: Context, names: Sequence[str], *, stateless: bool = False
) -> tuple[dict[str, Service], dict[str, ServiceProcess]]:
    """The services to handle, and the results of names that no service is to be handled under."""
    declared = context.config.services
    broken = {one.name: one for one in context.config.failed}
    results: dict[str, ServiceProcess] = {}
    chosen: dict[str, Service] = {}
    for name in dict.fromkeys(names or [*(one.name for one in context.select(())), *broken]):
        if name in broken:
            detail = "; ".join(broken[name].problems)
            hint = "`recoverd config validate` checks again"
            results[name] = ServiceProcess(name, FAILED, detail=detail, hint=hint, exit_status=1)
        elif name not in declared:
            error = unknown_service(name, declared)
            results[name] = ServiceProcess(name, UNKNOWN, detail=error.message, hint=error.hint, exit_status=64)
        elif declared[name].run is not None or stateless:
            chosen[name] = declared[name]
        elif names:
            results[name] = ServiceProcess(
                name,
                FAILED,
                detail="it is state only: it declares no `run`, so recoverd can't start or stop it",
                hint=f"declare services.{name}.run",
                exit_status=1,
            )
    return chosen, results


def _in_order(context: Context, names: Sequence[str], results: Mapping[str, ServiceProcess]) -> LifecycleResult:
    """As asked for; else as declared."""
    order = dict.fromkeys([*names, *context.config.services, *results])
    return LifecycleResult(tuple(results[name] for name in order if name in results))


def _upwards(context: Context, names: Sequence[str], act: Callable[[Service], ServiceProcess]) -> LifecycleResult:
    services, results = _selected(context, names)
    blocked: dict[str, str] = {}
    if services:
        context.repository(create=True)
    with adoption.adopting():
        for wave in start_order(services):
            held = {name: why for name, why in blocked_by(services, blocked).items() if name not in blocked}
            for name in set(wave) & held.keys():
                results[name] = ServiceProcess(name, BLOCKED, detail=held[name], exit_status=1)
            blocked |= held
            ready = [name for name in wave if name not in blocked]
            for one in _side_by_side(lambda service: _guarded(service, lambda: act(service)), ready, services):
                results[one.service] = one
                if one.exit_status:
                    blocked[one.service] = one.detail or one.outcome
    return _in_order(context, names, results)


def _side_by_side(
    act: Callable[[Service], ServiceProcess], names: Iterable[str], services: Mapping[str, Service]
) -> list[ServiceProcess]:
    chosen = [services[name] for name in names]
    with ThreadPoolExecutor(max_workers=max(1, min(_SIDE_BY_SIDE, len(chosen)))) as pool:
        return list(pool.map(act, chosen))


def _guarded(service: Service, act: Callable[[], ServiceProcess]) -> ServiceProcess:
    """What fails for one service stops no other."""
    began = time.monotonic()
    try:
        one = act()
    except LockHeld as error:
        one = ServiceProcess(service.name, FAILED, detail=error.message, hint=error.hint, exit_status=75)
    except RecoverdError as error:
        one = ServiceProcess(service.name, FAILED, detail=error.message, hint=error.hint, exit_status=1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        one = ServiceProcess(service.name, FAILED, detail=f"{where}{error.strerror or error}", exit_status=1)
    return replace(one, seconds=time.monotonic() - began)


def _driver(context: Context, service: Service) -> Driver:
    with context.state_changes:
        driver = driver_of(context, service)
    assert driver is not None  # only services with a `run` are selected
    return driver


def _start(context: Context, service: Service, *, wait: bool, stop_first: bool = False) -> ServiceProcess:
    name = service.name
    driver = _driver(context, service)
    stopped: Stopped | None = None
    with context.repository().service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        why = _why_not(context, name)
        if why is not None and (stop_first or not driver.status().running):
            hint = f"`recoverd restore {name}` sees to its state, then starts it"
            return ServiceProcess(name, BLOCKED, running=driver.status().running, detail=why, hint=hint, exit_status=1)
        if stop_first:
            stopped = driver.stop()
        begun = driver.start()
    if not begun.already:
        told = f"pid {begun.pid}" if begun.pid is not None else ""
        context.events.emit("service.started", service=name, message=told)
    outcome = RUNNING if begun.already else RESTARTED if stopped is not None else STARTED
    if wait:
        from recoverd.services.probes import wait_until_healthy

        proof = wait_until_healthy(service.health, driver)
        if proof.healthy:
            from recoverd.operations.proving import settle

            settle(context, service)
        seen = replace(_seen(name, outcome, driver.status()), healthy=proof.healthy)
        fine, why = proof.healthy, proof.reason
    else:
        time.sleep(_GLANCE_S)
        found = driver.status()
        seen = _seen(name, outcome, found)
        fine, why = found.running or not found.settled, f"it ended at once: {found.detail}"
    if fine:
        return seen
    context.events.emit("service.unhealthy", service=name, message=why)
    return _not_up(seen, why, driver, begun.identity)


def _not_up(seen: ServiceProcess, why: str, driver: Driver, identity: ProcessIdentity | None) -> ServiceProcess:
    """A service that was started and is not up, with all that is known of why."""
    ended = adoption.ending_of(identity) if identity is not None else ""
    said = driver.complaint() if not seen.running else ""
    detail = f"its process {ended}" if ended else why
    hint = f"`recoverd logs {seen.service}` shows what it said"
    return replace(
        seen,
        outcome=FAILED,
        detail=f"{detail}; it said: {said}" if said else detail,
        hint=hint if seen.running else f"{hint}, `recoverd restore {seen.service}` checks its state",
        exit_status=1,
    )


def _why_not(context: Context, name: str) -> str | None:
    """Why a service must not run on its state as it is now."""
    if intents.load(context.state_dir, name) is not None:
        return "a restore of it was interrupted, and its state is neither the old nor the new one"
    blocked = context.repository().record(name).blocked
    return None if blocked is None else f"the last restore blocked it: {blocked}"


def _stop(context: Context, service: Service) -> ServiceProcess:
    name = service.name
    context.repository(create=True)
    driver = _driver(context, service)
    with context.repository().service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        stopped = driver.stop(by_operator=True)
    seen = _seen(name, STOPPED, driver.status())
    if not stopped.was_running:
        return replace(seen, detail="it did not run")
    return replace(seen, detail="" if stopped.how == "term" else "it did not end when asked to, so it was killed")


def _status(context: Context, service: Service) -> ServiceProcess:
    reports = load_history(context.state_dir, service.name).reports
    return replace(_seen_now(context, service), resumed=reports[-1] if reports else None)


def _seen_now(context: Context, service: Service) -> ServiceProcess:
    name = service.name
    with context.state_changes:
        driver = looking_driver_of(context, service)
    if driver is None:
        return ServiceProcess(name, STATELESS, detail="it declares no `run`")
    try:
        found = driver.status()
    except ServiceError as error:
        return ServiceProcess(name, UNKNOWN, detail=error.message, hint=error.hint, exit_status=1)
    seen = _seen(name, RUNNING if found.running else STOPPED, found)
    why = (
        given_up.why_given_up(context.repository().record(name))
        if found.wanted == "running" and service.watch
        else None
    )
    if why is not None:
        seen = replace(seen, detail=f"given up: {why}")
    if found.wanted == "running" and not found.running:
        return replace(seen, hint=f"`recoverd restore {name}` checks its state, starts and proves it", exit_status=1)
    return seen


def _seen(name: str, outcome: str, found: ServiceStatus) -> ServiceProcess:
    return ServiceProcess(
        service=name,
        outcome=outcome,
        running=found.running,
        pid=None if found.identity is None else found.identity.pid,
        since_ns=found.since_ns,
        restarts=found.restarts,
        wanted=found.wanted,
        detail=found.detail,
    )
