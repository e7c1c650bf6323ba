"""Keywords of JSON Schema as recoverd applies them through jsonschema: the same answers, bounded for any document.

jsonschema puts the whole value into the message of every error, also of errors that only tell `anyOf` to try its next
schema, and collects all of them: on a large document that takes minutes and all memory. Ours say nothing (the words
come from `schema_words`) and stop at a few errors. Ours are also exact where floats are not, and assert formats.

A keyword is a function of (validator, its value, the value that is judged, the schema) to errors, or None.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

from recoverd.config.schema_closure import DRAFTS
from recoverd.state.schema_formats import checkers

_MOST_ERRORS_OF_A_BRANCH = 20
_compiled = lru_cache(maxsize=4096)(re.compile)
Keyword = Callable[[Any, Any, Any, Any], Iterable[Any] | None]


def keywords_of(draft: str) -> dict[str, Keyword]:
    """All keywords that a draft (the URI of its meta-schema) has, ours and jsonschema's."""
    import jsonschema

    name = DRAFTS[draft]
    theirs = getattr(jsonschema, name).VALIDATORS
    ours = _simple() | _of_text(checkers(draft)) | _of_members() | _of_items() | _combining()
    if name == "Draft3Validator":
        ours["divisibleBy"] = ours.pop("multipleOf")
        del ours["properties"], ours["type"]
    if name in ("Draft3Validator", "Draft4Validator"):
        del ours["minimum"], ours["maximum"]  # their neighbours say whether the limit itself is meant
    if "prefixItems" not in theirs:
        del ours["items"]
    if name in ("Draft6Validator", "Draft7Validator"):
        ours["contains"] = ours["contains one"]
    return {**theirs, **{keyword: check for keyword, check in ours.items() if keyword in theirs}}


def validator_of(draft: str, root: Any, registry: Any, *, dynamic: bool) -> Any:
    """A jsonschema validator of a schema with these keywords. `dynamic`: it has references that are no constants."""
    import jsonschema
    from referencing.jsonschema import specification_with

    base = getattr(jsonschema, DRAFTS[draft])
    keywords = keywords_of(draft)
    if not dynamic:
        keywords["$ref"] = _constant_reference()
    extend: Any = jsonschema.validators.extend
    made = extend(base, keywords)
    if not dynamic:
        made.descend = _descending(keywords, specification_with(draft), ref_is_alone="/draft-0" in draft)
    return made(root, registry=registry)


def _descending(keywords: Mapping[str, Keyword], specification: Any, *, ref_is_alone: bool) -> Any:
    """jsonschema's `descend`, which finds out anew for each value what a schema consists of; this remembers it."""
    plans: dict[int, tuple[Any, list[tuple[Keyword, str, Any]]]] = {}

    def plan_of(self: Any, schema: Any, resolver: Any) -> tuple[Any, list[tuple[Keyword, str, Any]]]:
        if resolver is None:
            resolver = self._resolver.in_subresource(specification.create_resource(schema))
        items = [("$ref", schema["$ref"])] if ref_is_alone and "$ref" in schema else schema.items()
        applied = [(keywords[keyword], keyword, value) for keyword, value in items if keyword in keywords]
        # The validator of the schema keeps it alive, and so its id() taken.
        plans[id(schema)] = plan = self.evolve(schema=schema, _resolver=resolver), applied
        return plan

    def descend(
        self: Any, instance: Any, schema: Any, path: Any = None, schema_path: Any = None, resolver: Any = None
    ) -> Iterator[Any]:
        if schema is True:
            return
        if schema is False:
            yield _error(
                validator=None,
                validator_value=None,
                instance=instance,
                schema=schema,
                path=() if path is None else (path,),
            )
            return
        validator, applied = plans.get(id(schema)) or plan_of(self, schema, resolver)
        for check, keyword, value in applied:
            for error in check(validator, value, instance, schema) or ():
                error._set(
                    validator=keyword,
                    validator_value=value,
                    instance=instance,
                    schema=schema,
                    type_checker=validator.TYPE_CHECKER,
                )
                if keyword not in ("if", "$ref"):
                    error.schema_path.appendleft(keyword)
                if path is not None:
                    error.path.appendleft(path)
                if schema_path is not None:
                    error.schema_path.appendleft(schema_path)
                yield error

    return descend


def _constant_reference() -> Keyword:
    found: dict[int, Any] = {}

    def ref(validator: Any, reference: Any, instance: Any, schema: Any) -> Iterable[Any]:
        target = found.get(id(schema))
        if target is None:
            target = found[id(schema)] = validator._resolver.lookup(reference)
        errors: Iterable[Any] = validator.descend(instance, target.contents, resolver=target.resolver)
        return errors

    return ref


def _error(**details: Any) -> Any:
    from jsonschema.exceptions import ValidationError

    return ValidationError("", **details)


def _naming(names: list[str]) -> Iterable[Any]:
    error = _error()
    error.names = names
    return (error,)


def _is_valid(validator: Any, instance: Any, schema: Any) -> bool:
    return next(validator.descend(instance, schema), None) is None


def _simple() -> dict[str, Keyword]:
    from jsonschema._utils import equal

    def type_(validator: Any, types: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        is_type = validator.TYPE_CHECKER.is_type
        fits = is_type(instance, types) if isinstance(types, str) else any(is_type(instance, each) for each in types)
        return None if fits else (_error(),)

    def enum(_validator: Any, allowed: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        return None if any(equal(each, instance) for each in allowed) else (_error(),)

    def const(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        return None if equal(instance, wanted) else (_error(),)

    def number(is_right: Callable[[Any, Any], bool]) -> Keyword:
        def check(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
            if not isinstance(instance, int | float) or isinstance(instance, bool) or is_right(instance, wanted):
                return None
            return (_error(),)

        return check

    return {
        "type": type_,
        "enum": enum,
        "const": const,
        "multipleOf": number(_is_multiple),
        # NaN is neither less nor more than anything
        "minimum": number(lambda value, wanted: not value < wanted),
        "maximum": number(lambda value, wanted: not value > wanted),
        "exclusiveMinimum": number(lambda value, wanted: not value <= wanted),
        "exclusiveMaximum": number(lambda value, wanted: not value >= wanted),
    }


def _of_text(formats: Mapping[str, Callable[[str], bool]]) -> dict[str, Keyword]:
    def pattern(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        if isinstance(instance, str) and not _compiled(wanted).search(instance):
            return (_error(),)
        return None

    def format_(_validator: Any, name: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        check = formats.get(name)
        if check is not None and isinstance(instance, str) and not check(instance):
            return (_error(),)
        return None

    return {"pattern": pattern, "format": format_} | _sizes(str, "minLength", "maxLength")


def _sizes(kind: type[str | list[Any] | dict[str, Any]], least: str, most: str) -> dict[str, Keyword]:
    def at_least(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        return (_error(),) if isinstance(instance, kind) and len(instance) < wanted else None

    def at_most(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        return (_error(),) if isinstance(instance, kind) and len(instance) > wanted else None

    return {least: at_least, most: at_most}


def _of_members() -> dict[str, Keyword]:
    def properties(validator: Any, declared: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, dict):
            for key, schema in declared.items():
                if key in instance:
                    yield from validator.descend(instance[key], schema, path=key, schema_path=key)

    def pattern_properties(validator: Any, declared: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, dict):
            for pattern, schema in declared.items():
                search = _compiled(pattern).search
                for key, value in instance.items():
                    if search(key):
                        yield from validator.descend(value, schema, path=key, schema_path=pattern)

    def additional_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(instance, dict) or wanted is True:
            return
        declared = schema.get("properties", {})
        searches = [_compiled(pattern).search for pattern in schema.get("patternProperties", {})]
        extra = [key for key in instance if key not in declared and not any(search(key) for search in searches)]
        if wanted is False and extra:
            yield from _naming(extra)
        elif wanted is not False:
            for key in extra:
                yield from validator.descend(instance[key], wanted, path=key)

    def required(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
        if isinstance(instance, dict):
            for key in wanted:
                if key not in instance:
                    yield from _naming([key])

    return {
        "properties": properties,
        "patternProperties": pattern_properties,
        "additionalProperties": additional_properties,
        "required": required,
    } | _sizes(dict, "minProperties", "maxProperties")


def _of_items() -> dict[str, Keyword]:
    def items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterable[Any] | None:
        if not isinstance(instance, list):
            return None
        return rest_of(validator, wanted, instance, len(schema.get("prefixItems", ())))

    def additional_items(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterable[Any] | None:
        declared = schema.get("items")
        if not isinstance(instance, list) or not isinstance(declared, list):
            return None
        return rest_of(validator, wanted, instance, len(declared))

    def rest_of(validator: Any, wanted: Any, instance: list[Any], first: int) -> Iterator[Any]:
        if wanted is False and len(instance) > first:
            yield _error()
        elif not isinstance(wanted, bool):
            for index in range(first, len(instance)):
                yield from validator.descend(instance[index], wanted, path=index)

    def unique_items(_validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        # By hash: comparing each with each takes hours on a list of 100,000 objects.
        if wanted and isinstance(instance, list) and len({_frozen(item) for item in instance}) < len(instance):
            return (_error(),)
        return None

    def contains(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterable[Any] | None:
        if not isinstance(instance, list):
            return None
        least, most = schema.get("minContains", 1), schema.get("maxContains", len(instance))
        count = 0
        for item in instance:
            if _is_valid(validator, item, wanted):
                count += 1
                if count > most:
                    return (_error(validator="maxContains", validator_value=most),)
        return (_error(),) if count < least else None

    def contains_one(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        if isinstance(instance, list) and not any(_is_valid(validator, item, wanted) for item in instance):
            return (_error(),)
        return None

    return {
        "items": items,
        "additionalItems": additional_items,
        "uniqueItems": unique_items,
        "contains": contains,
        "contains one": contains_one,
    } | _sizes(list, "minItems", "maxItems")


def _combining() -> dict[str, Keyword]:
    def some(validator: Any, instance: Any, schema: Any, index: int) -> list[Any]:
        return list(islice(validator.descend(instance, schema, schema_path=index), _MOST_ERRORS_OF_A_BRANCH))

    def any_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        context: list[Any] = []
        for index, schema in enumerate(schemas):
            errors = some(validator, instance, schema, index)
            if not errors:
                return None
            context += errors
        return (_error(context=context),)

    def one_of(validator: Any, schemas: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        context: list[Any] = []
        fitting = 0
        for index, schema in enumerate(schemas):
            errors = some(validator, instance, schema, index)
            fitting += not errors
            if fitting > 1:
                return (_error(),)
            context += errors
        return None if fitting else (_error(context=context),)

    def not_(validator: Any, schema: Any, instance: Any, _schema: Any) -> Iterable[Any] | None:
        return (_error(),) if _is_valid(validator, instance, schema) else None

    def if_(validator: Any, condition: Any, instance: Any, schema: Any) -> Iterable[Any] | None:
        keyword = "then" if _is_valid(validator, instance, condition) else "else"
        if keyword not in schema:
            return None
        errors: Iterable[Any] = validator.descend(instance, schema[keyword], schema_path=keyword)
        return errors

    return {"anyOf": any_of, "oneOf": one_of, "not": not_, "if": if_}


def _is_multiple(value: int | float, divisor: int | float) -> bool:
    """Exact in the decimal digits that people wrote: 0.3 is a multiple of 0.1, and 1e400 raises nothing."""
    if not divisor or any(isinstance(number, float) and not math.isfinite(number) for number in (value, divisor)):
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
