"""One stream of events: whoever does something tells it here, once, and the sinks carry it on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from recoverd.events.names import KINDS, EventName, Figures, FigureValue, Level, wording
from recoverd.events.where import NOWHERE, Where
from recoverd.system import clock
from recoverd.values import dataclass, field

_LOG = logging.getLogger("recoverd.events")
_LARGEST_EXACT = 2**53  # jq 1.6 and JavaScript round integers beyond it


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `time_ns` is wall clock, UTC; figures have their unit in the name."""

    name: EventName
    time_ns: int
    service: str | None = None
    item: str | None = None
    message: str = ""
    figures: Figures = field(default_factory=lambda: MappingProxyType({}))
    level: Level = Level.INFO
    path: str | None = None
    format: str | None = None

    def to_json(self) -> dict[str, Any]:
        """All of it, in every event: time is RFC 3339 in UTC; what there is none of is null, a figure then left out."""
        return {
            "time": clock.rfc3339(self.time_ns),
            "level": self.level.value,
            "event": self.name.value,
            "service": self.service,
            "item": self.item,
            "path": self.path,
            "format": self.format,
            "message": self.message,
            "figures": {key: _exact(value) for key, value in self.figures.items() if value is not None},
        }


Sink = Callable[[Event], None]


def _exact(value: FigureValue) -> FigureValue:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if whole and abs(value) > _LARGEST_EXACT else value  # type: ignore[arg-type]


class Events:
    """Where events are told. A sink that fails is logged and never fails the job that told the event.

    `where` knows where the state of a service lies: events about no one item of it say that.
    """

    def __init__(self, sinks: Iterable[Sink] = (), where: Callable[[str], Where] = lambda _: NOWHERE) -> None:
        self._sinks = list(sinks)
        self._where = where

    def add(self, sink: Sink) -> None:
        """From now on `sink` is called with each event, after those that were there before."""
        self._sinks.append(sink)

    def emit(
        self,
        name: str,
        *,
        service: str | None = None,
        item: str | None = None,
        message: str = "",
        level: str | None = None,
        path: str | None = None,
        format: str | None = None,
        where: Where | None = None,
        **figures: FigureValue,
    ) -> Event:
        """Tell all sinks that `name` happened; the event as it was told. `where` stands for item, path and format.

        Without `message` the figures are put into words; without `level` the event has its usual one.
        ValueError for a name or level that does not exist and TypeError for a figure that is not a plain
        value (a reference to a secret, say): both are mistakes of the program, not of its user.
        """
        known, chosen = EventName(name), None if level is None else Level(level)
        for key, value in figures.items():
            if value is not None and not isinstance(value, str | int | float):
                raise TypeError(f"figure {key} of {known} is a {type(value).__name__}, not a plain value")
        where = where or Where(item, path, format)
        if service is not None and where == NOWHERE:
            where = self._where(service)
        event = Event(
            name=known,
            time_ns=clock.now_ns(),
            service=service,
            item=where.item,
            message=message or wording(known, figures),
            figures=_frozen(figures),
            level=chosen or KINDS[known].level,
            path=where.path,
            format=where.format,
        )
        for sink in tuple(self._sinks):
            try:
                sink(event)
            except Exception as error:  # hooks and logs are told, never asked
                _LOG.warning("an event sink failed on %s: %s: %s", known.value, type(error).__name__, error)
        return event


def _frozen(figures: Mapping[str, FigureValue]) -> Figures:
    return MappingProxyType(dict(figures))
