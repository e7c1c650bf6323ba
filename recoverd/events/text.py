"""Words for people: sizes, durations and ages, names made safe to print, and plain ANSI styles.

The log, `check` and the command line all print these, so that a size or an age reads the same everywhere.
"""

from __future__ import annotations

import re

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_STEPS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
    "ok": "32",
    "warning": "33",
    "critical": "1;31",
    "unknown": "35",
    "hint": "36",
    "header": "1",
}
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# An error may quote the URL it failed on; the user:password@ of it never reaches a log.
_USER_INFO = re.compile(r"(?<=://)[^/\s@]+@")
_PLAIN = re.compile(r"[ -~]*\Z")


def printable(text: str) -> str:
    r"""`text` with everything that could drive a terminal, break a line or hide itself written as an escape.

    Control and format characters (also the bidirectional ones), undecodable bytes (surrogates, shown as
    `\xNN`) and line separators are escaped; a newline in a file name becomes `\n`.
    """
    if _PLAIN.match(text):
        return text
    import unicodedata

    return "".join(_escape(letter) if unicodedata.category(letter) in _INVISIBLE else letter for letter in text)


def _escape(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as surrogateescape keeps it
        return f"\\x{code - 0xDC00:02x}"
    return letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def without_passwords(text: str) -> str:
    """`text` with the user and password of every URL in it masked."""
    return _USER_INFO.sub("***@", text) if "://" in text else text


def size(size_bytes: float) -> str:
    """`35328` as "34.5 KiB"; three digits at most, never rounded up to "1024 KiB"."""
    sign, amount = ("-", -size_bytes) if size_bytes < 0 else ("", size_bytes)
    rank = 0
    while amount >= 999.5 and rank < len(_UNITS) - 1:
        amount /= 1024
        rank += 1
    if rank == 0:
        return f"{sign}{int(amount)} B"
    return f"{sign}{amount:.{1 if amount < 99.95 else 0}f} {_UNITS[rank]}"


def duration(seconds: float) -> str:
    """`5400` as "1 h 30 min", `0.0123` as "12 ms"; at most two units."""
    sign, amount = ("-", -seconds) if seconds < 0 else ("", seconds)
    if amount < 0.9995:
        return f"{sign}{amount * 1000:.0f} ms"
    if amount < 9.95:
        return f"{sign}{amount:.1f}".removesuffix(".0") + " s"
    return sign + _whole(round(amount), parts=2)


def relative_time(time_ns: int, now_ns: int) -> str:
    """How long ago (or ahead) a time is: "just now", "3 min ago", "in 2 h"."""
    ahead = time_ns > now_ns
    seconds = abs(now_ns - time_ns) // 1_000_000_000
    if seconds == 0:
        return "just now"
    words = _whole(seconds, parts=1)
    return f"in {words}" if ahead else f"{words} ago"


def _whole(seconds: int, *, parts: int) -> str:
    """At least one second, in its largest unit and, with two parts, the one below."""
    rank = next(rank for rank, (_, length) in enumerate(_STEPS) if seconds >= length)
    unit, length = _STEPS[rank]
    words = f"{seconds // length} {unit}"
    if parts > 1 and rank + 1 < len(_STEPS):
        next_unit, next_length = _STEPS[rank + 1]
        if rest := seconds % length // next_length:
            words += f" {rest} {next_unit}"
    return words


def plural(count: int, noun: str) -> str:
    """ "1 file", "12 files"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def paint(text: str, style: str) -> str:
    """`text` in one of the named styles, as ANSI escape codes. KeyError on a style that does not exist."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"
