"""The processes that a service's document lists, each as a `command` service of its own: SERVICE@ID.

Each has its own record (services/SERVICE@ID.json), lock and log, so all that is known of services holds for it: it is
found again by its identity, started once, and ended as a whole tree. What lists them is the document as it is now.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from recoverd.config.model import Run, RunKind, Service
from recoverd.errors import RecoverdError, ServiceError, StateError, UsageError
from recoverd.operations.context import Context
from recoverd.operations.processes import bring_up, driver_of, looking_driver_of
from recoverd.recovery.listed import Refused, Wanted, instance_name, listed
from recoverd.recovery.live_documents import read_live
from recoverd.services.driver import ServiceStatus
from recoverd.services.process_record import ProcessRecord
from recoverd.system import clock
from recoverd.values import dataclass, replace

_SIDE_BY_SIDE = 16
_RECORDS = "services"  # in the state directory
_MOST_SHOWN = 8  # of the names that a hint tells


@dataclass(frozen=True, slots=True)
class Listing:
    """What a service's document lists now. `error`: why nobody knows (then nothing is listed)."""

    services: tuple[Service, ...] = ()
    refused: tuple[Refused, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One process: what it is, whether the document lists it as one to run, and how it is."""

    service: Service
    listed: bool
    status: ServiceStatus

    @property
    def is_missing(self) -> bool:
        """It should run and does not; what was stopped on purpose should not."""
        return self.listed and not self.status.running and self.status.wanted != "stopped"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The document beside the real processes: those that are listed, and those that were started before."""

    instances: tuple[Instance, ...]
    refused: tuple[Refused, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class BroughtBack:
    """What became of one process that should run and did not; `error` is a sentence, None where it is up."""

    name: str
    pid: int | None = None
    error: str | None = None

    @property
    def sentence(self) -> str:
        if self.error is None:
            return f"{self.name} was started as process {self.pid}"
        return self.error if self.error.startswith(self.name) else f"{self.name}: {self.error}"


def listing(context: Context, service: Service) -> Listing:
    """The processes that a service's document lists. Never raises for what is wrong with the document."""
    rule = service.instances
    if rule is None:
        return Listing()
    item = service.state[rule.item]
    try:
        with context.state_changes:
            judge = context.judges(service)[item.name]
        document = read_live(item, judge, io_timeout_s=context.config.io_timeout_s)
        if document is None:
            return Listing()
        wanted, refused = listed(service.name, rule, document.value, now_ns=clock.now_ns())
    except RecoverdError as error:
        return Listing(error=error.message)
    return Listing(tuple(_as_service(service, one, document.uid) for one in wanted), refused)


def _as_service(service: Service, wanted: Wanted, uid: int) -> Service:
    """A service of its own, without state. As root it runs as whom `run` says, else as whoever writes the document, and
    then without the environment of `run`: what that lists must give nobody the rights or the secrets of another."""
    run = service.run if service.run is not None and service.run.kind is RunKind.COMMAND else Run(RunKind.COMMAND)
    if run.user is None and os.geteuid() == 0 and uid != 0:
        run = replace(run, user=str(uid), group=None, env={})
    return Service(
        name=wanted.name,
        place=service.place,
        enabled=service.enabled,
        run=replace(run, command=wanted.command, cwd=wanted.cwd or run.cwd, log=None),
        after=(service.name,) if service.run is not None else (),
        health=replace(service.health, probes=()),
        limits=service.limits,
        watch=service.watch,
    )


def known(context: Context, service: Service) -> tuple[Service, ...]:
    """The processes of a service that recoverd has started before, whatever the document says of them now."""
    if service.instances is None or context.repository_if_any() is None:
        return ()
    prefix, found = f"{service.name}@", []
    try:
        names = os.listdir(os.path.join(context.state_dir, _RECORDS))
    except OSError:
        return ()
    for name in sorted(name.removesuffix(".json") for name in names if name.endswith(".json")):
        record = ProcessRecord.from_json(context.repository().record(name).process) if name.startswith(prefix) else None
        if record is not None and record.command:
            found.append(_as_service(service, Wanted(name, record.command, None), 0))
    return tuple(found)


def compare(context: Context, service: Service, found: Listing | None = None) -> Comparison:
    """What should run (`found`; None: look at the document now) beside what does. Changes nothing."""
    found = found or listing(context, service)
    names = {one.name for one in found.services}
    instances = []
    for one in (*found.services, *(each for each in known(context, service) if each.name not in names)):
        status = status_of(context, one)
        if one.name in names or status.running:
            instances.append(Instance(one, one.name in names, status))
    return Comparison(tuple(instances), found.refused, found.error)


def named_only(service: Service, name: str) -> Service:
    """The process of this name as its record has it: to be looked at, not to be started."""
    return _as_service(service, Wanted(name, ("",), None), 0)


def status_of(context: Context, one: Service) -> ServiceStatus:
    """How one of the processes is now."""
    with context.state_changes:
        driver = looking_driver_of(context, one)
    assert driver is not None, "it has a command"
    return driver.status()


def is_stopped(context: Context, service: Service) -> bool:
    """Whether the service was stopped on purpose: whoever did so has stopped what its document lists with it.

    Raises ServiceError when whoever runs the service can't be asked.
    """
    if service.run is None:
        return False
    with context.state_changes:
        driver = looking_driver_of(context, service)
    return driver is not None and driver.status().wanted == "stopped"


def bring_back(context: Context, service: Service, *, only: frozenset[str] | None = None) -> tuple[BroughtBack, ...]:
    """Start and prove the processes (or `only` those of these names) that should run and do not. What fails for one
    stops no other."""
    if service.instances is None or not service.enabled or is_stopped(context, service):
        return ()
    found = compare(context, service)
    done = [BroughtBack(one.name, error=one.why) for one in found.refused if only is None or one.name in only]
    if found.error is not None:
        done.append(
            BroughtBack(service.name, error=f"which processes are to be brought back is not known: {found.error}")
        )
    missing = [one.service for one in found.instances if one.is_missing and (only is None or one.service.name in only)]
    with ThreadPoolExecutor(max_workers=max(1, min(_SIDE_BY_SIDE, len(missing)))) as pool:
        done += pool.map(lambda one: _brought_back(context, one), missing)
    return tuple(done)


def _brought_back(context: Context, one: Service) -> BroughtBack:
    try:
        up = bring_up(context, one, start=True)
        if up.healthy is not False:
            return BroughtBack(one.name, up.pid)
        with context.state_changes:
            driver = driver_of(context, one)
        said = driver.complaint() if driver is not None and up.started else ""
        return BroughtBack(one.name, up.pid, f"{up.why}; it said: {said}" if said else up.why)
    except (RecoverdError, OSError) as error:
        return BroughtBack(one.name, error=str(error))


def named(context: Context, name: str, *, to_start: bool) -> Service:
    """The process that SERVICE@NAME means; NAME as entries have it, or as `status` shows it.

    What is `to_start` must be listed now: what was started before is told by its record only to be looked at and ended.
    Raises UsageError for one that nobody knows, ServiceError for an entry that can't be used, StateError.
    """
    base, _, wanted = name.partition("@")
    (service,) = context.select([base])
    if service.instances is None:
        raise UsageError(
            f"service {base} has no processes of that kind: it declares no `instances`", hint=f"recoverd status {base}"
        )
    found = listing(context, service)
    names = {name, instance_name(base, wanted)}
    for one in (*found.services, *(() if to_start else known(context, service))):
        if one.name in names:
            return one
    for entry in found.refused:
        if entry.name in names:
            raise ServiceError(f"{entry.name} can't be started: {entry.why}", hint="correct the entry")
    if found.error is not None:
        raise StateError(f"which processes {base} lists is not known: {found.error}", hint=f"recoverd restore {base}")
    shown = ", ".join(one.name for one in found.services[:_MOST_SHOWN])
    raise UsageError(
        f"{base} lists no {wanted!r}", hint=f"it lists {shown}" if shown else f"`recoverd status {base}` shows all"
    )
