"""The records of the repository: snapshots (immutable), marks (their few mutable facts), service records.

Their JSON is part of the on-disk format (docs/repository-format.md). 64-bit values are strings there,
because jq 1.6 rounds numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from recoverd.values import dataclass, field

ABSENT = "absent"  # stands for the content of an accepted document that is not there
NOTHING: Mapping[str, Any] = MappingProxyType({})


class SnapshotVerdict(StrEnum):
    OK = "ok"  # everything in it is ok
    PARTIAL = "partial"  # something is damaged, and something good is new
    INVALID = "invalid"  # nothing good is new: evidence only

    @property
    def counts(self) -> bool:
        """Whether retention counts it and a restore may take from it."""
        return self is not SnapshotVerdict.INVALID


@dataclass(frozen=True, slots=True)
class ItemRecord:
    """One state item in a snapshot.

    `root` is the tree as it was found: a tree with one entry (the file or directory at the item's path),
    or with none when the path was absent. `good` is the known-good tree: equal to `root` where every
    document is ok, else `root` with each damaged document replaced by its newest ok version, carried
    forward from the parent's `good`; None when no version of the item was ever good.
    """

    kind: str  # file | directory | sqlite | dump
    path: str
    root: str
    good: str | None
    files: int
    size_bytes: int
    verdict: str  # of state.verdicts.Verdict
    problems: tuple[tuple[str, str], ...] = ()  # (place, sentence)
    damaged: Mapping[str, str] = field(default_factory=lambda: NOTHING)  # document (path below the item) -> verdict
    judge: str = ""  # hash of all that judged it
    version: str | None = None  # the document's version field, where one is declared
    mount: str | None = None  # where its file system was mounted; None: it was the root file system


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable capture of all the state items of one service."""

    service: str
    sequence: int
    time_ns: int  # wall clock, UTC
    boot_id: str
    host: str
    verdict: SnapshotVerdict
    items: Mapping[str, ItemRecord]
    reason: str = "manual"  # manual, scheduled, shutdown, due, pre-restore, import, …
    label: str | None = None
    tags: tuple[str, ...] = ()
    parent: int | None = None
    files: int = 0
    size_bytes: int = 0
    new_bytes: int = 0  # what it added to the repository, compressed
    imported: bool = False  # its time is not when it was captured; never the newest

    @property
    def id(self) -> str:
        return f"{self.service}/{self.sequence}"


@dataclass(frozen=True, slots=True)
class SnapshotDraft:
    """A snapshot to be committed: all of it but `sequence` and `new_bytes`, which the commit assigns."""

    service: str
    time_ns: int
    boot_id: str
    host: str
    verdict: SnapshotVerdict
    items: Mapping[str, ItemRecord]
    reason: str = "manual"
    label: str | None = None
    tags: tuple[str, ...] = ()
    parent: int | None = None
    files: int = 0
    size_bytes: int = 0
    imported: bool = False


@dataclass(frozen=True, slots=True)
class Marks:
    """The mutable facts of a snapshot. The file is absent while all of them have these defaults."""

    pinned: bool = False
    proven_ns: int | None = None  # when the service was last proven healthy on it
    drilled_ns: int | None = None
    unhealthy: bool = False  # captured while the service was not healthy
    rejected: Mapping[str, str] = field(default_factory=lambda: NOTHING)  # item -> why, after failed attempts
    tries_left: int | None = None  # 0: rejected because its tries were used up, none of which came to a proof
    migrated: tuple[str, ...] = ()  # the steps ("1 to 2") that it was pinned for, by migrations and not by hand

    @property
    def is_proven(self) -> bool:
        """Whether the service was healthy on it for its time, or a drill passed on it."""
        return self.proven_ns is not None or self.drilled_ns is not None


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """What recoverd remembers of a service between runs (services/<service>.json)."""

    next_sequence: int = 1
    paused: bool = False
    confirmed_ns: int | None = None  # newest time at which live state was seen unchanged (hourly on disk)
    confirmed_sequence: int | None = None
    accepted: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: NOTHING
    )  # item -> document -> hash, or ABSENT
    process: Mapping[str, Any] = field(default_factory=lambda: NOTHING)  # services.process_record's JSON
    blocked: str | None = None  # why the service was not brought up by the last restore
    last_restore: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    failures: int = 0  # captures that failed in a row
    last_error: str | None = None
    rejected: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: NOTHING
    )  # item -> content hash -> why: candidates from no snapshot on which the service was not healthy
    given_up: Mapping[str, Any] = field(default_factory=lambda: NOTHING)  # why nobody brings it back any more, and when
    loads: Mapping[str, Any] = field(
        default_factory=lambda: NOTHING
    )  # dump items that are to be loaded, and from where
    children: tuple[Mapping[str, Any], ...] = ()  # identities of processes that its state named when it was captured
    pending: Mapping[str, str] = field(default_factory=lambda: NOTHING)  # item -> what is to be migrated, in words
    undone: Mapping[str, str] = field(default_factory=lambda: NOTHING)  # item -> version: its migration was taken back
    revision: int = 0  # counts changes where records are kept in two places: the higher one is the newer record
