"""JSON Patch (RFC 6902): the operations that make one JSON value out of another. Pure.

Only `add`, `remove` and `replace` are used. Values are equal as the RFC has it (section 4.6): numbers by value,
everything else by type and content.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Sequence
from typing import Any

_MOST_COMPARED = 2000  # elements of two arrays that are aligned with each other; longer ones are compared in place

Operation = dict[str, Any]
ABSENT: Any = object()


def json_patch(before: Any, after: Any) -> list[Operation]:
    """The operations, in the order in which they are to be applied; none for equal values.

    Keys in the order of `before`, then new ones in that of `after`. Arrays are aligned, so that one element more
    is one operation.
    """
    return [operation for operation, _ in changes(before, after)]


def changes(before: Any, after: Any) -> list[tuple[Operation, Any]]:
    """The same operations, each with the value that it takes away; ABSENT for what is only added."""
    return list(_value("", before, after))


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal: true is not 1, and 1 is 1.0."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def _value(path: str, before: Any, after: Any) -> Iterator[tuple[Operation, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            here = f"{path}/{_escaped(key)}"
            if key in after:
                yield from _value(here, value, after[key])
            else:
                yield {"op": "remove", "path": here}, value
        for key, value in after.items():
            if key not in before:
                yield {"op": "add", "path": f"{path}/{_escaped(key)}", "value": value}, ABSENT
    elif isinstance(before, list) and isinstance(after, list):
        yield from _array(path, before, after)
    elif not same(before, after):
        yield {"op": "replace", "path": path, "value": after}, before


def _array(path: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[tuple[Operation, Any]]:
    """From the front to the back: an index counts in the array as it is by then."""
    at = 0
    for old, new in _aligned(before, after):
        both = min(len(old), len(new))
        for index in range(both):
            yield from _value(f"{path}/{at + index}", old[index], new[index])
        at += both
        for value in old[both:]:
            yield {"op": "remove", "path": f"{path}/{at}"}, value
        for value in new[both:]:
            yield {"op": "add", "path": f"{path}/{at}", "value": value}, ABSENT
            at += 1


def _aligned(before: Sequence[Any], after: Sequence[Any]) -> Iterator[tuple[Sequence[Any], Sequence[Any]]]:
    """Runs of both arrays that belong together, in order."""
    if max(len(before), len(after)) > _MOST_COMPARED:
        yield before, after
        return
    matcher = difflib.SequenceMatcher(None, [*map(_key, before)], [*map(_key, after)], autojunk=False)
    for _, first, last, new_first, new_last in matcher.get_opcodes():
        yield before[first:last], after[new_first:new_last]


def _key(value: Any) -> str:
    """Equal for values that look the same; that others may be equal too costs an operation, no more."""
    return json.dumps(value, sort_keys=True)


def _escaped(key: str) -> str:
    """A key as one step of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")
