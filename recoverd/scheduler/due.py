"""What is due: pure, from the schedule of each service, its last capture and the time.

`recoverd run` asks at its start, to catch up; `recoverd snapshot --due` asks each time a timer calls it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from datetime import UTC, datetime, timedelta

from recoverd.config.crontab import parse, zone_named
from recoverd.config.model import Autosave, Service
from recoverd.events.text import duration
from recoverd.values import dataclass

_EARLY_FRACTION, _EARLY_S = 0.1, 5.0
"""A timer that calls `--due` once a minute comes a second early now and then: then a service saved every minute
must not wait for the next call. A tenth of the interval, at most 5 s."""


@dataclass(frozen=True, slots=True)
class Due:
    """One service that should be captured now, and why."""

    service: str
    reason: str


def scheduled(services: Iterable[Service], paused: Container[str] = ()) -> list[Service]:
    """Those that are saved at times: enabled, with state and `autosave.every` or `autosave.cron`, not paused."""
    return [
        service
        for service in services
        if service.enabled and service.state and service.autosave.is_scheduled and service.name not in paused
    ]


def due(
    services: Iterable[Service],
    last_ns: Mapping[str, int],
    now_ns: int,
    *,
    zone: str = "UTC",
    paused: Container[str] = (),
) -> list[Due]:
    """What is overdue at `now_ns` (wall clock), in the order of `services`.

    `last_ns`: by service the time of its newest capture, or of its confirmation as unchanged; absent when
    there is none. `zone` names the time zone of `autosave.cron`.
    A last capture in the future means that the clock was stepped back: how old it really is nobody knows.
    """
    found = []
    for service in scheduled(services, paused):
        last = last_ns.get(service.name)
        if last is None:
            reason: str | None = "never captured"
        elif last > now_ns:
            reason = "its last capture lies in the future"
        else:
            reason = _overdue(service.autosave, last, now_ns, zone)
        if reason is not None:
            found.append(Due(service.name, reason))
    return found


def _overdue(autosave: Autosave, last_ns: int, now_ns: int, zone: str) -> str | None:
    """Why a capture is due, None when it is not."""
    age_s = (now_ns - last_ns) / 1e9
    every_s = autosave.every_s
    if every_s is not None and age_s >= every_s - min(every_s * _EARLY_FRACTION, _EARLY_S):
        return f"last capture {duration(age_s)} ago, one is due every {duration(every_s)}"
    if autosave.cron is not None:
        where = zone_named(zone)
        time = parse(autosave.cron).at_or_before(_moment(now_ns), where)
        if time > _moment(last_ns):
            return f"last capture {duration(age_s)} ago, one was due at {time.astimezone(where):%Y-%m-%d %H:%M}"
    return None


def waits_s(
    services: Iterable[Service], last_ns: Mapping[str, int], now_ns: int, *, zone: str = "UTC"
) -> dict[str, float]:
    """By service, in how many seconds its next capture is due: 0 for what is due now.

    Paused services are among them: they may be resumed before their time has come.
    """
    found = list(scheduled(services))
    overdue = {one.service for one in due(found, last_ns, now_ns, zone=zone)}
    return {
        service.name: 0.0
        if service.name in overdue
        else next_s(service.autosave, (now_ns - last_ns[service.name]) / 1e9, now_ns, zone)
        for service in found
    }


def next_s(autosave: Autosave, age_s: float, now_ns: int, zone: str) -> float:
    """In how many seconds a service is due next whose last capture is `age_s` old, and which is not due now."""
    waits = [] if autosave.every_s is None else [max(0.0, autosave.every_s - age_s)]
    if autosave.cron is not None:
        now = _moment(now_ns)
        waits.append((parse(autosave.cron).after(now, zone_named(zone)) - now).total_seconds())
    return min(waits)


def after_step_s(wait_s: float, step_s: float) -> float:
    """What is left of a wait after the wall clock was stepped by `step_s` against the monotonic one.

    Forward (the machine slept, or its clock was wrong before): the time counts, since it may have passed.
    Backward: the wait is as long as it was.
    """
    return max(0.0, wait_s - max(0.0, step_s))


def _moment(time_ns: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_ns // 1000)
