"""The part of the loop that has to do with changes: who is watched, what captures are told, what `check` learns."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from recoverd.config.model import Service
from recoverd.errors import RecoverdError
from recoverd.operations import watched
from recoverd.operations.context import Context
from recoverd.operations.snapshot import SnapshotResult
from recoverd.operations.watched import Watched
from recoverd.recovery.partial import ServiceHints
from recoverd.scheduler.signals import Changed
from recoverd.scheduler.watching import Rhythm, Watcher
from recoverd.system import clock

CONFIRM_EVERY_S = 30.0
"""So often at least it is noted that watched services have not changed: the age of their snapshots goes by that."""
_LOG = logging.getLogger("recoverd.scheduler")


def on_change(services: Iterable[Service]) -> list[Service]:
    """Those that are saved when they change."""
    return [one for one in services if one.enabled and one.state and one.autosave.on_change is not None]


class Changes:
    """Lives as long as the loop; `plan` begins anew."""

    def __init__(self, mark: Callable[[Changed], None], rhythm: Rhythm) -> None:
        self._mark, self._rhythm = mark, rhythm
        self._watcher = Watcher((), mark, rhythm)
        self._noted: dict[str, Watched] = {}
        self._confirmed_s = 0.0

    def plan(self, context: Context) -> None:
        """Watch what the configuration says, from its present state: everything is looked at once."""
        self._watcher.stop()
        self._watcher = Watcher(on_change(context.config.services.values()), self._mark, self._rhythm)
        self._watcher.start()

    def stop(self) -> frozenset[str]:
        """Watch nothing any more; the services of which changes were seen that no capture has looked at."""
        return self._watcher.stop()

    def take(self, names: Iterable[str]) -> dict[str, ServiceHints]:
        return self._watcher.take(names)

    def done(self, names: Iterable[str], result: SnapshotResult | None) -> None:
        self._watcher.done(names, result.services if result is not None else ())

    def tell(self, context: Context) -> None:
        """Note for others how services are watched, and that they have not changed. Best effort."""
        now_s, state = clock.monotonic_s(), self._watcher.state()
        if not state and not self._noted:
            return
        due = now_s - self._confirmed_s >= confirm_every_s(context)
        if not due and state == self._noted:
            return
        try:
            repository = context.repository_if_any()
            if repository is None:
                return
            if state != self._noted:
                watched.save(context.runtime_dir, repository, state)
                self._noted = state
            if due:
                self._confirmed_s = now_s
                watched.confirm(context, self._watcher.unchanged_since())
        except (RecoverdError, OSError) as error:
            _LOG.debug("that nothing changed can't be noted: %s", error)


def confirm_every_s(context: Context) -> float:
    """How often it is noted that nothing changed: several times within the shortest `check.max_age`."""
    ages = [one.check.max_age_s for one in on_change(context.config.services.values()) if one.check.max_age_s]
    return min(CONFIRM_EVERY_S, min(ages, default=CONFIRM_EVERY_S * 4) / 4)
