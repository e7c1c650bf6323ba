"""When each service was last captured, from the repository's own records."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.operations import confirmations
from recoverd.operations.context import Context


def last_captures(context: Context) -> Mapping[str, int]:
    """Service -> time (ns, wall clock) of its newest capture or confirmation; services without one are absent."""
    repository = context.repository_if_any()
    if repository is None:
        return {}
    last: dict[str, int] = {}
    for name in context.config.services:
        newest = repository.newest(name)
        if newest is not None:
            last[name] = newest.time_ns
    for name, one in confirmations.confirmed(context.runtime_dir, repository).items():
        if name in last:
            last[name] = max(last[name], one.time_ns)
    return last


def paused_services(context: Context) -> frozenset[str]:
    """Services whose autosave is switched off."""
    repository = context.repository_if_any()
    if repository is None:
        return frozenset()
    return frozenset(name for name in context.config.services if repository.record(name).paused)
