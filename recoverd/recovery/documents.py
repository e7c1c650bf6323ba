"""The documents of one directory: read, stored, judged, and filed under what is there and what is good."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from blake3 import blake3

from recoverd.config.model import Format, StateItem
from recoverd.recovery.comparing import NOTHING_ACCEPTED, Accepted, Comparing
from recoverd.recovery.entries import (
    Xattrs,
    describe_type,
    file_entry,
    identity,
    large_file_entry,
    link_entry,
    may_be_sparse,
)
from recoverd.recovery.stat_rows import Finding, Row, place_findings, placed_at
from recoverd.recovery.stores import Memo, Store
from recoverd.repository.blocks import has_hole
from recoverd.repository.trees import BLOCK_SIZE, BLOCK_THRESHOLD, Entry
from recoverd.state.judging import Judge, decode_judgement, encode_judgement
from recoverd.state.verdicts import Judgement, Problem, Verdict
from recoverd.system.reading import FileRead, NotRegular, attributes_of, read_stable, stream_stable
from recoverd.values import dataclass, field

_PAUSES_S = (0.05, 0.2)  # between tries at a large file that changed while it was read
_BATCH_BYTES = 8 * 1024 * 1024
_MOST_LEARNT = 50_000
_TORN = Judgement(Verdict.UNREADABLE, (Problem("", "kept changing while it was read"),))


@dataclass(frozen=True, slots=True)
class Known:
    """The trees of one directory in the newest snapshot; None where it is not there."""

    root: str | None
    good: str | None


@dataclass(frozen=True, slots=True)
class Older:
    """A document that is good, and of an older version from which migrations lead to the current one."""

    version: str
    content: str


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
    older: dict[str, Older] = field(default_factory=dict)  # documents that are to be migrated

    def add(self, child: Tree) -> None:
        self.findings += child.findings
        self.notes += child.notes
        self.files += child.files
        self.size_bytes += child.size_bytes
        self.unchecked += child.unchecked
        self.older |= child.older


@dataclass(slots=True)
class Place:
    """The directory under the walk's hands: its entries as found and as good, and what was seen on the way."""

    fd: int
    below: str  # its path below the item, "" at the top
    only: str | None  # the one name to look at (file items)
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


class Looked(NamedTuple):
    """A covered name: its stat, and that packed. A tuple, because each name costs one in every capture."""

    name: str
    status: os.stat_result
    packed: bytes


_ZEROS = bytes(BLOCK_SIZE)
_MOST_BYTES = 1 << 44  # of one file, holes among them: what the largest of ext4 holds


@dataclass(frozen=True, slots=True)
class _Large:
    hashes: list[str | None]  # None: a block of NULs
    size: int
    stat: os.stat_result
    torn: bool
    judgement: Judgement
    attributes: Xattrs
    sparse: bool


class Documents:
    """Looks at the documents of a state item, directory by directory."""

    def __init__(
        self, item: StateItem, judge: Judge, store: Store, memo: Memo | None, accepted: Accepted = NOTHING_ACCEPTED
    ) -> None:
        self._judge = judge
        self._store = store
        # What has no schema is judged faster than looked up; where names count, content can't be remembered.
        self._memo = memo if judge.content_decides and not judge.unchecked else None
        self._learnt: dict[str, bytes] = {}
        self._append_only = item.format in (Format.JSON_LINES, Format.OPAQUE)
        self._hard_links: dict[tuple[int, int], str] = {}
        self._comparing = Comparing(item, judge, store, accepted)
        self._validates = item.validate is not None
        self._ok = Judgement(Verdict.OK, unchecked=judge.unchecked)

    @property
    def let_pass(self) -> Mapping[str, str]:
        """Document -> content of what was emptied and was accepted, among what was read."""
        return self._comparing.let_pass

    def look(self, place: Place, names: Sequence[Looked], before: Mapping[str, Entry]) -> None:
        """File every name under `place`. `before`: the entries that the newest snapshot has there."""
        row = place.row
        seen = row.by_name() if row is not None else {}
        damaged = place_findings(row)
        waiting: list[tuple[str, FileRead]] = []
        waiting_bytes = 0
        for one in names:
            name, status = one.name, one.status
            old = before.get(name)
            if row is not None and old is not None and seen.get(name) == one.packed and row.trusts(status.st_ctime_ns):
                self.keep(place, old, damaged)
            elif not stat.S_ISREG(status.st_mode):
                self._not_a_file(place, name, status)
            elif status.st_size > BLOCK_THRESHOLD:
                self._large(place, name)
            else:
                read = self._read(place, one)
                if read is not None:
                    waiting.append((name, read))
                    waiting_bytes += len(read.data)
            if waiting_bytes > _BATCH_BYTES:
                self._judge_batch(place, waiting, before, damaged)
                waiting, waiting_bytes = [], 0
        self._judge_batch(place, waiting, before, damaged)

    def keep(self, place: Place, old: Entry, damaged: Mapping[str, Finding]) -> None:
        """The entry is as the newest snapshot has it, and so is its verdict."""
        place.root.append(old)
        if old.type == "file":
            place.own.files += 1
            place.own.size_bytes += old.size
            place.own.unchecked += self._judge.unchecked
        finding = damaged.get(place.path(old.name)) if damaged else None
        if finding is None:
            place.good.append(old)
        else:
            self._damaged(place, old.name, finding)

    def carry(self, place: Place, name: str, verdict: Verdict, sentence: str, content: str | None = None) -> None:
        """Nothing of this name can be captured; its known-good version stays."""
        problem = Problem(place.label(name), sentence)
        self._damaged(place, name, Finding(place.path(name), verdict, (problem,), content))

    def good_before(self, place: Place, name: str) -> Entry | None:
        """The known-good version of a name in the newest snapshot."""
        if place.good_before is None:
            good = place.known.good
            place.good_before = {e.name: e for e in self._store.tree(good)} if good is not None else {}
        return place.good_before.get(name)

    # -- reading ------------------------------------------------------------------------------------------

    def _read(self, place: Place, one: Looked) -> FileRead | None:
        name = one.name
        try:
            return read_stable(
                place.fd, name, append_only=self._append_only, found=one.status, most_bytes=BLOCK_THRESHOLD
            )
        except FileNotFoundError:
            return None
        except NotRegular:
            self.replaced(place, name)
        except OSError as error:
            if error.errno == errno.EFBIG:  # it has grown, or was swapped for a large one, since it was looked at
                self._large(place, name)
            else:
                self.carry(place, name, Verdict.UNREADABLE, f"can't be read: {error.strerror or error}")
        return None

    def replaced(self, place: Place, name: str) -> None:
        """Something else is where a regular file was, a moment ago or in the newest snapshot."""
        try:
            status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
        except OSError:
            return  # gone again: the next look sees what is there
        self._not_a_file(place, name, status)

    def _large(self, place: Place, name: str) -> None:
        """A file too large for memory: block by block, holes kept."""
        try:
            for pause_s in (*_PAUSES_S, None):
                large = self._read_large(place, name)
                if pause_s is None or not large.torn:
                    break
                time.sleep(pause_s)
        except FileNotFoundError:
            return
        except NotRegular:
            self.replaced(place, name)
            return
        except OSError as error:
            self.carry(place, name, Verdict.UNREADABLE, f"can't be read: {error.strerror or error}")
            return
        blocks = self._store.put_blocks(large.hashes, BLOCK_SIZE, large.size)
        link = self._hard_link(place, name, large.stat)
        entry = large_file_entry(
            name, large.stat, blocks, large.size, BLOCK_SIZE, large.attributes, link, sparse=large.sparse
        )
        judgement = _TORN if large.torn else large.judgement
        if self._validates:
            judgement = self._comparing.validated(
                place.path(name), judgement, partial(self._again, place, name, large), large.stat.st_uid
            )
        self._file(place, entry, judgement, blocks)

    def _again(self, place: Place, name: str, large: _Large) -> Iterator[bytes]:
        """The bytes of a large file once more, for its validation. Raises OSError when they are others by now."""
        with stream_stable(place.fd, name, BLOCK_SIZE, append_only=self._append_only) as stream:
            for number, block in enumerate(stream):
                known = large.hashes[number] if number < len(large.hashes) else ""
                if known != (blake3(block).hexdigest() if known is not None or block.count(0) != len(block) else None):
                    raise OSError(errno.EAGAIN, "it is being written")
                yield block

    def _read_large(self, place: Place, name: str) -> _Large:
        examination = self._judge.begin(place.path(name))
        hashes: list[str | None] = []
        size = 0
        sparse = False
        with stream_stable(place.fd, name, BLOCK_SIZE, append_only=self._append_only) as stream:
            suspect = may_be_sparse(stream.stat)
            if stream.stat.st_size > _MOST_BYTES:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), name)
            for block in stream.pieces():
                if isinstance(block, int):
                    examination.feed(_ZEROS)
                    examination.skip((block - 1) * BLOCK_SIZE)
                    size += block * BLOCK_SIZE
                    hashes += [None] * block
                    sparse = True
                    continue
                examination.feed(block)
                size += len(block)
                hashes.append(self._store.put(block) if block.count(0) != len(block) else None)
                sparse = sparse or (suspect and (hashes[-1] is None or has_hole(block)))
            attributes = attributes_of(stream.fileno())
        return _Large(hashes, size, stream.stat, stream.torn, examination.finish(), attributes, sparse)

    def _hard_link(self, place: Place, name: str, status: os.stat_result) -> str | None:
        """The group of a file with several names: the path at which the walk met it first.

        A path that is no text is spelled in hexadecimal, behind a slash that no path below an item begins with.
        """
        if status.st_nlink < 2:
            return None
        label = place.label(name)
        try:
            label.encode()
        except UnicodeEncodeError:
            label = "/" + os.fsencode(label).hex()
        return self._hard_links.setdefault((status.st_dev, status.st_ino), label)

    # -- judging ------------------------------------------------------------------------------------------

    def _judge_batch(
        self,
        place: Place,
        batch: Sequence[tuple[str, FileRead]],
        before: Mapping[str, Entry],
        damaged: Mapping[str, Finding],
    ) -> None:
        """Store what was read, and give each document its verdict: as before, from the memo, or by looking."""
        contents = self._store.put_all([read.data for _, read in batch])
        row = place.row
        asked = set()
        for (name, read), content in zip(batch, contents, strict=True):
            old = before.get(name)
            # of an unchanged document all is known, unless there is more to tell than that it is ok
            plain = row is not None and not row.notes and old is not None and old.hash == content
            if not read.torn and not (plain and place.path(name) not in damaged):
                asked.add(content)
        remembered = self._memo.memo(self._judge.id, sorted(asked)) if self._memo is not None and asked else {}
        for (name, read), content in zip(batch, contents, strict=True):
            if read.torn:
                judgement = _TORN
            elif content not in asked:
                judgement = self._ok
            elif content in remembered:
                judgement = decode_judgement(remembered[content])
            else:
                judgement = self._judge.judge(place.path(name), read.data)
                if self._memo is not None and judgement.verdict is not Verdict.UNREADABLE:
                    self._learnt[content] = remembered[content] = encode_judgement(judgement)
            if self._validates and content in asked:
                judgement = self._comparing.validated(
                    place.path(name), judgement, partial(_blocks, read.data), read.stat.st_uid
                )
            link = self._hard_link(place, name, read.stat)
            sparse = may_be_sparse(read.stat) and has_hole(read.data)
            entry = file_entry(name, read.stat, content, len(read.data), read.attributes, link, sparse=sparse)
            self._file(place, entry, judgement, content, settled=not read.torn and content not in asked)
        if len(self._learnt) > _MOST_LEARNT:
            self.remember()

    def remember(self) -> None:
        """Hand what was learnt to the memo: in few large transactions. What could not be judged is not among it."""
        if self._memo is not None and self._learnt:
            self._memo.remember(self._judge.id, self._learnt)
            self._learnt = {}

    def _file(self, place: Place, entry: Entry, judgement: Judgement, content: str, *, settled: bool = False) -> None:
        """File a judged document under `root`, and under `good` if it is. `settled`: it is as the newest snapshot has
        it, which found it ok."""
        own = place.own
        own.files += 1
        own.size_bytes += entry.size
        own.unchecked += judgement.unchecked
        place.root.append(entry)
        if not settled and (judgement.verdict is not Verdict.OK or self._comparing.concerns(judgement)):
            judgement = self._comparing.compared(
                place.path(entry.name), entry, judgement, content, lambda: self.good_before(place, entry.name)
            )
        if judgement.notes:
            own.notes += [placed_at(place.label(entry.name), note) for note in judgement.notes]
        if judgement.verdict is Verdict.OK:
            place.good.append(entry)
            if judgement.version is not None and self._judge.is_older(judgement):
                own.older[place.path(entry.name)] = Older(judgement.version, content)
            return
        placed = tuple(placed_at(place.label(entry.name), problem) for problem in judgement.problems)
        self._damaged(place, entry.name, Finding(place.path(entry.name), judgement.verdict, placed, content))

    def _damaged(self, place: Place, name: str, finding: Finding) -> None:
        place.own.findings.append(finding)
        good = self.good_before(place, name)
        if good is not None:
            place.good.append(good)

    def _not_a_file(self, place: Place, name: str, status: os.stat_result) -> None:
        kind = describe_type(status.st_mode)
        good = self.good_before(place, name)
        if place.only is not None or (good is not None and good.type == "file"):
            # Where a document is expected nothing else will do: it may have been planted there.
            sentence = f"is {kind} where a regular file is expected"
            self.carry(place, name, Verdict.CORRUPT, sentence, identity(status))
        elif stat.S_ISLNK(status.st_mode):
            try:
                target = os.readlink(name, dir_fd=place.fd)
            except OSError:
                return  # it vanished or changed its kind: the next look sees what it is now
            # the path goes through the held descriptor and has one component below it: nothing can be planted in it
            attributes = attributes_of(f"/proc/self/fd/{place.fd}/{name}")
            entry = link_entry(name, status, target, attributes, self._hard_link(place, name, status))
            place.root.append(entry)
            place.good.append(entry)
        else:
            place.own.notes.append(Problem(place.label(name), f"is {kind}: not captured"))


def _blocks(data: bytes) -> tuple[bytes]:
    return (data,)
