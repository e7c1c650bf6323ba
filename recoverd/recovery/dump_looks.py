"""How dump items are looked at: asked for a dump, or left as they are known."""

from __future__ import annotations

from collections.abc import Callable

from recoverd.values import dataclass

Take = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class DumpLook:
    """`ask` False: not at all, they count as the newest snapshot has them, because their services may not run.
    `keep`: takes what is saved too, as it comes; what it raises is raised."""

    ask: bool = True
    keep: Take | None = None


ASK, DO_NOT_ASK = DumpLook(), DumpLook(ask=False)
