"""Whether a closure is a schema that documents can be judged by: everything that can be known before the first one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from recoverd.config.nodes import Path
from recoverd.config.schema_closure import DRAFTS, Closure, Fault, why_no_pattern
from recoverd.config.schema_graph import graph_of, nowhere, registry_of
from recoverd.config.units import quote
from recoverd.config.wording import suggest

_MOST_FAULTS = 20  # of one document
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_WORDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


def faults(closure: Closure) -> list[Fault]:
    """All that is wrong with the documents of a closure, and with what they refer to."""
    found = [*closure.faults]
    found += [fault for uri in dict.fromkeys(_whole_documents(closure)) for fault in _by_meta_schema(closure, uri)]
    for spot in closure.patterns:
        if reason := why_no_pattern(spot.value):
            sentence = f"the pattern {quote(spot.value)} can't be used: {reason}"
            is_key = spot.path[-2:-1] == ("patternProperties",)
            found.append(closure.fault(spot.document, spot.path, sentence, key=is_key))
    if found:
        return found  # what is below needs schemas whose keywords have the right types
    found += _dangling(closure)
    if found:
        return found
    graph = graph_of(closure)
    circle = graph.circle()
    if circle is not None:
        uri, path = closure.places.get(id(graph.steps[circle].schema), (closure.base, ()))
        sentence = "applies itself to the same value again, without end: no document could be judged"
        found.append(closure.fault(uri, path, sentence))
    return found


def _whole_documents(closure: Closure) -> Iterator[str]:
    yield closure.base
    roots = {id(document) for document in closure.documents.values()}
    for uri, document in closure.documents.items():
        # embedded documents with a name of their own are checked with what they stand in
        place = closure.places.get(id(document), (uri, ()))
        if id(document) in roots and not place[1] and place[0] == uri:
            yield uri


def _by_meta_schema(closure: Closure, uri: str) -> Iterator[Fault]:
    import jsonschema
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    draft: Any = getattr(jsonschema, DRAFTS[closure.draft])
    errors = draft(draft.META_SCHEMA, registry=REGISTRY).iter_errors(closure.documents[uri])
    told: set[Path] = set()
    for error in islice(errors, _MOST_FAULTS):
        path: Path = tuple(error.absolute_path)
        if path not in told:
            told.add(path)
            yield closure.fault(uri, path, _sentence(error, path))


def _sentence(error: Any, path: Path) -> str:
    value, wanted = error.instance, error.validator_value
    if path and path[-1] == "type" and isinstance(value, str):
        return f"{quote(value)} is not a type of JSON Schema; there are {', '.join(_TYPES)}{suggest(value, _TYPES)}"
    match error.validator:
        case "type":
            types = [wanted] if isinstance(wanted, str) else wanted
            schema = set(types) == {"object", "boolean"}
            return (
                f"must be {'a schema: ' if schema else ''}{' or '.join(_WORDS.get(each, str(each)) for each in types)}"
            )
        case "minItems":
            return "must not be empty"
        case "uniqueItems":
            return "holds something twice"
        case "minimum":
            return f"must be at least {wanted}"
        case "exclusiveMinimum":
            return f"must be more than {wanted}"
    message = str(error.message)
    return f"can't stand here: {message if len(message) <= 120 else message[:117] + '...'}"


def _dangling(closure: Closure) -> Iterator[Fault]:
    from referencing.exceptions import Unresolvable

    registry = registry_of(closure)
    for spot in closure.references:
        try:
            registry.resolver(spot.bases[spot.document != closure.base]).lookup(spot.value)
        except Unresolvable:
            yield nowhere(closure, spot.document, spot.path, spot.value)
