"""Verdicts on live state and documents, and the problems that explain them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from recoverd.values import dataclass


class Verdict(StrEnum):
    """What a look at a document, an item or a service says. Ordered from harmless to severe."""

    OK = "ok"
    NEW = "new"
    RESET = "reset"
    NEWER = "newer"
    MISSING = "missing"
    CORRUPT = "corrupt"
    UNREADABLE = "unreadable"

    @property
    def severity(self) -> int:
        return _SEVERITY[self]


_SEVERITY = {verdict: rank for rank, verdict in enumerate(Verdict)}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe of them; `ok` when there are none."""
    return max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.OK)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, at a place (file, JSON pointer or line), in one sentence."""

    place: str
    problem: str

    def __str__(self) -> str:
        return f"{self.place}: {self.problem}" if self.place else self.problem


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict on one document."""

    verdict: Verdict
    problems: tuple[Problem, ...] = ()  # why it is not ok
    notes: tuple[Problem, ...] = ()  # worth knowing, changes no verdict (duplicate keys, …)
    unchecked: bool = False  # ok only as far as the format goes: nothing declares what valid content is
    version: str | None = None  # the value of the declared version field, where one is declared
    name: str | None = None  # what the declared name field says that its file is called; None also where it is absent
    blank: bool = False  # holds nothing, in a format where that can be right: wrong if the known-good was not blank
    detected: str = ""  # for `format: auto`: what it was taken for; wrong if the known-good was something parsable


OK = Judgement(Verdict.OK)
