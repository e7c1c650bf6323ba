"""What was measured, as values: kept in results.json, shown by show.py and pages.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any


@dataclass(frozen=True, slots=True)
class Sample:
    """One measured piece of work."""

    seconds: float
    peak_bytes: int  # the largest resident memory of one of its processes
    written_bytes: int | None  # to the device, until nothing of it is left in memory; None: the device can't tell


@dataclass(frozen=True, slots=True)
class Row:
    """What one tool did in one phase of one plan, once in each round."""

    plan: str
    phase: str
    tool: str
    samples: tuple[Sample, ...]
    syncs: int | None = None  # calls that wait for the disk, counted in a round that is not timed

    @property
    def seconds(self) -> float:
        """The median, like the others."""
        return median(one.seconds for one in self.samples)

    @property
    def fastest(self) -> float:
        return min(one.seconds for one in self.samples)

    @property
    def slowest(self) -> float:
        return max(one.seconds for one in self.samples)

    @property
    def peak_bytes(self) -> float:
        return median(one.peak_bytes for one in self.samples)

    @property
    def written_bytes(self) -> float | None:
        written = [one.written_bytes for one in self.samples if one.written_bytes is not None]
        return median(written) if written else None


@dataclass(frozen=True, slots=True)
class Results:
    """One run of the benchmark."""

    taken: str  # UTC
    machine: Mapping[str, str]
    versions: Mapping[str, str]
    missing: Mapping[str, str]  # tool -> why there are no figures of it
    rounds: int
    settled: bool  # files had been quiet for a minute; else recoverd read all of them again
    floor_bytes: int  # peak memory of a command that does nothing: less can't be measured
    plans: Mapping[str, str]  # key -> title
    rows: tuple[Row, ...]
    later: Mapping[str, str] = field(default_factory=dict)  # plans measured by themselves after the others: when, how

    def with_plans_of(self, other: Results) -> Results:
        """The same with what another run has measured in place of what this one has of these plans.

        Raises ValueError when that was on another machine, or not in full.
        """
        for what in sorted((self.machine.keys() | other.machine.keys()) - {"load before"}):
            mine, its = self.machine.get(what), other.machine.get(what)
            if mine != its:
                raise ValueError(f"{what} is {its} now, and was {mine}: measure all plans anew")
        if other.settled is not self.settled:
            raise ValueError("a quick look is no measurement")
        load = other.machine["load before"]
        words = f"{other.taken[:10]} with recoverd {other.versions['recoverd']}, load before {load}"
        return replace(
            self,
            plans={**self.plans, **other.plans},
            rows=(*(row for row in self.rows if row.plan not in other.plans), *other.rows),
            later={**self.later, **dict.fromkeys(other.plans, words)},
        )

    def find(self, plan: str, phase: str, tool: str) -> Row | None:
        return next((row for row in self.rows if (row.plan, row.phase, row.tool) == (plan, phase, tool)), None)

    def ratio(self, row: Row, tool: str) -> float | None:
        """Median seconds against those of `tool` in the same phase."""
        other = self.find(row.plan, row.phase, tool)
        return row.seconds / other.seconds if other is not None and other is not row else None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Raises ValueError, KeyError or TypeError for what is no result."""
        data: dict[str, Any] = json.loads(text)
        rows = tuple(
            Row(**{**row, "samples": tuple(Sample(**sample) for sample in row["samples"])}) for row in data.pop("rows")
        )
        return cls(rows=rows, **data)
