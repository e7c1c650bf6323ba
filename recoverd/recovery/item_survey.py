"""What a look at live state found: the values that every kind of state item fills in."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recoverd.config.model import EMPTY, ItemKind, Service, StateItem
from recoverd.recovery.stat_rows import Finding, Row
from recoverd.repository.records import ItemRecord, Snapshot
from recoverd.repository.trees import EMPTY_TREE
from recoverd.state.verdicts import Problem, Verdict, worst
from recoverd.values import dataclass, field, replace

if TYPE_CHECKING:
    from recoverd.recovery.documents import Older

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
    failure: str | None = None  # why a dump could not be taken at all

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


def absent(item: StateItem, outline: ItemSurvey) -> ItemSurvey:
    """Nothing is at the path: fine when optional, new when there never was anything, else missing."""
    if item.optional:
        return replace(outline, good=EMPTY_TREE)
    if outline.good is None or outline.good == EMPTY_TREE:
        return replace(outline, verdict=Verdict.NEW, good=None)
    return damaged(outline, Verdict.MISSING, "is missing, although a known-good version exists")


def damaged(outline: ItemSurvey, verdict: Verdict, sentence: str, content: str | None = None) -> ItemSurvey:
    """The item as a whole is not ok; its known-good version is carried forward. `content`: what tells what lies there
    from something else, where that is known."""
    problem = Problem(os.path.basename(outline.path), sentence)
    found = Finding("", verdict, (problem,), content)
    return replace(outline, verdict=verdict, problems=(problem,), findings=(found,))
