"""State items that are SQLite databases: copied by a child process, stored as pages, judged on that copy.

One that has been left alone for a while is stored and judged where it lies instead, and that counts only if it is still
the same afterwards. A snapshot holds one whole database file: what was in its -wal or in a hot journal is in it. What
lies beside it is never stored, and goes to quarantine with the database when it is restored.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from recoverd.config.database_model import COMPANIONS
from recoverd.recovery.comparing import Comparing
from recoverd.recovery.database_image import DatabaseImage, is_same
from recoverd.recovery.entries import describe_type, file_entry, identity, large_file_entry
from recoverd.recovery.item_survey import ItemSurvey, damaged
from recoverd.recovery.looking import Look
from recoverd.recovery.private_copies import PrivateCopy, may_enter_at
from recoverd.recovery.stat_rows import Finding, Row, join_names, pack_stat
from recoverd.recovery.stores import Store, Trees
from recoverd.repository.trees import DATABASE_BLOCK, DATABASE_BLOCK_THRESHOLD, Entry, same_but_mtime
from recoverd.state.databases.process import Copied, Examination, Source
from recoverd.state.judging import Judge, decode_judgement, encode_judgement
from recoverd.state.verdicts import Judgement, Problem, Verdict
from recoverd.system import clock
from recoverd.system.mounts import is_memory_file_system, is_remote_file_system, mount_point_of
from recoverd.system.reading import attributes_of, open_regular
from recoverd.system.walk import lstat_at, open_parent
from recoverd.values import dataclass, replace

_QUIET_NS = 50_000_000
"""How old a change must be for the stat that shows it to be believed: SQLite writes by system calls, so times are late
by a tick of the kernel at most."""
_COARSE_NS = 2_000_000_000
"""The same where files have times in whole seconds; vfat's are in two."""
_LEFT_ALONE_NS = 500_000_000
_READ_PER_S = 400_000_000  # bytes
_LARGE_BYTES = 32 << 20  # a smaller one is copied into memory, sooner than a change would show
_TOGETHER = 1 << 20  # bytes that are stored at once


@dataclass(frozen=True, slots=True)
class _Found:
    """A database and what lies beside it, by one look at the names."""

    fd: int  # the directory
    name: str
    status: os.stat_result
    beside: tuple[tuple[str, os.stat_result], ...]  # by ending; without the -shm file, which mere readers write to

    @property
    def names(self) -> bytes:
        return join_names([self.name, *(self.name + ending for ending, _ in self.beside)])

    @property
    def stats(self) -> bytes:
        # as root, SQLite gives a -wal to its owner anew whenever it opens one: a ctime of it says nothing
        beside = [pack_stat(status, ctime_ns=0) for _, status in self.beside]
        return b"".join([pack_stat(self.status), *beside])

    @property
    def size_bytes(self) -> int:
        return self.status.st_size + sum(status.st_size for _, status in self.beside)

    @property
    def source(self) -> Source:
        return Source(self.size_bytes, self.status.st_uid, self.status.st_gid, directory=self.fd, name=self.name)

    def is_left_alone(self, *, at_rest: bool) -> bool:
        """Whether nobody seems to be writing: a ctime well in the future is of a clock that was set back since.

        At rest a large one is waited for, until another change would show: that is less than a copy takes.
        """
        if any(status.st_size for _, status in self.beside) or is_remote_file_system(self.fd):
            return False
        enough_ns = left_alone_ns(self.status.st_size, self.newest_ctime_ns)
        idle_ns = abs(clock.now_ns() - self.newest_ctime_ns)
        if at_rest and self.status.st_size >= _LARGE_BYTES:
            enough_ns = _settled_ns(self.newest_ctime_ns)
            if idle_ns <= enough_ns <= _QUIET_NS:
                time.sleep((enough_ns - idle_ns + 1) / 1e9)
                idle_ns = abs(clock.now_ns() - self.newest_ctime_ns)
        return idle_ns > enough_ns

    @property
    def newest_ctime_ns(self) -> int:
        return max(self.status.st_ctime_ns, *(status.st_mtime_ns for _, status in self.beside), 0)


class Databases:
    """See `looking.Kind`."""

    def look(self, look: Look, outline: ItemSurvey) -> ItemSurvey:
        fd, name = open_parent(outline.path)
        try:
            outline = replace(outline, mount=mount_point_of(fd))
            found = _Found(fd, name, lstat_at(fd, name), tuple(_beside(fd, name)))
            for ending, status in (("", found.status), *found.beside):
                if not stat.S_ISREG(status.st_mode):
                    which = f"{name}{ending} " if ending else ""
                    sentence = f"{which}is {describe_type(status.st_mode)} where a regular file is expected"
                    what = identity(found.status, *(each for _, each in found.beside))
                    return damaged(outline, Verdict.CORRUPT, sentence, what)
            row = _row(look, found)
            if row is not None:
                return _as_before(outline, row)
            return _captured(look, outline, found)
        finally:
            os.close(fd)

    def judge_staged(self, judge: Judge, document: str, fd: int) -> Judgement:
        del document  # it is the item itself
        status = os.fstat(fd)
        source = Source(status.st_size, status.st_uid, status.st_gid, file=fd)
        with PrivateCopy(source.uid, source.gid, source.size_bytes) as private:
            with Examination(source, private.path, judge.database) as examination:
                judgement = _judged(examination, examination.copied(), judge)
            return judge.by_bytes(judgement, b"", status.st_size)


def _beside(fd: int, name: str) -> Iterator[tuple[str, os.stat_result]]:
    for ending in COMPANIONS:
        try:
            status = lstat_at(fd, name + ending)
        except FileNotFoundError:
            continue
        if ending != "-shm" or not stat.S_ISREG(status.st_mode):
            yield ending, status


# --- unchanged


def _row(look: Look, found: _Found) -> Row | None:
    """What the newest snapshot's capture noted, if the database is still as it was then."""
    before = look.before
    if look.full_read or before is None or is_memory_file_system(found.fd):
        return None
    row = look.rows().get("")
    if row is None or (row.judge, row.root, row.good) != (look.judge.id, before.root, before.good):
        return None
    trusted = row.newest_ctime_ns + _settled_ns(row.newest_ctime_ns) <= row.captured_ns
    return row if trusted and (row.names, row.stats) == (found.names, found.stats) else None


def left_alone_ns(size_bytes: int, ctime_ns: int) -> int:
    """For how long nobody must have written to a database that is read in its place.

    A write meanwhile is seen whatever this says, if its time shows; but who writes all the time would have it read in
    vain each time, and then copied. About as long as reading takes is long enough for that to be rare.
    """
    return max(_LEFT_ALONE_NS + size_bytes * 1_000_000_000 // _READ_PER_S, _settled_ns(ctime_ns))


def _settled_ns(ctime_ns: int) -> int:
    """How old a change must be for the next one to show another time."""
    return _QUIET_NS if ctime_ns % 1_000_000_000 else _COARSE_NS


def _as_before(outline: ItemSurvey, row: Row) -> ItemSurvey:
    return replace(
        outline,
        verdict=row.findings[0].verdict if row.findings else Verdict.OK,
        problems=row.findings[0].problems if row.findings else (),
        findings=row.findings,
        root=row.root,
        good=row.good,
        files=row.files,
        size_bytes=row.size_bytes,
        unchecked=row.unchecked,
        notes=row.notes,
        rows={},
        as_known=frozenset(("",)),
    )


# --- captured


def _captured(look: Look, outline: ItemSurvey, found: _Found) -> ItemSurvey:
    """The database as it is now, put into the store."""
    if found.is_left_alone(at_rest=look.at_rest):
        survey = _captured_in_place(look, outline, found)
        if survey is not None:
            return survey
    if found.beside and not may_enter_at(found.fd, found.status.st_uid, found.status.st_gid):
        why = f"has something beside it, where its owner, user {found.status.st_uid}, may not enter"
        return damaged(outline, Verdict.UNREADABLE, why)
    # twice, where what lies beside it has to be recovered first
    size_bytes = found.size_bytes * (2 if found.beside else 1)
    with _source(found) as source, PrivateCopy(source.uid, source.gid, size_bytes) as private:
        with Examination(source, private.path, look.judge.database) as examination:
            copied = examination.copied()
            if copied.why is not None:
                return damaged(outline, Verdict.UNREADABLE, copied.why)
            if source.file is not None and not is_same(os.fstat(source.file), found.status):
                return damaged(outline, Verdict.UNREADABLE, "kept changing while it was read")
            image = DatabaseImage(private.fd, os.fstat(private.fd).st_size)
            stored = _Stored.put(look, found, image)
            judgement = _known(look, stored.content) if copied.damage is None else None
            if judgement is None:
                judgement = _judged(examination, copied, look.judge)
                if copied.damage is None:
                    _remember(look, stored.content, judgement)
        return _compared(look, outline, found, image, stored, judgement)


@contextmanager
def _source(found: _Found) -> Iterator[Source]:
    """By its directory; as an open file where its owner, who does not use it then, may not enter. Raises OSError."""
    if may_enter_at(found.fd, found.status.st_uid, found.status.st_gid):
        yield found.source
        return
    fd = open_regular(found.fd, found.name)
    try:
        yield replace(found.source, directory=-1, name="", file=fd)
    finally:
        os.close(fd)


def _captured_in_place(look: Look, outline: ItemSurvey, found: _Found) -> ItemSurvey | None:
    """The same without a copy. None when that can't be, or was not to be: somebody has written meanwhile."""
    try:
        fd = open_regular(found.fd, found.name)
    except OSError:
        return None  # a copy tells why
    try:
        with Examination(found.source, None, look.judge.database) as examination:
            survey = _judged_in_place(look, outline, found, fd, examination)
            return survey if is_same(os.fstat(fd), found.status) else None
    except OSError:
        return None
    finally:
        os.close(fd)


def _judged_in_place(
    look: Look, outline: ItemSurvey, found: _Found, fd: int, examination: Examination
) -> ItemSurvey | None:
    image = DatabaseImage.settled(fd, found.status)
    stored = _Stored.put(look, found, image)
    if not examination.in_place():
        return None
    judgement = _known(look, stored.content)
    if judgement is None:
        judgement = examination.judged(unchecked=look.judge.unchecked)
        if judgement.verdict is Verdict.UNREADABLE or not is_same(os.fstat(fd), found.status):
            return None
        _remember(look, stored.content, judgement)
    return _compared(look, outline, found, image, stored, judgement)


def _compared(
    look: Look, outline: ItemSurvey, found: _Found, image: DatabaseImage, stored: _Stored, judgement: Judgement
) -> ItemSurvey:
    comparing = Comparing(look.item, look.judge, look.store, look.accepted)
    judgement = look.judge.by_bytes(judgement, b"", stored.entry.size)
    judgement = comparing.validated("", judgement, image.pieces, found.status.st_uid)
    good = outline.good
    judgement = comparing.compared("", stored.entry, judgement, stored.content, lambda: _entry_of(look.store, good))
    return _filed(look, outline, found, stored, judgement, comparing.let_pass)


def _remember(look: Look, content: str, judgement: Judgement) -> None:
    if look.memo is not None and judgement.verdict is not Verdict.UNREADABLE:
        look.memo.remember(look.judge.id, {content: encode_judgement(judgement)})


def _judged(examination: Examination, copied: Copied, judge: Judge) -> Judgement:
    if copied.why is not None:
        return Judgement(Verdict.UNREADABLE, (Problem("", copied.why),))
    if copied.damage is not None:
        return Judgement(Verdict.CORRUPT, (Problem("", copied.damage),), unchecked=judge.unchecked)
    return examination.judged(unchecked=judge.unchecked)


def _known(look: Look, content: str) -> Judgement | None:
    """The verdict on this very content by these very rules, if it is remembered."""
    remembered = look.memo.memo(look.judge.id, [content]) if look.memo is not None else {}
    return decode_judgement(remembered[content]) if content in remembered else None


def _entry_of(trees: Trees, root: str | None) -> Entry | None:
    return next((entry for entry in trees.tree(root) if entry.type == "file"), None) if root is not None else None


@dataclass(frozen=True, slots=True)
class _Stored:
    """A database in the store: with owner, mode and time of the live one, and what tells its content from another."""

    entry: Entry
    content: str

    @classmethod
    def put(cls, look: Look, found: _Found, image: DatabaseImage) -> _Stored:
        stored = cls._put(look.store, found, image)
        old = _entry_of(look.store, look.before.root if look.before is not None else None)
        if old is not None and same_but_mtime(old, stored.entry):
            return cls(old, stored.content)  # what only moved from the -wal into the database is no change
        return stored

    @classmethod
    def _put(cls, store: Store, found: _Found, image: DatabaseImage) -> _Stored:
        # through the held directory, with one component below it: nothing can be planted in between
        attributes = attributes_of(f"/proc/self/fd/{found.fd}/{found.name}")
        if image.size <= DATABASE_BLOCK_THRESHOLD:
            content = store.put(b"".join(image.pieces()))
            return cls(file_entry(found.name, found.status, content, image.size, attributes), content)
        block = max(DATABASE_BLOCK, image.page_size)
        content = store.put_blocks(_blocks(store, image, block), block, image.size)
        entry = large_file_entry(found.name, found.status, content, image.size, block, attributes, None, sparse=False)
        return cls(entry, content)


def _blocks(store: Store, image: DatabaseImage, block: int) -> Iterator[str | None]:
    """Store the blocks of a database; the hash of each, None for one that holds nothing. Raises OSError."""
    pieces = image.pieces(block)
    while together := list(islice(pieces, _TOGETHER // block)):
        yield from _put(store, together)


def _put(store: Store, blocks: list[bytes]) -> list[str | None]:
    """Store blocks; None for those that hold nothing."""
    holes = {size: bytes(size) for size in {len(block) for block in blocks}}
    hashes = iter(store.put_all([block for block in blocks if block != holes[len(block)]]))
    return [next(hashes) if block != holes[len(block)] else None for block in blocks]


def _filed(
    look: Look,
    outline: ItemSurvey,
    found: _Found,
    stored: _Stored,
    judgement: Judgement,
    let_pass: dict[str, str],
) -> ItemSurvey:
    root = look.store.put_tree([stored.entry])
    notes = tuple(Problem(found.name, note.problem) for note in judgement.notes)
    findings: tuple[Finding, ...] = ()
    good: str | None = root
    if judgement.verdict is not Verdict.OK:
        problems = tuple(Problem(found.name, problem.problem) for problem in judgement.problems)
        findings, good = (Finding("", judgement.verdict, problems, stored.content),), outline.good
    row = None
    if good is not None and judgement.verdict is not Verdict.UNREADABLE:
        row = Row(
            captured_ns=look.now_ns,
            newest_ctime_ns=found.newest_ctime_ns,
            judge=look.judge.id,
            root=root,
            good=good,
            names=found.names,
            stats=found.stats,
            findings=findings,
            children={},
            files=1,
            size_bytes=stored.entry.size,
            unchecked=int(judgement.unchecked),
            notes=notes,
        )
    before = look.before
    as_known = before is not None and (before.root, before.good) == (root, good)
    return replace(
        outline,
        verdict=judgement.verdict,
        problems=findings[0].problems if findings else (),
        findings=findings,
        root=root,
        good=good,
        files=1,
        size_bytes=stored.entry.size,
        unchecked=int(judgement.unchecked),
        notes=notes,
        accepted=dict(let_pass),
        rows={"": row},
        as_known=frozenset(("",)) if as_known else frozenset(),
    )
