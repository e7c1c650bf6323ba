"""`recoverd clear`: remove all snapshots of a service, or move its live state to quarantine, or both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import UsageError
from recoverd.operations.assess import look
from recoverd.operations.context import Context, unknown_service
from recoverd.operations.processes import driver_of, up_again_if_it_fails
from recoverd.recovery import staging, swapping
from recoverd.recovery.item_survey import ItemSurvey, ServiceSurvey
from recoverd.recovery.replacement import Replacement
from recoverd.recovery.stores import Trees
from recoverd.repository import pruning
from recoverd.repository.reserve import Reserve
from recoverd.repository.store import Repository
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.state.verdicts import Verdict
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class ClearRequest:
    service: str
    snapshots: bool = False
    live: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class ClearResult:
    """What was cleared, or with `dry_run` would be."""

    service: str
    removed: tuple[str, ...] = ()  # snapshots
    pinned: int = 0  # so many of them are pinned
    freed_bytes: int = 0
    files: int = 0  # of live state, moved to quarantine
    quarantine: str | None = None
    stopped: bool = False  # the service ran, and was stopped for it
    notes: tuple[str, ...] = ()
    dry_run: bool = False

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        """`{"service", "removed": [{"id"}], "pinned", "freed_bytes", "files", "quarantine", "stopped", …}`."""
        return {
            "service": self.service,
            "removed": [{"id": one} for one in self.removed],
            "pinned": self.pinned,
            "freed_bytes": self.freed_bytes,
            "files": self.files,
            "quarantine": self.quarantine,
            "stopped": self.stopped,
            "notes": list(self.notes),
            "dry_run": self.dry_run,
        }


def clear(context: Context, request: ClearRequest) -> ClearResult:
    """Clear one service. Live state goes first: it is the part that can fail, and the part that `undo` brings back.

    Snapshots of a service that is declared no more can be removed too. Raises UsageError, LockHeld, StateError,
    ServiceError, RepositoryError.
    """
    name = request.service
    repository = context.repository_if_any() if request.dry_run else context.repository(create=request.live)
    service = context.config.services.get(name)
    stored = repository is not None and (name in repository.services() or bool(repository.sequences(name)))
    if service is None and (request.live or not stored):
        raise unknown_service(name, context.config.services)
    if repository is None:
        return ClearResult(name, dry_run=request.dry_run)
    with context.state_changes, repository.service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        files, where, stopped = 0, None, False
        if request.live and service is not None:
            files, where, stopped = _clear_live(context, repository, service, dry_run=request.dry_run)
        removed: tuple[str, ...] = ()
        notes: tuple[str, ...] = ()
        if request.live and service is not None and service.dumps:
            notes = (f"{', '.join(service.dumps)}: left as it is, only the service's own tools can empty it",)
        pinned = freed = 0
        if request.snapshots:
            sequences = repository.sequences(name)
            marks = repository.all_marks(name)
            pinned = sum(marks[sequence].pinned for sequence in sequences if sequence in marks)
            removed = tuple(f"{name}/{sequence}" for sequence in sequences)
            if not request.dry_run:
                reserve = Reserve.of(context.state_dir, repository.path)
                with repository.writer(wait_s=context.wait_s, what="the repository") as writer:
                    pruned = reserve.spend(lambda: pruning.prune(repository, writer, {name: sequences}))
                freed = pruned.freed_bytes
                notes += (pruned.kept_data,) if pruned.kept_data is not None else ()
                context.events.emit(
                    "prune.finished", service=name, path=repository.path, removed=len(removed), freed_bytes=freed
                )
    return ClearResult(name, removed, pinned, freed, files, where, stopped, notes, request.dry_run)


def _clear_live(
    context: Context, repository: Repository, service: Service, *, dry_run: bool
) -> tuple[int, str | None, bool]:
    """Move what the items cover to quarantine: (files, where, whether the service was stopped for it)."""
    service = replace(service, state={name: item for name, item in service.state.items() if item.dump is None})
    if not service.state:
        raise UsageError(f"service {service.name} has no state on the disk", hint="nothing of it can be cleared")
    if not dry_run:
        swapping.finish_intent(service.name, context.state_dir)
    driver = driver_of(context, service)
    running = driver is not None and (driver.status().running if dry_run else driver.stop().was_running)
    stopped = running and not dry_run
    with up_again_if_it_fails(context, service, stopped=stopped), repository.reader() as reader:
        survey, trees = look(context, service, reader)
        replacements = [
            Replacement(name, service.state[name].path, path, None, companions=service.state[name].companions)
            for name, item in survey.items.items()
            for path in dict.fromkeys((*_covered(trees, item.root), *_misplaced(item)))
        ]
        if dry_run or not replacements:
            return len(replacements), None, running
        staged = staging.stage(reader, service.name, replacements, state_dir=context.state_dir)
        evidence = {
            "service": service.name,
            "cleared": len(replacements),
            "verdict": survey.verdict.value,
            "problems": _problems(survey),
        }
        applied = swapping.apply(staged, state_dir=context.state_dir, evidence=evidence)
    return len(replacements), applied.quarantine, running


def _problems(survey: ServiceSurvey) -> list[dict[str, str]]:
    return [
        {"item": name, "place": problem.place, "problem": problem.problem}
        for name, item in survey.items.items()
        for problem in item.problems
    ]


def _covered(trees: Trees, root: str) -> Iterator[str]:
    """The paths of everything that an item covers but directories: those may hold what it does not cover."""
    for entry in trees.tree(root):
        yield from _below(trees, "", entry)


def _misplaced(item: ItemSurvey) -> Iterator[str]:
    """Where something else lies than what could be captured: a link, a FIFO, a directory in a document's place."""
    return (finding.document for finding in item.findings if finding.verdict is Verdict.CORRUPT)


def _below(trees: Trees, path: str, entry: Entry) -> Iterator[str]:
    if entry.type != "dir":
        yield path
        return
    for one in trees.tree(entry.hash or EMPTY_TREE):
        yield from _below(trees, f"{path}/{one.name}" if path else one.name, one)
