"""`recoverd check`: gathers the facts from records, cheaply, and lets health.thresholds judge them.

With `live`, state is assessed and probes run as well. Without it neither a schema, a scheduler nor a probe
is loaded: 100 services answer in well under 150 ms.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from recoverd.config.model import ItemKind, Service, StateItem
from recoverd.errors import RepositoryError
from recoverd.health.facts import (
    MISSED,
    CaptureRun,
    FailedServiceFacts,
    HostFacts,
    LiveFacts,
    PathFacts,
    ProbeFacts,
    ProblemFacts,
    RepositoryFacts,
    RestoreRun,
    ResumeFacts,
    SchedulerFacts,
    ServiceFacts,
    SnapshotFacts,
    Space,
    SpareFacts,
    WatchFacts,
)
from recoverd.health.results import Result, Status, overall
from recoverd.health.thresholds import evaluate
from recoverd.operations import confirmations, drilled, unproven, watched
from recoverd.operations.confirmations import Confirmation
from recoverd.operations.context import Context
from recoverd.operations.dump_facts import dump_facts
from recoverd.operations.growth import growth_of
from recoverd.operations.hook_facts import hook_facts
from recoverd.operations.lingering import lingering_of
from recoverd.operations.opening import changed_since_loaded
from recoverd.operations.pending_migrations import waiting_migrations
from recoverd.operations.process_facts import instances_facts, process_facts
from recoverd.operations.quarantining import quarantine_facts
from recoverd.operations.restore_results import RESTORE
from recoverd.operations.resume_files import load_history
from recoverd.operations.verify_due import verify_facts
from recoverd.recovery.intents import OpenIntent, open_intents
from recoverd.repository import bounds, layout
from recoverd.repository.history import History
from recoverd.repository.records import ABSENT, ItemRecord, Snapshot
from recoverd.repository.reserve import Reserve, free_and_total
from recoverd.repository.store import Repository
from recoverd.repository.trees import EMPTY_TREE
from recoverd.system import clock, locks, mounts
from recoverd.system.answering import silent
from recoverd.system.walk import UntrustedLink, open_declared_directory, open_parent
from recoverd.values import dataclass, replace

_NOTHING = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"  # BLAKE3 of no bytes
_LEFT_ALONE = frozenset({"ok", "new", "reset", "newer"})
_MOST_PATIENCE_S = 5.0  # with a file system that does not answer: whoever asks for health waits for us
_JUST_NOW_NS = 250_000_000  # who writes in place empties a file first
_RUNS = 50  # captures that failure rates are computed over


@dataclass(frozen=True, slots=True)
class CheckRequest:
    services: tuple[str, ...] = ()
    live: bool = False


@dataclass(frozen=True, slots=True)
class CheckResult:
    results: tuple[Result, ...]

    @property
    def status(self) -> Status:
        return overall(self.results)

    @property
    def exit_status(self) -> int:
        return self.status.exit_status


def check(context: Context, request: CheckRequest) -> CheckResult:
    """Every check of the host and of the named services (or all). Raises UsageError for unknown names."""
    services = context.select(request.services)
    repository, facts = _repository(context)
    confirmed = confirmations.confirmed(context.runtime_dir, repository) if repository is not None else {}
    intents = {intent.service: intent for intent in open_intents(context.state_dir)}
    paths = [item.path for service in services for item in service.state.values() if item.path]
    patience_s = min(context.config.io_timeout_s, _MOST_PATIENCE_S)
    dead = dict.fromkeys(silent(paths, within_s=patience_s) if paths else (), patience_s)
    scheduler = _scheduler(context)
    watches = _watches(context, repository, services) if scheduler.pid is not None else {}
    with _units_of(services):
        facts_of_services = tuple(
            replace(
                _service(
                    context, repository, service, confirmed.get(service.name), intents.get(service.name), request, dead
                ),
                watch=watches.get(service.name),
                instances=instances_facts(
                    context,
                    service,
                    live=request.live,
                    answers=not any(item.path in dead for item in service.state.values()),
                    scheduler_runs=scheduler.pid is not None,
                ),
            )
            for service in services
        )
    declared, untold = hook_facts(context)
    host = HostFacts(
        now_ns=clock.now_ns(),
        services=facts_of_services,
        scheduler=scheduler,
        repository=facts,
        failed=tuple(
            FailedServiceFacts(one.name, one.problems)
            for one in context.config.failed
            if not request.services or one.name in request.services
        ),
        verify=None if repository is None else verify_facts(context, repository),
        quarantine=quarantine_facts(context, repository),
        hooks=declared,
        untold=untold,
        spare=_spare(context, repository, facts),
        lingers=lingering_of(context.config, uid=os.geteuid()),
    )
    return CheckResult(evaluate(host))


def _repository(context: Context) -> tuple[Repository | None, RepositoryFacts]:
    path = context.config.repository.path
    try:
        repository = context.repository_if_any()
    except RepositoryError as error:
        return None, RepositoryFacts(path, writable=False, error=error.message)
    if repository is None:
        wrong = "it is not a directory" if os.path.lexists(path) and not os.path.isdir(path) else None
        return None, RepositoryFacts(path, writable=False, exists=wrong is not None, error=wrong)
    if repository.in_spare_because is not None:
        return repository, RepositoryFacts(path, writable=False, error=repository.in_spare_because, has_spare=True)
    try:
        figures = repository.statistics()
    except RepositoryError as error:  # of services the records tell all the same
        return repository, RepositoryFacts(path, writable=False, error=error.message, space=_space(context, path))
    space = _space(context, path)
    room = bounds.Room(figures.size_bytes, space.free_bytes, space.total_bytes) if space is not None else None
    growth = growth_of(repository, room, clock.now_ns()) if room is not None else None
    written = (path, repository.packs_path, os.path.join(path, layout.SNAPSHOTS))
    return repository, RepositoryFacts(
        path,
        writable=all(os.access(one, os.W_OK | os.X_OK) for one in written),
        size_bytes=figures.size_bytes,
        files=figures.files,
        space=space,
        max_bytes=context.config.repository.max_bytes,
        min_free_bytes=bounds.min_free_bytes(context.config.repository, space.total_bytes) if space else 0,
        growth_bytes_per_day=growth.bytes_per_day if growth is not None else None,
        days_until_full=growth.days_until_full if growth is not None else None,
        without_reserve=Reserve.of(context.state_dir, path).missing(),
    )


def _spare(context: Context, repository: Repository | None, facts: RepositoryFacts) -> SpareFacts | None:
    if context.config.repository.spare is None or (repository is None and facts.error is None):
        return None
    from recoverd.operations.spare_facts import spare_facts

    return spare_facts(context, repository, first_writable=facts.writable)


def _space(context: Context, path: str) -> Space | None:
    try:
        return Space(*free_and_total(context.state_dir, path))
    except OSError:
        return None


def _scheduler(context: Context) -> SchedulerFacts:
    path = os.path.join(context.state_dir, "scheduler.lock")
    spare = context.config.repository.spare
    holders = locks.holders(path) or (locks.holders(f"{spare}/state/scheduler.lock") if spare is not None else [])
    if holders:
        changed = changed_since_loaded(context.state_dir)
        return SchedulerFacts(pid=holders[0][0], started_before=True, changed_files=changed)
    return SchedulerFacts(pid=None, started_before=os.path.lexists(path))


def _watches(context: Context, repository: Repository | None, services: Sequence[Service]) -> dict[str, WatchFacts]:
    """How the scheduler that runs sees changes of services that are saved on change."""
    if repository is None or not any(service.autosave.on_change is not None for service in services):
        return {}
    return {
        name: WatchFacts(one.directories, one.why, one.hint, one.look_s)
        for name, one in watched.load(context.runtime_dir, repository).items()
    }


def _service(
    context: Context,
    repository: Repository | None,
    service: Service,
    confirmed: Confirmation | None,
    intent: OpenIntent | None,
    request: CheckRequest,
    dead: Mapping[str, float],
) -> ServiceFacts:
    history = repository.history(service.name) if repository is not None else History()
    newest = history.newest
    current = confirmed is not None and newest is not None and confirmed.sequence == newest.sequence
    record = repository.record(service.name) if repository is not None else None
    runs = repository.catalog.runs(service.name, "snapshot", _RUNS) if repository is not None else []
    restores = repository.catalog.runs(service.name, RESTORE, _RUNS) if repository is not None else []
    return ServiceFacts(
        name=service.name,
        every_s=service.autosave.every_s,
        missed_s=drilled.missed_s(service.autosave.cron, context.config.timezone, MISSED),
        on_change=service.autosave.on_change is not None,
        max_age_s=service.check.max_age_s,
        max_failures=service.check.max_failures,
        paused=record.paused if record is not None else False,
        paths=tuple(
            _path(item, newest, record.accepted.get(item.name, {}) if record is not None else {}, dead.get(item.path))
            for item in service.state.values()
            if item.path  # a dump lies nowhere
        ),
        dumps=dump_facts(service, repository),
        newest=_snapshot(newest),
        confirmed_ns=confirmed.time_ns if confirmed is not None and current else None,
        known_good=_snapshot(history.known_good),
        snapshots=history.snapshots,
        known_good_snapshots=history.known_good_snapshots,
        new_bytes=history.new_bytes,
        unreadable_records=history.unreadable,
        failures=record.failures if record is not None else 0,
        last_error=record.last_error if record is not None else None,
        runs=tuple(CaptureRun(run.time_ns, run.seconds, run.outcome == "failed") for run in reversed(runs)),
        restores=tuple(RestoreRun(run.time_ns, run.seconds, run.outcome) for run in reversed(restores)),
        resumed=_resumed(context, service),
        drill=drilled.facts(service, repository, context.config.timezone),
        unproven=unproven.waiting(context.state_dir, service.name, record),
        blocked=record.blocked if record is not None else None,
        pending=waiting_migrations(service, record),
        open_intent=_intent(intent),
        process=process_facts(context, service, record) if record is not None else None,
        live=_live(context, service) if request.live else None,
    )


def _resumed(context: Context, service: Service) -> ResumeFacts | None:
    history = load_history(context.state_dir, service.name)
    if history.is_empty:
        return None
    last = history.reports[-1]
    clean = last.get("clean_shutdown")
    return ResumeFacts(
        history.restart_count,
        history.unclean,
        len(history.reports),
        str(last.get("time")),
        str(last.get("outcome")),
        clean if isinstance(clean, bool) else None,
    )


def _intent(intent: OpenIntent | None) -> str | None:
    if intent is None:
        return None
    return intent.problem or f"a restore of {clock.rfc3339(intent.time_ns)} with {intent.steps} steps was interrupted"


def _snapshot(snapshot: Snapshot | None) -> SnapshotFacts | None:
    if snapshot is None:
        return None
    return SnapshotFacts(
        id=snapshot.id,
        time_ns=snapshot.time_ns,
        verdict=snapshot.verdict.value,
        problems=tuple(
            ProblemFacts(name, place, sentence)
            for name, item in snapshot.items.items()
            for place, sentence in item.problems
        ),
        files=snapshot.files,
        size_bytes=snapshot.size_bytes,
        left_alone={item.verdict for item in snapshot.items.values()} <= _LEFT_ALONE,
    )


def _path(item: StateItem, newest: Snapshot | None, accepted: Mapping[str, str], dead_s: float | None) -> PathFacts:
    """Whether the item is there and can be read and written; its size is counted by captures.

    `accepted`: document -> content that its operator called good; "" is the item itself. `dead_s`: its file system has
    not answered for so long.
    """
    if dead_s is not None:
        sentence = f"its file system does not answer within {dead_s:g} s"
        return PathFacts(item.name, item.path, exists=True, error=sentence)
    record = newest.items.get(item.name) if newest is not None else None
    files = record.files if record is not None else None
    size = record.size_bytes if record is not None else None
    known_good = record is not None and record.good not in {None, EMPTY_TREE}
    optional = item.optional or accepted.get("") == ABSENT
    try:
        if item.kind is ItemKind.DIRECTORY:
            fd, name = open_declared_directory(item.path), "."
        else:
            fd, name = open_parent(item.path)
    except FileNotFoundError:
        return PathFacts(item.name, item.path, exists=False, optional=optional, known_good=known_good)
    except (UntrustedLink, OSError) as error:
        sentence = error.message if isinstance(error, UntrustedLink) else error.strerror or str(error)
        return PathFacts(item.name, item.path, exists=True, error=sentence)
    try:
        status = _settled(name, fd)
        return PathFacts(
            item=item.name,
            path=item.path,
            exists=True,
            readable=os.access(name, os.R_OK, dir_fd=fd, follow_symlinks=False),
            writable=os.access(name, os.W_OK, dir_fd=fd, follow_symlinks=False),
            optional=optional,
            unchecked=item.is_unchecked,
            known_good=known_good,
            emptied=item.kind is not ItemKind.DIRECTORY
            and status.st_size == 0
            and known_good
            and accepted.get("") != _NOTHING
            and not _was_empty(record),
            files=files if item.kind is ItemKind.DIRECTORY else 1,
            size_bytes=size if item.kind is ItemKind.DIRECTORY else status.st_size,
            space=Space(*mounts.free_bytes(fd)),
        )
    except FileNotFoundError:
        return PathFacts(item.name, item.path, exists=False, optional=optional, known_good=known_good)
    except OSError as error:
        return PathFacts(item.name, item.path, exists=True, error=error.strerror or str(error))
    finally:
        os.close(fd)


def _settled(name: str, fd: int) -> os.stat_result:
    """Stats of a state path. A file that was emptied just now is looked at again, until it had time to be written."""
    for _ in range(25):
        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
        is_emptied = status.st_size == 0 and stat.S_ISREG(status.st_mode)
        if not is_emptied or clock.now_ns() - status.st_mtime_ns > _JUST_NOW_NS:
            break
        time.sleep(0.01)
    return status


def _was_empty(record: ItemRecord | None) -> bool:
    """Whether the newest snapshot's good version may be empty too; only a snapshot that is ok tells without a look."""
    return record is None or (record.verdict == "ok" and record.size_bytes == 0)


def _units_of(services: Sequence[Service]) -> AbstractContextManager[None]:
    """Ask for the units of all services at once."""
    units = [service.run.unit for service in services if service.run is not None and service.run.unit is not None]
    if not units:
        return nullcontext()
    from recoverd.services.systemctl import asked_once

    return asked_once(units, user=os.geteuid() != 0)


def _live(context: Context, service: Service) -> LiveFacts:
    from contextlib import ExitStack

    from recoverd.operations.assess import look
    from recoverd.operations.processes import driver_of
    from recoverd.services.probes import run_probe

    repository = context.repository_if_any()
    with ExitStack() as stack:
        reader = stack.enter_context(repository.reader()) if repository is not None else None
        survey, _ = look(context, service, reader)
    driver = driver_of(context, service) if repository is not None else None
    probes = [run_probe(probe, driver=driver) for probe in service.health.probes]
    return LiveFacts(
        verdict=survey.verdict.value,
        problems=tuple(
            ProblemFacts(name, problem.place, problem.problem)
            for name, item in survey.items.items()
            for problem in item.problems
        ),
        probes=tuple(ProbeFacts(probe.probe, probe.healthy, probe.message) for probe in probes),
    )
