"""Which driver a service has. Each is imported only when a service needs it."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.config.model import EMPTY, RunKind, Service
from recoverd.services.driver import Claim, Driver, Ledger, free_to_start


def build_driver(
    service: Service,
    ledger: Ledger,
    *,
    log_dir: str,
    extra_env: Mapping[str, str] = EMPTY,
    claim: Claim = free_to_start,
) -> Driver | None:
    """The driver of a service; None when it has state only.

    `log_dir` is recoverd's own directory for logs and for the lock that lets one start at a time.
    `extra_env` wins over the environment that the service declares; a systemd unit has its own and gets none of it.
    `claim` tells whether a unit may be started that systemd stopped along with this service's.
    """
    if service.run is None:
        return None
    if service.run.kind is RunKind.COMMAND:
        from recoverd.services.command import CommandDriver

        return CommandDriver(
            service.name, service.run, ledger, log_dir=log_dir, extra_env=extra_env, limits=service.limits
        )
    if service.run.kind is RunKind.SYSTEMD:
        from recoverd.services.systemd import SystemdDriver

        return SystemdDriver(service.name, service.run, ledger, log_dir=log_dir, claim=claim)
    from recoverd.services.control import ControlDriver

    return ControlDriver(service.name, service.run, ledger, log_dir=log_dir, extra_env=extra_env)
