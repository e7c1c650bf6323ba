"""What recoverd holds itself to, and whether a run shows it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.results import Results
from benchmarks.tools import Phase


@dataclass(frozen=True, slots=True)
class Goal:
    """Median seconds of `tool`, at most `most`: times those of `peer`, or seconds."""

    plan: str
    phase: str
    tool: str
    most: float
    peer: str | None = None


GOALS = (
    *(
        Goal("documents", phase, tool, most, peer)
        for tool in ("recoverd", "recoverd with schema")
        for phase, most, peer in (
            (Phase.FIRST, 0.28, "restic"),
            (Phase.UNCHANGED, 0.13, "restic"),
            (Phase.CHANGED, 0.2, "restic"),
            (Phase.RESTORE, 0.4, "restic"),
            (Phase.RESTORE, 1.1, "cp -a"),
        )
    ),
    *(
        Goal("sqlite", phase, "recoverd", most, "restic")
        for phase, most in (
            (Phase.FIRST, 0.5),
            (Phase.UNCHANGED, 0.25),
            (Phase.CHANGED, 0.5),
            (Phase.IN_USE, 0.5),
        )
    ),
    Goal("starting", "health of 100 services", "recoverd check", 0.150),
    Goal("starting", "help", "recoverd --help", 0.080),
    Goal("boot", "good state", "recoverd restore --boot", 1.5),
    Goal("boot", "damaged state", "recoverd restore --boot", 6.0),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    goal: Goal
    value: float

    @property
    def met(self) -> bool:
        return self.value <= self.goal.most


def outcomes(results: Results) -> list[Outcome]:
    """Of the goals that the run has figures for; a quick look shows nothing."""
    found = []
    for goal in GOALS if results.settled else ():
        row = results.find(goal.plan, goal.phase, goal.tool)
        value = None if row is None else row.seconds if goal.peer is None else results.ratio(row, goal.peer)
        if value is not None:
            found.append(Outcome(goal, value))
    return found
