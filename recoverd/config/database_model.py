"""The part of the model that is about SQLite items."""

from __future__ import annotations

from recoverd.values import dataclass

COMPANIONS = ("-wal", "-shm", "-journal")
"""What SQLite keeps beside a database, under its name with these endings. They belong to that one file: beside another
one, they would bring back old rows or damage it."""


@dataclass(frozen=True, slots=True)
class DatabaseRules:
    """What a database is held to, besides that it is one and whole."""

    check: str = "quick"  # none | quick | full: how thoroughly SQLite itself checks it
    require_tables: tuple[str, ...] = ()  # tables or views
    assertions: tuple[str, ...] = ()  # queries whose first value must be true

    @property
    def tells_content(self) -> bool:
        """Whether anything is declared of what it must hold."""
        return bool(self.require_tables or self.assertions)
