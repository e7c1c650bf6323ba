"""Dump items: what the service's own tool saves goes, as it comes, into blocks, under judgement, and nowhere else.

A dump counts only when its command ended with status 0, in time, and its output came to its end: what died, was cut,
was too slow, too large or empty is no dump, whatever had been written by then.
"""

from __future__ import annotations

from contextlib import ExitStack

from recoverd.config.dump_model import Dump
from recoverd.config.model import StateItem
from recoverd.errors import ServiceError
from recoverd.recovery.comparing import Comparing
from recoverd.recovery.dump_looks import Take
from recoverd.recovery.file_kinds import Files
from recoverd.recovery.item_survey import ItemSurvey
from recoverd.recovery.looking import Look
from recoverd.recovery.stat_rows import Finding
from recoverd.recovery.stores import Store
from recoverd.recovery.validating import Invalid, PrivateCopy
from recoverd.repository.records import ItemRecord
from recoverd.repository.trees import BLOCK_SIZE, EMPTY_TREE, Entry
from recoverd.services import streaming
from recoverd.services.commands import Ran
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Judgement, Problem, Verdict
from recoverd.system.walk import owner_names
from recoverd.values import replace

_LAST_LINES = 2
_MOST_WORDS = 400


class Dumps:
    """The kind of state item that a service's own tools save and load."""

    def look(self, look: Look, outline: ItemSurvey) -> ItemSurvey:
        """Save the item with its command, and judge what came.

        Whatever the command does is no error: then there is no dump, and `failure` says why. Raises what
        `look.dumps.keep` does, RepositoryError when the repository can't take what is put, DamagedObject when it can't
        give the known-good version.
        """
        if not look.dumps.ask:
            return _as_known(outline, look.before)
        item = look.item
        assert item.dump is not None, "a dump item has its commands"
        blocks = _Blocks(look.store, look.judge, look.dumps.keep() if look.dumps.keep is not None else None)
        try:
            with ExitStack() as stack:
                taken = _Taken(item, item.dump, blocks, stack)
                taken.save()
        except (ServiceError, _NoDump) as error:
            return _without(outline, Verdict.UNREADABLE, f"can't be dumped: {error}")
        if not blocks.size_bytes:
            verdict = Verdict.NEW if outline.good in {None, EMPTY_TREE} else Verdict.CORRUPT
            return _without(outline, verdict, f"is empty: {item.dump.save[0]} succeeded and wrote nothing")
        return _judged(look, outline, blocks, taken)

    def judge_staged(self, judge: Judge, document: str, fd: int) -> Judgement:
        """See `Kind`: a dump in a file is opaque content."""
        return Files().judge_staged(judge, document, fd)


def said(ran: Ran) -> str:
    """How a command ended, with its last words: tools of databases say in two lines what is wrong, and what helps."""
    lines = [line.strip() for line in ran.output.splitlines()]
    words = " ".join([line for line in lines if line][-_LAST_LINES:])[-_MOST_WORDS:]
    shown = "".join(letter if letter.isprintable() else "?" for letter in words)
    return f"{ran.ending}: {shown}" if shown else ran.ending


class _NoDump(Exception):
    """Why what came is no dump."""


class _Taken:
    """One dump under way, with a private copy where the item's own tool is to look at it."""

    def __init__(self, item: StateItem, dump: Dump, blocks: _Blocks, stack: ExitStack) -> None:
        self._item = item
        self._dump = dump
        self._blocks = blocks
        self.invalid: Invalid | None = None
        self.uid = streaming.account_of(dump.user).uid
        self._copy: PrivateCopy | None = None
        if item.validate is not None:
            try:
                self._copy = stack.enter_context(PrivateCopy(item.name, self.uid))
            except OSError as error:
                raise _NoDump(f"there is no place for a copy of it: {error.strerror or error}") from error

    def save(self) -> None:
        """Run the command to its end, and let the tool look at the copy. Raises _NoDump, ServiceError."""
        dump = self._dump
        try:
            done = streaming.read_from(
                dump.save, self._take, timeout_s=dump.timeout_s, most_bytes=dump.max_bytes, user=dump.user
            )
        except (OSError, ValueError) as error:
            raise _NoDump(f"{dump.save[0]}: {getattr(error, 'strerror', None) or error}") from error
        if done.too_large:
            raise _NoDump(f"it has more than max_bytes, {dump.max_bytes} bytes")
        if not done.whole or done.ran.status != 0:
            raise _NoDump(f"{dump.save[0]} {said(done.ran)}")
        self._blocks.end()
        if self._copy is not None and self._item.validate is not None and self._blocks.size_bytes:
            self.invalid = self._copy.judged(self._item.validate)

    def _take(self, data: bytes) -> None:
        if self._copy is not None:
            try:
                self._copy.write(data)
            except OSError as error:
                raise _NoDump(f"it can't be copied for its tool: {error.strerror or error}") from error
        self._blocks.take(data)


class _Blocks:
    """What comes, cut into blocks, each stored and judged as soon as it is full. One block is held at a time."""

    def __init__(self, store: Store, judge: Judge, keep: Take | None) -> None:
        self._store = store
        self._keep = keep
        self._examination = judge.begin("")
        self._waiting = bytearray()
        self._hashes: list[str | None] = []
        self.size_bytes = 0

    def take(self, data: bytes) -> None:
        if self._keep is not None:
            self._keep(data)
        self._examination.feed(data)
        self.size_bytes += len(data)
        self._waiting += data
        while len(self._waiting) > BLOCK_SIZE:
            self._put(bytes(self._waiting[:BLOCK_SIZE]))
            del self._waiting[:BLOCK_SIZE]

    def end(self) -> None:
        if self._hashes and self._waiting:
            self._put(bytes(self._waiting))
            self._waiting.clear()

    def judgement(self) -> Judgement:
        return self._examination.finish()

    def entry(self, name: str, uid: int, now_ns: int) -> Entry:
        """The dump as a file of the user who saved it."""
        account = streaming.account_of(str(uid))
        user, group = owner_names(uid, account.gid)
        plain = Entry(name, "file", 0o600, uid, account.gid, user, group, self.size_bytes, now_ns)
        if not self._hashes:
            return replace(plain, hash=self._store.put(bytes(self._waiting)))
        blocks = self._store.put_blocks(self._hashes, BLOCK_SIZE, self.size_bytes)
        return replace(plain, blocks=blocks, block_size=BLOCK_SIZE)

    def _put(self, block: bytes) -> None:
        self._hashes.append(self._store.put(block) if block.count(0) != len(block) else None)


def _judged(look: Look, outline: ItemSurvey, blocks: _Blocks, taken: _Taken) -> ItemSurvey:
    """What a whole dump comes to, by itself, by its own tool, and against its known-good version."""
    item, store = look.item, look.store
    entry = blocks.entry(item.name, taken.uid, look.now_ns)
    content = entry.hash or entry.blocks or ""
    root = store.put_tree([entry])
    judgement = blocks.judgement()
    if judgement.verdict is Verdict.OK and taken.invalid is not None:
        judgement = Judgement(taken.invalid.verdict, (Problem("", taken.invalid.sentence),), judgement.notes)
    comparing = Comparing(item, look.judge, store, look.accepted)
    judgement = comparing.compared("", entry, judgement, content, lambda: _file_in(store, outline.good))
    found = replace(
        outline,
        root=root,
        files=1,
        size_bytes=entry.size,
        unchecked=int(judgement.unchecked),
        notes=tuple(Problem(item.name, note.problem) for note in judgement.notes),
        accepted=dict(comparing.let_pass),
    )
    if judgement.verdict is Verdict.OK:
        return replace(found, good=root)
    problems = tuple(Problem(item.name, one.problem) for one in judgement.problems)
    finding = Finding("", judgement.verdict, problems, content)
    return replace(found, verdict=judgement.verdict, problems=problems, findings=(finding,))


def _file_in(store: Store, root: str | None) -> Entry | None:
    return next(iter(store.tree(root)), None) if root is not None else None


def _as_known(outline: ItemSurvey, before: ItemRecord | None) -> ItemSurvey:
    """As the newest snapshot has it; nobody asked."""
    if before is None:
        return replace(outline, verdict=Verdict.NEW)
    problems = tuple(Problem(*one) for one in before.problems)
    verdict = Verdict(before.verdict)
    return replace(
        outline,
        verdict=verdict,
        problems=problems,
        findings=() if verdict in {Verdict.OK, Verdict.NEW} else (Finding("", verdict, problems),),
        root=before.root,
        files=before.files,
        size_bytes=before.size_bytes,
    )


def _without(outline: ItemSurvey, verdict: Verdict, sentence: str) -> ItemSurvey:
    """There is no dump; the known-good one is carried forward."""
    problem = Problem(outline.item, sentence)
    failure = f"{outline.item} {sentence}"
    findings = () if verdict is Verdict.NEW else (Finding("", verdict, (problem,)),)
    return replace(outline, verdict=verdict, problems=(problem,), findings=findings, failure=failure)
