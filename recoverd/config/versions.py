"""Versions that documents carry: which are the same, and which is newer. Pure."""

from __future__ import annotations

import re

_NUMBERS = re.compile(r"v?([0-9]{1,18}(?:\.[0-9]{1,18})*)(?:[-+].*)?\Z", re.DOTALL)


def numbers(version: str) -> list[int] | None:
    """A version's numbers, without zeros at the end: 1.10 is newer than 1.9, and 2 equal to 2.0. None: it has none.

    A suffix such as -beta says nothing.
    """
    found = _NUMBERS.match(version)
    if found is None:
        return None
    parts = [int(part) for part in found[1].split(".")]
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


def are_same(one: str, other: str) -> bool:
    """Whether two versions are one: spelled alike, or of the same numbers."""
    return one == other or (numbers(one) is not None and numbers(one) == numbers(other))


def is_newer(one: str, other: str) -> bool:
    """Whether `one` is known to be newer than `other`."""
    first, second = numbers(one), numbers(other)
    return first is not None and second is not None and first > second
