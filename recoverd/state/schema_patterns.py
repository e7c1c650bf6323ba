"""How much work a regular expression of a schema can make, so that one that might never end is not run in-process.

Python's matcher backtracks: a pattern with a repeat inside a repeat can take longer than the age of the universe on
forty characters, and state files belong to service users. The estimate here is an upper bound on the number of ways
in which a pattern can be tried on a subject of n characters, `factor * n ** degree`; what it can't bound is `None`.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

from recoverd.values import dataclass

_MOST_FACTOR = 10_000


@dataclass(frozen=True, slots=True)
class Work:
    factor: int = 1
    degree: int = 0

    def steps(self, length: int) -> int:
        """At most so many steps on a subject of `length` characters."""
        return int(self.factor * max(length, 1) ** self.degree)


class _Unbounded(Exception):
    pass


def work_of(pattern: str) -> Work | None:
    """The bound for `re.search(pattern, subject)`; None when there is none. Raises re.error for a broken pattern."""
    parser: Any = importlib.import_module("re._parser")
    items = parser.parse(pattern)
    try:
        work = _sequence(list(items))
    except _Unbounded:
        return None
    anchored = bool(items) and str(items[0][0]) == "AT" and str(items[0][1]).startswith("AT_BEGINNING")
    return work if anchored else Work(work.factor, work.degree + 1)


def _sequence(items: list[tuple[Any, Any]]) -> Work:
    parts = [_item(str(name), argument) for name, argument in items]
    factor = math.prod(part.factor for part in parts)
    if factor > _MOST_FACTOR:
        raise _Unbounded
    return Work(factor, sum(part.degree for part in parts))


def _item(name: str, argument: Any) -> Work:
    if name in ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "CATEGORY"):
        return Work()
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        return _repeat(*argument)
    if name == "SUBPATTERN":
        return _sequence(list(argument[-1]))
    if name == "ATOMIC_GROUP":
        return _sequence(list(argument))
    if name == "BRANCH":
        branches = [_sequence(list(branch)) for branch in argument[1]]
        return Work(sum(branch.factor for branch in branches), max(branch.degree for branch in branches))
    if name in ("ASSERT", "ASSERT_NOT"):
        return _sequence(list(argument[1]))
    raise _Unbounded  # back references, conditions, and whatever comes next


def _repeat(least: int, most: Any, body: Any) -> Work:
    inner = _sequence(list(body))
    most = int(most)  # "for ever" is a very large number here
    if inner == Work():
        if least == most:
            return Work()
        return Work(most - least + 1) if most - least < 100 else Work(1, 1)
    if most == 1:
        return Work(inner.factor + 1, inner.degree)
    if inner.degree == 0 and most <= 16 and inner.factor**most <= _MOST_FACTOR:
        return Work(inner.factor**most * (most - least + 1))
    raise _Unbounded
