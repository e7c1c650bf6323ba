"""Reading values out of nodes whose shape the JSON Schema has checked, and saying what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TypeVar

from recoverd.config import trust, units
from recoverd.config.expansion import expand
from recoverd.config.findings import Findings
from recoverd.config.model import Place, Secret, Span
from recoverd.config.nodes import Node, Path, empty_mapping
from recoverd.config.sources import SourceLog
from recoverd.values import dataclass, field, replace

T = TypeVar("T")


@dataclass(slots=True)
class Context:
    """What all of one load share. `broken` are the paths that problems have been found at before."""

    environ: Mapping[str, str]
    euid: int
    home: str
    findings: Findings
    sources: SourceLog
    schema_directory: str
    broken: set[Path] = field(default_factory=set)

    def is_touched(self, path: Path) -> bool:
        """Whether a problem at, above or below `path` makes its absence no news."""
        return any(broken[: len(path)] == path or path[: len(broken)] == broken for broken in self.broken)

    def read(self, path: str, most_bytes: int) -> bytes:
        """A file that the configuration is made of. Raises trust.Unusable."""
        data = trust.read(path, most_bytes=most_bytes, euid=self.euid)
        self.sources.add(path, data)
        return data


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping of the configuration, which may be absent, and where it stands."""

    node: Node
    path: Path
    context: Context
    unit: str
    present: bool = True

    def has(self, key: str) -> bool:
        return self.node.get(key) is not None

    def section(self, key: str) -> Section:
        below = self.node.get(key)
        node = below if below is not None and isinstance(below.content, dict) else empty_mapping(self.place(key))
        return replace(self, node=node, path=(*self.path, key), present=below is not None)

    def sections(self, key: str) -> list[Section]:
        """The mappings of a list, or those of a mapping."""
        below = self.node.get(key)
        if below is None:
            return []
        entries = below.content.items() if isinstance(below.content, dict) else enumerate(below.content or ())
        return [
            replace(self, node=node, path=(*self.path, key, name), present=True)
            for name, node in entries
            if isinstance(node.content, dict)
        ]

    def place(self, key: str | None = None) -> Place:
        """Where the value of `key` stands; without it, or where it is absent, the section itself."""
        below = self.node.get(key) if key is not None else None
        return self.node.place if below is None else below.place

    def problem(self, key: str | None, sentence: str) -> None:
        path = self.path if key is None else (*self.path, key)
        self.context.findings.add(self.place(key), path, sentence, unit=self.unit)

    def text(self, key: str, default: str | None = None) -> str | None:
        below = self.node.get(key)
        return default if below is None else str(below.content)

    def texts(self, key: str) -> tuple[str, ...]:
        below = self.node.get(key)
        if below is None or not isinstance(below.content, tuple):
            return ()
        return tuple(node.content for node in below.content if isinstance(node.content, str))

    def integer(self, key: str, default: int) -> int:
        below = self.node.get(key)
        return default if below is None else int(below.content)

    def flag(self, key: str, *, default: bool) -> bool:
        below = self.node.get(key)
        return default if below is None else bool(below.content)

    def count(self, key: str, default: int) -> int:
        """A number of snapshots; -1 for `forever`."""
        below = self.node.get(key)
        return default if below is None else -1 if below.content == "forever" else int(below.content)

    def duration(self, key: str, default: float, *, positive: bool = False) -> float:
        """Seconds."""
        return self._parsed(key, units.parse_duration, default, positive=positive)

    def duration_or_none(self, key: str) -> float | None:
        """Seconds, more than none; None where the key is absent."""
        return self.duration(key, 1.0, positive=True) if self.has(key) else None

    def span(self, key: str) -> Span | None:
        return self._parsed(key, units.parse_span, None)

    def size_or_none(self, key: str) -> int | None:
        """Bytes; None where the key is absent."""
        return self._parsed(key, units.parse_size, None)

    def percentage_or_none(self, key: str) -> float | None:
        """A share, from 0 to 1; None where the key is absent."""
        return self._parsed(key, units.parse_percentage, None)

    def crontab_or_none(self, key: str) -> str | None:
        """An expression that `config.crontab` can read; None where the key is absent or a problem was found."""
        cron = self.text(key)
        if cron is None:
            return None
        from recoverd.config import crontab

        try:
            crontab.parse(cron)
        except ValueError as error:
            self.problem(key, str(error))
            return None
        return cron

    def _parsed(self, key: str, parse: Callable[[str], T], default: T, *, positive: bool = False) -> T:
        below = self.node.get(key)
        if below is None:
            return default
        try:
            value = parse(below.content)
        except ValueError as error:
            self.problem(key, str(error))
            return default
        if positive and not value:
            self.problem(key, "must be longer than 0s")
            return default
        return value

    def file_path(self, key: str, *, base: str | None = None) -> str | None:
        """An absolute path: expanded, and relative to `base`, else to the file that it stands in. None: absent."""
        expanded = self.expanded(key)
        if expanded is None:
            return None
        start = base if base is not None else os.path.dirname(self.place(key).file)
        return normal_path(os.path.join(start, expanded))

    def expanded(self, key: str) -> str | None:
        """Text with `~` and `${NAME}` filled in; None where it is absent or a problem was found."""
        below = self.node.get(key)
        if below is None or not isinstance(below.content, str):
            return None
        context = self.context
        try:
            text = expand(below.content, environ=context.environ, home=context.home, used=context.sources.environment)
        except ValueError as error:
            self.problem(key, str(error))
            return None
        if not text:
            self.problem(key, "must not be empty")
            return None
        return text

    def text_or_secret(self, key: str) -> str | Secret | None:
        below = self.node.get(key)
        if below is None:
            return None
        if not isinstance(below.content, dict):
            return str(below.content)
        if "file" in below.content:
            path = self.section(key).file_path("file")
            return None if path is None else Secret("file", path)
        for source, node in below.content.items():
            return Secret(source, str(node.content))
        return None


def normal_path(path: str) -> str:
    """An absolute path without empty parts, `.` and `..`; exactly one slash in front."""
    return "/" + os.path.normpath(path).lstrip("/")
