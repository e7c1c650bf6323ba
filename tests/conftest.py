"""What holds for every test: the same examples in each run, however slow; the log of one does not silence the next.

Attacks take the fixture `torture`: a seed, whether to try every point or a sample, and `tell`, whose lines end the
report of the run, and are appended to the file RECOVERD_TORTURE_LOG.
"""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# The same examples each time in the gate, those of --hypothesis-seed under torture.
settings.register_profile("house", deadline=None, derandomize=os.environ.get("RECOVERD_TORTURE") is None)
settings.load_profile("house")


class Torture:
    """How hard an attack tries: `full` under RECOVERD_TORTURE, else a sample that depends on the seed alone."""

    def __init__(self, name: str, properties: list[tuple[str, object]]) -> None:
        self.full = bool(os.environ.get("RECOVERD_TORTURE"))
        self.seed = int(os.environ.get("RECOVERD_SEED", "20261121"))
        self.random = random.Random(f"{self.seed} {name}")
        self._properties = properties

    def sample(self, points: Sequence[Any], most: int) -> list[Any]:
        """All points, or a seeded choice of at most `most` of them in their order, with the first and the last."""
        if self.full or len(points) <= most:
            return list(points)
        inner = sorted(self.random.sample(range(1, len(points) - 1), most - 2))
        return [points[0], *(points[n] for n in inner), points[-1]]

    def tell(self, count: int, what: str, found: str) -> None:
        """One line of the log: so many points, cuts or damages, and what was found."""
        self._properties.append(("torture", f"{count} {what}, seed {self.seed}: {found}"))


@pytest.fixture
def torture(request: pytest.FixtureRequest) -> Torture:
    return Torture(request.node.nodeid, request.node.user_properties)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What the attacks tell, also when they pass, and also from other workers."""
    lines = [
        f"{report.nodeid}: {text}"
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, [])
        if report.when == "call"
        for name, text in report.user_properties
        if name == "torture"
    ]
    if lines:
        terminalreporter.section("attacks")
        for line in lines:
            terminalreporter.write_line(line)
        if log := os.environ.get("RECOVERD_TORTURE_LOG"):
            with Path(log).open("a") as file:
                file.writelines(f"{line}\n" for line in lines)


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """Commands that run inside the test process set up recoverd's log; it is put back as it was."""
    root = logging.getLogger("recoverd")
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    yield
    root.handlers[:], root.propagate = handlers, propagate
    root.setLevel(level)
