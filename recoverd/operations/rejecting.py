"""Candidates on which a service was not healthy: remembered durably, and forgotten when the cause was elsewhere.

A snapshot is marked, item by item; what came from no snapshot is remembered by its content in the service's record.
"""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.operations.context import Context
from recoverd.recovery.choices import Choice
from recoverd.repository.records import Marks, ServiceRecord
from recoverd.values import dataclass, replace

_MOST_REMEMBERED = 100  # contents of one item


@dataclass(frozen=True, slots=True)
class Taken:
    """What one part of a choice was taken from: a snapshot, or (sequence 0) another origin with this content."""

    sequence: int
    item: str
    content: str = ""


def taken(choice: Choice) -> tuple[Taken, ...]:
    """What a choice was taken from, each once."""
    parts = (Taken(one.sequence, one.item, "" if one.sequence else one.content) for one in choice.parts)
    return tuple(dict.fromkeys(parts))


def reject(context: Context, service: str, parts: Iterable[Taken], why: str) -> None:
    """Not to be tried again; durable on return."""
    for part in parts:
        _mark(context, service, part, why)


def withdraw(context: Context, service: str, parts: Iterable[Taken]) -> None:
    """To be tried again: it was not these candidates' fault."""
    for part in parts:
        _mark(context, service, part, None)


def _mark(context: Context, service: str, part: Taken, why: str | None) -> None:
    def of_snapshot(marks: Marks) -> Marks:
        rest = {name: text for name, text in marks.rejected.items() if name != part.item}
        return replace(marks, rejected=rest | ({part.item: why} if why is not None else {}))

    def of_record(record: ServiceRecord) -> ServiceRecord:
        contents = {one: text for one, text in record.rejected.get(part.item, {}).items() if one != part.content}
        contents |= {part.content: why} if why is not None else {}
        kept = dict(list(contents.items())[-_MOST_REMEMBERED:])
        others = {name: known for name, known in record.rejected.items() if name != part.item}
        return replace(record, rejected=others | ({part.item: kept} if kept else {}))

    if part.sequence:
        context.repository().set_marks(service, part.sequence, of_snapshot)
    else:
        context.repository().update_record(service, of_record)
