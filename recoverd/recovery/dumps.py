"""Dump items: what the service's own tool saves goes into blocks, under judgement, as it comes or as it came.

A dump counts only when its command ended with status 0, in time, and its output came to its end: what died, was cut,
was too slow, too large or empty is no dump, whatever had been written by then.
"""

from __future__ import annotations

from recoverd.errors import ServiceError
from recoverd.recovery.comparing import Comparing
from recoverd.recovery.dump_looks import Take
from recoverd.recovery.dump_saving import NoDump, Saved, save_and_judge
from recoverd.recovery.file_kinds import Files
from recoverd.recovery.item_survey import ItemSurvey
from recoverd.recovery.looking import Look
from recoverd.recovery.stat_rows import Finding
from recoverd.recovery.stores import Store
from recoverd.repository.records import ItemRecord
from recoverd.repository.trees import BLOCK_SIZE, EMPTY_TREE, Entry
from recoverd.services import streaming
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Judgement, Problem, Verdict
from recoverd.system.walk import owner_names
from recoverd.values import replace


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
        before = look.dumps.taken.get(item.name)
        try:
            saved = save_and_judge(item, blocks.take) if before is None else before.replay(blocks.take)
        except (ServiceError, NoDump) as error:
            return _without(outline, Verdict.UNREADABLE, f"can't be dumped: {error}")
        blocks.end()
        if not blocks.size_bytes:
            verdict = Verdict.NEW if outline.good in {None, EMPTY_TREE} else Verdict.CORRUPT
            return _without(outline, verdict, f"is empty: {item.dump.save[0]} succeeded and wrote nothing")
        return _judged(look, outline, blocks, saved)

    def judge_staged(self, judge: Judge, document: str, fd: int) -> Judgement:
        """See `Kind`: a dump in a file is opaque content."""
        return Files().judge_staged(judge, document, fd)


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


def _judged(look: Look, outline: ItemSurvey, blocks: _Blocks, saved: Saved) -> ItemSurvey:
    """What a whole dump comes to, by itself, by its own tool, and against its known-good version."""
    item, store = look.item, look.store
    entry = blocks.entry(item.name, saved.uid, look.now_ns)
    content = entry.hash or entry.blocks or ""
    root = store.put_tree([entry])
    judgement = blocks.judgement()
    if judgement.verdict is Verdict.OK and saved.invalid is not None:
        judgement = Judgement(saved.invalid.verdict, (Problem("", saved.invalid.sentence),), judgement.notes)
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
