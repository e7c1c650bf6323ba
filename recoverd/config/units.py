"""Durations, sizes and percentages: as people write them, and back. Pure; ValueError carries a sentence."""

from __future__ import annotations

import re
from fractions import Fraction

from recoverd.config.model import Span

_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,9})w)?(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?"
    r"(?:([0-9]{1,9})ms)?\Z",
    re.ASCII,
)
_MS = (604_800_000, 86_400_000, 3_600_000, 60_000, 1000, 1)
_NAMES = ("w", "d", "h", "m", "s", "ms")
_CALENDAR = re.compile(
    r"(?:([0-9]{1,4})y)?(?:([0-9]{1,5})mo)?(?:([0-9]{1,6})w)?(?:([0-9]{1,7})d)?(?![0-9]*(?:y|mo|w|d))"
)
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(B|kB|KiB|MB|MiB|GB|GiB|TB|TiB)?\Z", re.ASCII)
_BYTES = {
    **{"TiB": 1024**4, "TB": 1000**4, "GiB": 1024**3, "GB": 1000**3},
    **{"MiB": 1024**2, "MB": 1000**2, "KiB": 1024, "kB": 1000, "B": 1},
}
_PERCENTAGE = re.compile(r"(100|[0-9]{1,2}(?:\.[0-9]{1,6})?)%\Z", re.ASCII)


def parse_duration(text: str) -> float:
    """`1h30m` as 5400.0 seconds; to the millisecond. Whole numbers, each unit once, the longest first."""
    found = _DURATION.match(text)
    if not found:
        raise ValueError(_why_no_duration(text, "a duration such as 500ms, 30s, 5m, 1h30m, 7d or 2w"))
    return sum(int(count or 0) * unit for count, unit in zip(found.groups(), _MS, strict=True)) / 1000


def format_duration(seconds: float) -> str:
    """5400.0 as `1h30m`: what `parse_duration` reads back as the same; weeks stay days."""
    rest = round(seconds * 1000)
    if rest == 0:
        return "0s"
    words = ""
    for unit, name in zip(_MS[1:], _NAMES[1:], strict=True):
        count, rest = divmod(rest, unit)
        if count:
            words += f"{count}{name}"
    return words


def parse_span(text: str) -> Span:
    """`1y6mo` or `2w12h`: a duration that may also count years and months."""
    calendar = _CALENDAR.match(text)
    rest = text[calendar.end() :] if calendar else text
    clock = _DURATION.match(rest) if rest else None
    if calendar is None or not text or (rest and not clock):
        raise ValueError(_why_no_duration(text, "a length of time such as 1h, 7d, 6mo or 1y"))
    years, months, weeks, days = (int(count or 0) for count in calendar.groups())
    return Span(years, months, weeks * 7 + days, parse_duration(rest) if rest else 0.0)


def format_span(span: Span) -> str:
    """What `parse_span` reads back as the same."""
    words = "".join(
        f"{count}{name}" for count, name in ((span.years, "y"), (span.months, "mo"), (span.days, "d")) if count
    )
    rest = round(span.seconds * 1000)
    for unit, name in zip(_MS[2:], _NAMES[2:], strict=True):
        count, rest = divmod(rest, unit)
        if count:
            words += f"{count}{name}"
    return words or "0s"


def parse_size(text: str | int) -> int:
    """`64KiB` as 65536 bytes; a fraction of a byte is rounded down. kB, MB, GB, TB count in thousands."""
    found = _SIZE.match(str(text))
    if not found:
        raise ValueError(f"{quote(str(text))} is not a size such as 500, 10kB, 64KiB or 1.5GiB")
    return int(Fraction(found[1]) * _BYTES[found[2] or "B"])


def format_size(size_bytes: int) -> str:
    """65536 as `64KiB`: exact, in the largest unit that divides it; what `parse_size` reads back as the same."""
    for name, unit in sorted(_BYTES.items(), key=lambda each: -each[1]):
        if unit > 1 and size_bytes >= unit and size_bytes % unit == 0:
            return f"{size_bytes // unit}{name}"
    return str(size_bytes)


def parse_percentage(text: str) -> float:
    """`5%` as 0.05."""
    found = _PERCENTAGE.match(text)
    if not found:
        raise ValueError(f"{quote(text)} is not a percentage such as 5%, from 0% to 100%")
    return float(Fraction(found[1]) / 100)


def format_percentage(share: float) -> str:
    """0.05 as `5%`, to the millionth of a percent."""
    return f"{share * 100:.6f}".rstrip("0").rstrip(".") + "%"


def _why_no_duration(text: str, wanted: str) -> str:
    sentence = f"{quote(text)} is not {wanted}"
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text):
        return f"{sentence}: it has no unit"
    if "." in text:
        return f"{sentence}: numbers are whole (1h30m, not 1.5h)"
    if re.fullmatch(r"([0-9]+(y|mo|w|d|h|ms|m|s))+", text):
        return f"{sentence}: the longest unit comes first, each once"
    return sentence


def one_line(text: str) -> str:
    """`text` with escapes for what would break the line of a message or drive a terminal."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


def quote(text: str) -> str:
    """`text` as a message shows it: in quotes, in one line, not too long."""
    return '"' + one_line(text if len(text) <= 80 else text[:77] + "...") + '"'
