"""Problems while they are collected: each with its path in the document, so that it is known whom it concerns."""

from __future__ import annotations

from recoverd.config.model import Place
from recoverd.config.nodes import Path, describe
from recoverd.config.units import one_line
from recoverd.errors import ConfigProblem
from recoverd.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """`path` starts at the document; empty: the file as a whole. `unit` is the file whose content is concerned."""

    problem: ConfigProblem
    path: Path
    unit: str

    @property
    def service(self) -> str | None:
        """The service that the problem concerns; None where it is another thing."""
        return str(self.path[1]) if len(self.path) > 1 and self.path[0] == "services" else None


@dataclass(slots=True)
class Findings:
    """The problems of one load."""

    all: list[Finding] = field(default_factory=list)
    host_wide: set[str] = field(default_factory=set)  # units that can hold host-wide keys

    def add(self, place: Place, path: Path, sentence: str, *, unit: str) -> None:
        problem = ConfigProblem(place.file, place.line, place.column, describe(path), one_line(sentence))
        self.all.append(Finding(problem, path, unit))

    def add_problem(self, problem: ConfigProblem, *, unit: str) -> None:
        """A problem of a file as a whole."""
        self.all.append(Finding(problem, (), unit))

    def concern_host(self) -> bool:
        """Whether a problem leaves it open what the host-wide keys are."""
        return any(finding.unit in self.host_wide and finding.path[:1] != ("services",) for finding in self.all)

    def sorted(self) -> tuple[ConfigProblem, ...]:
        """By file, line and column; each once, though several services may share what is wrong (an alias)."""
        unique = dict.fromkeys(finding.problem for finding in self.all)
        return tuple(sorted(unique, key=lambda each: (each.file, each.line, each.column, each.place)))
