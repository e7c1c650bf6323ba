"""What jsonschema found, in words for people: a place and a sentence, values shortened."""

from __future__ import annotations

from typing import Any

from recoverd.state.formats.text import pointer, printable, value_words
from recoverd.state.verdicts import Problem

_TYPES = {
    "object": "an object",
    "array": "a list",
    "string": "text",
    "number": "a number",
    "integer": "an integer",
    "boolean": "true or false",
    "null": "null",
}
_FORMATS = {
    "date": "a date (as 2026-11-21)",
    "date-time": "a date and time with an offset (as 2026-11-21T03:12:45Z)",
    "duration": "a duration (as P1DT12H)",
    "email": "an e-mail address",
    "host-name": "a host name",
    "hostname": "a host name",
    "ip-address": "an IPv4 address",
    "ipv4": "an IPv4 address",
    "ipv6": "an IPv6 address",
    "regex": "a regular expression (of ECMA-262)",
    "time": "a time with an offset (as 03:12:45Z)",
    "uri": "a URI with its scheme",
    "uuid": "a UUID",
}
_MOST_NAMES = 5


def problem_of(error: Any) -> Problem:
    """Of a jsonschema.ValidationError."""
    sentence = _sentence(error)
    if "propertyNames" in error.relative_schema_path and isinstance(error.instance, str):
        sentence = f"has the key {value_words(error.instance)}, which {sentence}"
    return Problem(pointer(error.absolute_path), sentence)


def _sentence(error: Any) -> str:
    limit = error.validator_value
    value = error.instance
    shown = value_words(value)
    match error.validator:
        case None:
            return "is not allowed here"
        case "type":
            return f"is {shown}, not {_types(limit)}"
        case "required":
            missing = getattr(error, "names", None)
            return f'lacks "{printable(missing[0])}"' if missing else "is missing"
        case "enum":
            return f"is {shown}, not one of {_listed([value_words(allowed) for allowed in limit])}"
        case "const":
            return f"is {shown}, not {value_words(limit)}"
        case "minimum":
            return f"is {shown}, less than {value_words(limit)}"
        case "maximum":
            return f"is {shown}, more than {value_words(limit)}"
        case "exclusiveMinimum":
            return f"is {shown}, not more than {value_words(limit)}"
        case "exclusiveMaximum":
            return f"is {shown}, not less than {value_words(limit)}"
        case "multipleOf":
            return f"is {shown}, not a multiple of {value_words(limit)}"
        case "pattern":
            return f"is {shown}, which does not match the pattern {printable(str(limit), 60)}"
        case "format":
            return f"is {shown}, not {_FORMATS.get(limit, printable(str(limit)))}"
        case "minLength":
            return f"is {shown}, shorter than {limit} character{_s(limit)}"
        case "maxLength":
            return f"is text of {len(value)} characters, more than {limit}"
        case "minItems":
            return f"is {shown}, fewer than {limit} item{_s(limit)}"
        case "maxItems":
            return f"is {shown}, more than {limit} item{_s(limit)}"
        case "minProperties":
            return f"is {shown}, fewer than {limit} key{_s(limit)}"
        case "maxProperties":
            return f"is {shown}, more than {limit} key{_s(limit)}"
        case "uniqueItems":
            return "holds equal items"
        case "additionalProperties" | "unevaluatedProperties":
            return _unknown_keys(error)
        case "items" | "additionalItems" | "unevaluatedItems":
            return "holds more items than are declared"
        case "contains" | "minContains" | "maxContains":
            return "does not hold as many items of the declared kind as it must"
        case "dependentRequired" | "dependencies":
            return "lacks a key that another key of it requires"
        case "anyOf":
            return f"fits none of {len(limit)} allowed forms{_closest(error)}"
        case "oneOf" if error.context:
            return f"fits none of {len(limit)} allowed forms{_closest(error)}"
        case "oneOf":
            return f"fits more than one of {len(limit)} forms that exclude each other"
        case "not":
            return "has a form that is ruled out"
    return f'does not satisfy "{printable(str(error.validator))}"'


def _types(limit: Any) -> str:
    names = limit if isinstance(limit, list) else [limit]
    # in draft 3 there can be schemas among them
    return " or ".join(_TYPES.get(name, name) if isinstance(name, str) else "of a declared form" for name in names)


def _listed(words: list[str]) -> str:
    if len(words) > _MOST_NAMES:
        return ", ".join(words[:_MOST_NAMES]) + f" and {len(words) - _MOST_NAMES} more"
    return ", ".join(words)


def _s(limit: Any) -> str:
    return "" if limit == 1 else "s"


def _unknown_keys(error: Any) -> str:
    unknown = getattr(error, "names", None)
    if unknown is None:  # jsonschema names them in its message only; a very long list is not looked through
        unknown = [key for key in list(error.instance)[:1000] if repr(key) in error.message]
    if not unknown:
        return "has a key that is not declared"
    names = _listed([f'"{printable(key)}"' for key in unknown])
    return f"has the key{'' if len(unknown) == 1 else 's'} {names}, not declared"


def _closest(error: Any) -> str:
    from jsonschema.exceptions import relevance

    best = min(error.context, key=lambda inner: (-len(inner.path), relevance(inner)))
    if best.context:
        return ""
    problem = problem_of(best)
    return f"; the closest: {problem.place} {problem.problem}"
