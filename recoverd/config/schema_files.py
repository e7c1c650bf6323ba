"""The JSON Schemas of documents: found, read and checked when the configuration loads. Nothing is fetched."""

from __future__ import annotations

import json
import os
from typing import Any

from recoverd.config import trust
from recoverd.config.model import SchemaSource
from recoverd.config.sections import Section

_MOST_BYTES = 4 * 1024 * 1024
_DEEPEST = 100


def load_schema(item: Section) -> SchemaSource | None:
    """The schema of a state item; None where it has none, or where a problem was reported."""
    node = item.node.get("schema")
    if node is None:
        return None
    beside = os.path.dirname(node.place.file)
    directories: tuple[str, ...] = (beside, os.path.join(beside, "schemas"), item.context.schema_directory)
    if isinstance(node.content, dict):
        document = node.plain()
        path = None
    else:
        named = item.expanded("schema")
        path = None if named is None else _find(item, named, directories)
        if path is None:
            return None
        document = _read(item, path)
        if document is _UNUSABLE:
            return None
        directories = tuple(dict.fromkeys((os.path.dirname(path), *directories)))
    if reason := _why_invalid(document):
        item.problem("schema", f"{f'{path} ' if path else ''}is not a valid JSON Schema: {reason}")
        return None
    return SchemaSource(document, path, directories, node.place)


_UNUSABLE = object()


def _find(item: Section, named: str, directories: tuple[str, ...]) -> str | None:
    tried = [os.path.normpath(os.path.join(directory, named)) for directory in directories]
    for path in dict.fromkeys(tried):
        if os.path.lexists(path):
            return path
        item.context.sources.add_absent(path)
    if os.path.isabs(named):
        item.problem("schema", f"{named} does not exist")
    else:
        item.problem("schema", f"{named} is in none of {', '.join(directories)}")
    return None


def _read(item: Section, path: str) -> Any:
    try:
        data = item.context.read(path, _MOST_BYTES)
    except trust.Unusable as reason:
        item.problem("schema", f"{path} {reason}")
        return _UNUSABLE
    if len(data) > _MOST_BYTES:
        item.problem("schema", f"{path} is larger than {_MOST_BYTES // 1024 // 1024} MiB")
        return _UNUSABLE
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError:
        reason_text = "it is not UTF-8 text"
    except json.JSONDecodeError as error:
        reason_text = f"line {error.lineno}, column {error.colno}: {error.msg.lower()}"
    except (ValueError, RecursionError) as error:
        reason_text = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
    item.problem("schema", f"{path} is not JSON: {reason_text}")
    return _UNUSABLE


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _why_invalid(document: Any) -> str | None:
    """Why this is no schema of the draft that it names (2020-12 where it names none)."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError, best_match
    from jsonschema.validators import validator_for

    if not isinstance(document, dict | bool):
        return "it is neither a mapping nor true or false"
    if _depth(document) > _DEEPEST:
        return f"it is nested more than {_DEEPEST} levels deep"
    named = document.get("$schema") if isinstance(document, dict) else None
    if named is not None and not isinstance(named, str):
        return '"$schema" must be text'
    unknown: Any = None
    validator: Any = Draft202012Validator if named is None else validator_for(document, default=unknown)
    if validator is None:
        return f'"$schema" names {named}, which is not known'
    meta = validator(validator.META_SCHEMA, format_checker=validator.FORMAT_CHECKER)  # "regex" is what matters
    error: SchemaError | Any = best_match(meta.iter_errors(document))
    if error is None:
        return None
    place = "/".join(str(step) for step in error.absolute_path)
    message = error.message if len(error.message) <= 200 else error.message[:197] + "..."
    return f"at /{place}: {message}"


def _depth(document: Any) -> int:
    deepest = 0
    pending = [(document, 1)]
    while pending:
        value, level = pending.pop()
        deepest = max(deepest, level)
        if level <= _DEEPEST:
            children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
            pending += [(child, level + 1) for child in children]
    return deepest
