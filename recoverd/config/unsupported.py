"""Keys and values that the contract has and this version does not build yet. Using one is a problem.

Each line of the table stands alone: when a part is built, its line goes. Patterns are paths below a service
(or below the document, for host-wide keys) with `*` for any name or index; `values` are the only ones meant.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from recoverd.config.nodes import Node, Path


@dataclass(frozen=True, slots=True)
class Unsupported:
    pattern: str
    planned: str
    values: tuple[str, ...] = ()


_HOME = "part 2, at home on a Linux machine"
_GOOD = "part 3, what is good state"
_TRUST = "part 4, a repository to trust"
_SAFE = "part 5, recovery that cannot make things worse"
_DATABASES = "part 6, databases, dumps, migration and what was in flight"
_CLOUD = "after part 6"

HOST = (
    Unsupported("repository.spare", _TRUST),
    Unsupported("repository.min_free", _TRUST),
    Unsupported("repository.max_bytes", _TRUST),
    Unsupported("prune", _HOME),
    Unsupported("verify", _TRUST),
    Unsupported("quarantine", _SAFE),
    Unsupported("boot_timeout", _HOME),
    Unsupported("boot_late", _HOME),
    Unsupported("replicas", _CLOUD),
    Unsupported("hooks", _DATABASES),
    Unsupported("heartbeat", _CLOUD),
    Unsupported("metrics", _CLOUD),
    Unsupported("io_timeout", _GOOD),
)
SERVICE = (
    Unsupported("run.systemd", _HOME),
    Unsupported("run.control", _HOME),
    Unsupported("limits", _SAFE),
    Unsupported("processes", _SAFE),
    Unsupported("instances", _SAFE),
    Unsupported("for_each", _SAFE),
    Unsupported("consistency", _DATABASES),
    Unsupported("autosave.cron", _HOME),
    Unsupported("autosave.on_change", _GOOD),
    Unsupported("watch", _SAFE),
    Unsupported("drill", _SAFE),
    Unsupported("in_flight", _DATABASES),
    Unsupported("hooks", _DATABASES),
    Unsupported("check.max_drill_age", _SAFE),
    Unsupported("restore.exhausted", _GOOD, ("leave", "empty")),
    Unsupported("restore.salvage", _GOOD, ("tail",)),
    Unsupported("restore.unhealthy", _SAFE, ("fall-back",)),
    Unsupported("restore.fallback.*", _GOOD, ("siblings", "rebuild", "initial")),
    Unsupported("restore.fallback.*", _CLOUD, ("replicas",)),
    Unsupported("state.*.sqlite", _DATABASES),
    Unsupported("state.*.dump", _DATABASES),
    Unsupported("state.*.format", _GOOD, ("yaml", "toml")),
    Unsupported("state.*.version", _DATABASES),
    Unsupported("state.*.migrate", _DATABASES),
    Unsupported("state.*.guards", _GOOD),
    Unsupported("state.*.siblings", _GOOD),
    Unsupported("state.*.rebuild", _GOOD),
    Unsupported("state.*.initial", _GOOD),
    Unsupported("state.*.name_field", _GOOD),
    Unsupported("state.*.check", _DATABASES),
    Unsupported("state.*.require_tables", _DATABASES),
    Unsupported("state.*.assert", _DATABASES),
    Unsupported("state.*.magic", _GOOD),
    Unsupported("state.*.validate", _GOOD),
    Unsupported("state.*.max_bytes", _DATABASES),
)


@dataclass(frozen=True, slots=True)
class Use:
    """One use of what is not supported yet; `value` where only this value is meant."""

    path: Path
    value: str | None
    planned: str

    @property
    def sentence(self) -> str:
        what = "is" if self.value is None else f'"{self.value}" is'
        return f"{what} not supported yet (planned: {self.planned})"


def uses(node: Node, table: tuple[Unsupported, ...]) -> Iterator[Use]:
    """All uses below `node`, in the order of the table."""
    for line in table:
        for path, found in _matches(node, tuple(line.pattern.split(".")), ()):
            if not line.values:
                yield Use(path, None, line.planned)
            elif found.content in line.values:
                yield Use(path, str(found.content), line.planned)


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
