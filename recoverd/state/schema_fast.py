"""The extra `fast`: jsonschema-rs says yes, about a hundred times faster; everything else is left to jsonschema.

What is compiled for it is the graph of a schema, written anew with those keywords only that mean the same to both
engines, patterns translated, formats checked by our own functions. A schema with any other keyword has no fast
validator, and a document with a value that Rust has not (an infinite number, half of a character) goes to jsonschema.
So the verdicts are the same with and without the extra; a differential test holds the engines against each other.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from recoverd.config.schema_closure import DRAFTS
from recoverd.config.schema_graph import Graph
from recoverd.state.schema_cost import Cost
from recoverd.state.schema_formats import checkers
from recoverd.state.schema_keywords import keywords_of
from recoverd.state.schema_rust_patterns import Untranslatable, translate

_MOST_PER_VALUE = 10_000  # schemas that are applied to one value at most: about a millisecond
_MOST_CHAIN = 5_000  # calls within calls: a few hundred bytes each, and stacks of threads can be small
_EXACT = 2**53  # below, all integers are floats, and comparing one with the other is no question of the engine
_DRAFTS = ("Draft6Validator", "Draft7Validator", "Draft201909Validator", "Draft202012Validator")
_COUNTS = frozenset({
    *("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"),
    *("minContains", "maxContains"),
})  # fmt: skip
_LIMITS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})
_PLAIN = frozenset({"type", "required", "uniqueItems", "dependentRequired"})
_APPLYING = frozenset({
    *("$ref", "allOf", "anyOf", "oneOf", "not", "if", "then", "else", "dependentSchemas", "dependencies"),
    *("properties", "patternProperties", "additionalProperties", "propertyNames"),
    *("items", "prefixItems", "additionalItems", "contains"),
})  # fmt: skip
# What most texts of these formats look like: those that match surely are valid, and need no call into Python.
_DAY = r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_USUAL = {
    "date": rf"^{_DAY}\z",
    "time": rf"^{_TIME}\z",
    "date-time": rf"^{_DAY}T{_TIME}\z",
    "uuid": r"^[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}\z",
}
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, check_circular=False).encode


class _Differs(Exception):
    """The engines do not agree on this, or are not known to."""


class FastValidator:
    """A compiled schema that can say yes."""

    def __init__(self, validator: Any, *, only_ascii: bool) -> None:
        self._validator = validator
        self._only_ascii = only_ascii

    def accepts(self, value: Any) -> bool:
        """Whether the document surely passes; False says nothing."""
        try:
            data = _encode(value).encode()  # raises for what Rust would take for something else
            if self._only_ascii and (b"\\u" in data or not data.isascii()):
                return False
            return bool(self._validator.is_valid(value))
        except (ValueError, RecursionError):
            return False


def fast_validator(graph: Graph, cost: Cost, deepest: int) -> FastValidator | None:
    """For documents up to `deepest` levels deep. None where the extra is not installed, or can't be used for this."""
    name = DRAFTS[graph.draft]
    if name not in _DRAFTS or not cost.settled or cost.per_value[-1] > _MOST_PER_VALUE:
        return None
    if (cost.height + 1) * deepest > _MOST_CHAIN:
        return None
    try:
        import jsonschema_rs
    except ImportError:
        return None
    writer = _Writer(graph)
    try:
        schema = writer.write()
        make = getattr(jsonschema_rs, name)
        # Neither can a pattern be slow there, nor is anything fetched.
        validator = make(
            schema,
            formats=dict(checkers(graph.draft)),
            validate_formats=True,
            pattern_options=jsonschema_rs.RegexOptions(),
            offline=True,
        )
    except (_Differs, ValueError, RecursionError, jsonschema_rs.ValidationError):
        return None
    return FastValidator(validator, only_ascii=writer.only_ascii)


class _Writer:
    """Writes a graph as one schema without any name: what is used more than once stands in `definitions`."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known = frozenset(keywords_of(graph.draft))
        self._formats = checkers(graph.draft)
        self._ref_is_alone = "/draft-0" in graph.draft
        self.only_ascii = False
        uses = Counter(number for step in graph.steps for edges in (step.same, step.below) for number in edges.values())
        self._shared = {number for number, count in uses.items() if count > 1 or number == 0} | _recursive(graph)

    def write(self) -> Any:
        shared = {f"s{number}": self._schema(number) for number in sorted(self._shared)}
        root = {"$ref": "#/definitions/s0"} if 0 in self._shared else self._schema(0)
        if isinstance(root, bool) or not shared:
            return root
        return {"allOf": [root], "definitions": shared}

    def _applied(self, number: int) -> Any:
        return {"$ref": f"#/definitions/s{number}"} if number in self._shared else self._schema(number)

    def _schema(self, number: int) -> Any:
        step = self._graph.steps[number]
        schema = step.schema
        if isinstance(schema, bool):
            return schema
        written: dict[str, Any] = {}
        also: list[Any] = []
        for (keyword, which), applied in (*step.same.items(), *step.below.items()):
            if keyword not in _APPLYING:
                raise _Differs(keyword)
            inner = self._applied(applied)
            if keyword == "$ref":
                also.append(inner)
            elif which is None:
                written[keyword] = inner
            elif isinstance(which, int):
                written.setdefault(keyword, []).append(inner)
            else:
                name = self._pattern(which) if keyword == "patternProperties" else which
                if name in written.setdefault(keyword, {}):
                    raise _Differs(keyword)
                written[keyword][name] = inner
        if "$ref" in schema and self._ref_is_alone:
            return also[0]
        for keyword, wanted in schema.items():
            if keyword in self._known and keyword not in _APPLYING:
                also += self._keyword(written, keyword, wanted)
            elif keyword == "dependencies" and keyword in self._known:
                named = {name: keys for name, keys in wanted.items() if isinstance(keys, list)}
                written.setdefault(keyword, {}).update(named)
            elif keyword in ("items", "prefixItems", "allOf") and isinstance(wanted, list):
                written.setdefault(keyword, [])
        if "contains" in written:
            for keyword in ("minContains", "maxContains"):
                if keyword in schema and "dependentRequired" in self._known:
                    self._keyword(written, keyword, schema[keyword])
        if also:
            written["allOf"] = [*written.get("allOf", []), *also]
        return written

    def _keyword(self, written: dict[str, Any], keyword: str, wanted: Any) -> list[Any]:
        """Writes a keyword that applies no schema; gives what has to hold besides."""
        if (
            keyword in _PLAIN
            or (keyword in _COUNTS and type(wanted) is int and wanted < _EXACT)
            or (keyword in _LIMITS and _is_small(wanted))
            or (keyword == "const" and _is_simple(wanted))
            or (keyword == "enum" and all(map(_is_simple, wanted)))
        ):
            written[keyword] = wanted
        elif keyword == "pattern":
            written[keyword] = self._pattern(wanted)
        elif keyword == "format":
            if wanted in _USUAL:
                return [{"anyOf": [{"pattern": _USUAL[wanted]}, {"format": wanted}]}]
            if wanted in self._formats:
                written[keyword] = wanted
        else:
            raise _Differs(keyword)
        return []

    def _pattern(self, pattern: str) -> str:
        try:
            translated, only_ascii = translate(pattern)
        except Untranslatable:
            raise _Differs("pattern") from None
        self.only_ascii |= only_ascii
        return translated


def _recursive(graph: Graph) -> set[int]:
    """Schemas that are applied from within themselves: of each such circle at least one."""
    found: set[int] = set()
    state = [0] * len(graph.steps)
    state[0] = 1
    pending = [(0, iter([*graph.steps[0].same.values(), *graph.steps[0].below.values()]))]
    while pending:
        at, rest = pending[-1]
        following = next(rest, None)
        if following is None:
            state[at] = 2
            pending.pop()
        elif state[following] == 1:
            found.add(following)
        elif not state[following]:
            state[following] = 1
            step = graph.steps[following]
            pending.append((following, iter([*step.same.values(), *step.below.values()])))
    return found


def _is_small(number: Any) -> bool:
    return type(number) in (int, float) and abs(number) < _EXACT


def _is_simple(value: Any) -> bool:
    return value is None or isinstance(value, str | bool) or (type(value) is int and abs(value) < _EXACT)
