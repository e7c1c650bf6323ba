"""JSON Patch: what is made is applied by an independent reading of RFC 6902, and gives the other value."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.state.json_patch import ABSENT, changes, json_patch, same


def apply(document: Any, operations: list[dict[str, Any]]) -> Any:
    """RFC 6902, sections 4.1 to 4.3, with pointers of RFC 6901; a target that must be there is."""
    document = copy.deepcopy(document)
    for operation in operations:
        if operation["path"] == "":
            assert operation["op"] == "replace"
            document = copy.deepcopy(operation["value"])
            continue
        steps = operation["path"].split("/")
        assert steps[0] == ""
        *above, last = [step.replace("~1", "/").replace("~0", "~") for step in steps[1:]]
        target = document
        for step in above:
            target = target[int(step)] if isinstance(target, list) else target[step]
        key: Any = int(last) if isinstance(target, list) else last
        if operation["op"] == "remove":
            del target[key]
        elif operation["op"] == "replace":
            assert (0 <= key < len(target)) if isinstance(target, list) else key in target
            target[key] = copy.deepcopy(operation["value"])
        else:
            assert operation["op"] == "add"
            if isinstance(target, list):
                assert 0 <= key <= len(target)
                target.insert(key, copy.deepcopy(operation["value"]))
            else:
                target[key] = copy.deepcopy(operation["value"])
    return document


KEYS = st.text("ab/~", max_size=2)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.5, 1.0, 2**64 + 1]) | KEYS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(VALUES, VALUES)
def test_a_patch_makes_one_value_out_of_the_other(before: Any, after: Any) -> None:
    """And is empty exactly when they are equal."""
    patch = json_patch(before, after)
    assert same(apply(before, patch), after)
    assert (patch == []) == same(before, after)


@given(VALUES, VALUES)
def test_each_operation_knows_what_it_takes_away(before: Any, after: Any) -> None:
    """With that the patch can be taken back: the operations in reverse order, each turned round."""
    found = changes(before, after)
    assert [operation for operation, _ in found] == json_patch(before, after)
    back: list[dict[str, Any]] = []
    for operation, taken in reversed(found):
        assert (taken is ABSENT) == (operation["op"] == "add")
        op = {"add": "remove", "remove": "add", "replace": "replace"}[operation["op"]]
        back.append({"op": op, "path": operation["path"], **({} if taken is ABSENT else {"value": taken})})
    assert same(apply(after, back), before)


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=6), st.integers(0, 6), VALUES)
def test_one_element_more_or_less_is_one_operation(array: list[Any], at: int, value: Any) -> None:
    """Tasks are appended and finished: not every element after it is told as changed."""
    longer = [*array[:at], value, *array[at:]]
    (added,) = json_patch({"x": array}, {"x": longer})
    assert added["op"] == "add"
    (removed,) = json_patch({"x": longer}, {"x": array})
    assert removed["op"] == "remove"


@pytest.mark.parametrize(
    ("before", "after", "patch"),
    [
        # RFC 6902, appendix A.1 to A.5, A.14
        ({"foo": "bar"}, {"foo": "bar", "baz": "qux"}, [{"op": "add", "path": "/baz", "value": "qux"}]),
        ({"foo": ["bar", "baz"]}, {"foo": ["bar", "qux", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}]),
        ({"baz": "qux", "foo": "bar"}, {"foo": "bar"}, [{"op": "remove", "path": "/baz"}]),
        ({"foo": ["bar", "qux", "baz"]}, {"foo": ["bar", "baz"]}, [{"op": "remove", "path": "/foo/1"}]),
        ({"baz": "qux"}, {"baz": "boo"}, [{"op": "replace", "path": "/baz", "value": "boo"}]),
        ({"/": 9, "~1": 10}, {"/": 9, "~1": 11}, [{"op": "replace", "path": "/~01", "value": 11}]),
        ({"": 1}, {"": 2}, [{"op": "replace", "path": "/", "value": 2}]),
        (1, [], [{"op": "replace", "path": "", "value": []}]),
        ([True], [1], [{"op": "replace", "path": "/0", "value": 1}]),
        ([1], [1.0], []),
        ([{"id": 1, "s": 1}, 2], [{"id": 1, "s": 2}, 2], [{"op": "replace", "path": "/0/s", "value": 2}]),
    ],
)  # fmt: skip
def test_known_patches(before: Any, after: Any, patch: list[Any]) -> None:
    assert json_patch(before, after) == patch


def test_long_arrays_are_compared_in_place() -> None:
    """Aligning a hundred thousand elements would take for ever; the patch is right all the same."""
    before = list(range(100_000))
    after = [*range(50_000), -1, *range(50_002, 100_000)]
    assert apply(before, json_patch(before, after)) == after
