"""Integers of any length. Python refuses to read or print more than 4300 decimal digits at once, since both take
quadratic time; here they are cut in halves."""

from __future__ import annotations

import math

_CHUNK_DIGITS = 4000
_SHORT_BITS = 13_000  # certainly fewer than 4300 digits


class TooManyDigits(Exception):
    """(its first characters, the number of its digits)"""


class LongInteger(int):
    """An integer of more than 4000 digits, which Python may refuse to print: it prints as how long it is."""

    def __repr__(self) -> str:
        return f"an integer of about {int((self.bit_length() - 1) * math.log10(2)) + 1} digits"

    __str__ = __repr__


def long_integer(digits: str, limit: int) -> int:
    """What these decimal digits, with a sign or none, stand for. Raises TooManyDigits beyond `limit` of them."""
    if len(digits) <= _CHUNK_DIGITS:
        return int(digits)
    if len(digits) > limit:
        raise TooManyDigits(digits[:20], len(digits))
    negative = digits.startswith("-")

    def read(part: str) -> int:
        if len(part) <= _CHUNK_DIGITS:
            return int(part)
        low = len(part) // 2
        return int(read(part[:-low]) * 10**low + read(part[-low:]))

    value = read(digits.lstrip("-+"))
    return LongInteger(-value if negative else value)


def printable_integer(value: int) -> int:
    """The same number, as one that always can be printed."""
    return value if value.bit_length() <= _SHORT_BITS else LongInteger(value)


def decimal_digits(value: int) -> str:
    """All decimal digits of an integer, with a minus sign before them where it is negative."""

    def write(rest: int, count: int) -> str:
        """`rest` in `count` digits, zeros in front."""
        if count <= _CHUNK_DIGITS:
            return format(rest, f"0{count}d")
        low = count // 2
        high, rest = divmod(rest, 10**low)
        return write(high, count - low) + write(rest, low)

    rest = int(abs(value))
    if rest.bit_length() <= _SHORT_BITS:
        digits = format(rest, "d")
    else:
        digits = write(rest, int(rest.bit_length() * math.log10(2)) + 1).lstrip("0")
    return "-" + digits if value < 0 else digits
