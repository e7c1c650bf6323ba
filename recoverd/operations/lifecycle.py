"""`recoverd start|stop|restart|status`: the processes of services, in order; declared against real."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from recoverd.config.model import Service
from recoverd.errors import LockHeld, RecoverdError, ServiceError
from recoverd.operations import children, given_up, listed_processes
from recoverd.operations.context import Context, unknown_service
from recoverd.operations.lifecycle_results import (
    BLOCKED,
    FAILED,
    RESTARTED,
    RUNNING,
    STARTED,
    STATELESS,
    STOPPED,
    UNKNOWN,
    LifecycleResult,
    ServiceProcess,
    described,
)
from recoverd.operations.processes import driver_of, looking_driver_of
from recoverd.operations.resume_files import load_history
from recoverd.recovery import intents
from recoverd.services import adoption
from recoverd.services.driver import Driver, Stopped
from recoverd.services.ordering import blocked_by, start_order
from recoverd.system.processes import ProcessIdentity
from recoverd.values import replace

START, STOP, RESTART, STATUS = "start", "stop", "restart", "status"
_GLANCE_S = 0.25  # without waiting for more, so much time to fail at once
_SIDE_BY_SIDE = 16  # services that are proven or stopped at the same time; most of that is waiting


def start(context: Context, names: Sequence[str], *, wait: bool = True) -> LifecycleResult:
    """Start services in the order of `after` and, with `wait`, prove that they are healthy. Clears that they were
    stopped on purpose. Of all errors, only those of the configuration and the repository as a whole are raised.
    """
    return _upwards(context, names, START, lambda service: _start(context, service, wait=wait))


def restart(context: Context, names: Sequence[str], *, wait: bool = True) -> LifecycleResult:
    """Stop and start services, one after the other in the order of `after`; also those that did not run.

    What the document of a service lists outlives its process, and is left alone where it has one.
    """
    return _upwards(context, names, RESTART, lambda service: _start(context, service, wait=wait, stop_first=True))


def stop(context: Context, names: Sequence[str]) -> LifecycleResult:
    """Stop services, what comes after others first, and remember that it was on purpose: only `start` starts them."""
    services, results = _selected(context, names, STOP)
    for wave in reversed(start_order(services)):
        for one in _side_by_side(lambda service: _guarded(service, lambda: _stop(context, service)), wave, services):
            results[one.service] = one
    return _in_order(context, names, results)


def status(context: Context, names: Sequence[str]) -> LifecycleResult:
    """How the processes of services are. Changes nothing, and creates no repository."""
    services, results = _selected(context, names, STATUS)
    for one in _side_by_side(lambda service: _guarded(service, lambda: _status(context, service)), services, services):
        results[one.service] = one
    for service in context.config.services.values():
        if service.instances is not None and service.name in services:
            results |= listed_processes.status(context, service, lambda _: True)
        elif service.instances is not None and any(name.startswith(f"{service.name}@") for name in services):
            results |= listed_processes.status(context, service, services.__contains__)
    return _in_order(context, names, results)


def _selected(
    context: Context, names: Sequence[str], command: str
) -> tuple[dict[str, Service], dict[str, ServiceProcess]]:
    """The services to handle, and the results of names that no service is to be handled under.

    With a service come the processes that its document lists; for `status` they are looked at by themselves.
    """
    declared = context.config.services
    broken = {one.name: one for one in context.config.failed}
    results: dict[str, ServiceProcess] = {}
    chosen: dict[str, Service] = {}
    for name in dict.fromkeys(names or [*(one.name for one in context.select(())), *broken]):
        if name in broken:
            detail = "; ".join(broken[name].problems)
            hint = "`recoverd config validate` checks again"
            results[name] = ServiceProcess(name, FAILED, detail=detail, hint=hint, exit_status=1)
        elif "@" in name:
            listed_processes.add_one(context, name, chosen, results, to_start=command in {START, RESTART})
        elif name not in declared:
            error = unknown_service(name, declared)
            results[name] = ServiceProcess(name, UNKNOWN, detail=error.message, hint=error.hint, exit_status=64)
        elif declared[name].run is not None or command == STATUS:
            chosen[name] = declared[name]
            if command in {START, STOP}:
                listed_processes.add(context, declared[name], chosen, results, to_stop=command == STOP)
        elif declared[name].instances is not None:
            listed_processes.add(context, declared[name], chosen, results, to_stop=command == STOP)
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
    place = {name: number for number, name in enumerate(order)}
    # what a document lists follows its service
    ordered = sorted(
        results, key=lambda name: (min(place[name], place.get(name.partition("@")[0], place[name])), place[name])
    )
    return LifecycleResult(tuple(results[name] for name in ordered))


def _upwards(
    context: Context, names: Sequence[str], command: str, act: Callable[[Service], ServiceProcess]
) -> LifecycleResult:
    services, results = _selected(context, names, command)
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
        if service.processes is not None and not driver.status().running:
            children.end_survivors(context, service)
        begun = driver.start()
    if not begun.already:
        told = f"pid {begun.pid}" if begun.pid is not None else ""
        context.events.emit("service.started", service=name, message=told, pid=begun.pid)
    outcome = RUNNING if begun.already else RESTARTED if stopped is not None else STARTED
    if wait:
        from recoverd.services.probes import wait_until_healthy

        proof = wait_until_healthy(service.health, driver)
        if proof.healthy:
            from recoverd.operations.proving import settle

            settle(context, service)
        seen = replace(described(name, outcome, driver.status()), healthy=proof.healthy)
        fine, why = proof.healthy, proof.reason
    else:
        time.sleep(_GLANCE_S)
        found = driver.status()
        seen = described(name, outcome, found)
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
        hint=hint if seen.running else f"{hint}, `recoverd restore {seen.service.partition('@')[0]}` checks its state",
        exit_status=1,
    )


def _why_not(context: Context, name: str) -> str | None:
    """Why a service must not run on its state as it is now."""
    name = name.partition("@")[0]  # what a document lists hangs on the state that holds it
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
    seen = described(name, STOPPED, driver.status())
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
    seen = described(name, RUNNING if found.running else STOPPED, found)
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
