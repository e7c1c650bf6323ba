"""An event as hooks get it: on standard input, in a body, in the fields of a template."""

from __future__ import annotations

from typing import Any

import recoverd
from recoverd.config.templates import FIELDS, Value, Values
from recoverd.events.hooks import Document
from recoverd.events.stream import Event
from recoverd.events.text import printable, without_passwords
from recoverd.system import clock

_LINES = frozenset({"messages"})  # figures that are a list, one in a line
_LONGEST = 5000  # characters of a text: written as escapes, it still has room in one word of a command (execve(2))


def document_of(event: Event) -> dict[str, Any]:
    """What the log has of it, with the version and the machine, every text printable and without passwords of URLs."""
    document: dict[str, Any] = {"recoverd": recoverd.__version__, "host": clock.host_name()}
    for key, value in event.to_json().items():
        if key == "figures":
            document[key] = {name: _shown(each, lines=name in _LINES) for name, each in value.items()}
        else:
            document[key] = _shown(value)
    return document


def values_of(document: Document) -> Values:
    """The fields of templates."""
    import json

    named: dict[str, Value] = {name: document.get(name) for name in FIELDS}
    return {**document.get("figures", {}), **named, "json": json.dumps(document)}


def _shown(value: Any, *, lines: bool = False) -> Any:
    if not isinstance(value, str):
        return value
    text = without_passwords(value if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…")
    return "\n".join(map(printable, text.split("\n"))) if lines else printable(text)
