"""Wall clock, boot id and the one spelling of times that recoverd writes."""

from __future__ import annotations

import functools
import os
import re
import time
from datetime import UTC, datetime

_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def now_ns() -> int:
    """The wall clock in nanoseconds since 1970, UTC."""
    return time.time_ns()


def monotonic_s() -> float:
    """Seconds on a clock that is never set; only differences mean anything."""
    return time.monotonic()


@functools.cache
def boot_id() -> str:
    """The id of the running boot, as the kernel gives it."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def host_name() -> str:
    """The name of this machine."""
    return os.uname().nodename


def rfc3339(time_ns: int) -> str:
    """A time as `2026-11-21T09:30:00.123Z`: UTC, cut (not rounded) to milliseconds.

    Raises ValueError for times outside the years 1 to 9999.
    """
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(f"{time_ns} ns is outside the years 1 to 9999") from error
    return f"{moment:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f".{rest_ns // 1_000_000:03d}Z"


def parse_rfc3339(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 time with up to nine decimals.

    Raises ValueError when the text is no such time, or names no zone.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time like 2026-11-21T09:30:00Z")
    date, clock, fraction, zone = match.groups()
    moment = datetime.fromisoformat(f"{date}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    # not .timestamp(): a float can't hold nanoseconds, nor whole seconds of far years exactly
    past = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (past.days * 86_400 + past.seconds) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
