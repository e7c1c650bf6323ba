"""JSON out of values, integers of any length included."""

from __future__ import annotations

import json
import os
import re
from typing import Any

from recoverd.state.formats.integers import LongInteger, decimal_digits


def to_json(value: Any, **style: Any) -> str:
    """What `json.dumps` makes of a value with these options, also where it refuses an integer for its length."""
    try:
        return json.dumps(value, **style)
    except ValueError:
        # too many digits: they are put in where a text stood that stands nowhere else
        mark = os.urandom(16).hex()
        numbers: list[str] = []
        text = json.dumps(_marked(value, mark, numbers), **style)
        return re.sub(rf'"{mark}:([0-9]+)"', lambda found: numbers[int(found[1])], text)


def _marked(value: Any, mark: str, numbers: list[str]) -> Any:
    if isinstance(value, LongInteger):
        numbers.append(decimal_digits(value))
        return f"{mark}:{len(numbers) - 1}"
    if isinstance(value, dict):
        return {key: _marked(member, mark, numbers) for key, member in value.items()}
    return [_marked(member, mark, numbers) for member in value] if isinstance(value, list) else value
