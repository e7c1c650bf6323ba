"""`recoverd diff`: what changed between two snapshots, or between a snapshot and live state."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, NoReturn

from recoverd.config.model import ItemKind, Service, StateItem
from recoverd.errors import RecoverdError, UsageError
from recoverd.operations.assess import look
from recoverd.operations.context import Context, unknown_service
from recoverd.operations.naming import find_snapshot
from recoverd.recovery.differences import differences
from recoverd.recovery.stores import Trees
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.state.formats.compression import unpack
from recoverd.state.formats.detection import hint, try_as
from recoverd.state.formats.json_writing import to_json
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.state.json_patch import Operation, json_patch
from recoverd.system.reading import read_stable
from recoverd.system.walk import open_declared_directory, open_directory_at, open_parent
from recoverd.values import dataclass

LIVE = "live"
_MOST_PARSED_BYTES = 4 * 1024 * 1024  # of one document; larger ones are compared as bytes only
_MOST_DEPTH = 200  # of a document that is compared; deeper ones are compared as bytes only


@dataclass(frozen=True, slots=True)
class DiffRequest:
    a: str  # a snapshot, as people name it
    b: str | None = None  # None: live state
    good: bool = False  # of snapshots the known-good files, not those as found


@dataclass(frozen=True, slots=True)
class Change:
    """One path below an item ("" is the item itself) that is not the same on both sides."""

    item: str
    path: str
    change: str  # added | removed | changed
    before: Entry | None
    after: Entry | None
    differs: tuple[str, ...] = ()  # of a changed one: type, content, target, mode, owner, attributes
    patch: tuple[Operation, ...] | None = None  # of a changed document: JSON, or what reads as such
    why_no_patch: str | None = None  # of a changed file

    def to_json(self) -> dict[str, Any]:
        return {
            "item": self.item,
            "path": self.path,
            "change": self.change,
            "before": _entry(self.before),
            "after": _entry(self.after),
            "differs": list(self.differs),
            "patch": None if self.patch is None else list(self.patch),
            "why_no_patch": self.why_no_patch,
        }


@dataclass(frozen=True, slots=True)
class DiffResult:
    a: str
    b: str  # a snapshot, or `live`
    changes: tuple[Change, ...]

    exit_status: int = 0

    def to_json(self) -> dict[str, Any]:
        """`{"a", "b", "changes": [{"item", "path", "change", "before", "after", "differs", "patch", "why_no_patch"}]}`.

        `before` and `after` are `{"type", "bytes", "mode", "user", "group", "target"}` or null; `patch` is a JSON
        Patch (RFC 6902) that makes the document of A the one of B, null where there is none.
        """
        return {"a": self.a, "b": self.b, "changes": [one.to_json() for one in self.changes]}


def _entry(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {
        "type": entry.type,
        "bytes": entry.size,
        "mode": f"{entry.mode:04o}",
        "user": entry.user or entry.uid,
        "group": entry.group or entry.gid,
        "target": entry.target,
    }


Content = Callable[[str, str, Entry], bytes]


def diff(context: Context, request: DiffRequest) -> DiffResult:
    """Compare A with B, or with live state. A change of times alone is none.

    Raises UsageError, RepositoryError (DamagedObject among them).
    """
    a = find_snapshot(context, request.a)
    b = find_snapshot(context, request.b) if request.b is not None else None
    if b is not None and a.service != b.service:
        raise UsageError(f"{a.id} and {b.id} are of different services", hint=f"`recoverd list {a.service}`")
    with ExitStack() as stack:
        reader = stack.enter_context(context.repository().reader())
        before = _roots(a, good=request.good)
        trees: Trees = reader
        stored = _stored(reader)
        if b is not None:
            after, content = _roots(b, good=request.good), stored
        else:
            service = context.config.services.get(a.service)
            if service is None:
                raise unknown_service(a.service, context.config.services)
            survey, trees = look(context, service, reader)
            after = {name: item.root for name, item in survey.items.items()}
            content = _live(service)
        changes = [
            change
            for name in sorted(before.keys() | after.keys())
            for change in _item(trees, name, before.get(name), after.get(name), stored, content)
        ]
    return DiffResult(a.id, b.id if b is not None else LIVE, tuple(changes))


def _roots(snapshot: Snapshot, *, good: bool) -> Mapping[str, str | None]:
    return {name: item.good if good else item.root for name, item in snapshot.items.items()}


def _item(
    trees: Trees, item: str, before: str | None, after: str | None, old: Content, new: Content
) -> Iterator[Change]:
    for one in differences(trees, before, after):
        if one.before is not None and one.after is not None:
            yield _changed(item, one.path, one.before, one.after, old, new)
            continue
        word = "added" if one.before is None else "removed"
        for path, entry in _files(trees, one.path, one.before or one.after):
            sides = (None, entry) if one.before is None else (entry, None)
            yield Change(item, path, word, *sides)


def _files(trees: Trees, path: str, entry: Entry | None) -> Iterator[tuple[str, Entry]]:
    """What a directory holds, one by one; an empty one is told itself."""
    if entry is None:
        return
    below = trees.tree(entry.hash or EMPTY_TREE) if entry.type == "dir" else ()
    if not below:
        yield path, entry
    for one in below:
        yield from _files(trees, f"{path}/{one.name}" if path else one.name, one)


def _changed(item: str, path: str, before: Entry, after: Entry, old: Content, new: Content) -> Change:
    differs = []
    if before.type != after.type:
        differs.append("type")
    elif before.type != "dir" and (before.hash, before.blocks, before.size) != (after.hash, after.blocks, after.size):
        differs.append("content")
    pairs = (
        ("target", before.target, after.target),
        ("mode", before.mode, after.mode),
        ("owner", (before.uid, before.gid), (after.uid, after.gid)),
        ("attributes", before.xattrs, after.xattrs),
    )
    differs += [word for word, a, b in pairs if a != b]
    patch, why = None, None
    if "content" in differs:
        try:
            sides = ((old, before), (new, after))
            a, b = (_document(read(item, path, entry), entry.name) for read, entry in sides)
            patch = tuple(json_patch(a, b))
        except _NoDocument as reason:
            why = str(reason)
    return Change(item, path, "changed", before, after, tuple(differs), patch, why)


# --- documents


class _NoDocument(Exception):
    """Why something can't be compared as a JSON document."""


def _document(data: bytes, name: str) -> Any:
    """What it holds in the values of JSON: seen through its compression, YAML and TOML by their names."""
    try:
        unpacked = unpack(data, _MOST_PARSED_BYTES)
    except Unjudgeable:
        raise _NoDocument("it is too large to be compared as a document") from None
    if unpacked.problem is not None:
        raise _NoDocument(f"it {unpacked.problem.problem}")
    plain = unpacked.data
    try:
        value = _json(plain)
    except (ValueError, RecursionError):
        named = hint(name)
        found = try_as(named, plain, Limits()) if named is not None else None
        if found is None or len(found.values) != 1:
            raise _NoDocument("it is no JSON document") from None
        try:
            value = _json(to_json(found.values[0]))
        except ValueError:
            raise _NoDocument("it holds numbers that JSON has not") from None
    if _deeper(value, _MOST_DEPTH):
        raise _NoDocument("it is nested too deep to be compared")
    return value


def _json(text: bytes | str) -> Any:
    return json.loads(text, parse_constant=_refuse, parse_float=_finite)


def _refuse(word: str) -> NoReturn:
    raise ValueError(word)


def _finite(word: str) -> float:
    """A number that can be written as JSON again."""
    number = float(word)
    if math.isinf(number):
        raise ValueError(word)
    return number


def _deeper(value: Any, most: int) -> bool:
    """Whether a value is nested deeper than so many levels."""
    level = [value]
    for _ in range(most):
        level = [
            below
            for one in level
            if isinstance(one, dict | list)
            for below in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True


def _check_size(entry: Entry) -> None:
    if entry.size > _MOST_PARSED_BYTES:
        raise _NoDocument("it is too large to be compared as a document")


def _stored(reader: Reader) -> Content:
    def read(item: str, path: str, entry: Entry) -> bytes:
        del item, path
        _check_size(entry)
        return b"".join(chunk if isinstance(chunk, bytes) else bytes(chunk) for chunk in reader.file_chunks(entry))

    return read


def _live(service: Service) -> Content:
    """Live files are read again: an assessment keeps none of their bytes."""

    def read(item: str, path: str, entry: Entry) -> bytes:
        _check_size(entry)
        try:
            fd, name = _opened(service.state[item], path)
            try:
                data = read_stable(fd, name).data
            finally:
                os.close(fd)
        except (OSError, RecoverdError):
            raise _NoDocument("it can't be read any more") from None
        if len(data) > _MOST_PARSED_BYTES:
            raise _NoDocument("it is too large to be compared as a document")
        return data

    return read


def _opened(item: StateItem, path: str) -> tuple[int, str]:
    """The directory that holds a document, and its name there; never through a link below the declared path."""
    if item.kind is not ItemKind.DIRECTORY:
        return open_parent(item.path)
    *directories, name = path.split("/")
    fd = open_declared_directory(item.path)
    for directory in directories:
        try:
            below = open_directory_at(fd, directory)
        finally:
            os.close(fd)
        fd = below
    return fd, name
