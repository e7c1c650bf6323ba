"""`start`, `stop` and `status` of the processes that documents list: which are meant, and how they are."""

from __future__ import annotations

from collections.abc import Callable

from recoverd.config.model import Service
from recoverd.errors import RecoverdError, UsageError
from recoverd.operations import given_up, instances, listed_notes
from recoverd.operations.context import Context
from recoverd.operations.instances import Comparison, Instance
from recoverd.operations.lifecycle_results import FAILED, RUNNING, STOPPED, UNKNOWN, ServiceProcess, described
from recoverd.values import replace


def add(
    context: Context,
    service: Service,
    chosen: dict[str, Service],
    results: dict[str, ServiceProcess],
    *,
    to_stop: bool,
) -> None:
    """Choose the processes that a service's document lists; `to_stop`: and those that run without being listed.

    What is wrong with an entry, or with the document, is a result of its own: it stops no other, and no stop.
    """
    if service.instances is None:
        return
    found = instances.compare(context, service) if to_stop else None
    if found is not None:
        chosen.update((one.service.name, one.service) for one in found.instances)
        return
    listing = instances.listing(context, service)
    chosen.update((one.name, one) for one in listing.services)
    context.repository(create=True)
    listed_notes.note(context, service)
    results.update(_told(service, Comparison((), listing.refused, listing.error)))


def add_one(
    context: Context, name: str, chosen: dict[str, Service], results: dict[str, ServiceProcess], *, to_start: bool
) -> None:
    """Choose the process that SERVICE@NAME means; one that nobody knows is a result."""
    try:
        one = instances.named(context, name, to_start=to_start)
    except UsageError as error:
        results[name] = ServiceProcess(name, UNKNOWN, detail=error.message, hint=error.hint, exit_status=64)
    except RecoverdError as error:
        results[name] = ServiceProcess(name, FAILED, detail=error.message, hint=error.hint, exit_status=1)
    else:
        chosen[one.name] = one


def status(context: Context, service: Service, only: Callable[[str], bool]) -> dict[str, ServiceProcess]:
    """The document beside the real processes; of those whose names are asked for."""
    found = instances.compare(context, service)
    results = {one.service.name: _status(context, one, is_known=found.error is None) for one in found.instances}
    return {name: one for name, one in (results | _told(service, found)).items() if only(name)}


def _status(context: Context, one: Instance, *, is_known: bool) -> ServiceProcess:
    name = one.service.name
    looked = described(name, RUNNING if one.status.running else STOPPED, one.status)
    if one.is_missing:
        repository = context.repository_if_any() if one.service.watch is not None else None
        why = given_up.why_given_up(repository.record(name)) if repository is not None else None
        if why is not None:
            looked = replace(looked, detail=f"given up: {why}")
        hint = f"`recoverd restore {name.partition('@')[0]}` brings back what is listed"
        return replace(looked, wanted="running", hint=hint, exit_status=1)
    if not one.listed and is_known:
        return replace(looked, detail=f"{looked.detail}; the document does not list it as one to run")
    return looked


def _told(service: Service, found: Comparison) -> dict[str, ServiceProcess]:
    results = {one.name: ServiceProcess(one.name, FAILED, detail=one.why, exit_status=1) for one in found.refused}
    if found.error is not None:
        name, detail = f"{service.name}@*", f"which processes it lists is not known: {found.error}"
        hint = f"`recoverd restore {service.name}` brings its state back"
        results[name] = ServiceProcess(name, FAILED, detail=detail, hint=hint, exit_status=1)
    return results
