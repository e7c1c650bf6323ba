"""What of a service's live state waits for a migration: in words, and remembered for `check`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from recoverd.config.model import Service
from recoverd.errors import RecoverdError
from recoverd.operations.context import Context
from recoverd.repository.records import ServiceRecord
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.recovery.item_survey import ServiceSurvey

_MOST_VERSIONS = 5  # that are named


def pending(survey: ServiceSurvey) -> dict[str, str]:
    """Item -> what of it is to be migrated, as a clause: "3 documents of tasks have version 1.0.0"."""
    return {
        name: clause(name, {document: one.version for document, one in item.older.items()})
        for name, item in survey.items.items()
        if item.older
    }


def clause(item: str, older: Mapping[str, str]) -> str:
    """What of one item is older: `older` is document -> version, and not empty."""
    versions, count = sorted(set(older.values())), len(older)
    named = [*versions[:_MOST_VERSIONS], *(["…"] if len(versions) > _MOST_VERSIONS else [])]
    what = item if "" in older else f"{count} document{'s' if count != 1 else ''} of {item}"
    return f"{what} {'has' if count == 1 else 'have'} version {', '.join(named)}"


def told(survey: ServiceSurvey) -> str:
    """The same of all items."""
    return "; ".join(pending(survey).values())


def note_pending(context: Context, service: Service, survey: ServiceSurvey) -> None:
    """Remember it for `check`; written only when it is another thing. A full disk takes no note."""
    if not any(item.migrate for item in service.state.values()):
        return
    repository, found = context.repository(), pending(survey)

    def change(record: ServiceRecord) -> ServiceRecord:
        return replace(record, pending=found)

    try:
        if dict(repository.record(service.name).pending) != found:
            repository.update_record(service.name, change)
    except (RecoverdError, OSError):
        pass  # the next capture notes it


def waiting_migrations(service: Service, record: ServiceRecord | None) -> tuple[str, ...]:
    """What was last seen to wait, of items that are declared so today; with what somebody took back."""
    found = []
    for name, clause in (record.pending if record is not None else {}).items():
        item = service.state.get(name)
        if record is not None and item is not None and item.migrate and item.version is not None:
            undone = record.undone.get(name) == item.version.current
            found.append(f"{clause}, not {item.version.current}{': its migration was undone' if undone else ''}")
    return tuple(found)
