"""Migration within a restore: which live documents are to be brought to the current version, and what is saved first.

All documents of all items of a service are migrated in one transaction, together with whatever else is restored, or
none of them is. A service that runs, and whose state is ok, is left alone: `recoverd migrate` stops it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from recoverd.config.model import Service
from recoverd.config.versions import are_same
from recoverd.errors import StateError
from recoverd.events.where import where_of
from recoverd.operations.choosing import Look
from recoverd.operations.context import Context
from recoverd.operations.migration_pins import pin, step_of
from recoverd.operations.pending_migrations import told
from recoverd.operations.rejecting import Taken, withdraw
from recoverd.operations.snapshot import FAILED, SnapshotRequest, capture_locked
from recoverd.recovery.candidates import find
from recoverd.recovery.choices import Choice, Part
from recoverd.recovery.documents import Older
from recoverd.recovery.extraction import Source
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.plan import Action, Origin, Target
from recoverd.recovery.replacement import Replacement
from recoverd.recovery.staging import Staging
from recoverd.repository.records import Snapshot
from recoverd.state.judging import MIGRATION_TO
from recoverd.state.verdicts import Verdict
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.operations.restore_run import RestoreRun

_LABEL_CHARACTERS = 60
MIGRATE = "migrate"  # why a restore happens: somebody asked for migrations, and for nothing else
REASON = "pre-migration"  # of the snapshot that is taken, and pinned, before anything is migrated


def decide(run: RestoreRun, first: Look) -> bool:
    """Whether live documents are migrated by this restore; if not, its notes say why. Raises ServiceError."""
    found = _all_older(first.survey)
    if not found or run.only is not None:
        run.migrates = False
        return False
    why = _why_not(run, first, found)
    if why is not None:
        run.notes.append(f"{told(first.survey)}, and {'stays' if len(found) == 1 else 'stay'} so: {why}")
    run.migrates = why is None
    return run.migrates


def would(run: RestoreRun, first: Look) -> None:
    """For a dry run: what would be migrated, in its notes."""
    if decide(run, first):
        for (item, document), one in older(run, first).items():
            name, rule = f"{item}: {document}" if document else item, run.service.state[item].version
            current = rule.current if rule is not None else ""
            run.notes.append(f"{name} has version {one.version}; it would be migrated to {current}")


def unfit(service: Service, survey: ServiceSurvey) -> str | None:
    """A document whose version does not fit, in a sentence: all are migrated or none, so it holds up the others."""
    for name, item in survey.items.items():
        for finding in item.findings if service.state[name].migrate else ():
            if finding.verdict is Verdict.NEWER:
                return f"{name}: {finding.problems[0]}" if finding.problems else name
    return None


def tell_if_it_fails(run: RestoreRun, survey: ServiceSurvey) -> None:
    """The event for a document of an older version that no migration makes valid."""
    why = unfit(run.service, survey)
    if why is not None and MIGRATION_TO in why and not run.request.dry_run:
        tell_failed(run, why)


def _why_not(run: RestoreRun, first: Look, found: Mapping[Target, Older]) -> str | None:
    name = run.service.name
    hint = f"`recoverd migrate {name}`"
    why = unfit(run.service, first.survey)
    if why is not None:
        return f"{why}, and all are migrated or none"
    if run.request.why == MIGRATE:
        return None
    if not _wanted(run, found):
        return f"its migration was undone; {hint} does it again"
    if first.action is Action.LEAVE and run.explicit is None and run.runs():
        return f"the service runs; {hint} stops it for that"
    if _was_rejected(run, _wanted(run, found)):
        return f"the service was not healthy after its migration; {hint} tries again"
    return None


def _all_older(survey: ServiceSurvey) -> dict[Target, Older]:
    return {(name, path): one for name, item in survey.items.items() for path, one in sorted(item.older.items())}


def older(run: RestoreRun, current: Look) -> dict[Target, Older]:
    """The live documents that are to be migrated now."""
    return _wanted(run, _all_older(current.survey)) if run.migrates else {}


def _wanted(run: RestoreRun, found: Mapping[Target, Older]) -> dict[Target, Older]:
    """Without the items whose migration was undone."""
    if run.request.why == MIGRATE:
        return dict(found)
    left = undone(run)
    return {target: one for target, one in found.items() if target[0] not in left}


def undone(run: RestoreRun) -> set[str]:
    """The items whose migration to the version that is current somebody took back."""
    repository = run.context.repository_if_any()
    known: Mapping[str, str] = repository.record(run.service.name).undone if repository is not None else {}
    items = run.service.state
    found = set()
    for name, version in known.items():
        rule = items[name].version if name in items else None
        if rule is not None and are_same(rule.current, version):
            found.add(name)
    return found


def is_rejected(run: RestoreRun, live: Look) -> bool:
    """Whether what waits for a migration was migrated by this restore or an earlier one, and rejected."""
    return _was_rejected(run, _wanted(run, _all_older(live.survey)))


def _was_rejected(run: RestoreRun, found: Mapping[Target, Older]) -> bool:
    """Whether the very same state was migrated before by the same steps, and the service was not healthy on that."""
    repository = run.context.repository_if_any()
    known = repository.record(run.service.name).rejected if repository is not None else {}
    return bool(known) and any(each in known.get(item, ()) for item, each in _tries(run, found).items())


def _tries(run: RestoreRun, found: Mapping[Target, Older]) -> dict[str, str]:
    """What a migration that did not work is remembered by, for each item: its documents, and what is made of them.

    Not the snapshot from before, which is good, and may be the only one.
    """
    from blake3 import blake3

    documents: dict[str, list[tuple[str, str]]] = {}
    for (item, document), one in sorted(found.items()):
        documents.setdefault(item, []).append((document, one.content))
    judges = run.context.judges(run.service)
    return {
        item: blake3(json.dumps([judges[item].id, contents]).encode()).hexdigest()
        for item, contents in documents.items()
    }


def allow_again(run: RestoreRun, first: Look) -> None:
    """Somebody asked for it: whatever was undone or rejected before is tried again."""
    repository, name = run.context.repository(), run.service.name
    found = _all_older(first.survey)
    if _was_rejected(run, found):
        withdraw(run.context, name, (Taken(0, item, each) for item, each in _tries(run, found).items()))
    if repository.record(name).undone:
        repository.update_record(name, lambda record: replace(record, undone={}))


def _steps(run: RestoreRun, found: Mapping[Target, Older]) -> list[str]:
    """From which versions to which."""
    return list(dict.fromkeys(step_of(run.service.state[item], one.version) for (item, _), one in found.items()))


def save_before(run: RestoreRun, found: Mapping[Target, Older]) -> Snapshot:
    """A pinned snapshot of live state as it is: durable on return. Raises StateError and RepositoryError.

    One that was taken for an earlier try, and still holds exactly what is there, does.
    """
    context, name = run.context, run.service.name
    newest = context.repository().newest(name)
    again = newest is not None and newest.reason == REASON
    label = None if again else ", ".join(_steps(run, found))[:_LABEL_CHARACTERS]
    request = SnapshotRequest(reason=REASON, label=label, prune=False)
    made = capture_locked(context, [run.service], request)[name]
    saved = context.repository().newest(name)
    if made.outcome == FAILED or saved is None:
        raise StateError(f"it can't be saved as it is before: {made.error}", hint=made.hint)
    pin(context, name, {saved.sequence: _steps(run, found)})
    return saved


def joined(
    run: RestoreRun, choice: Choice | None, found: Mapping[Target, Older], before: Snapshot, reader: Source
) -> Choice:
    """A choice (None: nothing else is restored) and the live documents that are migrated with it, as the snapshot
    from before has them. Raises StateError, DamagedObject."""
    parts = list(choice.parts) if choice is not None else []
    replacements = list(choice.replacements) if choice is not None else []
    taken, tries = {(one.item, one.relative) for one in replacements}, _tries(run, found)
    for (item, document), one in found.items():
        if any(_covers(path, document) for name, path in taken if name == item):
            continue
        record, declared = before.items.get(item), run.service.state[item]
        entry, parents = find(reader, record.root, document) if record is not None else (None, ())
        if entry is None or (entry.hash or entry.blocks) != one.content:
            raise StateError(f"{item} keeps changing while it is migrated", hint="stop whatever writes to it")
        current = declared.version.current if declared.version is not None else ""
        parts.append(
            Part(
                item,
                document,
                0,
                before.time_ns,
                one.content,
                f"version {one.version} is migrated to {current}",
                Origin.LIVE,
                f"live state, migrated to {current}",
                remembered=tries[item],
            )
        )
        replacements.append(Replacement(item, declared.path, document, entry, parents=parents))
    others = (choice.without, choice.left, choice.dumps) if choice is not None else ((), (), ())
    return Choice(run.service.name, tuple(parts), tuple(replacements), *others)


def _covers(path: str, document: str) -> bool:
    return not path or f"{document}/".startswith(f"{path}/") or f"{path}/".startswith(f"{document}/")


def bring_to_current(run: RestoreRun, staged: Staging, choice: Choice) -> dict[Target, str]:
    """Migrate what was staged; the snapshots that it was taken from are kept. The replacements that can't be swapped
    in, each with a sentence: then nothing is. Raises StateError, RepositoryError."""
    run.migrated = []
    if not any(item.migrate for item in run.service.state.values()):
        return {}
    from recoverd.recovery.migrating import migrate_staged

    left = undone(run) if run.request.why != MIGRATE else set()
    state = {name: replace(item, migrate=()) if name in left else item for name, item in run.service.state.items()}
    done, failed = migrate_staged(staged, replace(run.service, state=state), run.context.judges(run.service))
    if not failed:
        run.migrated = done
        steps: dict[str, set[str]] = {}
        for one in done:
            steps.setdefault(one.item, set()).add(step_of(run.service.state[one.item], one.before))
        kept: dict[int, set[str]] = {}
        for part in choice.parts:
            if part.item in steps and part.origin is Origin.SNAPSHOT:
                kept.setdefault(part.sequence, set()).update(steps[part.item])
        before = {run.before.sequence: ()} if run.before is not None else {}
        pin(run.context, run.service.name, {**before, **kept} if kept else {})
    return failed


def remember_undone(context: Context, service: Service, survey: ServiceSurvey, touched: Collection[str]) -> None:
    """After an undo: what waits for a migration now is not migrated again before somebody asks for it.

    `touched`: the items that the undo changed; of others nothing is said.
    """
    before = context.repository().record(service.name).undone
    found = {name: version for name, version in before.items() if name not in touched}
    for name in touched:
        rule = service.state[name].version if name in service.state else None
        if rule is not None and survey.items[name].older:
            found[name] = rule.current
    if dict(before) != found:
        context.repository().update_record(service.name, lambda record: replace(record, undone=found))


def give_up(run: RestoreRun, why: str) -> None:
    """Live documents are not migrated by this restore; whatever else it is about goes on."""
    run.migrates, run.unmigrated = False, why
    run.notes.append(f"nothing was migrated: {why}")
    tell_failed(run, why)


def tell_failed(run: RestoreRun, why: str) -> None:
    run.context.events.emit("migration.failed", service=run.service.name, message=why)


def tell_done(run: RestoreRun) -> None:
    """The events, one for each item and pair of versions."""
    counts: dict[tuple[str, str, str], int] = {}
    for one in run.migrated:
        key = one.item, one.before, one.after
        counts[key] = counts.get(key, 0) + 1
    for (item, before, after), count in counts.items():
        message = f"from version {before} to {after}"
        where = where_of(run.service, (item,))
        run.context.events.emit("migration.done", service=run.service.name, where=where, message=message, items=count)
