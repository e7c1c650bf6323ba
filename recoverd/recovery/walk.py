"""Walking one state item: what is there, what changed, what is good.

The walk builds two trees at once: `root`, the item as it is, and `good`, in which every damaged document is
the newest ok version of it. Where nothing is damaged the two are the same objects.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from recoverd.config.model import Format, StateItem
from recoverd.recovery.entries import (
    describe_type,
    directory_entry,
    file_entry,
    large_file_entry,
    link_entry,
    xattrs_at,
    xattrs_of,
)
from recoverd.recovery.stat_rows import Finding, Row, join_names, pack_stat
from recoverd.repository.trees import BLOCK_SIZE, BLOCK_THRESHOLD, Entry
from recoverd.state.judging import Judge, decode_judgement, encode_judgement
from recoverd.state.selection import Selection
from recoverd.state.verdicts import Judgement, Problem, Verdict
from recoverd.system.reading import FileRead, NotRegular, read_stable, stream_stable
from recoverd.system.walk import open_directory_at

_PAUSES_S = (0.05, 0.2)  # between tries at a large file that changed while it was read
_BATCH_BYTES = 8 * 1024 * 1024
_TORN = Judgement(Verdict.UNREADABLE, (Problem("", "kept changing while it was read"),))


class Trees(Protocol):
    """Where trees are read from."""

    def tree(self, tree_hash: str) -> tuple[Entry, ...]: ...


class Store(Trees, Protocol):
    """Where a survey puts what it finds. Hashes are BLAKE3 in hex."""

    def read(self, object_hash: str) -> bytes: ...

    def put(self, data: bytes) -> str: ...
    def put_tree(self, entries: Sequence[Entry]) -> str: ...
    def put_blocks(self, hashes: Sequence[str | None], block_size: int, size: int) -> str: ...


class Memo(Protocol):
    """What the catalog offers a survey; losing it only costs time."""

    def memo(self, judge: str, hashes: Sequence[str]) -> dict[str, bytes]: ...
    def remember(self, judge: str, verdicts: Mapping[str, bytes]) -> None: ...
    def stat_cache(self, item_key: str) -> dict[str, bytes]: ...
    def save_stat_cache(self, item_key: str, rows: Mapping[str, bytes | None]) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """The trees of one directory in the newest snapshot; None where it is not there."""

    root: str | None
    good: str | None


@dataclass(slots=True)
class Tree:
    """What one directory, with all below it, came to."""

    root: str
    good: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    files: int = 0
    size_bytes: int = 0
    unchecked: int = 0


@dataclass(slots=True)
class _Directory:
    """The directory under the walk's hands: its entries as found and as good, and what was seen on the way."""

    fd: int
    below: str
    only: str | None
    known: Known
    row: Row | None
    root: list[Entry] = field(default_factory=list)
    good: list[Entry] = field(default_factory=list)
    own: Tree = field(default_factory=lambda: Tree("", ""))
    good_before: dict[str, Entry] | None = None

    def path(self, name: str) -> str:
        """The document's place below the item; "" for a file item."""
        return "" if self.only is not None else self.label(name)

    def label(self, name: str) -> str:
        """How problems name the document."""
        return f"{self.below}/{name}" if self.below else name


@dataclass(frozen=True, slots=True)
class _Read:
    """A document that was read and waits for its verdict."""

    name: str
    read: FileRead


@dataclass(frozen=True, slots=True)
class _Large:
    hashes: list[str | None]  # None: a block of NULs
    size: int
    stat: os.stat_result
    torn: bool
    judgement: Judgement


class Walk:
    """One pass over one state item."""

    def __init__(
        self,
        item: StateItem,
        judge: Judge,
        store: Store,
        *,
        memo: Memo | None,
        rows: Mapping[str, Row],
        now_ns: int,
    ) -> None:
        self._item = item
        self._judge = judge
        self._store = store
        self._memo = memo
        self._rows = rows
        self._now_ns = now_ns
        self._selection = Selection(item.include, item.exclude)
        self._append_only = item.format in (Format.JSON_LINES, Format.OPAQUE)
        self._hard_links: dict[tuple[int, int], str] = {}
        self.new_rows: dict[str, Row] = {}

    def directory(self, fd: int, below: str, known: Known, *, only: str | None = None) -> Tree:
        """Walk the directory open at `fd`, which lies at `below` ("" at the item); with `only`, one name of it.

        Raises OSError when the directory itself can't be listed.
        """
        names, packed, subdirectories = self._list(fd, below, only)
        joined, stats = join_names([name for name, _ in names]), b"".join(packed)
        place = _Directory(fd, below, only, known, self._row(below, known))
        children = self._subdirectories(place, subdirectories)
        row = place.row
        unchanged = row is not None and row.trusted_whole and row.names == joined and row.stats == stats
        if row is not None and unchanged and not subdirectories and not row.children:
            self.new_rows[below] = row
            return _from_row(row)
        before = {e.name: e for e in self._store.tree(known.root)} if known.root is not None else {}
        if row is not None and unchanged:
            self._from_before(place, row, before)
        else:
            self._documents(place, names, packed, before)
        tree = place.own
        tree.root = self._store.put_tree(_sorted(place.root))
        tree.good = tree.root if place.good == place.root else self._store.put_tree(_sorted(place.good))
        self._remember_row(place, children, joined, stats, [status for _, status in names])
        for child in children.values():
            _add(tree, child)
        return tree

    def _list(
        self, fd: int, below: str, only: str | None
    ) -> tuple[list[tuple[str, os.stat_result]], list[bytes], list[str]]:
        """The covered names with their stats, the stats packed, and the directories to descend into."""
        covered: list[tuple[str, os.stat_result]] = []
        packed: list[bytes] = []
        subdirectories: list[str] = []
        prefix = f"{below}/" if below else ""
        everything = self._selection.everything or only is not None
        for name in (only,) if only is not None else sorted(os.listdir(fd), key=os.fsencode):
            try:
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError:
                continue  # a name that vanished is a document that was deleted
            if only is None and stat.S_ISDIR(status.st_mode):
                if everything or self._selection.may_descend(prefix + name):
                    subdirectories.append(name)
            elif everything or self._selection.covers(prefix + name):
                covered.append((name, status))
                packed.append(pack_stat(status))
        return covered, packed, subdirectories

    def _row(self, below: str, known: Known) -> Row | None:
        """The row of this directory, if it leads to the very trees of the newest snapshot."""
        row = self._rows.get(below)
        if row is None or row.judge != self._judge.id or row.root != known.root or row.good != known.good:
            return None
        return row

    def _from_before(self, place: _Directory, row: Row, before: Mapping[str, Entry]) -> None:
        """No file changed here: all of them are as the newest snapshot has them."""
        damaged = {finding.document: finding for finding in row.findings}
        for name, entry in before.items():
            if entry.type != "dir":
                self._keep(place, name, entry, damaged.get(place.path(name)))
        place.own.notes = list(row.notes)

    def _remember_row(
        self,
        place: _Directory,
        children: Mapping[str, Tree],
        joined: bytes,
        stats: bytes,
        statuses: Sequence[os.stat_result],
    ) -> None:
        tree = place.own
        if any(f.verdict is Verdict.UNREADABLE for f in tree.findings) or any(s.st_nlink > 1 for s in statuses):
            # What could not be read is tried again next time; hard-link groups span directories, so
            # their members are looked at each time.
            return
        self.new_rows[place.below] = Row(
            captured_ns=self._now_ns,
            newest_ctime_ns=max((s.st_ctime_ns for s in statuses), default=0),
            judge=self._judge.id,
            root=tree.root,
            good=tree.good,
            names=joined,
            stats=stats,
            findings=tuple(tree.findings),
            children={name: (child.root, child.good) for name, child in children.items()},
            files=tree.files,
            size_bytes=tree.size_bytes,
            unchecked=tree.unchecked,
            notes=tuple(tree.notes),
        )

    # -- documents ----------------------------------------------------------------------------------------

    def _documents(
        self,
        place: _Directory,
        names: Sequence[tuple[str, os.stat_result]],
        packed: Sequence[bytes],
        before: Mapping[str, Entry],
    ) -> None:
        row = place.row
        seen = row.by_name() if row is not None else {}
        damaged = {finding.document: finding for finding in row.findings} if row is not None else {}
        waiting: list[_Read] = []
        waiting_bytes = 0
        for (name, status), stats in zip(names, packed, strict=True):
            old = before.get(name)
            if row is not None and old is not None and seen.get(name) == stats and row.trusts(status.st_ctime_ns):
                self._keep(place, name, old, damaged.get(place.path(name)))
            elif not stat.S_ISREG(status.st_mode):
                self._not_a_file(place, name, status)
            elif status.st_size > BLOCK_THRESHOLD:
                self._large(place, name)
            else:
                read = self._read(place, name)
                if read is not None:
                    waiting.append(read)
                    waiting_bytes += len(read.read.data)
            if waiting_bytes > _BATCH_BYTES:
                self._judge_batch(place, waiting, before, damaged)
                waiting, waiting_bytes = [], 0
        self._judge_batch(place, waiting, before, damaged)

    def _read(self, place: _Directory, name: str) -> _Read | None:
        try:
            return _Read(name, read_stable(place.fd, name, append_only=self._append_only))
        except FileNotFoundError:
            return None
        except NotRegular:
            self._not_a_file(place, name, os.stat(name, dir_fd=place.fd, follow_symlinks=False))
        except OSError as error:
            self._carry(place, name, Verdict.UNREADABLE, f"can't be read: {error.strerror or error}")
        return None

    def _judge_batch(
        self,
        place: _Directory,
        batch: Sequence[_Read],
        before: Mapping[str, Entry],
        damaged: Mapping[str, Finding],
    ) -> None:
        """Store what was read, and give each document its verdict: as before, from the memo, or by looking."""
        contents = [self._store.put(one.read.data) for one in batch]
        asked = set()
        for one, content in zip(batch, contents, strict=True):
            old = before.get(one.name)
            as_before = place.row is not None and old is not None and old.hash == content
            if not as_before or place.path(one.name) in damaged:
                asked.add(content)
        remembered = self._memo.memo(self._judge.id, sorted(asked)) if self._memo is not None and asked else {}
        learnt: dict[str, bytes] = {}
        for one, content in zip(batch, contents, strict=True):
            if one.read.torn:
                judgement = _TORN
            elif content not in asked:
                judgement = Judgement(Verdict.OK, unchecked=self._judge.unchecked)
            elif content in remembered:
                judgement = decode_judgement(remembered[content])
            else:
                judgement = self._judge.judge(place.path(one.name), one.read.data)
                if judgement.verdict is not Verdict.UNREADABLE:  # it could not be judged this time
                    learnt[content] = encode_judgement(judgement)
            status = one.read.stat
            link = self._hard_link(place, one.name, status)
            xattrs = xattrs_at(place.fd, one.name)
            entry = file_entry(one.name, status, content, len(one.read.data), xattrs, link)
            self._file(place, entry, judgement, content)
        if self._memo is not None and learnt:
            self._memo.remember(self._judge.id, learnt)

    def _large(self, place: _Directory, name: str) -> None:
        """A file too large for memory: block by block, holes kept."""
        try:
            for pause_s in (*_PAUSES_S, None):
                large = self._read_large(place, name)
                if pause_s is None or not large.torn:
                    break
                time.sleep(pause_s)
        except FileNotFoundError:
            return
        except OSError as error:
            self._carry(place, name, Verdict.UNREADABLE, f"can't be read: {error.strerror or error}")
            return
        blocks = self._store.put_blocks(large.hashes, BLOCK_SIZE, large.size)
        link = self._hard_link(place, name, large.stat)
        entry = large_file_entry(name, large.stat, blocks, large.size, BLOCK_SIZE, xattrs_at(place.fd, name), link)
        self._file(place, entry, _TORN if large.torn else large.judgement, blocks)

    def _read_large(self, place: _Directory, name: str) -> _Large:
        examination = self._judge.begin(place.path(name))
        hashes: list[str | None] = []
        size = 0
        with stream_stable(place.fd, name, BLOCK_SIZE, append_only=self._append_only) as stream:
            for block in stream:
                examination.feed(block)
                size += len(block)
                hashes.append(self._store.put(block) if block.count(0) != len(block) else None)
        return _Large(hashes, size, stream.stat, stream.torn, examination.finish())

    def _file(self, place: _Directory, entry: Entry, judgement: Judgement, content: str) -> None:
        """File a judged document under `root`, and under `good` if it is."""
        label = place.label(entry.name)
        place.own.files += 1
        place.own.size_bytes += entry.size
        place.own.unchecked += judgement.unchecked
        place.own.notes += [_placed(label, note) for note in judgement.notes]
        place.root.append(entry)
        judgement = self._compared(place, entry, judgement, content)
        if judgement.verdict is Verdict.OK:
            place.good.append(entry)
            return
        placed = tuple(_placed(label, problem) for problem in judgement.problems)
        self._damaged(place, entry.name, Finding(place.path(entry.name), judgement.verdict, placed, content))

    def _compared(self, place: _Directory, entry: Entry, judgement: Judgement, content: str) -> Judgement:
        """The verdict on what could be valid by itself, and is damage where the known-good version was more."""
        suspect = judgement.blank or judgement.detected == "opaque"
        if judgement.verdict is not Verdict.OK or not suspect:
            return judgement
        good = self._good_before(place, entry.name)
        if good is None or good.type != "file" or not good.size or (good.hash or good.blocks) == content:
            return judgement
        if judgement.blank:
            what = f"holds only NUL bytes ({entry.size} of them)" if entry.size else "is empty (0 bytes)"
            sentence = f"{what}, and its known-good version is not"
        elif good.hash is None:
            return judgement  # too large to be looked at again for the sake of its format
        else:
            before = self._judge.judge(place.path(entry.name), self._store.read(good.hash)).detected
            if before in {"", "opaque"}:
                return judgement
            sentence = f"is no {before} any more, as its known-good version is"
        return Judgement(Verdict.CORRUPT, (Problem("", sentence),))

    def _keep(self, place: _Directory, name: str, old: Entry, finding: Finding | None) -> None:
        """The entry is as the newest snapshot has it, and so is its verdict."""
        place.root.append(old)
        if old.type == "file":
            place.own.files += 1
            place.own.size_bytes += old.size
            place.own.unchecked += self._judge.unchecked
        if finding is None:
            place.good.append(old)
        else:
            self._damaged(place, name, finding)

    def _carry(self, place: _Directory, name: str, verdict: Verdict, sentence: str) -> None:
        """Nothing of this name can be captured; its known-good version stays."""
        self._damaged(place, name, Finding(place.path(name), verdict, (Problem(place.label(name), sentence),)))

    def _damaged(self, place: _Directory, name: str, finding: Finding) -> None:
        place.own.findings.append(finding)
        good = self._good_before(place, name)
        if good is not None:
            place.good.append(good)

    def _not_a_file(self, place: _Directory, name: str, status: os.stat_result) -> None:
        kind = describe_type(status.st_mode)
        good = self._good_before(place, name)
        if place.only is not None or (good is not None and good.type == "file"):
            # Where a document is expected nothing else will do: it may have been planted there.
            self._carry(place, name, Verdict.CORRUPT, f"is {kind} where a regular file is expected")
        elif stat.S_ISLNK(status.st_mode):
            try:
                target = os.readlink(name, dir_fd=place.fd)
            except OSError:
                return  # it vanished or changed its kind: the next look sees what it is now
            entry = link_entry(name, status, target)
            place.root.append(entry)
            place.good.append(entry)
        else:
            place.own.notes.append(Problem(place.label(name), f"is {kind}: not captured"))

    # -- directories --------------------------------------------------------------------------------------

    def _subdirectories(self, place: _Directory, names: Sequence[str]) -> dict[str, Tree]:
        children: dict[str, Tree] = {}
        for name in names:
            if self._replaces_document(place, name):
                self._carry(place, name, Verdict.CORRUPT, "is a directory where a regular file is expected")
                continue
            try:
                child_fd = open_directory_at(place.fd, name)
            except (FileNotFoundError, NotADirectoryError):
                continue  # it vanished, or something was planted: the next look sees it
            except OSError as error:
                self._carry(place, name, Verdict.UNREADABLE, f"can't be opened: {error.strerror or error}")
                continue
            known = Known(self._child(place.known.root, name), self._child(place.known.good, name))
            try:
                child = self.directory(child_fd, place.path(name), known)
                root = directory_entry(name, os.fstat(child_fd), child.root, xattrs_of(child_fd))
            except OSError as error:
                self._carry(place, name, Verdict.UNREADABLE, f"can't be read: {error.strerror or error}")
                continue
            finally:
                os.close(child_fd)
            children[name] = child
            place.root.append(root)
            place.good.append(root if child.good == child.root else replace(root, hash=child.good))
        return children

    def _replaces_document(self, place: _Directory, name: str) -> bool:
        if place.row is not None and name in place.row.children:
            return False  # it was a directory before
        good = self._good_before(place, name)
        return good is not None and good.type == "file"

    def _child(self, tree: str | None, name: str) -> str | None:
        if tree is None:
            return None
        return next((e.hash for e in self._store.tree(tree) if e.name == name and e.type == "dir"), None)

    def _good_before(self, place: _Directory, name: str) -> Entry | None:
        if place.good_before is None:
            good = place.known.good
            place.good_before = {e.name: e for e in self._store.tree(good)} if good is not None else {}
        return place.good_before.get(name)

    def _hard_link(self, place: _Directory, name: str, status: os.stat_result) -> str | None:
        if status.st_nlink < 2:
            return None
        return self._hard_links.setdefault((status.st_dev, status.st_ino), place.label(name))


def _from_row(row: Row) -> Tree:
    return Tree(row.root, row.good, list(row.findings), list(row.notes), row.files, row.size_bytes, row.unchecked)


def _add(tree: Tree, child: Tree) -> None:
    tree.findings += child.findings
    tree.notes += child.notes
    tree.files += child.files
    tree.size_bytes += child.size_bytes
    tree.unchecked += child.unchecked


def _sorted(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: os.fsencode(entry.name))


def _placed(path: str, problem: Problem) -> Problem:
    """A problem of a document, at its place in the item: "a.json#/tasks/3", "a.json line 2"."""
    separator = "" if problem.place.startswith("#") or not problem.place else " "
    return Problem(path + separator + problem.place, problem.problem)
