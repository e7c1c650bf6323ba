"""Whether a capture asks a service for its dumps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recoverd.config.model import Service
from recoverd.errors import RecoverdError
from recoverd.operations.context import Context
from recoverd.recovery.dump_looks import ASK, DO_NOT_ASK, DumpLook

if TYPE_CHECKING:
    from recoverd.operations.snapshot import SnapshotRequest

SHUTDOWN = "shutdown"  # why a capture is made


def may_ask(service: Service, request: SnapshotRequest) -> bool:
    """Not because a file has changed: dumps follow times of their own."""
    return bool(service.dumps) and request.ask_dumps and service.name not in request.hints


def dump_look(context: Context, service: Service, request: SnapshotRequest) -> DumpLook:
    """As `may_ask` has it; nor at a shutdown, once the service is down: then the dump before is the last that there can
    be, and that nobody answers is no failure."""
    if not may_ask(service, request):
        return DO_NOT_ASK
    if request.reason != SHUTDOWN or service.run is None:
        return ASK
    from recoverd.operations.processes import looking_driver_of  # late: most captures look at no process

    driver = looking_driver_of(context, service)
    try:
        return ASK if driver is None or driver.status().running else DO_NOT_ASK
    except RecoverdError:
        return ASK
