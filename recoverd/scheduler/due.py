"""What is due: pure, from the schedule of each service, its last capture and the time.

`recoverd run` asks at its start, to catch up; `recoverd snapshot --due` asks each time a timer calls it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

from recoverd.config.model import Service
from recoverd.events.text import duration

_EARLY_FRACTION, _EARLY_S = 0.1, 5.0
"""A timer that calls `--due` once a minute comes a second early now and then: then a service saved every minute
must not wait for the next call. A tenth of the interval, at most 5 s."""


@dataclass(frozen=True, slots=True)
class Due:
    """One service that should be captured now, and why."""

    service: str
    reason: str


def scheduled(services: Iterable[Service], paused: Container[str] = ()) -> list[Service]:
    """Those that are saved by interval: enabled, with state and `autosave.every`, not paused."""
    return [
        service
        for service in services
        if service.enabled and service.state and service.autosave.every_s is not None and service.name not in paused
    ]


def due(
    services: Iterable[Service], last_ns: Mapping[str, int], now_ns: int, *, paused: Container[str] = ()
) -> list[Due]:
    """What is overdue at `now_ns` (wall clock), in the order of `services`.

    `last_ns`: by service the time of its newest capture, or of its confirmation as unchanged; absent when
    there is none.
    A last capture in the future means that the clock was stepped back: how old it really is nobody knows.
    """
    found = []
    for service in scheduled(services, paused):
        every_s = service.autosave.every_s or 0.0
        last = last_ns.get(service.name)
        if last is None:
            found.append(Due(service.name, "never captured"))
        elif last > now_ns:
            found.append(Due(service.name, "its last capture lies in the future"))
        elif (now_ns - last) / 1e9 >= every_s - min(every_s * _EARLY_FRACTION, _EARLY_S):
            age = duration((now_ns - last) / 1e9)
            found.append(Due(service.name, f"last capture {age} ago, one is due every {duration(every_s)}"))
    return found


def waits_s(services: Iterable[Service], last_ns: Mapping[str, int], now_ns: int) -> dict[str, float]:
    """By service, in how many seconds its next capture is due: 0 for what is due now.

    Paused services are among them: they may be resumed before their time has come.
    """
    found = list(scheduled(services))
    overdue = {one.service for one in due(found, last_ns, now_ns)}
    return {
        service.name: 0.0
        if service.name in overdue
        else (last_ns[service.name] - now_ns) / 1e9 + (service.autosave.every_s or 0.0)
        for service in found
    }


def after_step_s(wait_s: float, step_s: float) -> float:
    """What is left of a wait after the wall clock was stepped by `step_s` against the monotonic one.

    Forward (the machine slept, or its clock was wrong before): the time counts, since it may have passed.
    Backward: the wait is as long as it was.
    """
    return max(0.0, wait_s - max(0.0, step_s))
