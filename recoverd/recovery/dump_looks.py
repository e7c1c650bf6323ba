"""How dump items are looked at: asked for a dump, or left as they are known."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from recoverd.config.model import EMPTY, ItemKind, StateItem
from recoverd.values import dataclass, field, replace

if TYPE_CHECKING:
    from recoverd.recovery.dump_files import DumpFile

Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class DumpLook:
    """`ask` False: not at all, they count as the newest snapshot has them, because their services may not run.
    `keep`: begins a new copy of what is saved, and gives what takes it, as it comes; what that raises is raised.
    `taken`: by item, what was asked for before, so that nobody is asked now."""

    ask: bool = True
    keep: Callable[[], Take] | None = None
    taken: Mapping[str, DumpFile] = field(default_factory=lambda: EMPTY)


ASK, DO_NOT_ASK = DumpLook(), DumpLook(ask=False)


def as_file(item: StateItem, path: str) -> StateItem:
    """A state item as it is judged when it lies elsewhere: a dump, which lies nowhere, is a file then."""
    if item.dump is None:
        return replace(item, path=path)
    return replace(item, kind=ItemKind.FILE, path=path, dump=None)


def name_of(item: StateItem) -> str:
    """What the one entry of the item's tree is called: a dump is named by its item."""
    return os.path.basename(item.path) or item.name
