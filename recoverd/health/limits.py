"""The limits that figures are held against, where the configuration leaves them open."""

from __future__ import annotations

from recoverd.health.facts import MISSED, WATCHED_S, ServiceFacts
from recoverd.values import dataclass

SHORTEST_AGE_S = 120.0
"""A snapshot younger than this is never too old by a derived limit: short schedules jitter and wait for locks."""
_CRITICAL = 3  # so many limits may pass before an age is critical
_LOW_FRACTION, _LOW_BYTES = 0.10, 2 * 1024**3
_FULL_FRACTION, _FULL_BYTES = 0.03, 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Ages:
    """When an age warns and when it is critical, in seconds; None: never."""

    warn_s: float | None
    crit_s: float | None


def ages(service: ServiceFacts) -> Ages:
    """The limits for a service's snapshots: `check.max_age`, else three intervals, at least two minutes.

    With a crontab, as long ago as the third last of its times was; on change, three minutes, as a watched service that
    does not change is noted as unchanged all the time. With several the shortest counts.
    Critical is three times that. Without a limit and without a schedule no age is too old.
    """
    warn_s = service.max_age_s
    if warn_s is None and service.is_scheduled:
        missed = [MISSED * service.every_s] if service.every_s is not None else []
        missed += [service.missed_s] if service.missed_s is not None else []
        missed += [MISSED * WATCHED_S] if service.on_change else []
        warn_s = max(min(missed), SHORTEST_AGE_S)
    return Ages(None, None) if warn_s is None else Ages(warn_s, _CRITICAL * warn_s)


def age_s(time_ns: int, confirmed_ns: int | None, now_ns: int) -> float:
    """How old what was captured at `time_ns` is, in seconds; seen unchanged since counts as captured then.

    Negative when the clock was stepped back since.
    """
    seen_ns = time_ns if confirmed_ns is None else max(time_ns, confirmed_ns)
    return (now_ns - seen_ns) / 1e9


def disk_limits(total_bytes: int) -> tuple[int, int]:
    """Below how many free bytes a file system is low, and below how many it is nearly full.

    A tenth and 3 %, but never more than 2 GiB and 256 MiB: a tenth of a large disk is plenty.
    """
    low = min(int(total_bytes * _LOW_FRACTION), _LOW_BYTES)
    full = min(int(total_bytes * _FULL_FRACTION), _FULL_BYTES)
    return low, full
