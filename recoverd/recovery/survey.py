"""Survey: one look at the live state of a service, which captures and assessments share.

A survey walks every state item by directory descriptors, reads what may have changed, judges it, and hands
the bytes to a store: the repository's writer when a snapshot is made, or a `Scratch` that keeps only trees
when state is merely assessed. So an assessment is a capture that stores nothing, and the two can't disagree.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypedDict

from recoverd.config.model import EMPTY, ItemKind, Service, StateItem
from recoverd.recovery.comparing import Accepted
from recoverd.recovery.documents import Known, Older, Tree
from recoverd.recovery.entries import describe_type, directory_entry, xattrs_of
from recoverd.recovery.partial import Hints, NotEnough, PartialWalk, named_places, rows_needed
from recoverd.recovery.stat_rows import Finding, Row, decode, encode
from recoverd.recovery.stores import Memo, Store
from recoverd.recovery.walk import Walk
from recoverd.repository.records import ItemRecord, Snapshot
from recoverd.repository.trees import EMPTY_TREE
from recoverd.state.judging import Judge
from recoverd.state.signs import shrunk
from recoverd.state.verdicts import Problem, Verdict, worst
from recoverd.system.answering import silent
from recoverd.system.mounts import mount_point_of, mount_points
from recoverd.system.walk import UntrustedLink, lstat_at, open_declared_directory, open_parent
from recoverd.values import dataclass, field, replace

_LOG = logging.getLogger("recoverd.recovery")

MOST_PROBLEMS = 200  # of one item; every damaged document is listed, its sentences are not without end


@dataclass(frozen=True, slots=True)
class ItemSurvey:
    """What one state item looks like now. `root` and `good` are as in repository.records.ItemRecord."""

    item: str
    kind: ItemKind
    path: str
    verdict: Verdict
    problems: tuple[Problem, ...]
    findings: tuple[Finding, ...]  # the documents that are not ok
    root: str
    good: str | None
    files: int
    size_bytes: int
    judge: str
    unchecked: int = 0
    notes: tuple[Problem, ...] = ()  # skipped sockets and the like; duplicate keys
    accepted: Mapping[str, str] = field(default_factory=lambda: EMPTY)  # what was emptied, read, and accepted
    rows: Mapping[str, Row | None] | None = None  # the stat cache to save, by directory below the item; None: gone
    as_known: frozenset[str] = frozenset()  # directories below the item whose trees are those of `before`
    mount: str | None = None  # where its file system is mounted; None: it is the root file system
    listed: int = 0  # directories that were listed
    older: Mapping[str, Older] = field(default_factory=lambda: EMPTY)  # documents that are to be migrated

    def record(self) -> ItemRecord:
        """The item as a snapshot records it."""
        return ItemRecord(
            kind=self.kind.value,
            path=self.path,
            root=self.root,
            good=self.good,
            files=self.files,
            size_bytes=self.size_bytes,
            verdict=self.verdict.value,
            problems=tuple((p.place, p.problem) for p in self.problems),
            damaged={f.document: f.verdict.value for f in self.findings},
            judge=self.judge,
            mount=self.mount,
        )


@dataclass(frozen=True, slots=True)
class ServiceSurvey:
    """What the state of one service looks like now."""

    service: str
    items: Mapping[str, ItemSurvey]

    @property
    def verdict(self) -> Verdict:
        return worst(item.verdict for item in self.items.values())


def item_key(service: str, item: str) -> str:
    """The name of an item's stat cache."""
    return f"{service}/{item}"


def same_item(item: StateItem, record: ItemRecord) -> bool:
    """Whether a snapshot's record is of what is declared now: other paths and kinds say nothing about it."""
    return record.kind == item.kind.value and record.path == item.path


def newest_records(service: Service, snapshots: Sequence[Snapshot]) -> dict[str, ItemRecord]:
    """For each declared state item its newest record, from which known-good state is carried forward.

    `snapshots` ascending by sequence. Usually all come from the newest one; an item that was not declared for a
    while is found further back.
    """
    found: dict[str, ItemRecord] = {}
    for snapshot in reversed(snapshots):
        for name, item in service.state.items():
            record = snapshot.items.get(name)
            if name not in found and record is not None and same_item(item, record) and not snapshot.imported:
                found[name] = record
        if len(found) == len(service.state):
            break
    return found


def survey_service(
    service: Service,
    judges: Mapping[str, Judge],
    *,
    store: Store,
    before: Mapping[str, ItemRecord],
    memo: Memo | None,
    now_ns: int,
    full_read: bool = False,
    accepted: Mapping[str, Mapping[str, str]] = EMPTY,
    hints: Mapping[str, Hints] | None = None,
    io_timeout_s: float | None = None,
) -> ServiceSurvey:
    """Look at every state item of `service`. `before`: its `newest_records`; `now_ns`: the start of this look.
    `accepted`: item -> document -> content that its operator called good. `hints`: item -> what of it may have changed
    since `before`; None: anything may have. What lies on a file system that does not answer within `io_timeout_s` is
    unreadable.

    Never raises for what is on disk: that is what verdicts are for. Raises RepositoryError when the
    repository can't take what is put, DamagedObject when it can't give what is in `before`.
    """
    items = {}
    paths = [item.path for item in service.state.values()]
    dead = silent(paths, within_s=io_timeout_s) if io_timeout_s is not None and paths else frozenset()
    for name, item in service.state.items():
        look = _ItemLook(
            service.name,
            item,
            judges[name],
            store,
            before.get(name),
            memo,
            now_ns,
            full_read,
            Accepted(accepted.get(name, EMPTY), service.restore.verdicts.get(Verdict.RESET) == "accept"),
            None if hints is None else hints.get(name, Hints()),
        )
        items[name] = found = look.survey(io_timeout_s if item.path in dead else None)
        _LOG.debug(
            "%s: %s is %s: %d files, %d bytes, %d damaged; %d directories listed, %d as the newest snapshot has them",
            service.name,
            name,
            found.verdict.value,
            found.files,
            found.size_bytes,
            len(found.findings),
            found.listed,
            len(found.as_known),
        )
        for finding in found.findings[:MOST_PROBLEMS]:
            _LOG.debug("%s: %s: %s is %s", service.name, name, finding.document or item.path, finding.verdict.value)
    return ServiceSurvey(service.name, items)


def save_rows(survey: ServiceSurvey, memo: Memo, parent: Snapshot | None) -> None:
    """Save what changed in the stat cache after a capture. `parent`: the snapshot that its trees are part of.

    A mere touch makes no snapshot, so the trees of some directories may not be stored: their rows are not saved,
    and the older ones still lead to trees that are there.
    """
    for name, item in survey.items.items():
        if item.rows is None or parent is None or name not in parent.items:
            continue
        kept = parent.items[name]
        stored = item.root == kept.root and item.good == kept.good
        rows = {
            below: encode(row) if row is not None else None
            for below, row in item.rows.items()
            if stored or row is None or below in item.as_known
        }
        if rows:
            memo.save_stat_cache(item_key(survey.service, name), rows)


@dataclass(frozen=True, slots=True)
class _ItemLook:
    """One look at one state item."""

    service: str
    item: StateItem
    judge: Judge
    store: Store
    before: ItemRecord | None
    memo: Memo | None
    now_ns: int
    full_read: bool
    accepted: Accepted
    hints: Hints | None

    def survey(self, dead_s: float | None) -> ItemSurvey:
        """What it comes to; `dead_s`: its file system has not answered for so long."""
        item, before = self.item, self.before
        outline = ItemSurvey(
            item=item.name,
            kind=item.kind,
            path=item.path,
            verdict=Verdict.OK,
            problems=(),
            findings=(),
            root=EMPTY_TREE,
            good=before.good if before is not None else None,
            files=0,
            size_bytes=0,
            judge=self.judge.id,
            mount=before.mount if before is not None else None,
        )
        if dead_s is not None:
            return _damaged(outline, Verdict.UNREADABLE, f"its file system does not answer within {dead_s:g} s")
        found = self._looked(outline)
        if outline.mount is None or found.files or before is None or not before.files:
            return found
        if outline.mount in mount_points():
            return found
        # what should be there is elsewhere, and not lost
        return _damaged(outline, Verdict.UNREADABLE, f"the file system at {outline.mount} is not mounted")

    def _looked(self, outline: ItemSurvey) -> ItemSurvey:
        try:
            with _opened(self.item) as (fd, only):
                return self._walked(replace(outline, mount=mount_point_of(fd)), fd, only)
        except FileNotFoundError:
            return _absent(self.item, outline)
        except _WrongKind as error:
            return _damaged(outline, Verdict.CORRUPT, str(error))
        except UntrustedLink as error:
            return _damaged(outline, Verdict.UNREADABLE, error.message)
        except OSError as error:
            return _damaged(outline, Verdict.UNREADABLE, f"can't be read: {error.strerror or error}")

    def _walked(self, outline: ItemSurvey, fd: int, only: str | None) -> ItemSurvey:
        item, store, before, memo = self.item, self.store, self.before, self.memo
        key, known = item_key(self.service, item.name), _known(store, item, before)
        rest: _Rest = {"memo": memo, "now_ns": self.now_ns, "accepted": self.accepted}
        walk: Walk
        try:
            if self.hints is None or before is None or self.full_read or only is not None:
                raise NotEnough
            named = named_places(self.hints, before, self.judge.id)
            rows = _rows(memo, key, rows_needed(named))
            walk = part = PartialWalk(item, self.judge, store, rows=rows, **rest)
            tree = part.look_at(fd, known, named, before)
        except NotEnough:
            rows = _rows(memo, key) if not self.full_read else {}
            walk = Walk(item, self.judge, store, rows=rows, **rest)
            tree = walk.item(fd, known, only=only)
        if only is not None and not tree.files and not tree.findings:
            return _absent(item, outline)  # it vanished between two looks
        changed: dict[str, Row | None] = dict.fromkeys(rows.keys() - walk.new_rows.keys())
        changed |= {below: row for below, row in walk.new_rows.items() if row is not rows.get(below)}
        outline = replace(outline, rows=changed, as_known=frozenset(walk.as_known), accepted=dict(walk.let_pass))
        outline = replace(outline, listed=walk.listed)
        found = _present(outline, store, fd, tree, only)
        return found if only is not None else _against_fewer(item, found, outline.good, store, self.accepted)


class _Rest(TypedDict):
    memo: Memo | None
    now_ns: int
    accepted: Accepted


class _WrongKind(Exception):
    """Something else lies where a directory item is declared."""


@contextmanager
def _opened(item: StateItem) -> Iterator[tuple[int, str | None]]:
    """The directory to walk, and the only name to look at there (file items)."""
    only = None
    if item.kind is ItemKind.FILE:
        fd, only = open_parent(item.path)
    else:
        try:
            fd = open_declared_directory(item.path)
        except NotADirectoryError:
            parent, name = open_parent(item.path)
            try:
                kind = describe_type(lstat_at(parent, name).st_mode)
            finally:
                os.close(parent)
            raise _WrongKind(f"is {kind} where a directory is expected") from None
    try:
        yield fd, only
    finally:
        os.close(fd)


def _rows(memo: Memo | None, key: str, directories: Collection[str] | None = None) -> dict[str, Row]:
    if memo is None:
        return {}
    decoded = {below: decode(data) for below, data in memo.stat_cache(key, directories).items()}
    return {below: row for below, row in decoded.items() if row is not None}


def _known(store: Store, item: StateItem, before: ItemRecord | None) -> Known:
    """Where the walk starts in the trees of the newest snapshot."""
    if before is None:
        return Known(None, None)
    if item.kind is ItemKind.FILE:
        return Known(before.root, before.good)
    return Known(_directory_tree(store, before.root), _directory_tree(store, before.good))


def _directory_tree(store: Store, root: str | None) -> str | None:
    if root is None:
        return None
    return next((entry.hash for entry in store.tree(root) if entry.type == "dir"), None)


def _present(outline: ItemSurvey, store: Store, fd: int, tree: Tree, only: str | None) -> ItemSurvey:
    root, good = tree.root, tree.good
    if only is None:
        name = os.path.basename(outline.path)
        entry = directory_entry(name, os.fstat(fd), tree.root, xattrs_of(fd))
        root = store.put_tree([entry])
        good = root if tree.good == tree.root else store.put_tree([replace(entry, hash=tree.good)])
    verdict = worst(finding.verdict for finding in tree.findings)
    known_good: str | None = good
    if only is not None and tree.findings and not store.tree(good):
        known_good = None  # no version of this file was ever good
    return replace(
        outline,
        verdict=verdict,
        problems=tuple(problem for finding in tree.findings for problem in finding.problems)[:MOST_PROBLEMS],
        findings=tuple(tree.findings),
        root=root,
        good=known_good,
        files=tree.files,
        size_bytes=tree.size_bytes,
        unchecked=tree.unchecked,
        older=tree.older,
        notes=tuple(tree.notes)[:MOST_PROBLEMS],
    )


def _against_fewer(
    item: StateItem, found: ItemSurvey, good: str | None, store: Store, accepted: Accepted
) -> ItemSurvey:
    """A directory that is ok document by document, and lost more of them than its guard allows."""
    guards = item.guards
    if guards is None or guards.max_shrink is None or good is None or found.verdict is not Verdict.OK:
        return found
    if found.root == good:
        return found
    sentence = shrunk(guards, _count(store, good), found.files, what="documents")
    if sentence is None:
        return found
    content = next(entry.hash for entry in store.tree(found.root))
    if content is not None and accepted.covers("", content):
        return replace(found, accepted={**found.accepted, "": content})
    problem = Problem(os.path.basename(found.path), sentence)
    finding = Finding("", Verdict.RESET, (problem,), content)
    return replace(found, verdict=Verdict.RESET, problems=(problem,), findings=(finding,), good=good)


def _count(store: Store, tree: str) -> int:
    """The files in a tree and below."""
    entries = store.tree(tree)
    return sum(
        _count(store, entry.hash) if entry.type == "dir" and entry.hash is not None else entry.type == "file"
        for entry in entries
    )


def _absent(item: StateItem, outline: ItemSurvey) -> ItemSurvey:
    """Nothing is at the path: fine when optional, new when there never was anything, else missing."""
    if item.optional:
        return replace(outline, good=EMPTY_TREE)
    if outline.good is None or outline.good == EMPTY_TREE:
        return replace(outline, verdict=Verdict.NEW, good=None)
    return _damaged(outline, Verdict.MISSING, "is missing, although a known-good version exists")


def _damaged(outline: ItemSurvey, verdict: Verdict, sentence: str) -> ItemSurvey:
    """The item as a whole is not ok; its known-good version is carried forward."""
    problem = Problem(os.path.basename(outline.path), sentence)
    return replace(outline, verdict=verdict, problems=(problem,), findings=(Finding("", verdict, (problem,)),))
