"""`drill.cron` of services: restores are rehearsed when their time has come, one after the other."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.operations.context import Context
from recoverd.operations.drill_due import due_drills
from recoverd.scheduler.aside import Aside


class Driller(Aside):
    """A drill that was held is not due again, whether it passed or not; one that could not be is, after a rest."""

    what = "the drill"

    def __init__(self, command: Sequence[str], *, look_every_s: float = 30.0, rest_s: float = 600.0) -> None:
        super().__init__(command, look_every_s=look_every_s, rest_s=rest_s)
        self._held: str | None = None  # the service of the last one

    def due(self, context: Context) -> Sequence[str]:
        names = due_drills(context)
        self._held = names[0] if names else None
        return ("drill", "--background", names[0]) if names else ()

    def rest_s(self, context: Context) -> float:
        """None once it is recorded: then another service may be due."""
        return self._rest_s if self._held in due_drills(context) else 0.0
