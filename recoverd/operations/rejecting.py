"""Candidates on which a service was not healthy: remembered durably, and forgotten when the cause was elsewhere.

A snapshot is marked, item by item; what came from no snapshot is remembered by its content in the service's record.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from recoverd.operations.context import Context
from recoverd.recovery.choices import Choice
from recoverd.repository.records import Marks, ServiceRecord
from recoverd.values import dataclass, replace

USED_UP = "its tries are used up: "
_MOST_REMEMBERED = 100  # contents of one item


@dataclass(frozen=True, slots=True)
class Taken:
    """What one part of a choice was taken from: a snapshot, or (sequence 0) another origin with this content, or
    what a migration was remembered by."""

    sequence: int
    item: str
    content: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"sequence": self.sequence, "item": self.item, "content": self.content}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Taken:
        """The reverse. Raises KeyError, TypeError, ValueError."""
        return Taken(int(value["sequence"]), str(value["item"]), str(value.get("content", "")))


def taken(choice: Choice) -> tuple[Taken, ...]:
    """What a choice was taken from, each once."""
    parts = (
        Taken(one.sequence, one.item, "" if one.sequence else one.remembered or one.content)
        for one in (*choice.parts, *choice.dumps)
    )
    return tuple(dict.fromkeys(parts))


def reject(context: Context, service: str, parts: Iterable[Taken], why: str, *, used_up: bool = False) -> None:
    """Not to be tried again; durable on return. `used_up`: its tries are, and no proof ever came to an end."""
    for part in parts:
        _mark(context, service, part, f"{USED_UP}{why}" if used_up else why, tries_left=0 if used_up else None)


def withdraw(context: Context, service: str, parts: Iterable[Taken]) -> None:
    """To be tried again: it was not these candidates' fault."""
    for part in parts:
        _mark(context, service, part, None)


def withdraw_used_up(context: Context, service: str) -> bool:
    """Candidates whose tries are used up may be tried again: nobody ever saw the service not healthy on them.

    For whoever asks for it by hand, when nothing else is left. Whether there were any.
    """
    repository = context.repository()
    found = [
        Taken(sequence, item)
        for sequence, marks in repository.all_marks(service).items()
        if marks.tries_left == 0
        for item in marks.rejected
    ]
    for item, contents in repository.record(service).rejected.items():
        found += [Taken(0, item, content) for content, why in contents.items() if why.startswith(USED_UP)]
    withdraw(context, service, found)
    return bool(found)


def _mark(context: Context, service: str, part: Taken, why: str | None, *, tries_left: int | None = None) -> None:
    def of_snapshot(marks: Marks) -> Marks:
        rest = {name: text for name, text in marks.rejected.items() if name != part.item}
        rejected = rest | ({part.item: why} if why is not None else {})
        return replace(marks, rejected=rejected, tries_left=tries_left)

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
