"""What a tool is to the benchmark."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Protocol

from benchmarks.measure import Work


class Phase(StrEnum):
    FIRST = "first snapshot"
    UNCHANGED = "nothing changed"
    ONE = "one document changed"
    IN_USE = "1 % changed, and somebody writes"
    CHANGED = "1 % changed"
    RESTORE = "restore of everything"


SAVES = (Phase.FIRST, Phase.UNCHANGED, Phase.ONE, Phase.IN_USE, Phase.CHANGED)


class Tool(Protocol):
    """One tool on one copy of the documents, with a place of its own on the same file system."""

    name: str
    restored: Path | None  # where the documents are after a restore; None: it brings nothing back

    def work(self, phase: Phase) -> Work | None:
        """The work of a phase, after what has to be prepared for it; None: the tool does no such thing."""


def empty(place: Path) -> Path:
    """A directory for one tool."""
    place.mkdir(parents=True)
    return place
