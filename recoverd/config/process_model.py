"""The part of the model that is about processes which a service's documents name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from recoverd.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Processes:
    """Children of a service that its state names: entries of a list in a file item, each with its process id."""

    item: str
    select: str  # JSON pointer of the list, or of a mapping whose values count
    pid: str = "pid"  # the field, or a JSON pointer below the entry


@dataclass(frozen=True, slots=True)
class Instances:
    """Processes that a document lists: one for each entry that fits, its fields filled into name, command and cwd."""

    item: str
    select: str
    command: tuple[str, ...]
    where: Mapping[str, Any] = field(
        default_factory=lambda: MappingProxyType({})
    )  # field -> value, list of values or {within: 1h}
    name: str = "{id}"
    cwd: str | None = None
    most: int = 100
