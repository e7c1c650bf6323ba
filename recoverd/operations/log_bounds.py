"""Logs of services that recoverd starts are kept within bounds, also while the service runs."""

from __future__ import annotations

import logging
import os

from recoverd.config.model import Config, RunKind, Service
from recoverd.errors import ServiceError
from recoverd.services.logs import bound_log

_LOG = logging.getLogger("recoverd.operations")


def has_logs(config: Config) -> bool:
    """Whether there is anything to keep within bounds."""
    return any(_is_ours(service) for service in config.services.values())


def bound_logs(config: Config) -> None:
    """Rotate each log that has become too large. What is in the way is told, and stops no other."""
    for service in config.services.values():
        if not _is_ours(service) or service.run is None:
            continue
        path = service.run.log or os.path.join(config.state_dir, "logs", f"{service.name}.log")
        try:
            if bound_log(path):
                _LOG.debug("%s: its log was rotated: %s", service.name, path)
        except ServiceError as error:
            _LOG.warning("%s: %s", service.name, error.message)


def _is_ours(service: Service) -> bool:
    return service.run is not None and service.run.kind is not RunKind.SYSTEMD
