"""`recoverd drill`: a restore rehearsed in a scratch directory, so that the real one holds no surprise."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import DamagedObject, RecoverdError, StateError
from recoverd.operations import confirmations
from recoverd.operations.context import Context
from recoverd.operations.drilled import DRILL, FAILED, PASSED
from recoverd.operations.restore_results import RESTORED, Attempt
from recoverd.operations.scratch_directory import ScratchDirectory
from recoverd.recovery.candidates import eligible
from recoverd.recovery.dump_looks import as_file
from recoverd.recovery.item_survey import newest_records
from recoverd.recovery.plan import Action, Target, damages
from recoverd.recovery.scratch import Scratch
from recoverd.recovery.staging import ENTRY_BYTES
from recoverd.recovery.survey import survey_service
from recoverd.repository.objects import Reader
from recoverd.repository.records import ItemRecord, Marks, Snapshot
from recoverd.repository.store import Repository
from recoverd.services.commands import run_command
from recoverd.state.verdicts import Verdict
from recoverd.system import clock, locks
from recoverd.values import dataclass, replace

_LOCK_NAME = "drill.lock"
_DUMPS = "dumps"  # where dumps lie in the scratch directory


@dataclass(frozen=True, slots=True)
class DrillRequest:
    services: tuple[str, ...] = ()  # empty: all enabled ones
    background: bool = False  # give way to everybody else, and to another drill like this


@dataclass(frozen=True, slots=True)
class DrilledItem:
    """One state item as it came back: the candidate it came from, and how old its data is."""

    item: str
    candidate: str
    age_s: float
    verdict: str


@dataclass(frozen=True, slots=True)
class ServiceDrill:
    """One rehearsal. `healthy`: what the declared command said; None where there is none, or it was not asked."""

    service: str
    passed: bool
    healthy: bool | None = None
    candidate: str | None = None
    age_s: float | None = None  # of the oldest item's data: what a restore now would lose
    seconds: float = 0.0
    size_bytes: int = 0
    files: int = 0
    attempts: tuple[Attempt, ...] = ()
    items: tuple[DrilledItem, ...] = ()
    reasons: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a restore's: `outcome` is restored or failed."""
        return {
            "service": self.service,
            "outcome": RESTORED if self.passed else FAILED,
            "healthy": self.healthy,
            "attempts": [{"candidate": a.candidate, "result": a.result, "why": a.why} for a in self.attempts],
            "resume": None,
            "items": [
                {
                    "item": one.item,
                    "document": "",
                    "verdict_before": None,
                    "source": "snapshot",
                    "candidate": one.candidate,
                    "age_seconds": round(one.age_s, 3),
                    "quarantine": None,
                    "verdict": one.verdict,
                }
                for one in self.items
            ],
            "candidate": self.candidate,
            "age_seconds": None if self.age_s is None else round(self.age_s, 3),
            "bytes": self.size_bytes,
            "files": self.files,
            "reasons": list(self.reasons),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class DrillResult:
    services: tuple[ServiceDrill, ...]

    @property
    def exit_status(self) -> int:
        """1 when one failed."""
        return 0 if all(one.passed for one in self.services) else 1

    def to_json(self) -> dict[str, Any]:
        return {"services": [one.to_json() for one in self.services]}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A snapshot, and what it holds of the items that are declared today."""

    snapshot: Snapshot
    records: Mapping[str, ItemRecord]

    @property
    def size_bytes(self) -> int:
        return sum(record.size_bytes for record in self.records.values())

    @property
    def files(self) -> int:
        return sum(record.files for record in self.records.values())


def drill(context: Context, request: DrillRequest) -> DrillResult:
    """Restore the known-good state of services into scratch, judge it, and run the command that is declared for it.

    Live state and running services are not touched. What fails for one service is a value in the result and stops no
    other. Raises UsageError for unknown names, RepositoryError when there is no repository, LockHeld where another one
    in the background is under way.
    """
    services = [service for service in context.select(request.services) if service.state]
    repository = context.repository()
    with _in_background(repository) if request.background else nullcontext():
        return DrillResult(tuple(_one(context, repository, service) for service in services))


def _in_background(repository: Repository) -> locks.FileLock:
    from recoverd.operations.verify import give_way

    give_way()
    return locks.acquire(os.path.join(repository.state_dir, _LOCK_NAME), what="a scheduled drill")


def _one(context: Context, repository: Repository, service: Service) -> ServiceDrill:
    started = time.monotonic()
    try:
        done = _rehearsed(context, repository, service)
    except RecoverdError as error:
        done = ServiceDrill(service.name, passed=False, reasons=(error.message,))
    except OSError as error:
        sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        done = ServiceDrill(service.name, passed=False, reasons=(sentence,))
    done = replace(done, seconds=time.monotonic() - started)
    now_ns, why = clock.now_ns(), "; ".join(done.reasons)
    outcome, detail = (PASSED, f"{done.age_s or 0:.3f}") if done.passed else (FAILED, why)
    repository.catalog.record_run(service.name, DRILL, now_ns, done.seconds, outcome, detail)
    if not done.passed:
        context.events.emit("drill.failed", service=service.name, message=why, seconds=round(done.seconds, 3))
        return done
    sequence = int((done.candidate or "").rpartition("/")[2])
    try:
        repository.set_marks(service.name, sequence, lambda marks: replace(marks, drilled_ns=now_ns))
    except RecoverdError as error:
        done = replace(done, reasons=(f"it could not be recorded: {error.message}",))
    context.events.emit(
        "drill.passed",
        service=service.name,
        message=f"on {done.candidate}",
        candidate=done.candidate,
        age_seconds=None if done.age_s is None else round(done.age_s, 3),
        files=done.files,
        size_bytes=done.size_bytes,
        seconds=round(done.seconds, 3),
    )
    return done


def _rehearsed(context: Context, repository: Repository, service: Service) -> ServiceDrill:
    attempts: list[Attempt] = []
    with repository.reader() as reader:
        for candidate in _candidates(repository, service):
            if len(attempts) >= service.restore.attempts:
                break
            try:
                with ScratchDirectory() as scratch:
                    scratch.expect_room(candidate.size_bytes + candidate.files * ENTRY_BYTES)
                    found = _extracted(reader, service, candidate, scratch)
                    bad = _judged(context, repository, found)
                    if not bad:
                        healthy, said = _commanded(service, scratch)
                        return _result(context, service, candidate, attempts, healthy, said)
            except DamagedObject as error:
                context.tell_damage(service.name, error.message)
                attempts.append(Attempt(candidate.snapshot.id, "damaged", error.message))
                continue
            attempts.append(Attempt(candidate.snapshot.id, "invalid", bad))
    if not attempts:
        return ServiceDrill(service.name, passed=False, reasons=("there is no known-good snapshot to restore",))
    why = f"no candidate can be restored: {attempts[-1].why}"
    return ServiceDrill(service.name, passed=False, attempts=tuple(attempts), reasons=(why,))


def _candidates(repository: Repository, service: Service) -> Iterator[_Candidate]:
    """What a restore of everything would take, newest first."""
    marks = repository.all_marks(service.name)
    for snapshot in eligible(repository.snapshots(service.name)):
        rejected = marks.get(snapshot.sequence, Marks()).rejected
        records = {
            name: record
            for name, record in newest_records(service, [replace(snapshot, imported=False)]).items()
            if record.good is not None and name not in rejected
        }
        if records:
            yield _Candidate(snapshot, records)


def _extracted(reader: Reader, service: Service, candidate: _Candidate, scratch: ScratchDirectory) -> Service:
    """Write the items into scratch, laid out as they are in their common directory, dumps as files in `dumps`; the
    service as it is there."""
    state = {}
    above = [os.path.dirname(item.path) for item in service.state.values() if item.path]
    common = os.path.commonpath(above) if above else "/"
    for name, item in sorted(service.state.items(), key=lambda each: each[1].path.count("/")):
        relative = os.path.relpath(item.path, common) if item.path else f"{_DUMPS}/{name}"
        state[name] = as_file(item, os.path.join(scratch.path, relative))
        record = candidate.records.get(name)
        entry = reader.item_entry(record.good) if record is not None and record.good is not None else None
        if entry is not None:
            scratch.extract(reader, entry, relative)
    return replace(service, state={name: state[name] for name in service.state})


def _judged(context: Context, repository: Repository, service: Service) -> str:
    """What would keep the service from being started on this, in a sentence; "" when nothing does."""
    accepted = repository.record(service.name).accepted
    survey = survey_service(
        service,
        context.judges(service),
        store=Scratch(None),
        before={},
        memo=None,
        now_ns=clock.now_ns(),
        full_read=True,
        accepted=accepted,
    )
    for damage in damages(service, survey, accepted):
        if damage.action is not Action.LEAVE:
            where = f"{damage.item}: {damage.document}" if damage.document else damage.item
            why = damage.problems[0].problem if damage.problems else damage.reason
            return f"{where} is {damage.verdict}: {why}"
    older = [(name, document) for name, item in survey.items.items() for document in item.older]
    return _migrated(context, service, older) if older else ""


def _migrated(context: Context, service: Service, older: Sequence[Target]) -> str:
    """Bring what was restored to the current version, as a restore would; a sentence where that fails."""
    from recoverd.recovery.migrating import migrate_scratch

    try:
        migrate_scratch(service, context.judges(service), older)
    except StateError as error:
        return error.message
    return ""


def _commanded(service: Service, scratch: ScratchDirectory) -> tuple[bool | None, str]:
    """Run the declared command on what was restored, as its owner: (whether it passed, what it said if not)."""
    if service.drill is None or not service.drill.command:
        return None, ""
    uid = scratch.hand_over()
    command = [word.replace("{directory}", scratch.path) for word in service.drill.command]
    try:
        ran = run_command(command, timeout_s=service.drill.timeout_s, uid=uid)
    except (OSError, ValueError) as error:
        raise StateError(f"{command[0]} can't be run: {getattr(error, 'strerror', None) or error}") from None
    if ran.status == 0:
        return True, ""
    said = f": {ran.last_line}" if ran.last_line and ran.status is not None else ""
    return False, f"{' '.join(service.drill.command)} {ran.ending}{said}"


def _result(
    context: Context,
    service: Service,
    candidate: _Candidate,
    attempts: Sequence[Attempt],
    healthy: bool | None,
    said: str,
) -> ServiceDrill:
    snapshot, now_ns = candidate.snapshot, clock.now_ns()
    confirmed = confirmations.confirmed(context.runtime_dir, context.repository()).get(service.name)
    is_current = confirmed is not None and confirmed.sequence == snapshot.sequence
    seen_ns = confirmed.time_ns if confirmed is not None and is_current else snapshot.time_ns
    age_s = max(0.0, (now_ns - seen_ns) / 1e9)
    result = Attempt(snapshot.id, "restored" if healthy is not False else "rejected", said)
    return ServiceDrill(
        service.name,
        passed=healthy is not False,
        healthy=healthy,
        candidate=snapshot.id,
        age_s=age_s,
        size_bytes=candidate.size_bytes,
        files=candidate.files,
        attempts=(*attempts, result),
        items=tuple(DrilledItem(name, snapshot.id, age_s, Verdict.OK.value) for name in candidate.records),
        reasons=(said,) if said else (),
    )
