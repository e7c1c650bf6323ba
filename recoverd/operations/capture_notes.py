"""What is remembered of captures: the run history, and how often in a row they failed. A full disk takes no note."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recoverd.config.model import Service
from recoverd.errors import RecoverdError
from recoverd.operations.context import Context
from recoverd.operations.pending_migrations import note_pending
from recoverd.repository.store import Repository
from recoverd.state.verdicts import Verdict
from recoverd.system import clock
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.recovery.item_survey import ServiceSurvey

DUMP = "dump"  # in the run history; with the item after a slash


def note_live(context: Context, service: Service, survey: ServiceSurvey, *, whole: bool) -> None:
    """What live state tells besides its content. `whole`: all of it was looked at."""
    if service.processes is not None:
        from recoverd.operations import children  # late: few services name theirs

        children.note(context, service)
    if whole:
        note_pending(context, service, survey)


def note_run(repository: Repository, service: str, outcome: str, *, seconds: float = 0.0, detail: str = "") -> None:
    repository.catalog.record_run(service, "snapshot", clock.now_ns(), seconds, outcome, detail)


def note_dumps(repository: Repository, service: Service, survey: ServiceSurvey, seconds: float) -> None:
    """What became of each dump that was asked for: files that are saved meanwhile say nothing about it. `seconds`: for
    how long the service was asked for all of them."""
    for name in service.dumps:
        item = survey.items[name]
        outcome = "ok" if item.verdict in {Verdict.OK, Verdict.NEW} else item.verdict.value
        detail = next((one.problem for one in item.problems), "")
        repository.catalog.record_run(service.name, f"{DUMP}/{name}", clock.now_ns(), seconds, outcome, detail)


def note_failure(context: Context, repository: Repository, service: str, sentence: str) -> None:
    """Tell and remember what failed."""
    try:
        failures: int | None = repository.record(service).failures + 1
    except (RecoverdError, OSError):
        failures = None
    context.events.emit("snapshot.failed", service=service, message=sentence, failures=failures)
    try:
        repository.update_record(
            service, lambda record: replace(record, failures=record.failures + 1, last_error=sentence)
        )
        note_run(repository, service, "failed", detail=sentence)
    except (RecoverdError, OSError):
        pass  # the event has been told


def forget_failures(repository: Repository, service: str) -> None:
    """After a capture that did not fail."""
    try:
        repository.update_record(service, lambda record: replace(record, failures=0, last_error=None))
    except RecoverdError:
        pass  # the snapshot is there; the next capture forgets them
