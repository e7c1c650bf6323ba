"""Where the state lies that an event is about, where there is a single answer. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable

from recoverd.config.model import Config, Service
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Where:
    """None: it is about several, or about nothing of the kind."""

    item: str | None = None
    path: str | None = None
    format: str | None = None


NOWHERE = Where()


def where_of(service: Service, names: Iterable[str] | None = None) -> Where:
    """Of the named items, or all: the one that it is, the directory that holds them, the format that all have. NOWHERE
    where one of them is none of this service, any more or in this phase."""
    wanted = tuple(dict.fromkeys(service.state if names is None else names))
    if not service.state.keys() >= set(wanted):
        return NOWHERE
    items = [service.state[name] for name in wanted]
    paths = [item.path for item in items if item.path]  # a dump lies nowhere
    shared = os.path.commonpath(paths) if paths and len(paths) == len(items) else ""
    formats = {item.format.value for item in items}
    return Where(
        items[0].name if len(items) == 1 else None,
        shared if shared not in {"", "/"} else None,
        formats.pop() if len(formats) == 1 else None,
    )


def by_name(config: Config, service: str) -> Where:
    """Of a service as events name it: also the processes that a document of it lists are its own."""
    found = config.services.get(service.partition("@")[0])
    return NOWHERE if found is None else where_of(found)
