"""One look at one state item: all that a kind of state item gets to look with, and what each kind has to do."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from recoverd.config.model import StateItem
from recoverd.recovery.comparing import Accepted
from recoverd.recovery.dump_looks import ASK, DumpLook
from recoverd.recovery.item_survey import ItemSurvey, item_key
from recoverd.recovery.partial import Hints
from recoverd.recovery.stat_rows import Row, decode
from recoverd.recovery.stores import Memo, Store
from recoverd.repository.records import ItemRecord
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Judgement
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at one state item goes by; `before` is its record in the newest snapshot that has one."""

    service: str
    item: StateItem
    judge: Judge
    store: Store
    before: ItemRecord | None
    memo: Memo | None
    now_ns: int  # when it began
    full_read: bool  # believe no cached stat
    accepted: Accepted
    hints: Hints | None  # what may have changed since `before`; None: anything
    dumps: DumpLook = ASK
    at_rest: bool = False  # it was just brought in by a restore, and its service does not run

    def rows(self, directories: Collection[str] | None = None) -> dict[str, Row]:
        """The item's stat cache, by directory below it; only those of `directories` if they are given."""
        if self.memo is None:
            return {}
        stored = self.memo.stat_cache(item_key(self.service, self.item.name), directories)
        decoded = {below: decode(data) for below, data in stored.items()}
        return {below: row for below, row in decoded.items() if row is not None}


class Kind(Protocol):
    """One kind of state item: what a survey asks of it."""

    def look(self, look: Look, outline: ItemSurvey) -> ItemSurvey:
        """The item as it is now, put into `look.store`. `outline` is the survey of an item at which nothing was found
        yet: it carries the known-good version of `look.before` forward.

        Changes nothing that is live, and takes bounded time and memory whatever is there. What is wrong with live state
        is a verdict. Raises FileNotFoundError when nothing is there (the caller says whether that is `new` or
        `missing`), UntrustedLink and OSError when it is out of reach (`unreadable`), RepositoryError when the store
        can't take what is put.
        """

    def judge_staged(self, judge: Judge, document: str, fd: int) -> Judgement:
        """The verdict on one staged regular file, open at `fd`, which lies at `document` below the item ("" is the item
        itself): by its content, its name and size. The item's `validate` command is for the caller. Raises OSError."""
