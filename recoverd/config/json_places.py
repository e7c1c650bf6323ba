"""Where in the text of a JSON file a value stands."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]

from recoverd.config.model import Place
from recoverd.config.nodes import Path

_SPACE = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder()


def place_in(text: str, file: str, path: Path, *, key: bool = False) -> Place:
    """The place of the value at `path` (with `key`: of its key) in a text that is known to be JSON.

    Where the path leads nowhere, the place of what it leads through last.
    """
    offset = _after_space(text, 1 if text.startswith("\ufeff") else 0)
    for index, step in enumerate(path):
        found = _member(text, offset, step)
        if found is None:
            break
        of_key, offset = found
        if key and index == len(path) - 1:
            offset = of_key
    line = text.count("\n", 0, offset) + 1
    return Place(file, line, offset - (text.rfind("\n", 0, offset) + 1) + 1)


def _after_space(text: str, offset: int) -> int:
    match = _SPACE.match(text, offset)
    assert match is not None
    return match.end()


def _member(text: str, offset: int, step: str | int) -> tuple[int, int] | None:
    """Where a member of the object or list at `offset` begins: its key (of a list: itself) and its value."""
    if text[offset : offset + 1] != ("{" if isinstance(step, str) else "["):
        return None
    found: tuple[int, int] | None = None
    index = 0
    offset = _after_space(text, offset + 1)
    while text[offset] not in "]}":
        start, name = offset, None
        if isinstance(step, str):
            name, offset = scanstring(text, offset + 1)
            offset = _after_space(text, _after_space(text, offset) + 1)
        if name == step or (name is None and index == step):
            found = start, offset  # of a key that stands twice the last one counts
        _, offset = _DECODER.raw_decode(text, offset)
        index += 1
        offset = _after_space(text, offset)
        if text[offset] == ",":
            offset = _after_space(text, offset + 1)
    return found
