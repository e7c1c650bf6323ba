"""`recoverd migrate`: pending migrations of live state, now. The same transaction as a restore, asked for by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import StateError
from recoverd.operations import migrating
from recoverd.operations.assess import look
from recoverd.operations.context import Context
from recoverd.operations.processes import looking_driver_of
from recoverd.operations.restoration import Restoration
from recoverd.operations.restore import broken, guarded, in_order
from recoverd.operations.restore_results import BLOCKED, FAILED, RESTORED, RestoreRequest, ServiceRestore
from recoverd.recovery.stat_rows import Finding
from recoverd.repository.objects import Reader
from recoverd.state.verdicts import Verdict
from recoverd.values import dataclass

MIGRATED, UNTOUCHED, PENDING = "migrated", "untouched", "pending"


@dataclass(frozen=True, slots=True)
class MigrateRequest:
    services: tuple[str, ...] = ()
    dry_run: bool = False
    start: bool = True  # again, what ran before


@dataclass(frozen=True, slots=True)
class DocumentMigration:
    """One document; `patch`: what a dry run says that becomes of it, as a JSON Patch; `taken`: the value that each of
    its operations takes away."""

    item: str
    document: str
    before: str
    after: str
    patch: tuple[Mapping[str, Any], ...] | None = None
    taken: tuple[Any, ...] = ()

    def to_json(self) -> dict[str, Any]:
        found = {"item": self.item, "document": self.document, "from": self.before, "to": self.after}
        return found if self.patch is None else {**found, "patch": [dict(one) for one in self.patch]}


@dataclass(frozen=True, slots=True)
class ServiceMigration:
    """What became of one service. `snapshot`: what it was before, pinned."""

    service: str
    outcome: str  # migrated | untouched | pending (a dry run) | blocked | failed
    healthy: bool | None = None
    snapshot: str | None = None
    quarantine: str | None = None
    documents: tuple[DocumentMigration, ...] = ()
    reasons: tuple[str, ...] = ()
    hint: str | None = None
    seconds: float = 0.0
    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "outcome": self.outcome,
            "healthy": self.healthy,
            "snapshot": self.snapshot,
            "quarantine": self.quarantine,
            "documents": [one.to_json() for one in self.documents],
            "reasons": list(self.reasons),
            "hint": self.hint,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class MigrateResult:
    services: tuple[ServiceMigration, ...]
    dry_run: bool = False

    @property
    def exit_status(self) -> int:
        statuses = {one.exit_status for one in self.services} - {0}
        return 0 if not statuses else statuses.pop() if len(statuses) == 1 else 1

    def to_json(self) -> dict[str, Any]:
        return {"services": [one.to_json() for one in self.services], "dry_run": self.dry_run}


def migrate(context: Context, request: MigrateRequest) -> MigrateResult:
    """Bring all documents of older versions to the current one, service by service, in the order of `after`.

    A service that runs is stopped for it, started again and proven. What fails for one service is a value in the
    result, leaves its state as it was, and stops no other. Raises UsageError, RepositoryError.
    """
    services = {one.name: one for one in context.select(request.services) if one.state}
    if request.dry_run:
        found = [_dry_run(context, service) for service in services.values()]
        return MigrateResult(tuple(found), dry_run=True)
    context.repository(create=True)
    made: dict[str, ServiceMigration] = {}
    done: dict[str, ServiceRestore] = {}
    if not request.services:
        done |= {failed.name: broken(failed) for failed in context.config.failed}

    def work(service: Service) -> ServiceRestore:
        restoration: list[Restoration] = []
        plain = RestoreRequest(why=migrating.MIGRATE, start=request.start)
        result = guarded(context, service, plain, lambda: _locked(context, service, request, restoration))
        made[service.name] = _outcome(result, restoration)
        return result

    in_order(context, services, work, done, flags=False)
    left = {name: _outcome(result, []) for name, result in done.items() if name not in made}
    order = [*services, *(name for name in left if name not in services)]
    return MigrateResult(tuple(made[name] if name in made else left[name] for name in order))


def _locked(
    context: Context, service: Service, request: MigrateRequest, restoration: list[Restoration]
) -> ServiceRestore:
    with context.repository().service_lock(service.name, wait_s=context.wait_s, what=f"service {service.name}"):
        driver = looking_driver_of(context, service)
        runs = driver is not None and driver.status().running
        asked = RestoreRequest(why=migrating.MIGRATE, start=request.start and runs)
        restoration.append(Restoration(context, service, asked))
        return restoration[0].run()


def _outcome(result: ServiceRestore, restoration: list[Restoration]) -> ServiceMigration:
    run = restoration[0] if restoration else None
    outcome = result.outcome if result.outcome in {FAILED, BLOCKED} else UNTOUCHED
    outcome = MIGRATED if result.outcome == RESTORED else outcome
    migrated = run.migrated if run is not None else ()
    documents = [DocumentMigration(one.item, one.document, one.before, one.after) for one in migrated]
    places = {item.quarantine for item in result.items if item.quarantine is not None}
    return ServiceMigration(
        service=result.service,
        outcome=outcome,
        healthy=result.healthy,
        snapshot=run.before.id if run is not None and run.before is not None else None,
        quarantine=next(iter(places), None) if outcome == MIGRATED else None,
        documents=tuple(documents) if outcome == MIGRATED else (),
        reasons=result.reasons,
        hint=result.hint,
        seconds=result.seconds,
        exit_status=result.exit_status,
    )


def _dry_run(context: Context, service: Service) -> ServiceMigration:
    """What would become of each document. Commands run, on copies; nothing is written."""
    repository = context.repository_if_any()
    if repository is None:
        return _previewed(context, service, None)
    with repository.reader() as reader:
        return _previewed(context, service, reader)


def _previewed(context: Context, service: Service, reader: Reader | None) -> ServiceMigration:
    from recoverd.recovery.migrating import Commands, preview

    survey, _ = look(context, service, reader)
    judges, commands, documents = context.judges(service), Commands(), list[DocumentMigration]()
    failed: dict[tuple[str, str], list[str]] = {}  # item and why -> documents
    for name, item in survey.items.items():
        declared = service.state[name]
        for finding in item.findings if declared.migrate else ():
            failed.setdefault((name, _why(finding)), []).append(finding.document)
        for document in sorted(item.older):
            try:
                found = preview(declared, judges[name], document, commands)
            except (StateError, OSError) as error:
                failed.setdefault((name, str(error)), []).append(document)
                continue
            if found is not None:
                change, patch = found
                operations, taken = tuple(one for one, _ in patch), tuple(one for _, one in patch)
                documents.append(DocumentMigration(name, document, change.before, change.after, operations, taken))
    outcome = FAILED if failed else PENDING if documents else UNTOUCHED
    reasons = tuple(_sentence(item, why, names) for (item, why), names in failed.items())
    return ServiceMigration(
        service.name, outcome, documents=tuple(documents), reasons=reasons, exit_status=1 if failed else 0
    )


def _why(finding: Finding) -> str:
    """Why a document is in the way: it is damaged, or no migration makes it right."""
    why = finding.problems[0].problem if finding.problems else ""
    return why if why and finding.verdict is Verdict.NEWER else f"is {finding.verdict}: {why}".removesuffix(": ")


def _sentence(item: str, why: str, documents: Sequence[str]) -> str:
    """The documents of one item with which the same is wrong."""
    name = f"{item}/{documents[0]}" if documents[0] else item
    return f"{name}{f' and {len(documents) - 1} more' if len(documents) > 1 else ''}: {why}"
