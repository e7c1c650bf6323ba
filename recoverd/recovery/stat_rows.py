"""The stat cache of one directory, packed: names and stats side by side, compared without parsing.

A row says: when this directory looked like these bytes, its trees were `root` and `good`, and these
documents were damaged. A row is used only where its trees are those of the newest snapshot at the same
place, so everything it leads to is reachable and kept.

A stat is believed for an entry only if the entry's ctime is at least 60 seconds older than the start of
the capture that recorded it: memory-mapped writers update times late. Memory file systems are never
believed (the caller does not load rows for them).
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping, Sequence

from recoverd.state.verdicts import Problem, Verdict
from recoverd.values import dataclass

TRUSTED_AGE_NS = 60_000_000_000

_STAT = struct.Struct("<qqqQIIIIQ")  # size, mtime, ctime, inode, mode, uid, gid, links, device
_HEAD = struct.Struct("<4sqqII32s32s32s")  # magic, captured, newest ctime, names, meta, judge, root, good
_MAGIC = b"RSR2"


@dataclass(frozen=True, slots=True)
class Finding:
    """A document that is not ok: path below the item ("" for a file item), verdict, problems, content hash."""

    document: str
    verdict: Verdict
    problems: tuple[Problem, ...]
    content: str | None = None


def pack_stat(status: os.stat_result, *, ctime_ns: int | None = None) -> bytes:
    """What must be equal for a file to count as unchanged. `ctime_ns`: what to take for its ctime, if not that."""
    return _STAT.pack(
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns if ctime_ns is None else ctime_ns,
        status.st_ino,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_nlink,
        status.st_dev,
    )


def same_inode(a: bytes, b: bytes) -> bool:
    """Whether two packed stats are of one and the same file or directory."""
    first, second = _STAT.unpack(a), _STAT.unpack(b)
    return (first[3], first[8]) == (second[3], second[8])


@dataclass(frozen=True, slots=True)
class Row:
    """One directory as a capture saw it."""

    captured_ns: int
    newest_ctime_ns: int
    judge: str
    root: str
    good: str
    names: bytes  # as `join_names`, in the order of `stats`
    stats: bytes
    findings: tuple[Finding, ...]
    children: Mapping[str, tuple[str, str]]  # directory -> its root and good trees
    files: int
    size_bytes: int
    unchecked: int
    notes: tuple[Problem, ...]

    @property
    def trusted_whole(self) -> bool:
        return self.newest_ctime_ns + TRUSTED_AGE_NS <= self.captured_ns

    def trusts(self, ctime_ns: int) -> bool:
        return ctime_ns + TRUSTED_AGE_NS <= self.captured_ns

    def by_name(self) -> dict[str, bytes]:
        """Name -> packed stat; names of directories end in a slash."""
        names = os.fsdecode(self.names).split("\0") if self.names else []
        size = _STAT.size
        return {
            name: self.stats[at : at + size] for name, at in zip(names, range(0, len(self.stats), size), strict=True)
        }


def join_names(documents: Sequence[str], directories: Sequence[str] = ()) -> bytes:
    """The names of a row, separated by NUL; those of directories end in a slash, which no name can hold."""
    return os.fsencode("\0".join((*documents, *(f"{name}/" for name in directories))))


def encode(row: Row) -> bytes:
    """The row as it lies in the catalog."""
    meta = json.dumps(
        {
            "findings": [
                [f.document, f.verdict.value, [[p.place, p.problem] for p in f.problems], f.content]
                for f in row.findings
            ],
            "children": {name: list(trees) for name, trees in row.children.items()},
            "totals": [row.files, row.size_bytes, row.unchecked],
            "notes": [[p.place, p.problem] for p in row.notes],
        },
        separators=(",", ":"),
    ).encode()
    head = _HEAD.pack(
        _MAGIC,
        row.captured_ns,
        row.newest_ctime_ns,
        len(row.names),
        len(meta),
        bytes.fromhex(row.judge),
        bytes.fromhex(row.root),
        bytes.fromhex(row.good),
    )
    return b"".join((head, row.names, meta, row.stats))


def decode(data: bytes) -> Row | None:
    """The row, or None when the bytes are not one: losing a row only costs a read."""
    try:
        magic, captured, newest, name_bytes, meta_bytes, judge, root, good = _HEAD.unpack_from(data)
        if magic != _MAGIC:
            return None
        at = _HEAD.size
        names = data[at : at + name_bytes]
        at += name_bytes
        meta = json.loads(data[at : at + meta_bytes])
        stats = data[at + meta_bytes :]
        files, size_bytes, unchecked = meta["totals"]
        if len(stats) != _STAT.size * (names.count(b"\0") + 1 if names else 0):
            return None
        return Row(
            captured_ns=captured,
            newest_ctime_ns=newest,
            judge=judge.hex(),
            root=root.hex(),
            good=good.hex(),
            names=names,
            stats=stats,
            findings=tuple(
                Finding(document, Verdict(verdict), tuple(Problem(*p) for p in problems), content)
                for document, verdict, problems, content in meta["findings"]
            ),
            children={name: (trees[0], trees[1]) for name, trees in meta["children"].items()},
            files=files,
            size_bytes=size_bytes,
            unchecked=unchecked,
            notes=tuple(Problem(*p) for p in meta["notes"]),
        )
    except (struct.error, ValueError, KeyError, TypeError, IndexError):
        return None


def place_findings(row: Row | None) -> dict[str, Finding]:
    """What a row says is damaged, by document."""
    return {finding.document: finding for finding in row.findings} if row is not None else {}


def placed_at(path: str, problem: Problem) -> Problem:
    """A problem of a document, at its place in the item: "a.json#/tasks/3", "a.json line 2"."""
    separator = "" if problem.place.startswith("#") or not problem.place else " "
    return Problem(path + separator + problem.place, problem.problem)
