"""`recoverd pause` and `recoverd resume`: autosave off and on, durable, without a reload of the scheduler."""

from __future__ import annotations

from typing import Any

from recoverd.operations.context import Context
from recoverd.repository.records import ServiceRecord
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class PauseRequest:
    services: tuple[str, ...] = ()  # empty: all declared ones
    paused: bool = True


@dataclass(frozen=True, slots=True)
class Paused:
    """One service, and whether its autosave is off now. `scheduled`: it is declared to be saved at all."""

    service: str
    paused: bool
    changed: bool
    scheduled: bool


@dataclass(frozen=True, slots=True)
class PauseResult:
    services: tuple[Paused, ...]

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        """`{"services": [{"service", "paused", "changed", "scheduled"}]}`."""
        return {
            "services": [
                {"service": one.service, "paused": one.paused, "changed": one.changed, "scheduled": one.scheduled}
                for one in self.services
            ]
        }


def pause(context: Context, request: PauseRequest) -> PauseResult:
    """Switch the autosave of services off, or on again. Captures that are asked for by hand are made all the same.

    Raises UsageError, RepositoryError.
    """
    services = context.select(request.services, enabled_only=False)
    repository = context.repository(create=True)

    def change(record: ServiceRecord) -> ServiceRecord:
        return replace(record, paused=request.paused)

    results = []
    for service in services:
        changed = repository.record(service.name).paused != request.paused
        repository.update_record(service.name, change)
        scheduled = service.autosave.is_automatic or service.autosave.on_shutdown
        results.append(Paused(service.name, request.paused, changed, scheduled))
    return PauseResult(tuple(results))
