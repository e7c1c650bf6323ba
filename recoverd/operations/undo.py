"""`recoverd undo`: what a restore replaced comes back; what it wrote goes to quarantine in its place."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import UsageError
from recoverd.events.where import where_of
from recoverd.operations import pending_loads, unproven
from recoverd.operations.accept import remember_accepted
from recoverd.operations.assess import look
from recoverd.operations.context import Context
from recoverd.operations.migrating import remember_undone
from recoverd.operations.pending_migrations import note_pending
from recoverd.operations.processes import bring_up, driver_of, up_again_if_it_fails
from recoverd.recovery import aside, quarantine, swapping
from recoverd.recovery.dump_looks import DO_NOT_ASK
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.quarantine import Quarantined
from recoverd.state.verdicts import worst
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class UndoRequest:
    quarantine: str | None = None  # its id; None: the newest
    start: bool = True


@dataclass(frozen=True, slots=True)
class UndoResult:
    service: str
    undone: str  # the quarantine that was put back
    quarantine: str  # where the undone state is now
    verdict: str  # of live state, now
    accepted: int  # damaged documents that count as accepted from now on
    healthy: bool | None
    why: str = ""

    @property
    def exit_status(self) -> int:
        return 1 if self.healthy is False else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "undone": self.undone,
            "quarantine": self.quarantine,
            "verdict": self.verdict,
            "accepted": self.accepted,
            "healthy": self.healthy,
            "why": self.why,
        }


def undo(context: Context, request: UndoRequest) -> UndoResult:
    """Reverse one restore. It implies `accept` of exactly the content put back, or the next boot would redo it.

    Raises UsageError when there is nothing to undo, StateError, ServiceError, LockHeld.
    """
    name, found = _find(context, request.quarantine)
    service = context.config.services.get(name)
    if service is None:
        raise UsageError(
            f"service {name} is not declared any more, so nothing says where its state belongs",
            hint=f"what was replaced is in {found.path}",
        )
    repository = context.repository()
    what = f"service {service.name}"
    dumps = _with_dumps(context, name, found)
    if dumps is not None:
        from recoverd.operations.undo_dumps import undo_dumps

        found = dumps
        with repository.service_lock(service.name, wait_s=context.wait_s, what=what):
            return undo_dumps(context, service, found, request)
    with repository.service_lock(service.name, wait_s=context.wait_s, what=what):
        return undo_files(context, service, found, request)


def _with_dumps(context: Context, service: str, found: Quarantined) -> Quarantined | None:
    """Of the same restore, what holds the dumps that it has replaced; None where it has replaced none."""
    if found.evidence.get("kind") == aside.KIND:
        return found
    everything = quarantine.list_quarantine(context.state_dir, service)
    return next((one for one in everything if found.id in one.evidence.get("evidence", {}).get("files", ())), None)


def undo_files(context: Context, service: Service, found: Quarantined, request: UndoRequest) -> UndoResult:
    """What lies on the disk comes back; the caller holds the service's lock. Raises StateError, ServiceError."""
    repository = context.repository()
    swapping.finish_intent(service.name, context.state_dir)
    driver = driver_of(context, service)
    running = driver is not None and driver.stop().was_running
    with up_again_if_it_fails(context, service, stopped=running and request.start):
        applied = quarantine.undo(service.name, found.id, state_dir=context.state_dir)
    unproven.save(repository, service.name, None)  # it was about what was undone
    for item, one in pending_loads.load(repository, service.name).items():
        if not one.has_begun:  # so were dumps that were to follow
            pending_loads.save(repository, service.name, item, None)
    touched = {str(step["item"]) for step in found.evidence.get("steps", ())}
    verdict, accepted = _accept(context, service, touched)
    up = bring_up(context, service, start=running and request.start)
    count = sum(len(documents) for documents in accepted.values())
    where = where_of(service, touched & service.state.keys())
    context.events.emit(
        "restore.finished",
        service=service.name,
        where=where,
        message=f"{found.id} was undone",
        verdict=verdict,
        items=len(touched),
        files=count,
        healthy=up.healthy,
    )
    return UndoResult(service.name, found.id, applied.quarantine, verdict, count, up.healthy, up.why)


def _find(context: Context, wanted: str | None) -> tuple[str, Quarantined]:
    """The service, and which of its quarantines: the newest of all, or the one named."""
    try:
        services = sorted(os.listdir(os.path.join(context.state_dir, "quarantine")))
    except FileNotFoundError:
        services = []
    everything = [
        (service, one) for service in services for one in quarantine.list_quarantine(context.state_dir, service)
    ]
    if not everything:
        raise UsageError(
            "there is nothing to undo: no restore has replaced anything", hint="`recoverd list` shows the snapshots"
        )
    newest = max(everything, key=lambda pair: (pair[1].time_ns, pair[1].sequence))
    if wanted is None:
        return newest
    for service, one in everything:
        if wanted in {one.id, f"{service}/{one.id}"}:
            return service, one
    raise UsageError(f"there is no quarantine {wanted!r}", hint=f"the newest is {newest[0]}/{newest[1].id}")


def _accept(
    context: Context, service: Service, touched: Collection[str]
) -> tuple[str, Mapping[str, Mapping[str, str]]]:
    """Call what lies there now good enough to be left alone, as long as its content does not change."""
    with context.repository().reader() as reader:
        survey, _ = look(context, service, reader, full_read=True, dumps=DO_NOT_ASK)
    found = {name: item for name, item in survey.items.items() if name not in service.dumps}
    survey = ServiceSurvey(service.name, found)
    remember_undone(context, service, survey, touched)
    note_pending(context, service, survey)
    return worst(item.verdict for item in found.values()).value, remember_accepted(context, service, survey)
