"""`recoverd restore --to DIR`: write known-good state into an empty directory, touching nothing else."""

from __future__ import annotations

import os
from typing import Any

from recoverd.errors import UsageError
from recoverd.operations.context import Context
from recoverd.operations.naming import find_snapshot, good_at
from recoverd.recovery.extraction import extract_entry
from recoverd.repository.records import Snapshot
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    directory: str
    services: tuple[str, ...] = ()
    snapshot: str | None = None
    at_ns: int | None = None  # of each service its newest known-good snapshot at or before then


@dataclass(frozen=True, slots=True)
class Extracted:
    service: str
    snapshot: str
    item: str
    path: str  # where it lies now


@dataclass(frozen=True, slots=True)
class ExtractResult:
    directory: str
    items: tuple[Extracted, ...]
    without: tuple[str, ...] = ()  # services that have no known-good snapshot
    notes: tuple[str, ...] = ()  # what could not be brought back, such as owners that this user can't give

    @property
    def exit_status(self) -> int:
        return 1 if self.without else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "items": [
                {"service": one.service, "candidate": one.snapshot, "item": one.item, "path": one.path}
                for one in self.items
            ],
            "without": list(self.without),
            "notes": list(self.notes),
        }


def extract(context: Context, request: ExtractRequest) -> ExtractResult:
    """Write the known-good state of services, or of one snapshot, to DIRECTORY/SERVICE/ITEM/NAME.

    Raises UsageError when the directory is not empty, RepositoryError (DamagedObject among them), OSError.
    """
    snapshots = _wanted(context, request)
    if os.path.lexists(request.directory) and (not os.path.isdir(request.directory) or os.listdir(request.directory)):
        raise UsageError(
            f"{request.directory} is not an empty directory", hint="name one that is empty or does not exist yet"
        )
    os.makedirs(request.directory, exist_ok=True)
    found: list[Extracted] = []
    notes: list[str] = []
    with context.repository().reader() as reader:
        for snapshot in snapshots.values():
            for name, record in snapshot.items.items():
                entry = reader.item_entry(record.good) if record.good is not None else None
                if entry is None:
                    continue
                below = os.path.join(request.directory, snapshot.service, name)
                os.makedirs(below, mode=0o700)
                fd = os.open(below, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    notes += [f"{name}: {note}" for note in extract_entry(reader, entry, fd, entry.name)]
                finally:
                    os.close(fd)
                found.append(Extracted(snapshot.service, snapshot.id, name, os.path.join(below, entry.name)))
    without = tuple(service.name for service in context.select(request.services) if service.name not in snapshots)
    without = () if request.snapshot is not None else without
    return ExtractResult(request.directory, tuple(found), without, tuple(notes))


def _wanted(context: Context, request: ExtractRequest) -> dict[str, Snapshot]:
    if request.snapshot is not None:
        snapshot = find_snapshot(context, request.snapshot)
        return {snapshot.service: snapshot}
    repository = context.repository()
    if request.at_ns is not None:
        names = [service.name for service in context.select(request.services) if service.state]
        return {name: good_at(context, name, request.at_ns) for name in names}
    newest = {service.name: repository.newest(service.name) for service in context.select(request.services)}
    return {name: snapshot for name, snapshot in newest.items() if snapshot is not None}
