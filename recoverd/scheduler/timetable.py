"""The timetable: one APScheduler job per service, which does nothing but say that the service is due.

The only place that imports APScheduler.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from recoverd.config.model import Autosave, Service

_LOG = logging.getLogger("recoverd.scheduler")
_MICROSECOND = timedelta(microseconds=1)


class Every(BaseTrigger):  # type: ignore[misc]
    """Fires at `first` and then on the grid of `every_s` from there, each time up to `jitter_s` late.

    APScheduler's own interval trigger adds each jitter to the next interval, so that it drifts, and after a
    step of the clock lists every missed time one by one: on a machine that boots in 1970 and learns the time
    from the network that is a list of a thousand million entries. This one goes straight to the future.
    """

    def __init__(self, first: datetime, every_s: float, jitter_s: float = 0.0) -> None:
        self._first = first
        self._every_us = max(1, round(every_s * 1e6))  # whole numbers: a rounded grid could stand still
        self._jitter_us = min(round(jitter_s * 1e6), self._every_us * 9 // 10)  # more would reach the next interval

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        if previous_fire_time is None:
            return self._first
        past_us = (max(previous_fire_time, now) - self._first) // _MICROSECOND
        number = past_us // self._every_us + 1
        late_us = random.randint(0, self._jitter_us)  # noqa: S311 (spreads load, guards nothing)
        return self._first + timedelta(microseconds=number * self._every_us + late_us)


class Timetable:
    """When each service is due next. `mark(service)` is called from another thread when it is."""

    def __init__(self, mark: Callable[[str], None]) -> None:
        self._mark = mark
        self._autosaves: dict[str, Autosave] = {}
        # What APScheduler says of jobs is told by the listener below; its loggers would only repeat it.
        library = logging.getLogger("apscheduler")
        library.propagate = False
        if not library.handlers:
            library.addHandler(logging.NullHandler())
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}, daemon=True
        )
        self._scheduler.add_listener(self._tell, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)

    def start(self) -> None:
        self._scheduler.start()

    def stop(self) -> None:
        """No mark comes after this. Harmless when done twice."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=True)  # its jobs take no time

    def update(self, services: Iterable[Service], waits_s: Mapping[str, float]) -> None:
        """Schedule exactly these services; one whose schedule is the same keeps its place.

        `waits_s`: in how many seconds a service that is new or has another schedule is due first.
        """
        wanted = {service.name: service.autosave for service in services}
        for name in self._autosaves.keys() - wanted.keys():
            self._scheduler.remove_job(name)
            del self._autosaves[name]
        for name, autosave in wanted.items():
            before = self._autosaves.get(name)
            if before is None or (before.every_s, before.jitter_s) != (autosave.every_s, autosave.jitter_s):
                self._scheduler.add_job(
                    self._mark,
                    self._trigger(autosave, waits_s.get(name, 0.0)),
                    args=(name,),
                    id=name,
                    name=name,
                    replace_existing=True,
                )
            self._autosaves[name] = autosave

    def shift(self, waits_s: Mapping[str, float]) -> None:
        """The clock was stepped: each service is due in so many seconds from now."""
        for name, wait_s in waits_s.items():
            if name in self._autosaves:
                self._scheduler.reschedule_job(name, trigger=self._trigger(self._autosaves[name], wait_s))

    def remaining_s(self, *, offset_s: float = 0.0) -> dict[str, float]:
        """By service, the seconds until it is due next, on a wall clock set back by `offset_s`."""
        now = datetime.now(UTC) - timedelta(seconds=offset_s)
        return {
            job.id: max(0.0, (job.next_run_time - now).total_seconds())
            for job in self._scheduler.get_jobs()
            if job.next_run_time is not None
        }

    @staticmethod
    def _trigger(autosave: Autosave, wait_s: float) -> Every:
        assert autosave.every_s is not None
        return Every(datetime.now(UTC) + timedelta(seconds=wait_s), autosave.every_s, autosave.jitter_s)

    def _tell(self, event: Any) -> None:
        """A mark that did not come through is made up for: late is better than never."""
        if event.code == EVENT_JOB_ERROR:
            _LOG.error("the schedule of %s failed: %s", event.job_id, event.exception)
        else:
            _LOG.warning("a run of the schedule of %s was missed", event.job_id)
        self._mark(event.job_id)
