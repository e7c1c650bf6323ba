"""`recoverd accept`: what is on disk now is good, whatever it was before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.config.model import Service
from recoverd.errors import StateError
from recoverd.operations import pending_loads, unproven
from recoverd.operations.assess import look
from recoverd.operations.context import Context
from recoverd.operations.snapshot import FAILED, SnapshotRequest, capture_locked
from recoverd.recovery import swapping
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.repository.records import ABSENT, Marks, ServiceRecord
from recoverd.state.verdicts import Verdict
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class AcceptRequest:
    service: str


@dataclass(frozen=True, slots=True)
class AcceptResult:
    """The pinned snapshot of what was accepted, and what of it stays damaged by its format."""

    service: str
    id: str | None  # None: there is nothing on the disk that could be captured
    verdict: str  # of live state
    accepted: tuple[tuple[str, str, str], ...] = ()  # (item, document, verdict), left alone from now on

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        """`{"service", "id", "verdict", "accepted": [{"item", "document", "verdict"}]}`."""
        return {
            "service": self.service,
            "id": self.id,
            "verdict": self.verdict,
            "accepted": [
                {"item": item, "document": document, "verdict": verdict} for item, document, verdict in self.accepted
            ],
        }


def accept(context: Context, request: AcceptRequest) -> AcceptResult:
    """Take a pinned snapshot of live state; what is damaged in it is left alone as long as it does not change.

    Raises UsageError, LockHeld, StateError (what can't be read can't be accepted), RepositoryError.
    """
    (service,) = context.select((request.service,))
    repository = context.repository(create=True)
    name = service.name
    with repository.service_lock(name, wait_s=context.wait_s, what=f"service {name}"):
        swapping.finish_intent(name, context.state_dir)
        before = _survey(context, service)
        _refuse_unreadable(before)
        remember_accepted(context, service, before)  # so that what was emptied is captured as known-good
        made = capture_locked(context, [service], SnapshotRequest(reason="accept", full_read=True, prune=False))[name]
        if made.outcome == FAILED:
            raise StateError(f"{name}: nothing was accepted, because it can't be captured: {made.error}")
        survey = _survey(context, service)
        _refuse_unreadable(survey)
        remember_accepted(context, service, survey)
        # nothing changed since the newest snapshot: that one holds what is accepted
        newest = repository.newest(name)
        if newest is not None:
            repository.set_marks(
                name,
                newest.sequence,
                lambda marks: replace(marks, pinned=True, migrated=(), rejected={}, tries_left=None),
            )
        unproven.save(repository, name, None)  # somebody says that it is good
        for item in service.dumps:
            pending_loads.save(repository, name, item, None)
    accepted = tuple(
        (item.item, finding.document, finding.verdict.value)
        for item in before.items.values()
        for finding in item.findings
    )
    return AcceptResult(name, newest.id if newest is not None else None, before.verdict.value, accepted)


def _accepted(marks: Marks) -> Marks:
    return replace(marks, pinned=True, migrated=(), rejected={}, tries_left=None)


def _survey(context: Context, service: Service) -> ServiceSurvey:
    with context.repository().reader() as reader:
        return look(context, service, reader, full_read=True)[0]


def _refuse_unreadable(survey: ServiceSurvey) -> None:
    for item in survey.items.values():
        for finding in item.findings:
            if finding.verdict is Verdict.UNREADABLE:
                where = f"{item.item}: {finding.document}" if finding.document else item.item
                why = finding.problems[0].problem if finding.problems else "it is unreadable"
                raise StateError(
                    f"{survey.service}: what can't be read can't be accepted: {where} {why}",
                    hint=f"`recoverd assess {survey.service}` lists all of it; nothing was changed",
                )


def remember_accepted(context: Context, service: Service, survey: ServiceSurvey) -> Mapping[str, Mapping[str, str]]:
    """Leave alone, from now on, exactly the damage that `survey` found, as long as its content does not change.

    Returns it: item -> document -> content hash, or ABSENT. What was accepted before counts no more, but for what
    this very survey, a full read, found emptied and let pass, and for items that it is not about.
    """
    found: dict[str, dict[str, str]] = {name: dict(item.accepted) for name, item in survey.items.items()}
    for name, item in survey.items.items():
        for finding in item.findings:
            content = ABSENT if finding.verdict is Verdict.MISSING else finding.content
            if content is not None:
                found.setdefault(name, {})[finding.document] = content
    found = {name: documents for name, documents in found.items() if documents}

    def change(record: ServiceRecord) -> ServiceRecord:
        others = {
            name: documents
            for name, documents in record.accepted.items()
            if name in service.state and name not in survey.items
        }
        return replace(record, accepted={**others, **found})

    context.repository().update_record(service.name, change)
    return found
