"""`recoverd restore`: recover what is not ok, bring services up, prove them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from recoverd.config.model import FailedService, Service
from recoverd.errors import LockHeld, RecoverdError, UsageError
from recoverd.operations import blocking, instances, listed_notes, resuming
from recoverd.operations.context import Context
from recoverd.operations.from_directory import import_directory
from recoverd.operations.naming import find_snapshot, good_at
from recoverd.operations.quarantining import tend_if_due
from recoverd.operations.restoration import Restoration
from recoverd.operations.restore_endings import tell_unless_back
from recoverd.operations.restore_only import Only, one_service, parse
from recoverd.operations.restore_results import (
    BLOCKED,
    FAILED,
    RESTORE,
    RestoreRequest,
    RestoreResult,
    ServiceRestore,
)
from recoverd.operations.tidying import tidy_if_any
from recoverd.recovery.plan import ORIGINS
from recoverd.repository.records import Snapshot
from recoverd.services.ordering import held_by, sharing, start_order
from recoverd.system import clock
from recoverd.values import replace

_SIDE_BY_SIDE = 16  # services that are proven at the same time; most of that is waiting
SIGNALS_S = (
    0.5  # for so long at most the main thread waits: Ctrl-C does not wake it where another thread took the signal
)
_LOG = logging.getLogger("recoverd.operations")


def restore(context: Context, request: RestoreRequest) -> RestoreResult:
    """Bring services back, in the order of `after`, independent ones side by side.

    What fails for one service is a value in the result and stops no other, but for those that come after it.
    Raises UsageError for unknown names or snapshots, RepositoryError when the repository can't be used.
    """
    asked: dict[str, Snapshot] = {}
    if request.snapshot is not None:
        explicit = find_snapshot(context, request.snapshot)
        services = {explicit.service: _declared(context, request, explicit)}
        asked = {explicit.service: explicit}
    else:
        services = {service.name: service for service in context.select(request.services)}
    _check_origin(request)
    only = None
    if request.only is not None:
        service = one_service(list(services.values()))
        only = parse(service.name, request.only, {name: item.kind for name, item in service.state.items()})
    if not request.dry_run:
        context.repository(create=True)
    if request.at_ns is not None:  # one service without such a snapshot ends all, before anything is touched
        asked = {name: good_at(context, name, request.at_ns) for name, one in services.items() if one.state}
    done: dict[str, ServiceRestore] = {}
    if not request.services:
        done |= {failed.name: broken(failed) for failed in context.config.failed}

    def work(service: Service) -> ServiceRestore:
        explicit = asked.get(service.name)
        result = guarded(context, service, request, lambda: _locked(context, service, request, explicit, only))
        if not request.dry_run and result.exit_status != LockHeld.exit_status:
            _note(context, result)
        return with_instances(context, service, request, result)

    in_order(context, services, work, done, flags=not request.dry_run)
    if not request.dry_run:
        resuming.remember(context, ((one.resume, one.healthy) for one in done.values() if one.resume is not None))
        tend_if_due(context)
        tidy_if_any(context)
    return result_of(context, done, dry_run=request.dry_run)


def with_instances(
    context: Context,
    service: Service,
    request: RestoreRequest,
    result: ServiceRestore,
    only: frozenset[str] | None = None,
) -> ServiceRestore:
    """Once a service is up, what its document lists (or `only` those names of it) is brought back; that says nothing
    against its state, whatever becomes of it."""
    down = result.outcome in {FAILED, BLOCKED} or result.healthy is False
    if service.instances is None or request.dry_run or request.boot or not request.start or down:
        return result
    try:
        done = instances.bring_back(context, service, only=only)
        listed_notes.note(context, service)
    except (RecoverdError, OSError) as error:
        done = (instances.BroughtBack(service.name, error=str(error)),)
    wrong = any(one.error is not None for one in done)
    reasons = (*result.reasons, *(one.sentence for one in done))
    return replace(result, reasons=reasons, exit_status=1 if wrong else result.exit_status)


def _note(context: Context, result: ServiceRestore) -> None:
    """Keep how long it took and what became of it, for `check`."""
    context.repository().catalog.record_run(
        result.service, RESTORE, clock.now_ns(), result.seconds, result.outcome, "; ".join(result.reasons)
    )


def broken(failed: FailedService) -> ServiceRestore:
    """The result of a service whose configuration nobody understands."""
    hint = "`recoverd config validate` checks again"
    return ServiceRestore(failed.name, FAILED, reasons=failed.problems, hint=hint, exit_status=1)


def in_order(
    context: Context,
    services: Mapping[str, Service],
    work: Callable[[Service], ServiceRestore],
    done: dict[str, ServiceRestore],
    *,
    flags: bool,
) -> None:
    """Do `work` for each service once those that it comes `after` have come to an end, independent ones side by side:
    who hangs keeps nobody waiting but these, and those with which it shares state. Each result goes into `done` when it
    is there.

    What comes after a service that is blocked or has failed is blocked too; with `flags` systemd hears of it, and
    events tell of that and of what was `done` before. What `work` raises ends all: what was begun comes to its end,
    nothing else is begun.
    """
    for broken_one in done.values() if flags else ():
        tell_unless_back(context, broken_one)
    blocked = {failed.name: "its configuration is broken" for failed in context.config.failed}
    waiting = [name for wave in start_order(services) for name in wave]
    open_ends, shared = set(waiting), sharing(services)
    running: dict[Future[None], str] = {}

    def do(name: str) -> None:
        done[name] = work(services[name])

    def end(name: str) -> None:
        open_ends.discard(name)
        one = done[name]
        if one.outcome in {BLOCKED, FAILED}:
            blocked[name] = one.reasons[0] if one.reasons else one.outcome

    pool = ThreadPoolExecutor(max_workers=max(1, min(_SIDE_BY_SIDE, len(services))))
    try:
        while open_ends:
            for name in list(waiting):
                if not open_ends.isdisjoint(services[name].after) or not shared[name].isdisjoint(running.values()):
                    continue
                waiting.remove(name)
                held = held_by(services[name], blocked)
                if held is None:
                    running[pool.submit(do, name)] = name
                    continue
                done[name] = ServiceRestore(name, BLOCKED, reasons=(held[1],), exit_status=1)
                if flags:
                    blocking.block(context.runtime_dir, name, held[1], because=held[0])
                    tell_unless_back(context, done[name])
                end(name)
            for future in wait(running, SIGNALS_S, return_when=FIRST_COMPLETED).done:
                future.result()
                end(running.pop(future))
    finally:
        pool.shutdown(cancel_futures=True)


def result_of(context: Context, done: Mapping[str, ServiceRestore], *, dry_run: bool = False) -> RestoreResult:
    """The results in the order of the configuration."""
    order = [name for name in context.config.services if name in done]
    order += [name for name in done if name not in order]
    return RestoreResult(tuple(done[name] for name in order), dry_run)


def _declared(context: Context, request: RestoreRequest, snapshot: Snapshot) -> Service:
    """The service that an explicit restore is about."""
    if request.services and set(request.services) != {snapshot.service}:
        raise UsageError(
            f"snapshot {snapshot.id} is of service {snapshot.service}, not of {', '.join(request.services)}",
            hint=f"recoverd restore {snapshot.service} --snapshot {request.snapshot}",
        )
    service = context.config.services.get(snapshot.service)
    if service is None:
        raise UsageError(
            f"service {snapshot.service} is not declared, so nothing says where its state belongs",
            hint=f"write it into a directory: recoverd restore --snapshot {snapshot.id} --to DIRECTORY",
        )
    return service


def _check_origin(request: RestoreRequest) -> None:
    """Raises UsageError for an origin that is none."""
    origin = request.origin
    if origin is None or origin in ORIGINS:
        return
    if origin == "replicas":
        raise UsageError("--from replicas is not supported yet", hint=f"there are {', '.join(ORIGINS)} and directories")
    if not os.path.isdir(origin):
        raise UsageError(
            f"--from {origin}: there is no such origin or directory", hint=f"origins are {', '.join(ORIGINS)}"
        )
    if request.dry_run:
        raise UsageError(
            "--from DIRECTORY and --dry-run do not go together",
            hint="`recoverd import --dry-run` says what is good in it",
        )
    if len(request.services) != 1:
        raise UsageError("--from DIRECTORY needs the name of one service", hint="recoverd restore SERVICE --from DIR")


def _locked(
    context: Context, service: Service, request: RestoreRequest, explicit: Snapshot | None, only: Only | None
) -> ServiceRestore:
    if request.origin is not None and request.origin not in ORIGINS:
        explicit = import_directory(context, service, request.origin)
        request = replace(request, origin=None)
    repository = context.repository_if_any()
    if repository is None:
        return Restoration(context, service, request, explicit, only).run()
    with repository.service_lock(service.name, wait_s=context.wait_s, what=f"service {service.name}"):
        return Restoration(context, service, request, explicit, only).run()


def guarded(
    context: Context, service: Service, request: RestoreRequest, work: Callable[[], ServiceRestore]
) -> ServiceRestore:
    """What became of one service; errors become values."""
    started = time.monotonic()
    try:
        result = work()
    except UsageError:
        raise  # nothing was touched: whoever asked hears of it
    except LockHeld as error:
        result = ServiceRestore(service.name, FAILED, reasons=(error.message,), hint=error.hint, exit_status=75)
    except RecoverdError as error:
        result = ServiceRestore(service.name, FAILED, reasons=(error.message,), hint=error.hint, exit_status=1)
    except OSError as error:
        sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        result = ServiceRestore(service.name, FAILED, reasons=(sentence,), exit_status=1)
    except Exception as error:  # a fault of recoverd's own: one service never keeps another from coming back
        _LOG.exception("the restore of %s ended in a fault", service.name)
        sentence = f"a fault of recoverd's own: {type(error).__name__}: {error}"
        hint = "the log has the whole of it; please report it"
        result = ServiceRestore(service.name, FAILED, reasons=(sentence,), hint=hint, exit_status=1)
    result = replace(result, seconds=time.monotonic() - started)
    if not request.dry_run:
        tell_unless_back(context, result)
    return result
