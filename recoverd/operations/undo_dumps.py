"""The undo of a load: the dump that went to quarantine is loaded back, and one of what is there takes its place."""

from __future__ import annotations

import os

from recoverd.config.model import Service
from recoverd.errors import DamagedObject, StateError, UsageError
from recoverd.operations import pending_loads
from recoverd.operations import restore_records as records
from recoverd.operations.context import Context
from recoverd.operations.dump_loader import loader
from recoverd.operations.dump_looking import look_at
from recoverd.operations.processes import bring_up
from recoverd.operations.undo import UndoRequest, UndoResult, undo_files
from recoverd.recovery.aside import Aside, Kept, dumps_in
from recoverd.recovery.evidence import Quarantined, list_quarantine
from recoverd.state.verdicts import Verdict, worst
from recoverd.values import replace


def undo_dumps(context: Context, service: Service, found: Quarantined, request: UndoRequest) -> UndoResult:
    """Undo one restore that has loaded dumps, with the files that it has replaced. The caller holds the service's lock.

    What comes back is left alone by the next restore. Raises UsageError, StateError (what is there can't be dumped, so
    nothing was loaded over it; or the load failed, and what was there was loaded back), ServiceError.
    """
    if not request.start:
        raise UsageError(f"{found.id} holds a dump, which only a running service can load", hint="leave out --no-start")
    together = _together(context, service, found)
    dumps = [(one, dump) for one in together for dump in dumps_in(one)]
    for one, dump in dumps:
        if service.state.get(dump.item) is None or service.state[dump.item].dump is None:
            raise UsageError(
                f"{dump.item} is no dump of {service.name} any more, so nothing says how it is loaded",
                hint=f"what was there is in {dump.path}",
            )
        _verify(one, dump)
    accepted, healthy, why, where = 0, None, "", found.path
    for one in together:
        if not dumps_in(one):
            done = undo_files(context, service, one, UndoRequest(one.id))
            accepted += done.accepted
    verdicts: list[Verdict] = []
    for _, dump in dumps:
        up = bring_up(context, service, start=True)
        healthy, why = up.healthy, up.why
        where, verdict, count = _one(context, service, found, dump)
        verdicts.append(verdict)
        accepted += count
    now = worst(verdicts).value
    context.events.emit(
        "restore.finished",
        service=service.name,
        message=f"{found.id} was undone",
        verdict=now,
        items=len(dumps),
        healthy=healthy,
    )
    return UndoResult(service.name, found.id, where, now, accepted, healthy, why)


def _together(context: Context, service: Service, found: Quarantined) -> list[Quarantined]:
    """All that the same restore has replaced, files first."""
    evidence = found.evidence.get("evidence", {})
    group, files = evidence.get("group"), evidence.get("files", ())
    everything = list_quarantine(context.state_dir, service.name)
    beside = [one for one in everything if one.id in files]
    return beside + [
        one
        for one in everything
        if one.id == found.id or (group is not None and one.evidence.get("evidence", {}).get("group") == group)
    ]


def _verify(found: Quarantined, dump: Kept) -> None:
    try:
        dump.verify()
    except (DamagedObject, OSError) as error:
        raise StateError(
            f"{found.id} can't be undone: {error}", hint="`recoverd list` shows the snapshots; nothing was changed"
        ) from error


def _one(context: Context, service: Service, found: Quarantined, dump: Kept) -> tuple[str, Verdict, int]:
    """(where what was there is now, the verdict on what came back, what of it counts as accepted)."""
    name = dump.item
    with loader(context, service, name) as load, Aside(context.state_dir, service.name) as aside:
        here = look_at(context, service, name, aside)
        if here.kept is None:
            why = next((one.problem for one in here.item.problems), "")
            raise StateError(
                f"{found.id} was not undone: {name} {why}, and what is there must go to quarantine first",
                hint=f"what was there before is in {dump.path}",
            )
        aside.commit([here.kept], {"service": service.name, "undo": found.id})
        where = aside.path
        why_not = load(dump)
        if why_not is not None:
            again = load(replace(here.kept, path=os.path.join(where, name)))
            now = "what was there was loaded back" if again is None else f"nor could what was there: {again}"
            raise StateError(f"{found.id} was not undone: {why_not}; {now}", hint=f"the dump is {dump.path}")
    pending_loads.save(context.repository(), service.name, name, None)
    with Aside(context.state_dir, service.name) as scratch:
        now_there = look_at(context, service, name, scratch)
    return where, now_there.item.verdict, records.remember_left(context, service.name, now_there.survey)
