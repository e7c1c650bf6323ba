"""`recoverd snapshot`: capture services now, all of them in one pack."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from recoverd.config.model import EMPTY, Service
from recoverd.errors import DamagedObject, LockHeld, RecoverdError, RepositoryError, ServiceError, StateError, os_hint
from recoverd.operations import confirmations
from recoverd.operations.capture_notes import forget_failures, note_dumps, note_failure, note_live, note_run
from recoverd.operations.captures import Capture, draft
from recoverd.operations.confirmations import Confirmation
from recoverd.operations.context import Context
from recoverd.operations.dump_asking import may_ask
from recoverd.operations.dump_taking import DumpsTaken
from recoverd.operations.full_read import FULL_READ, full_read_due
from recoverd.operations.making_room import keep_free, make_room, prune_after
from recoverd.operations.quarantining import tend_if_due
from recoverd.operations.telling import tell_state
from recoverd.operations.what_changed import (
    is_changed,
    is_good_changed,
    is_nothing,
    snapshot_verdict,
    touched_only,
    usable,
    without_failed,
)
from recoverd.recovery.item_survey import newest_records
from recoverd.recovery.partial import Hints, ServiceHints
from recoverd.recovery.survey import save_rows, survey_service
from recoverd.repository.records import Snapshot, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.writer import Writer
from recoverd.system import clock
from recoverd.values import dataclass, field, replace

SAVED, UNCHANGED, INVALID, FAILED = "saved", "unchanged", "invalid", "failed"


@dataclass(frozen=True, slots=True)
class SnapshotRequest:
    services: tuple[str, ...] = ()  # empty: all enabled ones
    reason: str = "manual"
    label: str | None = None
    tags: tuple[str, ...] = ()
    full_read: bool = False  # believe no cached stat
    prune: bool = True  # apply retention to services that got a new snapshot
    dry_run: bool = False
    time_ns: int | None = None  # live state is of this time: an import, which never is the newest
    hints: Mapping[str, ServiceHints] = field(default_factory=lambda: EMPTY)  # services that were watched; see recovery
    ask_dumps: bool = True  # False: dumps stay as the newest snapshot has them


@dataclass(frozen=True, slots=True)
class ServiceSnapshot:
    """What became of the capture of one service."""

    service: str
    outcome: str  # saved | unchanged | invalid | failed
    id: str | None = None
    verdict: str | None = None  # ok | partial | invalid, of the snapshot or of what would be one
    size_bytes: int = 0
    new_bytes: int = 0
    files: int = 0
    seconds: float = 0.0
    error: str | None = None
    hint: str | None = None  # what helps against the error
    problems: tuple[tuple[str, str, str], ...] = ()  # (item, place, sentence)
    busy: bool = False  # it failed because another recoverd works on it
    sequence: int | None = None  # of the snapshot that holds what was found: made now or confirmed
    directories: int = 0  # listed: what looking cost
    touched: Mapping[str, Hints] = field(default_factory=lambda: EMPTY)  # item -> what only has other times
    spare: str | None = None  # the path of the spare, where it went there
    because: str | None = None  # why it did
    healthy: bool | None = None  # the service, when it was captured; None: nobody can tell, or asked

    def to_json(self) -> dict[str, Any]:
        """As cli.md gives it: bytes, not `size_bytes`."""
        return {
            "service": self.service,
            "id": self.id,
            "outcome": self.outcome,
            "verdict": self.verdict,
            "bytes": self.size_bytes,
            "new_bytes": self.new_bytes,
            "files": self.files,
            "seconds": round(self.seconds, 6),
            "error": self.error,
            "hint": self.hint,
            "healthy": self.healthy,
            "spare": None if self.spare is None else {"path": self.spare, "because": self.because},
            "directories": self.directories,
            "problems": [{"item": i, "place": place, "problem": problem} for i, place, problem in self.problems],
        }


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    services: tuple[ServiceSnapshot, ...]
    pruned: int = 0
    dry_run: bool = False

    @property
    def exit_status(self) -> int:
        """75 when others work on all of them, 1 when a capture, or a command after one, failed or a capture was
        invalid, 3 when one was partial."""
        if self.services and all(one.busy for one in self.services):
            return LockHeld.exit_status
        if any(one.outcome in {FAILED, INVALID} or one.error is not None for one in self.services):
            return 1
        return 3 if any(one.verdict == SnapshotVerdict.PARTIAL for one in self.services) else 0


def snapshot(context: Context, request: SnapshotRequest) -> SnapshotResult:
    """Capture services: a new snapshot of each whose state changed, a confirmation of the others.

    What fails for one service is a value in the result and stops no other. Raises UsageError for unknown
    names, LockHeld when another process writes to the repository, RepositoryError when it can't be used.
    """
    services = [service for service in context.select(request.services) if service.state]
    repository = context.repository(create=True)
    # those that are asked for dumps may be slow: each by itself, when the others are done
    slow = [service for service in services if may_ask(service, request)]
    quick = [service for service in services if service not in slow]
    done: dict[str, ServiceSnapshot] = {}
    for together in (*([quick] if quick or not slow else []), *([service] for service in slow)):
        try:
            done |= _lock_and_capture(context, repository, together, request)
        except (RecoverdError, OSError) as error:
            if not done:
                raise
            done |= {one.name: _not_begun(context, repository, one.name, error, request) for one in together}
    results = tuple(done[service.name] for service in services)
    results = _with_health(context, request, results)
    pruned = 0
    if request.prune and not request.dry_run:
        pruned = prune_after(context, [one.service for one in results if one.id is not None and one.spare is None])
        in_spare = [one.service for one in results if one.spare is not None]
        if in_spare:
            from recoverd.operations.spare import prune_spare

            pruned += prune_spare(context, in_spare)
        tend_if_due(context)
    return SnapshotResult(results, pruned, request.dry_run)


def _lock_and_capture(
    context: Context, repository: Repository, services: Sequence[Service], request: SnapshotRequest
) -> dict[str, ServiceSnapshot]:
    failed: dict[str, ServiceSnapshot] = {}
    with ExitStack() as locks:
        free = []
        for service in services:
            try:
                what = f"service {service.name}"
                locks.enter_context(repository.service_lock(service.name, wait_s=context.wait_s, what=what))
                free.append(service)
            except LockHeld as error:
                failed[service.name] = _not_begun(context, repository, service.name, error, request)
        return failed | capture_locked(context, free, request)


def _with_health(
    context: Context, request: SnapshotRequest, results: tuple[ServiceSnapshot, ...]
) -> tuple[ServiceSnapshot, ...]:
    """Before anything is pruned: snapshots of services that were not healthy do not count there."""
    made = {one.service: one.sequence for one in results if one.id is not None and one.sequence is not None}
    if not made or request.time_ns is not None:
        return results
    from recoverd.operations.proving import at_capture  # late: most captures find nothing new

    found = at_capture(context, made, request.reason)
    return tuple(replace(one, healthy=found.get(one.service)) for one in results)


def capture_locked(
    context: Context, services: Sequence[Service], request: SnapshotRequest
) -> dict[str, ServiceSnapshot]:
    """Capture services whose locks the caller holds; by name. On a full disk room is made, and all is tried again."""
    repository = context.repository(create=True)
    held = frozenset(service.name for service in services)
    has_spare = context.config.repository.spare is not None
    if has_spare:
        from recoverd.operations import spare
    if not request.dry_run:
        if has_spare:
            spare.take_over(context, repository)
        keep_free(context, held)
    with DumpsTaken(context, services, request) as dumps:
        attempt = partial(_attempt, context, services, request, dumps)
        results, trouble = attempt(repository)
        if trouble is not None and not request.dry_run and make_room(context, trouble, held):
            results, trouble = attempt(repository)
        if trouble is not None and has_spare:
            results, trouble = spare.capture(context, trouble, attempt, held, dry_run=request.dry_run)
    if trouble is not None:
        for service in services:
            results.setdefault(service.name, _failed(context, repository, service.name, trouble, request))
    return results


def _attempt(
    context: Context, services: Sequence[Service], request: SnapshotRequest, dumps: DumpsTaken, repository: Repository
) -> tuple[dict[str, ServiceSnapshot], Exception | None]:
    """`_capture_together`; with a spare, a repository that can't be opened for writing is such trouble too."""
    dumps.take()
    try:
        return _capture_together(context, repository, services, request, dumps)
    except (RepositoryError, OSError) as error:
        if context.config.repository.spare is None:
            raise
        return {}, error


def _capture_together(
    context: Context, repository: Repository, services: Sequence[Service], request: SnapshotRequest, dumps: DumpsTaken
) -> tuple[dict[str, ServiceSnapshot], Exception | None]:
    """What became of each service. Where nothing could be written: of those that failed alone, and why it was."""
    now_ns = clock.now_ns()
    captures: dict[str, Capture] = {}
    results: dict[str, ServiceSnapshot] = {}
    committed: dict[str, Snapshot] = {}
    late: dict[str, list[str]] = {}  # what failed after the capture of a service
    with context.state_changes, repository.writer(wait_s=dumps.wait_s(), what="the repository") as writer:
        try:
            for service in services:
                try:
                    with dumps.held_still(service) as late[service.name]:
                        captures[service.name] = _capture(context, repository, writer, service, request, dumps, now_ns)
                except (DamagedObject, ServiceError) as error:
                    results[service.name] = _failed(context, repository, service.name, error, request)
            wanted = [one for one in captures.values() if one.changed]
            if not request.dry_run:
                drafts = [draft(one, request, now_ns) for one in wanted]
                committed = {one.service: one for one in writer.commit(drafts)}
        except (RecoverdError, OSError) as error:
            return results, error
        fresh: dict[str, Confirmation] = {}
        for name, capture in captures.items():
            if capture.dumped_s is not None and not request.dry_run:
                note_dumps(repository, capture.service, capture.survey, capture.dumped_s)
            if capture.failed and not capture.changed:  # what can't be dumped is no snapshot
                results[name] = _failed(context, repository, name, StateError("; ".join(capture.failed)), request)
                continue
            late[name] += capture.failed
            made = committed.get(name)
            results[name] = _outcome(context, repository, capture, made, late[name], dry_run=request.dry_run)
            if not request.dry_run:
                save_rows(capture.survey, repository.catalog, committed.get(name) or capture.parent)
                note_live(context, capture.service, capture.survey, whole=name not in request.hints)
                if not capture.changed and capture.parent is not None:
                    fresh[name] = Confirmation(now_ns, capture.parent.sequence)
    for name in confirmations.save(context.runtime_dir, repository, fresh):
        note_run(repository, name, UNCHANGED, seconds=results[name].seconds)  # as rarely as it is confirmed
    return results, None


def _capture(
    context: Context,
    repository: Repository,
    writer: Writer,
    service: Service,
    request: SnapshotRequest,
    dumps: DumpsTaken,
    now_ns: int,
) -> Capture:
    """Survey one service against its newest readable snapshot."""
    started = time.monotonic() - dumps.seconds(service)
    judges = context.judges(service)
    full_read = request.full_read or full_read_due(repository, service.name, now_ns)
    snapshots = [one for one in repository.snapshots(service.name) if not one.imported]
    accepted = repository.record(service.name).accepted
    damage: DamagedObject | None = None
    for count in range(len(snapshots), -1, -1):
        parent = snapshots[count - 1] if count else None
        before = newest_records(service, snapshots[:count])
        try:
            survey = survey_service(
                service,
                judges,
                store=writer,
                before=before,
                memo=repository.catalog,
                now_ns=now_ns,
                full_read=full_read or damage is not None,
                accepted=accepted,
                hints=usable(request.hints.get(service.name), parent, before) if damage is None else None,
                io_timeout_s=context.config.io_timeout_s,
                dumps=dumps.look(service),
            )
            seen = without_failed(survey, before)
            changed = is_changed(writer, seen, parent)
            good_changed = is_good_changed(writer, seen, before)
            if changed or good_changed:
                writer.complete(service.name, {name: (item.root, item.good) for name, item in survey.items.items()})
        except DamagedObject as error:
            # Known-good state is carried forward from the newest snapshot that can still be read.
            damage = error
            context.tell_damage(service.name, error.message)
            continue
        verdict = snapshot_verdict(survey, good_changed=good_changed)
        forced = parent is not None and (request.label is not None or bool(request.tags))
        forced = forced or request.time_ns is not None
        failed = tuple(item.failure for item in survey.items.values() if item.failure is not None)
        wanted = changed or good_changed or damage is not None or (forced and not failed)
        wanted = wanted and not is_nothing(seen, parent)
        if full_read and not request.dry_run:
            repository.catalog.record_run(service.name, FULL_READ, now_ns, time.monotonic() - started, "done", "")
        touched = touched_only(writer, service, survey, before) if parent is not None and not wanted else {}
        dumped_s = dumps.seconds(service) if dumps.look(service).ask else None
        return Capture(service, parent, survey, verdict, wanted, time.monotonic() - started, touched, failed, dumped_s)
    raise damage or AssertionError("the last round has no parent")


def _outcome(
    context: Context,
    repository: Repository,
    capture: Capture,
    made: Snapshot | None,
    late: Sequence[str],
    *,
    dry_run: bool,
) -> ServiceSnapshot:
    """The result, told to the events, the run history and the service record. `late`: what failed after the capture."""
    name, holder = capture.service.name, made or capture.parent
    items = capture.survey.items
    result = ServiceSnapshot(
        service=name,
        outcome=UNCHANGED if not capture.changed else INVALID if capture.verdict is SnapshotVerdict.INVALID else SAVED,
        id=made.id if made is not None else None,
        verdict=capture.verdict.value if capture.changed or capture.parent is None else capture.parent.verdict.value,
        size_bytes=sum(item.size_bytes for item in items.values()),
        new_bytes=made.new_bytes if made is not None else 0,
        files=sum(item.files for item in items.values()),
        seconds=capture.seconds,
        problems=tuple((key, p.place, p.problem) for key, item in items.items() for p in item.problems),
        sequence=holder.sequence if holder is not None else None,
        directories=sum(item.listed for item in items.values()),
        touched=capture.touched,
        error="; ".join(late) or None,
        spare=repository.path if made is not None and repository.in_spare_because is not None else None,
        because=repository.in_spare_because if made is not None else None,
    )
    if dry_run:
        return result
    recovered = not late and bool(repository.record(name).failures)
    if recovered or result.outcome != UNCHANGED:
        note_run(repository, name, result.outcome, seconds=result.seconds, detail=result.id or "")
    if recovered:
        forget_failures(repository, name)
    elif result.error is not None:
        note_failure(context, repository, name, result.error)
    context.events.emit(
        f"snapshot.{result.outcome}",
        service=name,
        items=len(items),
        files=result.files,
        size_bytes=result.size_bytes,
        new_bytes=result.new_bytes,
        seconds=round(capture.seconds, 3),
        sequence=made.sequence if made is not None else None,
        spare=result.spare,
    )
    if made is not None:
        tell_state(context, capture.service, capture.survey)
    return result


def _failed(
    context: Context, repository: Repository, service: str, error: Exception, request: SnapshotRequest
) -> ServiceSnapshot:
    """Noted, but for a dry run: that was no capture."""
    sentence = error.message if isinstance(error, RecoverdError) else f"{error.__class__.__name__}: {error}"
    hint = error.hint if isinstance(error, RecoverdError) else os_hint(error) if isinstance(error, OSError) else None
    if not request.dry_run:
        note_failure(context, repository, service, sentence)
    return ServiceSnapshot(service, FAILED, error=sentence, hint=hint)


def _not_begun(
    context: Context, repository: Repository, service: str, error: Exception, request: SnapshotRequest
) -> ServiceSnapshot:
    """That another recoverd is at work is no failure of the service, and noted nowhere."""
    if not isinstance(error, LockHeld):
        return _failed(context, repository, service, error, request)
    return ServiceSnapshot(service, FAILED, error=error.message, hint=error.hint, busy=True)
