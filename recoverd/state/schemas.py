"""JSON Schemas: compiled once, with their whole `$ref` closure; nothing is fetched while a document is judged.

References reach files inside the allowed directories and nothing else: never the network, never through `..` or a
symbolic link that leads out. All of them are read when the schema is compiled, so a reference that leads nowhere is
found then, and the hash of the closure tells one judge from another.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any

from blake3 import blake3

from recoverd.config.model import SchemaSource
from recoverd.errors import StateError
from recoverd.state.formats import json_format
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.state.schema_patterns import Work, work_of
from recoverd.state.schema_words import problem_of
from recoverd.state.verdicts import Problem
from recoverd.values import dataclass, field

_MOST_SCHEMA_BYTES = 16 * 1024 * 1024
_MOST_FILES = 1000
_MOST_ERRORS_COUNTED = 200
_NOT_SCHEMAS = frozenset({"const", "enum", "default", "examples"})
_MAPS_OF_SCHEMAS = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
)
_NEWEST_DRAFT = "https://json-schema.org/draft/2020-12/schema"
DRAFTS: Mapping[str, str] = {
    "http://json-schema.org/draft-03/schema": "Draft3Validator",
    "http://json-schema.org/draft-04/schema": "Draft4Validator",
    "http://json-schema.org/draft-06/schema": "Draft6Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    _NEWEST_DRAFT: "Draft202012Validator",
}
"""What `$schema` may say (less a "#" at its end), and the name of jsonschema's validator for it."""
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_STANDARD = ("http://json-schema.org/", "https://json-schema.org/")  # where all meta-schemas are
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/")  # RFC 3986: unreserved


@dataclass(frozen=True, slots=True)
class Closure:
    """A schema with everything it refers to, parsed: URI -> document. `base` is the URI of the root."""

    name: str  # for messages
    base: str
    draft: str  # the URI of its meta-schema
    documents: Mapping[str, Any]
    references: tuple[tuple[str, str], ...]  # (base URI, reference)
    patterns: tuple[Work | None, ...]  # what its regular expressions can cost; None: without bound
    hash: str  # BLAKE3 hex over the root and the bytes of every file referred to

    def steps(self, size_bytes: int) -> int | None:
        """A bound for the work that its patterns can make on a document of this size; None: no bound."""
        total = 0
        for work in self.patterns:
            if work is None:
                return None
            total += work.steps(size_bytes)
        return total


def close(source: SchemaSource) -> Closure:
    """Reads everything that the schema refers to. Raises StateError, with the reference that can't be followed."""
    return _Crawler(source, name=source.path or str(source.place)).crawl()


@dataclass(slots=True)
class _Crawler:
    source: SchemaSource
    name: str
    draft: str = _NEWEST_DRAFT
    documents: dict[str, Any] = field(default_factory=dict)
    references: list[tuple[str, str]] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)
    patterns: set[str] = field(default_factory=set)

    def crawl(self) -> Closure:
        source = self.source
        if source.path is not None:
            base = "file://" + _quoted(source.path)
        else:
            directory = source.directories[0] if source.directories else "/"
            base = "file://" + _quoted(os.path.join(directory, "")) + "%00inline"
        if isinstance(source.document, dict) and "$schema" in source.document:
            self.draft = self._known_draft(source.document["$schema"])
        elif not isinstance(source.document, dict | bool):
            raise self._error("a schema is an object, or true or false")
        try:
            self._document(source.document, base)
        except RecursionError:
            raise self._error("it is nested too deeply") from None
        try:
            digest = blake3(json.dumps([base, self.draft, source.document], sort_keys=True).encode())
            json.dumps(self.documents)
        except (TypeError, ValueError) as error:
            raise self._error(f"it holds a value that JSON has not, or a very long one: {error}") from None
        for uri in sorted(self.contents):
            digest.update(b"\0" + uri.encode() + b"\0" + blake3(self.contents[uri]).digest())
        return Closure(
            self.name,
            base,
            self.draft,
            self.documents,
            tuple(dict.fromkeys(self.references)),
            tuple(self._work(pattern) for pattern in sorted(self.patterns)),
            digest.hexdigest(),
        )

    def _known_draft(self, uri: Any) -> str:
        known = uri.rstrip("#") if isinstance(uri, str) else ""
        if known not in DRAFTS:
            raise self._error(f"its $schema {uri!r} is not a draft of JSON Schema that is known here")
        return known

    def _document(self, document: Any, uri: str) -> None:
        if isinstance(document, dict) and "$schema" in document:
            if self._known_draft(document["$schema"]) != self.draft:
                raise self._error(f"{uri} is written for another draft of JSON Schema than what refers to it")
            # jsonschema would choose its validator by this key, and leave ours.
            document = {key: value for key, value in document.items() if key != "$schema"}
        self.documents[uri] = document
        found: list[tuple[str, str]] = []
        self._walk(document, uri, found)
        # Only now are all names known that parts of the document give themselves.
        for base, reference in found:
            self._follow(reference, base, uri)

    def _walk(self, node: Any, base: str, found: list[tuple[str, str]]) -> None:
        """Collects the references of a schema and of all schemas in it, with their base URIs, and its patterns."""
        if isinstance(node, list):
            for member in node:
                self._walk(member, base, found)
        if not isinstance(node, dict):
            return
        own = node.get("id" if DRAFTS[self.draft] in ("Draft3Validator", "Draft4Validator") else "$id")
        if isinstance(own, str):
            from urllib.parse import urldefrag, urljoin

            base = urljoin(base, own)
            self.documents.setdefault(urldefrag(base)[0], node)
        found.extend((base, node[key]) for key in _REFERENCES if isinstance(node.get(key), str))
        if isinstance(node.get("pattern"), str):
            self.patterns.add(node["pattern"])
        for key, value in node.items():
            if key in _MAPS_OF_SCHEMAS and isinstance(value, dict):
                if key == "patternProperties":
                    self.patterns.update(value)
                for member in value.values():
                    self._walk(member, base, found)
            elif key not in _NOT_SCHEMAS:
                self._walk(value, base, found)

    def _work(self, pattern: str) -> Work | None:
        try:
            return work_of(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise self._error(f"the pattern {pattern!r} can't be used: {error}") from None

    def _follow(self, reference: str, base: str, file: str) -> None:
        self.references.append((base, reference))
        if reference.startswith("#") and base in self.documents:
            return  # the usual case, without `urllib`
        from urllib.parse import urldefrag, urljoin, urlsplit

        uri = urldefrag(urljoin(base, reference))[0]
        if not uri or uri in self.documents or (uri.startswith(_STANDARD) and uri in _meta_schemas()):
            return
        # A schema that calls itself https://… still finds the files that lie beside it.
        local = uri if urlsplit(reference).scheme else urldefrag(urljoin(file, reference))[0]
        if local not in self.documents:
            if len(self.contents) >= _MOST_FILES:
                raise self._error(f"it refers to more than {_MOST_FILES} files")
            data = self._read(reference, local)
            parsed = json_format.parse(data, limits=Limits(size_bytes=_MOST_SCHEMA_BYTES))
            if parsed.problems:
                raise self._error(f"the file of $ref {reference!r} is damaged: {parsed.problems[0]}")
            self.contents[local] = data
            self._document(parsed.value, local)
        self.documents.setdefault(uri, self.documents[local])

    def _read(self, reference: str, uri: str) -> bytes:
        from urllib.parse import unquote, urlsplit

        parts = urlsplit(uri)
        if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
            raise self._error(
                f"$ref {reference!r} is not a file: references are never fetched from the network",
                hint="save a copy beside the schema and refer to it by its file name",
            )
        path = unquote(parts.path)
        tried = [path]
        if self.source.path is None:
            # An inline schema has no place of its own: its references are looked up in each directory.
            first = os.path.join(self.source.directories[0], "") if self.source.directories else "/"
            tried += [os.path.join(other, path.removeprefix(first)) for other in self.source.directories[1:]]
        for candidate in tried:
            if "\0" not in candidate and os.path.lexists(candidate):
                return self._read_file(reference, candidate)
        raise self._error(f"$ref {reference!r}: there is no file {path}")

    def _read_file(self, reference: str, path: str) -> bytes:
        real = os.path.realpath(path)
        allowed = [os.path.realpath(directory) for directory in self.source.directories]
        if not any(os.path.commonpath([real, directory]) == directory for directory in allowed):
            raise self._error(
                f"$ref {reference!r} leads to {real}, outside of the configuration directories",
                hint=f"allowed are: {', '.join(self.source.directories) or 'none'}",
            )
        try:
            fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self._error(f"$ref {reference!r}: {real} can't be read: {error.strerror}") from None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise self._error(f"$ref {reference!r}: {real} is not a regular file")
            if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & 0o022):
                raise self._error(
                    f"$ref {reference!r}: others than root can write {real}",
                    hint=f"chown root {real} and chmod go-w {real}",
                )
            with os.fdopen(fd, "rb", closefd=False) as file:
                data = file.read(_MOST_SCHEMA_BYTES + 1)
        finally:
            os.close(fd)
        if len(data) > _MOST_SCHEMA_BYTES:
            raise self._error(f"$ref {reference!r}: {real} is larger than {_MOST_SCHEMA_BYTES} bytes")
        return data

    def _error(self, sentence: str, *, hint: str | None = None) -> StateError:
        return _schema_error(self.name, sentence, hint=hint)


def _quoted(path: str) -> str:
    """As it stands in a URI. `urllib` is slow to import, and most paths need none."""
    if _PLAIN.issuperset(path):
        return path
    from urllib.parse import quote

    return quote(path)


def _schema_error(name: str, sentence: str, *, hint: str | None = None) -> StateError:
    return StateError(f"the schema {name} can't be used: {sentence}", hint=hint)


def _meta_schemas() -> Any:
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


class Validator:
    """A compiled schema; reused for every document."""

    def __init__(self, closure: Closure) -> None:
        """Raises StateError when the schema is not a schema, or refers to a place that is not there."""
        from jsonschema.exceptions import SchemaError
        from referencing.exceptions import Unresolvable
        from referencing.jsonschema import specification_with

        draft = _strict_draft(closure.draft)
        specification = specification_with(closure.draft)
        for uri, document in closure.documents.items():
            try:
                draft.check_schema(document)
            except SchemaError as error:
                problem = problem_of(error)
                where = "" if uri == closure.base else f"{uri} "
                raise _schema_error(closure.name, f"{where}{problem.place} {problem.problem}") from None
        registry = _meta_schemas().with_resources(
            (uri, specification.create_resource(document)) for uri, document in closure.documents.items()
        )
        for base, reference in closure.references:
            try:
                registry.resolver(base).lookup(reference)
            except Unresolvable:
                raise _schema_error(closure.name, f"$ref {reference!r} leads nowhere") from None
        root = closure.documents[closure.base]
        if any(not reference.startswith("#") for _, reference in closure.references):
            root = {"$ref": closure.base}  # relative references start from the file
        self._validator = draft(root, registry=registry)

    def problems(self, value: Any, most: int) -> tuple[Problem, ...]:
        """What is wrong with a document: at most `most` problems, then how many more. Raises Unjudgeable."""
        try:
            errors = list(islice(self._validator.iter_errors(value), _MOST_ERRORS_COUNTED))
        except RecursionError:
            raise Unjudgeable("is nested too deeply for its schema, or the schema refers to itself for ever") from None
        if not errors:
            return ()
        problems = [problem_of(error) for error in errors[:most]]
        if len(errors) > most:
            at_least = "at least " if len(errors) == _MOST_ERRORS_COUNTED else ""
            problems.append(Problem("", f"and {at_least}{len(errors) - most} more"))
        return tuple(problems)


@cache
def _strict_draft(draft: str) -> Any:
    """jsonschema's validator of a draft; keywords that a hostile document could make slow or fail are our own."""
    import jsonschema
    from jsonschema.exceptions import ValidationError

    def multiple_of(validator: Any, divisor: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        # Exact in the decimal digits that people wrote: 0.3 is a multiple of 0.1, and 1e400 raises nothing.
        if validator.is_type(instance, "number") and not _is_multiple(instance, divisor):
            yield ValidationError("is not a multiple")

    def unique_items(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        # By hash: comparing each with each takes hours on a list of 100,000 objects.
        if (
            wanted
            and validator.is_type(instance, "array")
            and len({_frozen(item) for item in instance}) < len(instance)
        ):
            yield ValidationError("has equal items")

    def properties(validator: Any, declared: Any, instance: Any, _schema: Any) -> Iterator[ValidationError]:
        # jsonschema's own forgets the place of a property whose schema is `false`.
        if not validator.is_type(instance, "object"):
            return
        for key, schema in declared.items():
            if key in instance and schema is False:
                nothing: Any = None
                yield ValidationError("is not allowed", validator=nothing, path=[key], instance=instance[key])
            elif key in instance:
                yield from validator.descend(instance[key], schema, path=key, schema_path=key)

    extend: Any = jsonschema.validators.extend
    base = getattr(jsonschema, DRAFTS[draft])
    ours: dict[str, Any] = {"multipleOf": multiple_of, "divisibleBy": multiple_of, "uniqueItems": unique_items}
    if base not in (jsonschema.Draft3Validator, jsonschema.Draft4Validator):
        ours["properties"] = properties
    return extend(base, {keyword: check for keyword, check in ours.items() if keyword in base.VALIDATORS})


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
