"""Of which time a copy is: what somebody says, else what its name says, else when it was last changed. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo

from recoverd.config.crontab import zone_named
from recoverd.errors import UsageError
from recoverd.system import clock

_DATED = re.compile(
    r"(?<![0-9])((?:19|20)[0-9]{2})[-_.]?([01][0-9])[-_.]?([0-3][0-9])"
    r"(?:[T _.-]?([0-2][0-9])[-:_.]?([0-5][0-9])(?:[-:_.]?([0-5][0-9])(?:[-_.,]([0-9]{3}|[0-9]{6}))?)?(Z)?)?"
    r"(?![0-9])",
    re.ASCII,
)
_EPOCH = re.compile(r"(?<![0-9])(1[0-9]{9})([0-9]{3})?(?![0-9])", re.ASCII)
_SECOND_NS = 1_000_000_000


def parse_time(text: str, zone: tzinfo) -> int:
    """What --time says, in nanoseconds: RFC 3339, or a date with or without a time of day in `zone`.

    Raises ValueError with a sentence.
    """
    try:
        return clock.parse_rfc3339(text)
    except ValueError:
        found = _DATED.fullmatch(text)
        time_ns = None if found is None else _dated(found, zone)
        if time_ns is None:
            raise ValueError(
                f"{text!r} is no time such as 2026-11-21T09:30:00Z, 2026-11-21 or 2026-11-21 09:30"
            ) from None
        return time_ns


def asked_time(text: str, zone: str, *, option: str = "--time") -> int:
    """What an option says, in nanoseconds; `zone` names a time zone. Raises UsageError, also for the future."""
    try:
        time_ns = parse_time(text, zone_named(zone))
    except ValueError as error:
        raise UsageError(f"{option}: {error}", hint=f"times without Z or offset are in {zone}") from None
    if time_ns > clock.now_ns():
        raise UsageError(f"{option}: {text} lies in the future", hint="give a time of the past")
    return time_ns


def time_in_name(name: str, zone: tzinfo, now_ns: int) -> int | None:
    """The time that a file name tells: a date, with or without a time of day, or seconds since 1970.

    In `zone` unless a Z follows. None where there is none, or it lies in the future.
    """
    times = [_dated(found, zone) for found in _DATED.finditer(name)]
    times += [int(found[1]) * _SECOND_NS + int(found[2] or 0) * 1_000_000 for found in _EPOCH.finditer(name)]
    return next((time for time in times if time is not None and time <= now_ns), None)


def _dated(found: re.Match[str], zone: tzinfo) -> int | None:
    try:
        year, month, day, hour, minute, second = (int(number or 0) for number in found.groups()[:6])
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC if found[8] else zone)
    except ValueError:
        return None  # the 31st of November
    return int(moment.timestamp()) * _SECOND_NS + int((found[7] or "").ljust(9, "0"))
