"""What can't be said of a document by itself: against its known-good version, by its operator, by a tool of its own.

Never remembered by content alone, for the same bytes may be right here and wrong there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from recoverd.config.model import EMPTY, StateItem
from recoverd.recovery.stores import Store
from recoverd.repository.trees import Entry
from recoverd.state.judging import Judge
from recoverd.state.signs import shrunk
from recoverd.state.verdicts import Judgement, Problem, Verdict
from recoverd.values import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the operator of a service called good: document -> content hash; `resets`: whatever was emptied."""

    documents: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    resets: bool = False

    def covers(self, document: str, content: str) -> bool:
        return self.resets or self.documents.get(document) == content


NOTHING_ACCEPTED = Accepted()


class Comparing:
    """The second look at the documents of one state item, after their content was judged."""

    def __init__(self, item: StateItem, judge: Judge, store: Store, accepted: Accepted) -> None:
        self._item = item
        self._judge = judge
        self._store = store
        self._accepted = accepted
        shrinks = item.guards is not None and item.guards.max_shrink is not None
        self._compares = shrinks or judge.signs.name_field is not None
        self.let_pass: dict[str, str] = {}  # document -> content: emptied, and accepted

    def validated(
        self, document: str, judgement: Judgement, blocks: Callable[[], Iterable[bytes]], uid: int
    ) -> Judgement:
        """The verdict of the item's own tool on a document that is ok otherwise. `uid`: whose file it is."""
        if self._item.validate is None or judgement.verdict is not Verdict.OK:
            return judgement
        from recoverd.recovery.validating import validate  # late: few have such a tool

        name = (document or self._item.path).rpartition("/")[2]
        found = validate(self._item.validate, name, blocks(), uid=uid)
        if found is None:
            return judgement
        return Judgement(found.verdict, (Problem("", found.sentence),), judgement.notes)

    def concerns(self, judgement: Judgement) -> bool:
        """Whether `compared` may have more to say of a document that is ok by itself."""
        return self._compares or judgement.blank or judgement.detected == "opaque"

    def compared(
        self, document: str, entry: Entry, judgement: Judgement, content: str, good_before: Callable[[], Entry | None]
    ) -> Judgement:
        """The verdict in the light of the known-good version, which `good_before` finds, and of what was accepted."""
        judgement = self._judge.named(document, judgement)
        if judgement.verdict is Verdict.OK:
            judgement = self._against_good(document, entry, judgement, content, good_before)
        if judgement.verdict is Verdict.RESET and self._accepted.covers(document, content):
            self.let_pass[document] = content
            notes = tuple(Problem(one.place, f"{one.problem}; accepted") for one in judgement.problems)
            return replace(judgement, verdict=Verdict.OK, problems=(), notes=(*judgement.notes, *notes))
        return judgement

    def _against_good(
        self, document: str, entry: Entry, judgement: Judgement, content: str, good_before: Callable[[], Entry | None]
    ) -> Judgement:
        """What could be valid by itself, and is damage, or a reset, where the known-good version was more."""
        guards = self._item.guards
        suspect = judgement.blank or judgement.detected == "opaque"
        if not suspect and (guards is None or guards.max_shrink is None):
            return judgement
        good = good_before()
        if good is None or good.type != "file" or not good.size or (good.hash or good.blocks) == content:
            return judgement
        # a known-good version in blocks is too large to be looked at again, and too large to hold nothing
        before = self._judge.judge(document, self._store.read(good.hash)) if suspect and good.hash is not None else None
        if judgement.blank and not (entry.size and before is not None and before.blank):
            found = (note.problem for note in judgement.notes if note.problem.startswith(("is empty", "holds only")))
            return _corrupt(f"{next(found, 'holds nothing')}, and its known-good version is not")
        if before is not None and not judgement.blank and before.detected not in {"", "opaque"}:
            return _corrupt(f"is no {before.detected} any more, as its known-good version is")
        sentence = shrunk(guards, good.size, entry.size) if guards is not None else None
        if sentence is None:
            return judgement
        return replace(judgement, verdict=Verdict.RESET, problems=(Problem("", sentence),))


def _corrupt(sentence: str) -> Judgement:
    return Judgement(Verdict.CORRUPT, (Problem("", sentence),))
