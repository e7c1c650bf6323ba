"""State that the service's own tools save and load, as the model has it."""

from __future__ import annotations

from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Dump:
    """`save` writes the state to its output, `load` reads it from its input. Each within `timeout_s`, as `user`."""

    save: tuple[str, ...]
    load: tuple[str, ...]
    timeout_s: float = 600.0
    user: str | None = None  # None: as who recoverd runs
    max_bytes: int | None = None  # of one dump; None: no bound
