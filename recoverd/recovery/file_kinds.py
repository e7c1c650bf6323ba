"""State items that are files and directories: walked by descriptors, each document judged by itself."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypedDict

from recoverd.config.model import ItemKind, StateItem
from recoverd.recovery.comparing import Accepted
from recoverd.recovery.documents import Known, Tree
from recoverd.recovery.entries import describe_type, directory_entry, identity, xattrs_of
from recoverd.recovery.item_survey import MOST_PROBLEMS, ItemSurvey, absent, damaged
from recoverd.recovery.looking import Look
from recoverd.recovery.partial import NotEnough, PartialWalk, named_places, rows_needed
from recoverd.recovery.stat_rows import Finding, Row
from recoverd.recovery.stores import Memo, Store
from recoverd.recovery.walk import Walk
from recoverd.repository.records import ItemRecord
from recoverd.repository.trees import BLOCK_SIZE
from recoverd.state.judging import Judge
from recoverd.state.signs import shrunk
from recoverd.state.verdicts import Judgement, Problem, Verdict, worst
from recoverd.system.mounts import mount_point_of
from recoverd.system.walk import lstat_at, open_declared_directory, open_parent
from recoverd.values import replace


class Files:
    """See `looking.Kind`: file and directory items."""

    def look(self, look: Look, outline: ItemSurvey) -> ItemSurvey:
        try:
            with _opened(look.item) as (fd, only):
                return self._walked(look, replace(outline, mount=mount_point_of(fd)), fd, only)
        except _WrongKind as error:
            return damaged(outline, Verdict.CORRUPT, *error.args)

    def judge_staged(self, judge: Judge, document: str, fd: int) -> Judgement:
        examination = judge.begin(document)
        with open(fd, "rb", closefd=False) as file:
            while block := file.read(BLOCK_SIZE):
                examination.feed(block)
        return judge.named(document, examination.finish())

    def _walked(self, look: Look, outline: ItemSurvey, fd: int, only: str | None) -> ItemSurvey:
        item, judge, store, before = look.item, look.judge, look.store, look.before
        known = _known(store, item, before)
        rest: _Rest = {"memo": look.memo, "now_ns": look.now_ns, "accepted": look.accepted}
        walk: Walk
        try:
            if look.hints is None or before is None or look.full_read or only is not None:
                raise NotEnough
            named = named_places(look.hints, before, judge.id)
            rows = look.rows(rows_needed(named))
            walk = part = PartialWalk(item, judge, store, rows=rows, **rest)
            tree = part.look_at(fd, known, named, before)
        except NotEnough:
            rows = look.rows() if not look.full_read else {}
            walk = Walk(item, judge, store, rows=rows, **rest)
            tree = walk.item(fd, known, only=only)
        if only is not None and not tree.files and not tree.findings:
            return absent(item, outline)  # it vanished between two looks
        changed: dict[str, Row | None] = dict.fromkeys(rows.keys() - walk.new_rows.keys())
        changed |= {below: row for below, row in walk.new_rows.items() if row is not rows.get(below)}
        outline = replace(outline, rows=changed, as_known=frozenset(walk.as_known), accepted=dict(walk.let_pass))
        outline = replace(outline, listed=walk.listed)
        found = _present(outline, store, fd, tree, only)
        return found if only is not None else _against_fewer(item, found, outline.good, store, look.accepted)


class _Rest(TypedDict):
    memo: Memo | None
    now_ns: int
    accepted: Accepted


class _WrongKind(Exception):
    """Something else lies where a directory item is declared: a sentence, and what tells it from anything else."""


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
                status = lstat_at(parent, name)
            finally:
                os.close(parent)
            sentence = f"is {describe_type(status.st_mode)} where a directory is expected"
            raise _WrongKind(sentence, identity(status)) from None
    try:
        yield fd, only
    finally:
        os.close(fd)


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
