"""The part of the model that is about documents of older versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from recoverd.config.versions import are_same
from recoverd.values import dataclass, field


@dataclass(frozen=True, slots=True)
class VersionRule:
    """The field that holds a document's version, a name or a JSON pointer, and the version that the service writes."""

    field: str
    current: str

    @property
    def pointer(self) -> str:
        """Where the field is, as a JSON pointer."""
        return self.field if self.field.startswith("/") else f"/{self.field.replace('~', '~0').replace('/', '~1')}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The names that lead to the field, through mappings alone."""
        return tuple(key.replace("~1", "/").replace("~0", "~") for key in self.pointer.split("/")[1:])


@dataclass(frozen=True, slots=True)
class MigrationStep:
    """What makes a document of version `target` out of one of version `source`: a patch, a rename or a command."""

    source: str
    target: str
    patch: tuple[Mapping[str, Any], ...] = ()  # operations of a JSON Patch (RFC 6902)
    rename: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))  # JSON pointer -> JSON pointer
    command: tuple[str, ...] = ()  # the document on its standard input, the new one on its standard output
    timeout_s: float = 60.0  # of the command


def chain(version: str, steps: Sequence[MigrationStep], current: str) -> tuple[MigrationStep, ...]:
    """The steps that lead from `version` to `current`; none where there are none, or it is current already."""
    found: list[MigrationStep] = []
    while not are_same(version, current):
        step = next((one for one in steps if are_same(one.source, version)), None)
        if step is None or step in found:
            return ()
        found.append(step)
        version = step.target
    return tuple(found)
