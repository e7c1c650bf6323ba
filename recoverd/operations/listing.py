"""`recoverd list` and `recoverd show`: what the repository holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from recoverd.errors import UsageError
from recoverd.operations import confirmations
from recoverd.operations.context import Context, unknown_service
from recoverd.operations.naming import find_snapshot
from recoverd.operations.prune import decisions
from recoverd.recovery.candidates import find
from recoverd.recovery.stores import Trees
from recoverd.repository.objects import Reader
from recoverd.repository.records import Marks, Snapshot
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.system import clock
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Listed:
    """One snapshot, its marks, why it is kept, and when live state was last seen equal to it."""

    snapshot: Snapshot
    marks: Marks
    kept_by: tuple[str, ...]
    confirmed_ns: int | None = None

    def to_json(self) -> dict[str, Any]:
        one = self.snapshot
        return {
            "id": one.id,
            "service": one.service,
            "sequence": one.sequence,
            "time": clock.rfc3339(one.time_ns),
            "verdict": one.verdict.value,
            "reason": one.reason,
            "label": one.label,
            "tags": list(one.tags),
            "pinned": self.marks.pinned,
            "proven": self.marks.is_proven,
            "rejected": bool(self.marks.rejected),
            "bytes": one.size_bytes,
            "new_bytes": one.new_bytes,
            "files": one.files,
            "kept_by": list(self.kept_by),
            "confirmed": clock.rfc3339(self.confirmed_ns) if self.confirmed_ns is not None else None,
            "items": {
                name: {
                    "verdict": item.verdict,
                    "problems": [{"place": place, "problem": sentence} for place, sentence in item.problems],
                }
                for name, item in one.items.items()
            },
            "unhealthy": self.marks.unhealthy,
            "migrated": list(self.marks.migrated),
        }


@dataclass(frozen=True, slots=True)
class ListResult:
    snapshots: tuple[Listed, ...]  # by service, newest first
    unreadable: tuple[str, ...] = ()  # records that can't be read, in sentences

    @property
    def exit_status(self) -> int:
        return 1 if self.unreadable else 0

    def to_json(self) -> dict[str, Any]:
        return {"snapshots": [one.to_json() for one in self.snapshots], "unreadable": list(self.unreadable)}


def list_snapshots(context: Context, services: tuple[str, ...] = ()) -> ListResult:
    """All snapshots of the named services, or of all. Raises UsageError, RepositoryError.

    Services that have snapshots but are declared no more are listed too.
    """
    repository = context.repository_if_any()
    known = {*context.config.services, *(repository.services() if repository is not None else ())}
    for name in services:
        if name not in known:
            raise unknown_service(name, context.config.services)
    if repository is None:
        return ListResult(())
    confirmed = confirmations.confirmed(context.runtime_dir, repository)
    found: list[Listed] = []
    unreadable: list[str] = []
    for name in services or sorted(known):
        marks = repository.all_marks(name)
        declared = context.config.services.get(name)
        kept = {one.sequence: one.rules for one in decisions(context, repository, declared)} if declared else {}
        otherwise = () if declared is not None else ("undeclared",)  # nobody prunes what nothing declares
        for snapshot in reversed(repository.snapshots(name)):
            last = confirmed.get(name)
            found.append(
                Listed(
                    snapshot,
                    marks.get(snapshot.sequence, Marks()),
                    kept.get(snapshot.sequence, otherwise),
                    last.time_ns if last is not None and last.sequence == snapshot.sequence else None,
                )
            )
        unreadable += repository.unreadable_records(name).values()
    return ListResult(tuple(found), tuple(unreadable))


@dataclass(frozen=True, slots=True)
class ShownFile:
    """One path in a snapshot; `path` starts with the item's name."""

    path: str
    entry: Entry
    damaged: str | None = None  # its verdict, where it was not ok

    def to_json(self) -> dict[str, Any]:
        one = self.entry
        return {
            "path": self.path,
            "type": one.type,
            "mode": f"{one.mode:04o}",
            "user": one.user or one.uid,
            "group": one.group or one.gid,
            "bytes": one.size,
            "mtime": clock.rfc3339(one.mtime_ns),
            "mtime_ns": str(one.mtime_ns),
            "hash": one.hash or one.blocks,
            "target": one.target,
            "verdict": self.damaged or "ok",
        }


@dataclass(frozen=True, slots=True)
class ShowResult:
    listed: Listed
    files: tuple[ShownFile, ...]
    good: bool  # the known-good trees, not those as found

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"snapshot": self.listed.to_json(), "good": self.good, "files": [one.to_json() for one in self.files]}


def show(context: Context, name: str, *, good: bool = False) -> ShowResult:
    """The files of a snapshot, as found, or with `good` as a restore would take them.

    Raises UsageError, RepositoryError (DamagedObject among them).
    """
    snapshot = find_snapshot(context, name)
    repository = context.repository()
    files: list[ShownFile] = []
    with repository.reader() as reader:
        for item, record in snapshot.items.items():
            root = record.good if good else record.root
            damaged: Mapping[str, str] = {} if good else record.damaged
            for path, entry in _files(reader, "", next(iter(reader.tree(root or EMPTY_TREE)), None)):
                files.append(ShownFile(f"{item}/{path}" if path else item, entry, damaged.get(path)))
    marks = repository.marks(snapshot.service, snapshot.sequence)
    return ShowResult(Listed(snapshot, marks, ()), tuple(files), good)


def _files(trees: Trees, path: str, entry: Entry | None) -> Iterator[tuple[str, Entry]]:
    if entry is None:
        return
    if entry.type != "dir":
        yield path, entry
        return
    for one in sorted(trees.tree(entry.hash or EMPTY_TREE), key=lambda entry: os.fsencode(entry.name)):
        yield from _files(trees, f"{path}/{one.name}" if path else one.name, one)


def show_file(context: Context, name: str, path: str, write: Callable[[bytes], object], *, good: bool = False) -> None:
    """Give one file of a snapshot to `write`, piece by piece.

    `path`: ITEM for a file item, ITEM/PATH below a directory item.

    Raises UsageError for a path that the snapshot does not hold, RepositoryError.
    """
    snapshot = find_snapshot(context, name)
    item, _, below = path.strip("/").partition("/")
    record = snapshot.items.get(item)
    if record is None:
        raise UsageError(
            f"snapshot {snapshot.id} has no item {item!r}", hint=f"its items are: {', '.join(sorted(snapshot.items))}"
        )
    root = record.good if good else record.root
    with context.repository().reader() as reader:
        entry = find(reader, root, below)[0] if root is not None else None
        if entry is None or entry.type != "file":
            what = "has no file" if entry is None else f"has a {'directory' if entry.type == 'dir' else 'link'} at"
            raise UsageError(f"snapshot {snapshot.id} {what} {path!r}", hint=f"recoverd show {snapshot.id}")
        _copy(reader, entry, write)


def _copy(reader: Reader, entry: Entry, write: Callable[[bytes], object]) -> None:
    for chunk in reader.file_chunks(entry):
        if isinstance(chunk, bytes):
            write(chunk)
        else:
            for start in range(0, chunk, 1 << 20):
                write(bytes(min(1 << 20, chunk - start)))
