"""What a restore changes: a value that plans and transactions share."""

from __future__ import annotations

from recoverd.repository.trees import Entry
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Replacement:
    """One thing that a restore changes.

    `target` is the absolute declared path of the item; `relative` is "" for the item itself, or a path below a
    directory item. `entry` None removes what is there (it goes to quarantine). A directory `entry` is swapped
    `whole`, with all that lies in the live one, or else file by file: files that the entry lacks then stay.
    `parents` are the entries of the directories from the item down to the one that holds `relative`, as far as
    they are known: what is missing of them is made like that.
    """

    item: str
    target: str
    relative: str
    entry: Entry | None
    whole: bool = False
    parents: tuple[Entry, ...] = ()
    companions: tuple[str, ...] = ()  # endings of the names beside it that go with what is replaced
    document: str | None = None  # of its item, where `target` and `relative` are those of a directory it lies in

    @property
    def path(self) -> str:
        return f"{self.target}/{self.relative}" if self.relative else self.target

    @property
    def named(self) -> str:
        """Which document of its item this is, "" for the item itself."""
        return self.relative if self.document is None else self.document
