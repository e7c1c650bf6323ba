"""How the processes of a service are, for `recoverd check`: its own, and those that its document lists."""

from __future__ import annotations

from recoverd.config.model import Service
from recoverd.errors import RecoverdError
from recoverd.health.facts import InstancesFacts, ProcessFacts
from recoverd.operations import given_up
from recoverd.operations.context import Context
from recoverd.repository.records import ServiceRecord


def process_facts(context: Context, service: Service, record: ServiceRecord) -> ProcessFacts | None:
    """The service's own process; None where it has none."""
    if service.run is None:
        return None
    from recoverd.operations.processes import driver_of

    driver = driver_of(context, service)
    if driver is None:
        return None
    try:
        status = driver.status()
    except RecoverdError as error:
        return ProcessFacts(running=None, why=error.message)
    wanted = None if status.wanted == "unknown" else status.wanted
    return ProcessFacts(
        running=status.running,
        wanted=wanted,
        why=status.detail,
        restarts=status.restarts,
        given_up=given_up.why_given_up(record) if service.watch is not None else None,
    )


def instances_facts(
    context: Context, service: Service, *, live: bool, answers: bool, scheduler_runs: bool
) -> InstancesFacts | None:
    """What the document lists, as it was noted when it was last compared; None where nothing is ever listed.

    `live`: compare it now. Without it nothing is judged: a document that has changed since is only told of.
    `answers`: whether its file system does.
    """
    if service.instances is None or not service.enabled:
        return None
    from recoverd.operations import instances, listed_notes

    is_watched = scheduler_runs and service.watch is not None and service.watch.restart != "never"
    if live:
        found = instances.compare(context, service)
        names = tuple(one.service.name for one in found.instances if one.listed)
        unlisted = tuple(one.service.name for one in found.instances if not one.listed and found.error is None)
        refused = tuple((one.name, one.why) for one in found.refused)
        noted: listed_notes.Noted | None = listed_notes.Noted(names, unlisted, refused, found.error)
    else:
        noted = listed_notes.load(context, service.name)
    repository = context.repository_if_any()
    if noted is None or repository is None:
        return InstancesFacts(is_compared=False, is_watched=is_watched)
    try:
        rests = instances.is_stopped(context, service)
    except RecoverdError:
        rests = False
    running = stopped = restarts = 0
    dead, lost = [], []
    for name in noted.listed:
        record = repository.record(name)
        status = instances.status_of(context, instances.named_only(service, name))
        restarts += status.restarts
        why = given_up.why_given_up(record) if service.watch is not None else None
        if status.running:
            running += 1
        elif rests or status.wanted == "stopped":
            stopped += 1
        elif why is not None:
            lost.append((name, why))
        else:
            dead.append((name, status.detail))
    there = (one for one in noted.unlisted if instances.status_of(context, instances.named_only(service, one)).running)
    changed = answers and not live and noted.mark != listed_notes.document_mark(service)[0]
    return InstancesFacts(
        listed=len(noted.listed),
        running=running,
        stopped=stopped,
        restarts=restarts,
        dead=tuple(dead),
        given_up=tuple(lost),
        refused=noted.refused,
        unlisted=tuple(there),
        error=noted.error,
        has_changed=changed,
        is_watched=is_watched,
    )
