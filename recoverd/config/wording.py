"""What the JSON Schema says about a configuration, in sentences for people."""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from recoverd.config import units
from recoverd.config.nodes import Path
from recoverd.config.units import quote
from recoverd.values import dataclass

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

SCHEMA_FILE = "recoverd.schema.json"
_TYPES = {
    "object": "a mapping", "array": "a list", "string": "text", "integer": "a whole number", "number": "a number",
    "boolean": "true or false", "null": "nothing",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Objection:
    """One problem: where (`key`: the key itself is meant), a sentence, and what can't be used because of it."""

    path: Path
    sentence: str
    key: bool = False
    unusable: Path | None = None  # None: the value at `path`
    choice: bool = False  # one of several keys is needed and none is there


def schema_text() -> str:
    """The JSON Schema that ships with the package."""
    from importlib import resources

    return resources.files("recoverd.config").joinpath(SCHEMA_FILE).read_text("utf-8")


@functools.cache
def _validator() -> Draft202012Validator:
    from jsonschema import Draft202012Validator
    from referencing import Registry

    return Draft202012Validator(json.loads(schema_text()), registry=Registry())  # nothing is ever fetched


def objections(document: Any) -> list[Objection]:
    """Everything the schema has against a document, in the order of the schema's own walk."""
    found: list[Objection] = []
    for error in _validator().iter_errors(document):
        found += _objections(error)
    return _without_follow_ups(found)


def _without_follow_ups(found: list[Objection]) -> list[Objection]:
    """An unknown key is most likely the one that a choice lacks: then the choice is not reported as well."""
    unknown = {objection.path[:-1] for objection in found if objection.key}
    return [objection for objection in found if not (objection.choice and objection.path in unknown)]


def suggest(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?` where a known word is close, else nothing."""
    lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f'; did you mean "{lower[close[0]]}"?' if close else ""


def _objections(error: ValidationError) -> Iterator[Objection]:
    path: Path = tuple(error.absolute_path)
    schema: Any = error.schema
    value: Any = error.instance
    keyword = error.validator
    if keyword == "additionalProperties":
        known = list(schema.get("properties", {}))
        for name in value:
            if name not in known:
                yield Objection((*path, name), _unknown_key(name, known), key=True)
    elif keyword == "oneOf":
        if isinstance(value, dict):  # else its type is wrong, which is told apart
            yield _one_of(path, value, [branch["required"][0] for branch in schema["oneOf"]])
    elif keyword == "required":
        wanted: Any = error.validator_value
        missing = next(name for name in wanted if name not in value and repr(name) in error.message)
        yield Objection(path, f'the key "{missing}" is missing')
    else:
        yield Objection(path, _sentence(str(keyword), error.validator_value, value, schema))


def _unknown_key(name: str, known: list[str]) -> str:
    hint = suggest(name, known)
    if not hint and len(known) <= 8:
        hint = f"; known here: {', '.join(known)}"
    return f"unknown key{hint}"


def _one_of(path: Path, value: Mapping[str, Any], names: list[str]) -> Objection:
    present = [name for name in names if name in value]
    choice = f"{', '.join(names[:-1])} and {names[-1]}"
    if not present:
        return Objection(path, f"one of {choice} is needed", choice=True)
    both = " and ".join(present)
    return Objection(
        (*path, present[-1]), f"{both} can't stand together: give one of {choice}", key=True, unusable=path
    )


def _sentence(keyword: str, wanted: Any, value: Any, schema: Mapping[str, Any]) -> str:
    title = schema.get("title")
    if keyword == "type":
        return _wrong_type(wanted, value, title)
    if keyword == "enum":
        if len(wanted) == 1:
            return f"must be {_shown(wanted[0])}, not {_shown(value)}"
        hint = suggest(value, [str(each) for each in wanted]) if isinstance(value, str) else ""
        if title and hint:  # the whole list would be longer than anybody reads
            return f"{_shown(value)} is not {title}{hint}"
        words = ", ".join(str(each) for each in wanted)
        return f"{_shown(value)} is not one of {words}{hint}"
    if keyword == "pattern":
        return _wrong_text(value, str(title))
    if keyword == "minimum":
        return f"must be at least {wanted}, not {value}"
    if keyword == "maximum":
        return f"must be at most {wanted}, not {value}"
    if keyword in {"minItems", "minLength"} or title is None:
        return "must not be empty"
    return f"must be {title}"  # minProperties, maxProperties: references to secrets


def _wrong_text(value: str, title: str) -> str:
    parsers = {"a duration": units.parse_duration, "a length": units.parse_span, "a percentage": units.parse_percentage}
    for start, parser in parsers.items():
        if title.startswith(start):
            try:
                parser(value)
            except ValueError as error:
                return str(error)
    return f"{quote(value)} is not {title}"


def _wrong_type(wanted: str | list[str], value: Any, title: str | None) -> str:
    types = [wanted] if isinstance(wanted, str) else wanted
    expected = title or " or ".join(_TYPES[each] for each in types)
    is_flat = isinstance(value, str) and ("object" in types or "array" in types)
    # what stands in place of a mapping, a list or a reference may be, or hold, the secret itself
    shown = "" if "secret" in expected else ", not text" if is_flat else f", not {_shown(value)}"
    sentence = f"must be {expected}{shown}"
    if is_flat and re.match(r"[\w.-]+:(?!//)\S", value):
        return f"{sentence} (is a space missing after the colon?)"
    if types == ["boolean"] and isinstance(value, str):
        return f"{sentence} (write true or false)"
    if "string" in types and isinstance(value, bool | int | float):
        if title and title.startswith(("a duration", "a length")):
            return f"{sentence}: it has no unit"
        return f"{sentence}: write it in quotes"
    return sentence


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}" if abs(value) < 10**20 else "a large number"
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else quote(str(value))
