"""The timetable: one APScheduler job per service, which does nothing but say that the service is due.

The only place that imports APScheduler.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from recoverd.config.crontab import Crontab, parse, zone_named
from recoverd.config.model import EMPTY, Autosave, Service

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


class AtTimes(BaseTrigger):  # type: ignore[misc]
    """Fires at the times of a crontab expression, each time up to `jitter_s` late.

    APScheduler reads such expressions in a way of its own: Monday is its weekday 0, and its day fields are ANDed.
    """

    def __init__(self, crontab: Crontab, zone: tzinfo, jitter_s: float = 0.0) -> None:
        self._crontab, self._zone, self._jitter_s = crontab, zone, jitter_s

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        time = self._crontab.after(now if previous_fire_time is None else max(previous_fire_time, now), self._zone)
        if not self._jitter_s:
            return time
        # later than that would reach the next time
        most_s = min(self._jitter_s, (self._crontab.after(time, self._zone) - time).total_seconds() * 0.9)
        return time + timedelta(seconds=random.uniform(0.0, most_s))  # noqa: S311 (spreads load, guards nothing)


class Earliest(BaseTrigger):  # type: ignore[misc]
    """Fires whenever one of several triggers does; first at `first` at the latest, where one is given."""

    def __init__(self, first: datetime | None, *triggers: BaseTrigger) -> None:
        self._first, self._triggers = first, triggers

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        times = [trigger.get_next_fire_time(previous_fire_time, now) for trigger in self._triggers]
        if previous_fire_time is None and self._first is not None:
            times.append(self._first)
        found: datetime = min(times)
        return found


class Timetable:
    """When each service is due next. `mark(service)` is called from another thread when it is."""

    def __init__(self, mark: Callable[[str], None]) -> None:
        self._mark = mark
        self._zone = "UTC"
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

    def update(
        self,
        services: Iterable[Service],
        waits_s: Mapping[str, float],
        *,
        chores: Mapping[str, Autosave] = EMPTY,
        zone: str = "UTC",
    ) -> None:
        """Schedule exactly these services, and chores by name; one whose schedule is the same keeps its place.

        `waits_s`: in how many seconds what is new or has another schedule is due first. `zone` names the time zone
        of crontab expressions.
        """
        wanted = {service.name: service.autosave for service in services} | dict(chores)
        moved, self._zone = zone != self._zone, zone
        for name in self._autosaves.keys() - wanted.keys():
            self._scheduler.remove_job(name)
            del self._autosaves[name]
        for name, autosave in wanted.items():
            before = self._autosaves.get(name)
            if before is None or _times(before) != _times(autosave) or (moved and autosave.cron is not None):
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

    def _trigger(self, autosave: Autosave, wait_s: float) -> BaseTrigger:
        first = datetime.now(UTC) + timedelta(seconds=wait_s)
        every = None if autosave.every_s is None else Every(first, autosave.every_s, autosave.jitter_s)
        if autosave.cron is None:
            assert every is not None
            return every
        times = AtTimes(parse(autosave.cron), zone_named(self._zone), autosave.jitter_s)
        # what is due at once is marked at once; any other wait of a crontab expression is read off the clock again
        due_now = first if wait_s <= 0 else None
        return Earliest(due_now, times) if every is None else Earliest(due_now, every, times)

    def _tell(self, event: Any) -> None:
        """A mark that did not come through is made up for: late is better than never."""
        if event.code == EVENT_JOB_ERROR:
            _LOG.error("the schedule of %s failed: %s", event.job_id, event.exception)
        else:
            _LOG.warning("a run of the schedule of %s was missed", event.job_id)
        self._mark(event.job_id)


def _times(autosave: Autosave) -> tuple[float | None, float, str | None]:
    """What of an autosave makes its schedule."""
    return autosave.every_s, autosave.jitter_s, autosave.cron
