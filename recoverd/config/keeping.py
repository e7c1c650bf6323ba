"""What is declared of a service's processes beside how they are started: their limits, and how they are watched."""

from __future__ import annotations

from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """For the processes of one service together, where the kernel can count so; None: no limit."""

    memory_bytes: int | None = None
    tasks: int | None = None  # processes and threads

    @property
    def are_set(self) -> bool:
        return self.memory_bytes is not None or self.tasks is not None


@dataclass(frozen=True, slots=True)
class Watch:
    """How `recoverd run` keeps a service up between boots."""

    every_s: float = 10.0
    restart: str = "on-failure"  # on-failure | always (never gives up) | never (only tells)
    backoff_first_s: float = 1.0
    backoff_most_s: float = 300.0
    give_up_after: int = 5  # failures in a row
