"""Texts with fields of an event in braces, for hooks: `{message}`. Pure.

What a field holds may come from anybody whose state is looked after, so it never ends the value that it stands in: in
JSON it is escaped, in a form it is encoded, and a word of a command stays one word, which is no option.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Any

# `{{name}}` stands for `{name}`; anything else in braces, JSON above all, is left as it is.
_FIELD = re.compile(r"\{\{[a-z][a-z_]*\}\}|\{[a-z][a-z_]*\}")

# What every event has, or has nothing of; `json` is all of it.
FIELDS = ("event", "time", "level", "host", "service", "item", "path", "format", "message", "json")
# What some events say in numbers and words, each with its unit in the name.
FIGURES = (
    "age_seconds",
    "attempts",
    "bound",
    "bytes",
    "candidate",
    "clean_shutdown",
    "failures",
    "files",
    "free_bytes",
    "freed_bytes",
    "healthy",
    "in_flight",
    "items",
    "messages",
    "new_bytes",
    "outcome",
    "pid",
    "problems",
    "removed",
    "restart_count",
    "resume",
    "seconds",
    "sequence",
    "size_bytes",
    "snapshots",
    "spare",
    "verdict",
    "warnings",
)
Value = str | int | float | bool | None
Values = Mapping[str, Value]


class Kind(StrEnum):
    """What a text with fields is, which says how they are filled in."""

    TEXT = "text"
    FORM = "form"
    JSON = "json"


def fields(template: str) -> tuple[str, ...]:
    """The names in braces, in their order."""
    return tuple(found[1:-1] for found in _FIELD.findall(template) if not found.startswith("{{"))


def unknown_fields(template: str) -> tuple[str, ...]:
    """Those of them that no event has."""
    return tuple(name for name in fields(template) if name not in FIELDS and name not in FIGURES)


def kind_of(template: str, content_type: str | None) -> Kind:
    """What the content type says; without one, whether a JSON object or list would come of it."""
    if content_type is not None:
        what = content_type.partition(";")[0].strip().lower()
        if what == "application/json" or what.endswith("+json"):
            return Kind.JSON
        return Kind.FORM if what == "application/x-www-form-urlencoded" else Kind.TEXT
    return Kind.JSON if why_no_json(template) is None else Kind.TEXT


def is_meant_as_json(template: str) -> bool:
    """Whether it begins as nothing but JSON does."""
    start = template.lstrip()
    return start.startswith("[") or (start.startswith("{") and not _FIELD.match(start))


def why_no_json(template: str) -> str | None:
    """Why no JSON object or list comes of a template; None where one does."""
    sample = dict.fromkeys(fields(template), "x")
    try:
        value = json.loads(fill_json(template, {**sample, "json": "{}"}))
    except ValueError as error:
        return str(error)
    return None if isinstance(value, dict | list) else "it is neither an object nor a list"


def fill(template: str, values: Values, kind: Kind) -> str:
    """The text with all fields filled in as `kind` asks for. What an event has nothing of is empty, in JSON null."""
    if kind is Kind.JSON:
        return fill_json(template, values)
    if kind is Kind.FORM:
        from urllib.parse import quote_plus

        return _filled(template, lambda name: quote_plus(plain(values.get(name))))
    return _filled(template, lambda name: plain(values.get(name)))


def fill_words(command: Iterable[str], values: Values) -> list[str]:
    """A command, word by word. A value in front of a word that could be taken for an option gets a space before it."""
    words = []
    for template in command:
        word = fill(template, values, Kind.TEXT).replace("\0", "\\x00")
        words.append(f" {word}" if word.startswith("-") and not template.startswith("-") else word)
    return words


def fill_json(template: str, values: Values) -> str:
    """JSON: within quotes what stands in a string, elsewhere a value of its own; `{json}` is the whole event."""
    parts: list[str] = []
    quoted = _Quoted()
    end = 0
    for found in _FIELD.finditer(template):
        literal = template[end : found.start()]
        quoted.read(literal)
        parts += [literal, _json(found[0], values, in_string=quoted.inside)]
        end = found.end()
    return "".join([*parts, template[end:]])


def _json(found: str, values: Values, *, in_string: bool) -> str:
    if found.startswith("{{"):
        return found[1:-1]
    value = values.get(found[1:-1])
    if in_string:
        return json.dumps(plain(value))[1:-1]
    return str(value) if found == "{json}" else json.dumps(value)


class _Quoted:
    """Whether the place that was read up to lies in a JSON string."""

    def __init__(self) -> None:
        self.inside = False

    def read(self, text: str) -> None:
        escaped = False
        for letter in text:
            if escaped:
                escaped = False
            elif letter == "\\" and self.inside:
                escaped = True
            elif letter == '"':
                self.inside = not self.inside


def _filled(template: str, value: Callable[[str], str]) -> str:
    def one(found: re.Match[str]) -> str:
        text = found[0]
        return text[1:-1] if text.startswith("{{") else value(text[1:-1])

    return _FIELD.sub(one, template)


def plain(value: Any) -> str:
    """A value as it stands in text."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
