"""`recoverd confirm`: the second phase of a boot. Services are started where nobody else does, asked, and proven.

Where one is not healthy on what the first phase has restored, that is taken back and rejected, and the next older
candidate is tried. What nobody restored is left alone, whatever a probe says.
"""

from __future__ import annotations

import os

from recoverd.config.model import Service
from recoverd.operations import blocking, instances, resuming, unproven
from recoverd.operations.boot import forget_late, late_services
from recoverd.operations.context import Context
from recoverd.operations.hooks import tell_kept
from recoverd.operations.processes import Up, bring_up, driver_of
from recoverd.operations.restoration import CONFIRM, Restoration
from recoverd.operations.restore import broken, guarded, in_order, result_of, with_instances
from recoverd.operations.restore_results import (
    UNTOUCHED,
    RestoreRequest,
    RestoreResult,
    ServiceRestore,
)
from recoverd.recovery.intents import intent_path

_REQUEST = RestoreRequest(why=CONFIRM)


def confirm(context: Context, names: tuple[str, ...] = ()) -> RestoreResult:
    """Bring all enabled services (or the named ones) up and prove them, in the order of `after`.

    Raises UsageError for unknown names, RepositoryError when the repository can't be used.
    """
    services = {service.name: service for service in context.select(names)}
    context.repository(create=True)
    tell_kept(context)
    late = late_services(context.runtime_dir)
    done = {} if names else {failed.name: broken(failed) for failed in context.config.failed}

    def work(service: Service) -> ServiceRestore:
        one = guarded(context, service, _REQUEST, lambda: _one(context, service, unfinished=service.name in late))
        return with_instances(context, service, _REQUEST, one)

    in_order(context, services, work, done, flags=True)
    resuming.remember(context, ((one.resume, one.healthy) for one in done.values() if one.resume is not None))
    return result_of(context, done)


def _one(context: Context, service: Service, *, unfinished: bool) -> ServiceRestore:
    repository = context.repository()
    name = service.name
    with repository.service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        has_intent = os.path.lexists(intent_path(context.state_dir, name))
        waiting = repository.record(name).blocked is not None or unproven.load(repository, name) is not None
        as_a_whole = bool(service.dumps) and service.restore.scope == "service"
        if unfinished or has_intent or waiting or as_a_whole:
            result = Restoration(context, service, _REQUEST).run()  # what was not brought to an end, or to a proof
            forget_late(context.runtime_dir, name)
            return result
        up = bring_up(context, service, start=True)
        if up.healthy is False and service.restore.unhealthy == "fall-back":
            return Restoration(context, service, _REQUEST).run()
        result = _result(service, UNTOUCHED, up)
        if service.dumps:
            from recoverd.operations.dump_loading import load_dumps  # late: few services have dumps

            result = load_dumps(context, service, _REQUEST, result)
        return result


def _result(service: Service, outcome: str, up: Up) -> ServiceRestore:
    return ServiceRestore(
        service.name,
        outcome,
        healthy=up.healthy,
        verdict="",
        reasons=(up.why,) if up.why else (),
        pid=up.pid,
        started=up.started,
        exit_status=1 if up.healthy is False else 0,
    )


def start_only(context: Context, name: str) -> None:
    """Start one service, or one of its processes, and nothing else: what a transient unit runs.

    Raises UsageError, ServiceError.
    """
    service = instances.named(context, name, to_start=True) if "@" in name else context.select((name,))[0]
    driver = driver_of(context, service)
    if driver is not None:
        blocking.unblock(context.runtime_dir, name)
        driver.start()
