"""The processes of services, as operations handle them: their record, start and proof."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import RecoverdError, ServiceError, StartError, StateError
from recoverd.operations import blocking, children
from recoverd.operations.context import Context
from recoverd.operations.dependants import claimed
from recoverd.operations.resume_files import VARIABLE, report_path
from recoverd.recovery.intents import intent_path
from recoverd.repository.store import Repository
from recoverd.services import transient
from recoverd.services.driver import Driver, Started
from recoverd.services.drivers import build_driver
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class RecordLedger:
    """Keeps what a driver knows of its process in the service record: durable, atomic."""

    repository: Repository
    service: str

    def load(self) -> Mapping[str, Any]:
        return self.repository.record(self.service).process

    def save(self, process: Mapping[str, Any]) -> None:
        self.repository.update_record(self.service, lambda record: replace(record, process=dict(process)))


@dataclass(frozen=True, slots=True)
class Up:
    """Whether a service is up and proven."""

    healthy: bool | None  # None: there is nothing to ask, or it was not asked for
    why: str = ""
    pid: int | None = None
    started: bool = False  # by this call
    was_tried: bool = True  # False: recoverd could not even start it, which tells nothing about its state


def driver_of(context: Context, service: Service) -> Driver | None:
    """The service's driver; None for a service that is state only."""
    if service.run is None:
        return None
    repository = context.repository(create=True)
    return build_driver(
        service,
        RecordLedger(repository, service.name),
        log_dir=os.path.join(context.state_dir, "logs"),
        extra_env={VARIABLE: report_path(context.runtime_dir, service.name.partition("@")[0])},
        claim=partial(claimed, context),
    )


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


def _start(context: Context, service: Service, driver: Driver) -> Started:
    """Start it, in a unit of its own where we run in one that will end. Raises ServiceError, LockHeld."""
    if service.run is not None and context.command and not driver.status().running:
        transient.start(service, context.command)
    return driver.start()


def bring_up(context: Context, service: Service, *, start: bool) -> Up:
    """Start the service unless it runs or is down on purpose, and prove that it is healthy."""
    driver = driver_of(context, service)
    if not start or not service.enabled:
        return Up(None, "not asked to start it")
    if driver is None and not service.health.probes:
        return Up(None)
    started, pid, ended = False, None, ""
    if driver is not None:
        status = driver.status()
        if not status.running and status.wanted == "stopped":
            return Up(None, f"not started: {status.detail}")
        blocking.unblock(context.runtime_dir, service.name)  # or systemd would refuse it
        try:
            with context.state_changes:
                if service.processes is not None and not status.running:
                    ended = children.told(children.end_survivors(context, service))
                begun = _start(context, service, driver)
        except ServiceError as error:
            return Up(False, error.message, was_tried=not isinstance(error, StartError))
        started, pid = not begun.already, begun.pid
        if started:
            context.events.emit("service.started", service=service.name, message=f"pid {pid}", pid=pid)
    from recoverd.services.probes import wait_until_healthy  # late: not every service has a process

    proof = wait_until_healthy(service.health, driver)
    if not proof.healthy:
        context.events.emit("service.unhealthy", service=service.name, message=proof.reason)
    return Up(proof.healthy, f"{proof.reason}; {ended}" if ended else proof.reason, pid, started)


@contextmanager
def up_again_if_it_fails(context: Context, service: Service, *, stopped: bool) -> Iterator[None]:
    """Where what a service was `stopped` for fails with everything as it was, it is started again.

    Not while a restore of it is unfinished: then its state is neither the one nor the other. Raises what happens in
    the block; StateError, with both sentences, where the service can't be started either.
    """
    try:
        yield
    except (RecoverdError, OSError) as error:
        driver = driver_of(context, service) if stopped else None
        if driver is None or os.path.lexists(intent_path(context.state_dir, service.name)):
            raise
        try:
            with context.state_changes:
                _start(context, service, driver)
        except RecoverdError as down:
            hint = error.hint if isinstance(error, RecoverdError) else None
            why = f"{service.name}, which was stopped for that, could not be started again: {down.message}"
            raise StateError(f"{error}; {why}", hint=hint) from error
        raise
