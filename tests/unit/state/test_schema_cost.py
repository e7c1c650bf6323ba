"""Bounds for the work of a schema: never less than what is really done, small for schemas of every day."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.config.model import Place, SchemaSource
from recoverd.state.schema_applying import depth_of, steps_of
from recoverd.state.schema_cost import Cost, cost_of
from recoverd.state.schemas import Validator, close

DEPTH = 128
CHILD: Any = {"properties": {"child": {"$ref": "#"}}}


def compiled(schema: Any) -> Validator:
    return Validator(close(SchemaSource(schema, None, (), Place("x", 1, 1))))


def cost(schema: Any) -> Cost:
    return cost_of(compiled(schema).graph, DEPTH)


@pytest.mark.parametrize(
    ("schema", "most"),
    [
        (True, 1),
        ({"type": "string"}, 1),
        ({"properties": {"a": {"type": "string"}, "b": {"type": "number"}}}, 1),
        ({"allOf": [{"type": "string"}, {"minLength": 1}]}, 3),
        ({"properties": {"a": {"allOf": [True, True]}}, "additionalProperties": {"type": "null"}}, 3),
        (CHILD, 2),
        ({"anyOf": [{"type": "null"}, CHILD]}, 4),
        ({"items": {"$ref": "#"}, "contains": {"type": "null"}, "prefixItems": [{"type": "string"}]}, 3),
        ({"propertyNames": {"maxLength": 3}, "patternProperties": {"a": True, "b": True}}, 3),
    ],
)
def test_what_grows_no_more_with_depth(schema: Any, most: int) -> None:
    found = cost(schema)
    assert found.settled
    assert found.per_value[-1] == most


def test_two_forms_that_contain_each_other_double_with_each_level() -> None:
    found = cost({"anyOf": [CHILD, {**CHILD, "required": ["b"]}]})
    assert not found.settled
    assert found.most_per_value(lambda: 3, 64) is not None
    assert found.most_per_value(lambda: 100, 64) is None


@pytest.mark.parametrize("schema", [{"$dynamicRef": "#"}, {"items": {"$dynamicRef": "#"}}])
def test_what_only_the_way_decides_has_no_bound(schema: Any) -> None:
    assert cost(schema).most_per_value(lambda: 1, 64) is None
    assert steps_of(cost(schema), {}, 2) is None


def test_many_branches_over_one_another() -> None:
    """2^30 applications to one and the same value: a schema needs no hostile document for it."""
    schema: Any = {"type": "null"}
    chain = {f"s{number}": {"allOf": [{"$ref": f"#/$defs/s{number + 1}"}] * 2} for number in range(30)}
    found = cost({"$ref": "#/$defs/s0", "$defs": {**chain, "s30": schema}})
    assert found.most_per_value(lambda: 0, 64) is None or found.per_value[0] >= 10**7


def test_unevaluated_members_are_looked_for_in_quadratic_time() -> None:
    assert cost({"unevaluatedProperties": False}).steps(100_000) == 10**10
    assert cost({"properties": {"a": {"type": "null"}}}).steps(100_000) == 0


def test_a_pattern_counts_as_often_as_it_is_applied() -> None:
    once = cost({"properties": {"a": {"pattern": "a+b"}}}).steps(1000)
    assert once == 1_000_000
    assert cost({"allOf": [{"pattern": "a+b"}, {"pattern": "a+b"}]}).steps(1000) == 2 * once


def test_schemas_of_every_day_are_applied_in_process_whatever_the_size() -> None:
    step = {"type": "object", "properties": {"name": {"type": "string"}, "inner": {"$ref": "#/$defs/step"}}}
    schema = {"properties": {"steps": {"items": {"$ref": "#/$defs/step"}}}, "$defs": {"step": step}}
    assert steps_of(cost(schema), {}, 100_000_000) == 0


@pytest.mark.parametrize(("value", "depth"), [(1, 0), ([], 0), ([1], 1), ({"a": [{}]}, 2), ([[], [[1]]], 3)])
def test_depth(value: Any, depth: int) -> None:
    assert depth_of(value) == depth


SCHEMAS = st.recursive(
    st.one_of(st.booleans(), st.just({"type": "string"}), st.just({"$ref": "#/$defs/p"}), st.just({"required": ["a"]})),
    lambda inner: st.one_of(
        st.fixed_dictionaries({"properties": st.dictionaries(st.sampled_from("ab"), inner, max_size=2)}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"allOf": st.lists(inner, min_size=1, max_size=2), "items": inner}),
        st.fixed_dictionaries({"not": inner, "additionalProperties": inner}),
        st.fixed_dictionaries({"if": inner, "then": inner, "contains": inner}),
    ),
    max_leaves=6,
)
DOCUMENTS = st.recursive(
    st.sampled_from([None, "x", 1]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None)
@given(SCHEMAS, SCHEMAS, DOCUMENTS)
def test_no_value_is_judged_more_often_than_the_bound_says(root: Any, part: Any, document: Any) -> None:
    """Every schema that is applied to a value is counted, by the hook through which all of them pass."""
    schema = {"properties": {"a": root, "b": {"$ref": "#/$defs/p"}}, "items": root, "$defs": {"p": {"items": part}}}
    validator = compiled(schema)
    found = cost_of(validator.graph, DEPTH)
    counted: dict[int, int] = {}
    inner = type(validator._validator).descend

    def counting(self: Any, instance: Any, *args: Any, **options: Any) -> Any:
        if isinstance(instance, dict | list):  # scalars may be one and the same object
            counted[id(instance)] = counted.get(id(instance), 0) + 1
        return inner(self, instance, *args, **options)

    type(validator._validator).descend = counting
    validator.problems(document, 5)
    levels = found.most_per_value(lambda: depth_of(document), 0)
    assert levels is None or max(counted.values(), default=0) <= levels


def test_the_hook_is_there() -> None:
    """The test above counts nothing if schemas were applied in another way."""
    calls: list[Any] = []
    validator = compiled({"items": {"items": {"type": "null"}}})
    made = type(validator._validator)
    inner: Callable[..., Any] = made.descend

    def counting(self: Any, instance: Any, *args: Any, **options: Any) -> Any:
        calls.append(instance)
        return inner(self, instance, *args, **options)

    made.descend = counting
    assert validator.problems([[1], [None]], 5)
    assert calls == [[1], 1, [None], None]
