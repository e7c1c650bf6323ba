"""`recoverd restore --to DIR`: write known-good state into an empty directory, touching nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from recoverd.config.model import EMPTY
from recoverd.errors import DamagedObject, UsageError
from recoverd.operations.context import Context
from recoverd.operations.naming import find_snapshot, good_at
from recoverd.operations.older_snapshots import Versions, older_documents, sentences
from recoverd.operations.restore_only import Only, check_document, parse
from recoverd.recovery.candidates import find
from recoverd.recovery.extraction import extract_entry
from recoverd.recovery.places import remove_tree
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot
from recoverd.repository.trees import EMPTY_TREE
from recoverd.system.durable import temporary_name
from recoverd.values import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    directory: str
    services: tuple[str, ...] = ()
    snapshot: str | None = None
    at_ns: int | None = None  # of each service its newest known-good snapshot at or before then
    only: str | None = None  # ITEM[/PATH]: nothing else of the one service


@dataclass(frozen=True, slots=True)
class Extracted:
    service: str
    snapshot: str
    item: str
    path: str  # where it lies now
    older: Versions = field(default_factory=lambda: EMPTY)  # what of it the service would not write today


@dataclass(frozen=True, slots=True)
class ExtractResult:
    directory: str
    items: tuple[Extracted, ...]
    without: tuple[str, ...] = ()  # services of which no known-good snapshot can be read
    notes: tuple[str, ...] = ()  # what was passed over, or could not be brought back, such as owners

    @property
    def exit_status(self) -> int:
        return 1 if self.without else 0

    def to_json(self) -> dict[str, Any]:
        return {
            "directory": self.directory,
            "items": [
                {
                    "service": one.service,
                    "candidate": one.snapshot,
                    "item": one.item,
                    "path": one.path,
                    "older": dict(one.older),
                }
                for one in self.items
            ],
            "without": list(self.without),
            "notes": list(self.notes),
        }


def extract(context: Context, request: ExtractRequest) -> ExtractResult:
    """Write the known-good state of services, or of one snapshot, to DIRECTORY/SERVICE/ITEM/NAME.

    A service appears there only as a whole. Where its newest snapshot can't be read whole the next older one is taken,
    unless one was asked for by name. Raises UsageError when the directory is not empty, RepositoryError (DamagedObject
    among them), OSError.
    """
    candidates = _wanted(context, request)
    only = _only(context, request, candidates)
    if os.path.lexists(request.directory) and (not os.path.isdir(request.directory) or os.listdir(request.directory)):
        raise UsageError(
            f"{request.directory} is not an empty directory", hint="name one that is empty or does not exist yet"
        )
    os.makedirs(request.directory, exist_ok=True)
    found: list[Extracted] = []
    notes: list[str] = []
    without: list[str] = []
    with context.repository().reader() as reader:
        for service, snapshots in candidates.items():
            notes += context.repository().unreadable_records(service).values() if request.snapshot is None else ()
            for snapshot in snapshots:
                try:
                    older = _older(context, reader, snapshot, only)
                    items, said = _write(reader, snapshot, request.directory, only)
                except DamagedObject as error:
                    if request.snapshot is not None:
                        raise
                    context.tell_damage(service, error.message)
                    notes.append(f"{snapshot.id} is passed over: {error.message}")
                    continue
                found += (replace(one, older=older.get(one.item, EMPTY)) for one in items)
                notes += said + sentences(context, service, older)
                break
            else:
                without.append(service)
    return ExtractResult(request.directory, tuple(found), tuple(without), tuple(notes))


def _only(context: Context, request: ExtractRequest, candidates: Mapping[str, Sequence[Snapshot]]) -> Only | None:
    """What `only` names, of the one service that is asked for; a document is one that a candidate holds."""
    if request.only is None:
        return None
    if len(candidates) != 1:
        raise UsageError("--only needs the name of one service", hint="recoverd restore SERVICE --to DIR --only ITEM")
    ((name, snapshots),) = candidates.items()
    kinds = {item: record.kind for snapshot in reversed(snapshots) for item, record in snapshot.items.items()}
    only = parse(name, request.only, kinds)
    records = [snapshot.items[only.item] for snapshot in snapshots if only.item in snapshot.items]
    with context.repository().reader() as reader:
        check_document(only, reader, (record.good for record in records))
    return only


def _write(reader: Reader, snapshot: Snapshot, directory: str, only: Only | None) -> tuple[list[Extracted], list[str]]:
    """Write one snapshot, or part of it, under a temporary name, which it loses once it is complete."""
    found: list[Extracted] = []
    notes: list[str] = []
    temporary = temporary_name()
    top = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.mkdir(temporary, mode=0o700, dir_fd=top)
        try:
            for name, record in snapshot.items.items():
                entry = reader.item_entry(record.good) if record.good is not None else None
                if entry is None or (only is not None and only.item != name):
                    continue
                path = os.path.join(directory, snapshot.service, name, entry.name)
                below = os.path.join(directory, temporary, name)
                os.mkdir(below, mode=0o700)
                if only is not None and only.document:
                    part, _ = find(reader, record.good or EMPTY_TREE, only.document)
                    if part is None:
                        os.rmdir(below)
                        continue
                    below = os.path.join(below, entry.name, os.path.dirname(only.document)).rstrip("/")
                    path, entry = os.path.join(path, only.document), part
                    os.makedirs(below, mode=0o700)
                fd = os.open(below, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    notes += [f"{name}: {note}" for note in extract_entry(reader, entry, fd, entry.name)]
                finally:
                    os.close(fd)
                found.append(Extracted(snapshot.service, snapshot.id, name, path))
            if found:
                os.rename(temporary, snapshot.service, src_dir_fd=top, dst_dir_fd=top)
            else:
                os.rmdir(temporary, dir_fd=top)
        except BaseException:
            remove_tree(top, temporary)
            raise
    finally:
        os.close(top)
    return found, notes


def _older(context: Context, reader: Reader, snapshot: Snapshot, only: Only | None) -> dict[str, Versions]:
    """What is written as it was saved although it is of an older version, by item. Raises DamagedObject."""
    found = older_documents(context, reader, snapshot)
    if only is None:
        return found
    versions = found.get(only.item, EMPTY)
    if only.document:
        below = f"{only.document}/"
        versions = {path: each for path, each in versions.items() if f"{path}/".startswith(below)}
    return {only.item: versions} if versions else {}


def _wanted(context: Context, request: ExtractRequest) -> dict[str, list[Snapshot]]:
    """For each service the snapshots that may be taken, best first."""
    if request.snapshot is not None:
        snapshot = find_snapshot(context, request.snapshot)
        return {snapshot.service: [snapshot]}
    repository = context.repository()
    services = context.select(request.services)
    found: dict[str, list[Snapshot]] = {}
    for name in (service.name for service in services if service.state or request.at_ns is None):
        snapshots = [
            one
            for one in repository.snapshots(name)
            if not one.imported and any(item.good is not None for item in one.items.values())
        ]
        if request.at_ns is not None:
            newest = good_at(context, name, request.at_ns)
            older = [one for one in snapshots if one.verdict.counts and one.sequence < newest.sequence]
            found[name] = [newest, *reversed(older)]
        else:
            found[name] = snapshots[::-1]
    return found
