"""Keys and values that the contract has and this version does not build yet. Using one is a problem.

Each line of the table stands alone: when a part is built, its line goes. Patterns are paths below a service
(or below the document, for host-wide keys) with `*` for any name or index; `values` are the only ones meant.
"""

from __future__ import annotations

from collections.abc import Iterator

from recoverd.config.nodes import Node, Path
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Unsupported:
    pattern: str
    values: tuple[str, ...] = ()


HOST = (
    Unsupported("replicas"),
    Unsupported("heartbeat"),
    Unsupported("metrics"),
)
SERVICE = (Unsupported("restore.fallback.*", ("replicas",)),)


@dataclass(frozen=True, slots=True)
class Use:
    """One use of what is not supported yet; `value` where only this value is meant."""

    path: Path
    value: str | None

    @property
    def sentence(self) -> str:
        what = "is" if self.value is None else f'"{self.value}" is'
        return f"{what} not supported yet"


def uses(node: Node, table: tuple[Unsupported, ...]) -> Iterator[Use]:
    """All uses below `node`, in the order of the table."""
    for line in table:
        for path, found in _matches(node, tuple(line.pattern.split(".")), ()):
            if not line.values:
                yield Use(path, None)
            elif found.content in line.values:
                yield Use(path, str(found.content))


def _matches(node: Node, pattern: tuple[str, ...], path: Path) -> Iterator[tuple[Path, Node]]:
    if not pattern:
        yield path, node
        return
    step, rest = pattern[0], pattern[1:]
    if isinstance(node.content, dict):
        for key, below in node.content.items():
            if step in {"*", key}:
                yield from _matches(below, rest, (*path, key))
    elif isinstance(node.content, tuple) and step == "*":
        for index, below in enumerate(node.content):
            yield from _matches(below, rest, (*path, index))
