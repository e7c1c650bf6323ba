"""Applying one schema to documents: where the answer comes from, so that it is right, soon there, and always comes.

With the extra `fast` Rust says yes. Else jsonschema judges, in this process as long as a bound for its work is known
and small; and in a child with a deadline where a hostile document could keep it busy for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.state.schema_process import GuardedValidator
from recoverd.state.schemas import Closure, Validator
from recoverd.state.verdicts import Problem

if TYPE_CHECKING:
    from recoverd.state.schema_cost import Cost
    from recoverd.state.schema_fast import FastValidator

# Steps of pattern matching that are made in this process: less than about half a second for one document or line, and
# no more than this sum for all lines of a file; about so many steps per byte do not count.
_MOST_STEPS_AT_ONCE = 20_000_000
_MOST_STEPS_IN_ALL = 200_000_000
_FREE_STEPS_PER_BYTE = 100
# Schemas applied to values, about 5 µs each. So many to each value do not count: that is linear, as parsing is.
_FREE_PER_VALUE = 64
_STEPS_OF_ONE = 200  # as much time as so many steps of matching
_MOST_DEADLINES = 10  # that the lines of one file may use up together


class SchemaApplier:
    """One schema and all that can apply it; built with the first document that needs it. Usable from any thread."""

    def __init__(self, closure: Closure, allow: frozenset[str], limits: Limits, deadline_s: float) -> None:
        self.closure = closure
        self.deadline_s = deadline_s
        self.guarded = GuardedValidator(closure, allow, limits, deadline_s=deadline_s)
        self._limits = limits
        self._parts: tuple[Validator, Cost, FastValidator | None] | None = None

    def parts(self) -> tuple[Validator, Cost, FastValidator | None]:
        """The compiled schema, its cost, and what says yes quickly where there is such a thing. Raises StateError."""
        if self._parts is None:
            from recoverd.state.schema_cost import cost_of
            from recoverd.state.schema_fast import fast_validator

            validator = Validator(self.closure)
            cost = cost_of(validator.graph, self._limits.depth)
            self._parts = validator, cost, fast_validator(validator.graph, cost, self._limits.depth)
        return self._parts

    def begin(self) -> Callable[[Any, bytes], tuple[Problem, ...]]:
        """What judges one document, or the lines of one file: (value, the same as JSON) -> problems. The bounds hold
        for all its calls together; it raises Unjudgeable."""
        return _SchemaPass(self)

    def inline(self, value: Any) -> tuple[Problem, ...]:
        return self.parts()[0].problems(value, self._limits.problems)


class _SchemaPass:
    def __init__(self, applier: SchemaApplier) -> None:
        self._applier = applier
        self._steps = 0
        self._guarded_s = 0.0

    def __call__(self, value: Any, data: bytes) -> tuple[Problem, ...]:
        applier = self._applier
        _, cost, fast = applier.parts()
        if fast is not None and fast.accepts(value):
            return ()
        steps = steps_of(cost, value, len(data))
        if steps is not None and steps <= _MOST_STEPS_AT_ONCE and self._steps + steps <= _MOST_STEPS_IN_ALL:
            self._steps += steps
            return applier.inline(value)
        if self._guarded_s > _MOST_DEADLINES * applier.deadline_s:
            raise Unjudgeable(f"could not be judged by its schema within {self._guarded_s:.0f} s")
        began = time.monotonic()
        try:
            return applier.guarded.problems(data)
        finally:
            self._guarded_s += time.monotonic() - began


def steps_of(cost: Cost, value: Any, size_bytes: int) -> int | None:
    """A bound for the work on a document, less what is linear in its size; None: no bound."""
    matching = cost.steps(size_bytes)
    per_value = cost.most_per_value(lambda: depth_of(value), _FREE_PER_VALUE)
    if matching is None or per_value is None:
        return None
    applied = per_value * (size_bytes // 2 + 1) * _STEPS_OF_ONE if per_value > _FREE_PER_VALUE else 0
    return (matching if matching > _FREE_STEPS_PER_BYTE * size_bytes else 0) + applied


def depth_of(value: Any) -> int:
    """How deeply objects and lists are nested in a value; a scalar has depth 0."""
    deepest = 0
    pending = [(value, 0)]
    while pending:
        current, level = pending.pop()
        deepest = max(deepest, level)
        if isinstance(current, dict):
            pending += [(member, level + 1) for member in current.values()]
        elif isinstance(current, list):
            pending += [(member, level + 1) for member in current]
    return deepest
