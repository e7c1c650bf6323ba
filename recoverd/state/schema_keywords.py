"""Keywords of JSON Schema as recoverd applies them through jsonschema: the same answers, bounded for any document.

jsonschema puts the whole value into the message of every error, also of errors that only tell `anyOf` to try its next
schema, and collects all of them: on a large document that takes minutes and all memory. Ours say nothing (the words
come from `schema_words`) and stop at a few errors. Ours are also exact where floats are not, and assert formats.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import islice
from typing import Any

from recoverd.config.schema_closure import DRAFTS
from recoverd.state.schema_formats import checkers

_MOST_ERRORS_OF_A_BRANCH = 20
_compiled = lru_cache(maxsize=4096)(re.compile)
_Keyword = Callable[[Any, Any, Any, Any], Iterator[Any]]


@cache
def validator_class(draft: str) -> Any:
    """jsonschema's validator of a draft (the URI of its meta-schema) with the keywords of this house."""
    import jsonschema

    name = DRAFTS[draft]
    base = getattr(jsonschema, name)
    ours = _simple() | _of_text(checkers(draft)) | _of_members() | _of_items() | _combining()
    if name == "Draft3Validator":
        ours["divisibleBy"] = ours.pop("multipleOf")
        del ours["properties"], ours["type"]
    if name in ("Draft3Validator", "Draft4Validator"):
        del ours["minimum"], ours["maximum"]  # their neighbours say whether the limit itself is meant
    if "prefixItems" not in base.VALIDATORS:
        del ours["items"]
    if name in ("Draft6Validator", "Draft7Validator"):
        ours["contains"] = ours["contains one"]
    extend: Any = jsonschema.validators.extend
    return extend(base, {keyword: check for keyword, check in ours.items() if keyword in base.VALIDATORS})


def _error(about: str = "", **details: Any) -> Any:
    from jsonschema.exceptions import ValidationError

    return ValidationError(about, **details)


def _simple() -> dict[str, _Keyword]:
    from jsonschema._utils import equal

    def type_(validator: Any, types: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        is_type = validator.is_type
        if not (is_type(instance, types) if isinstance(types, str) else any(is_type(instance, each) for each in types)):
            yield _error()

    def enum(_validator: Any, allowed: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if not any(equal(each, instance) for each in allowed):
            yield _error()

    def const(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if not equal(instance, wanted):
            yield _error()

    def multiple_of(validator: Any, divisor: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        # Exact in the decimal digits that people wrote: 0.3 is a multiple of 0.1, and 1e400 raises nothing.
        if validator.is_type(instance, "number") and not _is_multiple(instance, divisor):
            yield _error()

    def limit(is_beyond: Callable[[Any, Any], bool]) -> _Keyword:
        def check(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
            if validator.is_type(instance, "number") and is_beyond(instance, wanted):
                yield _error()

        return check

    return {
        "type": type_,
        "enum": enum,
        "const": const,
        "multipleOf": multiple_of,
        "minimum": limit(lambda value, wanted: value < wanted),
        "maximum": limit(lambda value, wanted: value > wanted),
        "exclusiveMinimum": limit(lambda value, wanted: value <= wanted),
        "exclusiveMaximum": limit(lambda value, wanted: value >= wanted),
    }


def _of_text(formats: Mapping[str, Callable[[str], bool]]) -> dict[str, _Keyword]:
    def pattern(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not _compiled(wanted).search(instance):
            yield _error()

    def format_(_validator: Any, name: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        check = formats.get(name)
        if check is not None and isinstance(instance, str) and not check(instance):
            yield _error()

    return {"pattern": pattern, "format": format_} | _sizes(str, "minLength", "maxLength")


def _sizes(kind: type, least: str, most: str) -> dict[str, _Keyword]:
    def at_least(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, kind) and len(instance) < wanted:  # type: ignore[arg-type]
            yield _error()

    def at_most(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, kind) and len(instance) > wanted:  # type: ignore[arg-type]
            yield _error()

    return {least: at_least, most: at_most}


def _of_members() -> dict[str, _Keyword]:
    def properties(validator: Any, declared: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        # jsonschema's own forgets the place of a property whose schema is `false`.
        if not isinstance(instance, dict):
            return
        for key, schema in declared.items():
            if key in instance and schema is False:
                yield _error(validator=None, path=[key], instance=instance[key])
            elif key in instance:
                yield from validator.descend(instance[key], schema, path=key, schema_path=key)

    def pattern_properties(validator: Any, declared: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if not isinstance(instance, dict):
            return
        for pattern, schema in declared.items():
            search = _compiled(pattern).search
            for key, value in instance.items():
                if search(key):
                    yield from validator.descend(value, schema, path=key, schema_path=pattern)

    def additional_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(instance, dict):
            return
        declared = schema.get("properties", {})
        searches = [_compiled(pattern).search for pattern in schema.get("patternProperties", {})]
        extra = (key for key in instance if key not in declared and not any(search(key) for search in searches))
        if wanted is False:
            names = list(extra)
            if names:
                error = _error()
                error.names = names
                yield error
        elif wanted is not True:
            for key in extra:
                yield from validator.descend(instance[key], wanted, path=key)

    def required(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if not isinstance(instance, dict):
            return
        for key in wanted:
            if key not in instance:
                error = _error()
                error.names = [key]
                yield error

    return {
        "properties": properties,
        "patternProperties": pattern_properties,
        "additionalProperties": additional_properties,
        "required": required,
    } | _sizes(dict, "minProperties", "maxProperties")


def _of_items() -> dict[str, _Keyword]:
    def items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(instance, list):
            return
        first = len(schema.get("prefixItems", ()))
        yield from rest_of(validator, wanted, instance, first)

    def additional_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        declared = schema.get("items")
        if isinstance(instance, list) and isinstance(declared, list):
            yield from rest_of(validator, wanted, instance, len(declared))

    def rest_of(validator: Any, wanted: Any, instance: list[Any], first: int) -> Iterator[Any]:
        if wanted is False and len(instance) > first:
            yield _error()
        elif not isinstance(wanted, bool):
            for index in range(first, len(instance)):
                yield from validator.descend(instance[index], wanted, path=index)

    def unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        # By hash: comparing each with each takes hours on a list of 100,000 objects.
        if wanted and isinstance(instance, list) and len({_frozen(item) for item in instance}) < len(instance):
            yield _error()

    def contains(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(instance, list):
            return
        least, most = schema.get("minContains", 1), schema.get("maxContains", len(instance))
        is_valid = validator.evolve(schema=wanted).is_valid
        count = 0
        for item in instance:
            if is_valid(item):
                count += 1
                if count > most:
                    yield _error(validator="maxContains", validator_value=most)
                    return
        if count < least:
            yield _error()

    def contains_one(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, list) and not any(map(validator.evolve(schema=wanted).is_valid, instance)):
            yield _error()

    return {
        "items": items,
        "additionalItems": additional_items,
        "uniqueItems": unique_items,
        "contains": contains,
        "contains one": contains_one,
    } | _sizes(list, "minItems", "maxItems")


def _combining() -> dict[str, _Keyword]:
    def any_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        context: list[Any] = []
        for index, schema in enumerate(schemas):
            errors = list(islice(validator.descend(instance, schema, schema_path=index), _MOST_ERRORS_OF_A_BRANCH))
            if not errors:
                return
            context += errors
        yield _error(context=context)

    def one_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        context: list[Any] = []
        fitting = 0
        for index, schema in enumerate(schemas):
            errors = list(islice(validator.descend(instance, schema, schema_path=index), _MOST_ERRORS_OF_A_BRANCH))
            fitting += not errors
            if fitting > 1:
                yield _error()
                return
            context += errors
        if not fitting:
            yield _error(context=context)

    def not_(validator: Any, schema: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if validator.evolve(schema=schema).is_valid(instance):
            yield _error()

    return {"anyOf": any_of, "oneOf": one_of, "not": not_}


def _is_multiple(value: int | float, divisor: int | float) -> bool:
    if not divisor or not math.isfinite(divisor) or (isinstance(value, float) and not math.isfinite(value)):
        return False
    if isinstance(value, int) and isinstance(divisor, int):
        return value % divisor == 0
    from fractions import Fraction

    exact = (Fraction(number if isinstance(number, int) else repr(number)) for number in (value, divisor))
    return next(exact) % next(exact) == 0


def _frozen(value: Any) -> Any:
    """A hashable stand-in that is equal when JSON Schema calls the values equal (1 is 1.0 but not true)."""
    if isinstance(value, dict):
        return (dict, frozenset((key, _frozen(member)) for key, member in value.items()))
    if isinstance(value, list):
        return (list, tuple(_frozen(member) for member in value))
    return (bool, value) if isinstance(value, bool) else value
