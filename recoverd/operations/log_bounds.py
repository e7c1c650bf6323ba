"""Logs of services that recoverd starts are kept within bounds, also while the service runs."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import suppress

from recoverd.config.model import Config, RunKind, Service
from recoverd.errors import ServiceError
from recoverd.services.logs import bound_log

_LOG = logging.getLogger("recoverd.operations")


def has_logs(config: Config) -> bool:
    """Whether there is anything to keep within bounds."""
    return any(_is_ours(service) or service.instances is not None for service in config.services.values())


def bound_logs(config: Config) -> None:
    """Rotate each log that has become too large. What is in the way is told, and stops no other."""
    for name, path in _logs(config):
        try:
            if bound_log(path):
                _LOG.debug("%s: its log was rotated: %s", name, path)
        except ServiceError as error:
            _LOG.warning("%s: %s", name, error.message)


def _logs(config: Config) -> Iterator[tuple[str, str]]:
    """Of each service, and of each process that a document has ever listed: name and path."""
    directory = os.path.join(config.state_dir, "logs")
    for service in config.services.values():
        if service.run is not None and _is_ours(service):
            yield service.name, service.run.log or os.path.join(directory, f"{service.name}.log")
    if any(service.instances is not None for service in config.services.values()):
        with suppress(FileNotFoundError):
            for file in sorted(os.listdir(directory)):
                if "@" in file and file.endswith(".log"):
                    yield file.removesuffix(".log"), os.path.join(directory, file)


def _is_ours(service: Service) -> bool:
    return service.run is not None and service.run.kind is not RunKind.SYSTEMD
