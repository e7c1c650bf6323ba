"""How much work a schema can make on a document, so that what might never end is not done in this process.

Two things grow without measure: regular expressions that backtrack (`schema_patterns`), and schemas that apply several
others to one and the same value, which do it again to what lies in it. State files belong to service users, so the
bounds here hold for the worst document of a size and depth, not for the usual one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from recoverd.config.schema_graph import Graph, Step
from recoverd.state.schema_patterns import Work, work_of
from recoverd.values import dataclass

_MOST = 10**7  # per value: more is as good as without bound
_QUADRATIC = Work(1, 2)
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")


@dataclass(frozen=True, slots=True)
class Cost:
    """`per_value[d]`: so many schemas, at most, are applied to one value that lies `d` levels deep or less; None: any
    number. Deeper ones cost what the last entry says where `settled`, else any number. `height`: the longest chain of
    schemas that are applied to one value, one by another. `patterns` are what all texts and keys are matched with,
    each at most `repeated` times."""

    per_value: tuple[int, ...]
    settled: bool
    height: int
    patterns: tuple[Work | None, ...]
    repeated: int

    def most_per_value(self, depth: Callable[[], int], enough: int) -> int | None:
        """The bound for the values of a document; `depth()` is only asked where the schema has more than `enough`."""
        if self.settled and self.per_value[-1] <= enough:
            return self.per_value[-1]
        levels = depth()
        if levels < len(self.per_value):
            return self.per_value[levels]
        return self.per_value[-1] if self.settled else None

    def steps(self, size_bytes: int) -> int | None:
        """A bound for the steps of matching on a document of this size; None: no bound."""
        total = 0
        for work in self.patterns:
            if work is None:
                return None
            total += work.steps(size_bytes)
        return total * self.repeated


def cost_of(graph: Graph, deepest: int) -> Cost:
    """For documents up to `deepest` levels deep."""
    order, heights = _from_leaves(graph)
    patterns = {pattern: work_of(pattern) for step in graph.steps for pattern in _patterns(step.schema)}
    works = list(patterns.values())
    if _names_its_values(graph) or any(keyword in _keys(step) for step in graph.steps for keyword in _UNEVALUATED):
        works.append(_QUADRATIC)
    if any(step.dynamic for step in graph.steps):
        return Cost((), settled=False, height=max(heights), patterns=tuple(works), repeated=1)
    per_value, settled = _growth(graph, order, heights, [1] * len(order), deepest)
    matching = [int(bool(_patterns(step.schema))) for step in graph.steps]
    repeats, _ = _growth(graph, order, heights, matching, deepest) if patterns else ([1], True)
    return Cost(tuple(per_value), settled, heights[0], tuple(works), max(1, repeats[-1]))


def _keys(step: Step) -> Any:
    return step.schema if isinstance(step.schema, dict) else ()


def _patterns(schema: Any) -> list[str]:
    if not isinstance(schema, dict):
        return []
    found = [schema["pattern"]] if isinstance(schema.get("pattern"), str) else []
    return found + list(schema.get("patternProperties", ()))


def _names_its_values(graph: Graph) -> bool:
    """Whether jsonschema may put the same value into messages again and again, where that can't be prevented."""
    if graph.draft.endswith("draft-03/schema"):
        return True
    return any(graph.steps[other].schema is False for step in graph.steps for other in step.same.values())


def _from_leaves(graph: Graph) -> tuple[list[int], list[int]]:
    """The schemas, each after those that it applies to the same value, and how long the chains of these are."""
    order: list[int] = []
    heights = [0] * len(graph.steps)
    seen = [False] * len(graph.steps)
    for start in range(len(graph.steps)):
        pending = [(start, iter(graph.steps[start].same.values()))] if not seen[start] else []
        seen[start] = True
        while pending:
            at, rest = pending[-1]
            following = next((each for each in rest if not seen[each]), None)
            if following is not None:
                seen[following] = True
                pending.append((following, iter(graph.steps[following].same.values())))
                continue
            pending.pop()
            order.append(at)
            heights[at] = max((heights[each] + 1 for each in graph.steps[at].same.values()), default=0)
    return order, heights


def _growth(
    graph: Graph, order: list[int], heights: list[int], weights: list[int], deepest: int
) -> tuple[list[int], bool]:
    """By depth: how many schemas the root applies to one value so deep, at most; and whether it stays like that."""
    most: list[int] = []
    before: list[int] | None = None
    leaves: list[int] = []
    for _ in range(deepest + 1):
        now = [0] * len(order)
        for number in order:
            step = graph.steps[number]
            again = 1
            if any(keyword in _keys(step) for keyword in _UNEVALUATED):
                again += heights[number] + 1  # what was applied is applied anew, to find out what it looked at
            own = weights[number] if before is None else _below(step, before, leaves) * again
            now[number] = min(_MOST, own + again * sum(now[other] for other in step.same.values()))
        if before is None:
            leaves = now
        most.append(max(now[0], most[-1] if most else 0))
        if now == before:
            return most, True
        if most[-1] >= _MOST:
            return most, False
        before = now
    return most, True


def _below(step: Step, before: list[int], leaves: list[int]) -> int:
    """How many schemas this one applies to one member or item, by way of the schemas that it has for them."""
    named = patterned = other = names = first = further = contained = 0
    for (keyword, which), number in step.below.items():
        count = before[number]
        if keyword == "properties":
            named = max(named, count)
        elif keyword == "patternProperties":
            patterned += count
        elif keyword in ("additionalProperties", "unevaluatedProperties"):
            other += count
        elif keyword == "propertyNames":
            names = leaves[number]
        elif keyword == "contains":
            contained = count
        elif which is not None:
            first = max(first, count)
        else:
            further += count
    return max(max(named + patterned, other) + names, max(first, further) + contained)
