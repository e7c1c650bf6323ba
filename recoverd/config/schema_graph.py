"""Which schema applies which others, to the same value or to what lies in it: for bounds, and for another engine.

Built from a closure whose references are known to lead somewhere, or to find out that they do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recoverd.config.nodes import Path
from recoverd.config.schema_closure import DRAFTS, Closure, Fault
from recoverd.config.units import quote
from recoverd.values import dataclass, field

Edge = tuple[str, str | int | None]  # keyword, and which of its schemas

_DYNAMIC = frozenset({"$dynamicRef", "$recursiveRef"})
_SAME = {"allOf", "anyOf", "oneOf", "not", "if", "then", "else", "extends", "disallow", "type"}
_SAME_BY_KEY = {"dependentSchemas", "dependencies"}
_BELOW = {
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
}
_BELOW_BY_KEY = {"properties", "patternProperties"}


@dataclass(slots=True)
class Step:
    """One schema. `same`: what it applies to the very same value; `below`: to members, items and keys of it."""

    schema: Any
    same: dict[Edge, int] = field(default_factory=dict)
    below: dict[Edge, int] = field(default_factory=dict)
    dynamic: bool = False  # it refers to what only the way to it decides


@dataclass(slots=True)
class Graph:
    """The schemas that can be reached from the root, which is the first one."""

    steps: list[Step]
    draft: str

    def circle(self) -> int | None:
        """A schema that applies itself to the same value: judging by it would never end. None where there is none."""
        state = [0] * len(self.steps)  # 1: on the way, 2: done
        for start in range(len(self.steps)):
            pending: list[tuple[int, Iterator[int]]] = []
            if not state[start]:
                state[start] = 1
                pending.append((start, iter(self.steps[start].same.values())))
            while pending:
                at, rest = pending[-1]
                following = next(rest, None)
                if following is None:
                    state[at] = 2
                    pending.pop()
                elif state[following] == 1:
                    return following
                elif not state[following]:
                    state[following] = 1
                    pending.append((following, iter(self.steps[following].same.values())))
        return None


def graph_of(closure: Closure) -> Graph:
    """The graph of a closure. Raises Fault for a reference that leads nowhere."""
    return _Builder(closure).build()


class _Builder:
    def __init__(self, closure: Closure) -> None:
        import jsonschema
        from referencing.jsonschema import specification_with

        self._closure = closure
        self._keywords = frozenset(getattr(jsonschema, DRAFTS[closure.draft]).VALIDATORS)
        self._specification: Any = specification_with(closure.draft)
        # Up to draft 7 nothing counts that stands beside a reference.
        self._ref_is_alone = "dependentSchemas" not in self._keywords
        self._graph = Graph([], closure.draft)
        self._numbers: dict[int, int] = {}
        self._pending: list[tuple[int, Any]] = []

    def build(self) -> Graph:
        registry = registry_of(self._closure)
        self._number(self._closure.documents[self._closure.base], registry.resolver(self._closure.name))
        while self._pending:
            number, resolver = self._pending.pop()
            self._fill(self._graph.steps[number], resolver)
        return self._graph

    def _number(self, schema: Any, resolver: Any) -> int:
        known = self._numbers.get(id(schema))
        if known is not None:
            return known
        number = self._numbers[id(schema)] = len(self._graph.steps)
        self._graph.steps.append(Step(schema))
        if isinstance(schema, dict):
            self._pending.append((number, resolver))
        return number

    def _inner(self, schema: Any, resolver: Any) -> int:
        if isinstance(schema, dict):
            resolver = resolver.in_subresource(self._specification.create_resource(schema))
        return self._number(schema, resolver)

    def _fill(self, step: Step, resolver: Any) -> None:
        schema = step.schema
        if "$ref" in schema and "$ref" in self._keywords:
            step.same["$ref", None] = self._referred(schema, "$ref", resolver)
            if self._ref_is_alone:
                return
        for keyword, value in schema.items():
            if keyword not in self._keywords:
                continue
            if keyword in _DYNAMIC:
                step.dynamic = True
                self._referred(schema, keyword, resolver)
            elif keyword in _SAME or keyword in _BELOW:
                edges = step.same if keyword in _SAME else step.below
                if isinstance(value, list):
                    for index, member in enumerate(value):
                        if isinstance(member, dict | bool):
                            edges[keyword, index] = self._inner(member, resolver)
                elif isinstance(value, dict | bool):
                    edges[keyword, None] = self._inner(value, resolver)
            elif keyword in _SAME_BY_KEY or keyword in _BELOW_BY_KEY:
                edges = step.same if keyword in _SAME_BY_KEY else step.below
                for name, member in value.items():
                    if isinstance(member, dict | bool):
                        edges[keyword, name] = self._inner(member, resolver)
        for keyword in ("then", "else"):  # jsonschema applies them through `if`
            if "if" in schema and keyword in schema and "if" in self._keywords:
                step.same[keyword, None] = self._inner(schema[keyword], resolver)

    def _referred(self, schema: Any, keyword: str, resolver: Any) -> int:
        from referencing.exceptions import Unresolvable

        try:
            resolved = resolver.lookup(schema[keyword])
        except Unresolvable:
            uri, path = self._closure.places.get(id(schema), (self._closure.base, ()))
            raise nowhere(self._closure, uri, (*path, keyword), schema[keyword]) from None
        return self._number(resolved.contents, resolved.resolver)


def registry_of(closure: Closure) -> Any:
    """A referencing.Registry with the documents and the drafts' own meta-schemas; it fetches nothing."""
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]
    from referencing.jsonschema import specification_with

    specification: Any = specification_with(closure.draft)
    return REGISTRY.with_resources(
        (uri, specification.create_resource(document)) for uri, document in closure.documents.items()
    )


def nowhere(closure: Closure, uri: str, path: Path, reference: str) -> Fault:
    return closure.fault(uri, path, f"{quote(reference)} leads nowhere")
