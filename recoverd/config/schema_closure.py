"""A JSON Schema with everything that it refers to: which files that is, and what stands where in them.

References reach files and nothing else, never the network; who reads the files decides which ones may be reached.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from recoverd.config.nodes import Path
from recoverd.config.units import quote
from recoverd.values import dataclass, field

NEWEST_DRAFT = "https://json-schema.org/draft/2020-12/schema"
DRAFTS: Mapping[str, str] = {
    "http://json-schema.org/draft-03/schema": "Draft3Validator",
    "http://json-schema.org/draft-04/schema": "Draft4Validator",
    "http://json-schema.org/draft-06/schema": "Draft6Validator",
    "http://json-schema.org/draft-07/schema": "Draft7Validator",
    "https://json-schema.org/draft/2019-09/schema": "Draft201909Validator",
    NEWEST_DRAFT: "Draft202012Validator",
}
"""What `$schema` may say (less a "#" at its end), and the name of jsonschema's validator for it."""
REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
MAPS_OF_SCHEMAS = frozenset(
    {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"}
)
_NOT_SCHEMAS = frozenset({"const", "enum", "default", "examples"})
_SCHEMAS = frozenset({
    *("allOf", "anyOf", "oneOf", "not", "if", "then", "else", "extends", "disallow", "type", "contentSchema"),
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
})  # fmt: skip
_DEEPEST = 100
_STANDARD = ("http://json-schema.org/", "https://json-schema.org/")  # where all meta-schemas are
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~/")  # RFC 3986: unreserved
_MOST_FILES = 1000


class Fault(Exception):
    """What is wrong with a schema: the file (None: an inline one), where in it, and a sentence.

    `key`: the key itself is meant, not its value.
    """

    def __init__(self, file: str | None, path: Path, sentence: str, *, key: bool = False) -> None:
        super().__init__(sentence)
        self.file = file
        self.path = path
        self.sentence = sentence
        self.key = key


@dataclass(frozen=True, slots=True)
class Spot:
    """Something at a place of one of the documents."""

    document: str  # URI
    path: Path
    bases: tuple[str, str]  # what a relative reference starts from there: by name, and by where the document was found
    value: str


@dataclass(slots=True)
class Closure:
    """`documents` by URI, among them the root at `base`; those that were read are in `files` as well, by their path.
    `name` is the URI that the root gives itself, else `base`: what its own relative references start from.

    `references` and `patterns` are all that stand in the documents, `places` tells where a schema stands (by the
    `id()` of its mapping), `formats` are the names that `format` gives.
    """

    base: str
    name: str
    draft: str
    documents: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    file_of: dict[str, str | None] = field(default_factory=dict)  # URI -> path
    references: list[Spot] = field(default_factory=list)
    patterns: list[Spot] = field(default_factory=list)
    formats: list[Spot] = field(default_factory=list)
    places: dict[int, tuple[str, Path]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)  # of references that can't be followed

    def fault(self, document: str, path: Path, sentence: str, *, key: bool = False) -> Fault:
        return Fault(self.file_of.get(document), path, sentence, key=key)


def crawl(document: Any, path: str | None, directories: tuple[str, ...], read: Callable[[str], Any]) -> Closure:
    """The closure of a schema: of the file at `path`, or an inline one, whose references start in `directories`.

    `read` gives the parsed JSON of a file, None where there is none, and may raise Fault with a sentence. Raises Fault
    when the schema itself is none; what is wrong with its references is in the closure.
    """
    if path is not None:
        base = "file://" + _quoted(path)
    else:
        first = directories[0] if directories else "/"
        base = "file://" + _quoted(first.rstrip("/") + "/") + "%00inline"
    closure = Closure(base, base, NEWEST_DRAFT)
    closure.file_of[base] = path
    if isinstance(document, dict) and "$schema" in document:
        closure.draft = _known_draft(closure, base, (), document["$schema"])
    _Crawler(closure, path, directories, read).document(document, base)
    return closure


def _quoted(path: str) -> str:
    """As it stands in a URI."""
    if _PLAIN.issuperset(path):
        return path
    from urllib.parse import quote as quoted

    return quoted(path)


def _known_draft(closure: Closure, document: str, path: Path, uri: Any) -> str:
    known = uri.rstrip("#") if isinstance(uri, str) else ""
    if known not in DRAFTS:
        sentence = "must be the name of a draft of JSON Schema"
        if isinstance(uri, str):
            sentence = f"{quote(uri)} is not a draft of JSON Schema that is known here"
        raise closure.fault(document, (*path, "$schema"), sentence)
    return known


@dataclass(slots=True)
class _Crawler:
    closure: Closure
    path: str | None
    directories: tuple[str, ...]
    read: Callable[[str], Any]

    @property
    def ref_is_alone(self) -> bool:
        """Up to draft 7 nothing counts that stands beside a reference."""
        return "/draft-0" in self.closure.draft

    def document(self, document: Any, uri: str) -> None:
        closure = self.closure
        if not isinstance(document, dict | bool):
            raise closure.fault(uri, (), "a schema is a mapping, or true or false")
        if isinstance(document, dict) and _is_too_deep(document):
            raise closure.fault(uri, (), f"is nested more than {_DEEPEST} levels deep")
        document = copy.deepcopy(document)
        closure.documents[uri] = document
        found = len(closure.references)
        self._walk(document, uri, (uri, uri), (), known=True)
        # Only now are all names known that parts of the document give themselves.
        for spot in closure.references[found:]:
            try:
                self._follow(spot)
            except Fault as fault:
                closure.faults.append(fault)

    def _walk(self, node: Any, uri: str, bases: tuple[str, str], path: Path, *, known: bool) -> None:
        """Notes what stands in a schema and in all schemas in it.

        `bases`: what its names and references start from, by the name that the document gives itself and by where it
        was found; jsonschema goes by the second when it comes there through a reference. `known`: only keywords lead
        here, so that a name is one; what another key holds is looked at because references can lead there.
        """
        if isinstance(node, list):
            for index, member in enumerate(node):
                self._walk(member, uri, bases, (*path, index), known=known)
        if not isinstance(node, dict):
            return
        closure = self.closure
        if "$schema" in node and (not path or (known and isinstance(node["$schema"], str))):
            if _known_draft(closure, uri, path, node["$schema"]) != closure.draft:
                sentence = "is another draft of JSON Schema than that of the schema that refers here: use one for all"
                raise closure.fault(uri, (*path, "$schema"), sentence)
            del node["$schema"]  # jsonschema would choose its validator by this key, and leave ours
        own = node.get("id" if closure.draft.endswith(("draft-03/schema", "draft-04/schema")) else "$id")
        if isinstance(own, str) and known and not (self.ref_is_alone and "$ref" in node):
            bases = self._name(node, own, uri, bases, path)
        closure.places.setdefault(id(node), (uri, path))
        for key in REFERENCES:
            if isinstance(node.get(key), str):
                closure.references.append(Spot(uri, (*path, key), bases, node[key]))
        for key, spots in (("pattern", closure.patterns), ("format", closure.formats)):
            if isinstance(node.get(key), str):
                spots.append(Spot(uri, (*path, key), bases, node[key]))
        for key, value in node.items():
            if key in MAPS_OF_SCHEMAS and isinstance(value, dict):
                for name, member in value.items():
                    if key == "patternProperties":
                        closure.patterns.append(Spot(uri, (*path, key, name), bases, name))
                    self._walk(member, uri, bases, (*path, key, name), known=known)
            elif key not in _NOT_SCHEMAS:
                self._walk(value, uri, bases, (*path, key), known=known and key in _SCHEMAS)

    def _name(self, node: dict[str, Any], own: str, uri: str, bases: tuple[str, str], path: Path) -> tuple[str, str]:
        """Registers a part of a document under the names that it has; gives what is relative to it."""
        from urllib.parse import urldefrag, urljoin

        closure = self.closure
        named = urljoin(bases[0], own), urljoin(bases[1], own) if path else bases[1]
        for name in named:
            closure.documents.setdefault(urldefrag(name)[0], node)
            closure.file_of.setdefault(urldefrag(name)[0], closure.file_of[uri])
        if not path and uri == closure.base:
            closure.name = urldefrag(named[0])[0]
        return named

    def _follow(self, spot: Spot) -> None:
        closure = self.closure
        if spot.value.startswith("#") and all(base in closure.documents for base in spot.bases):
            return  # the usual case, without `urllib`, which is slow to import
        from urllib.parse import urldefrag, urljoin, urlsplit

        beside = [] if urlsplit(spot.value).scheme else [urldefrag(urljoin(spot.document, spot.value))[0]]
        wanted = [urldefrag(urljoin(base, spot.value))[0] for base in dict.fromkeys(spot.bases)]
        for uri in wanted:
            if not uri or uri in closure.documents or (uri.startswith(_STANDARD) and uri in _meta_schemas()):
                continue
            # A schema that calls itself https://… still finds the files that lie beside it.
            found = self._load(spot, dict.fromkeys((*wanted, *beside)))
            closure.documents.setdefault(uri, closure.documents[found])
            closure.file_of.setdefault(uri, closure.file_of[found])

    def _load(self, spot: Spot, uris: Iterable[str]) -> str:
        """Makes one of these documents known: the first that is there. Gives its URI."""
        from urllib.parse import unquote, urlsplit

        closure = self.closure
        path = ""
        for uri in uris:
            if uri in closure.documents:
                return uri
            parts = urlsplit(uri)
            if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
                continue
            path = unquote(parts.path)
            for candidate in self._candidates(path):
                document = self._read(spot, candidate)
                if document is None:
                    continue
                closure.files[candidate] = document
                closure.file_of[uri] = candidate
                if len(closure.files) > _MOST_FILES:
                    raise closure.fault(spot.document, spot.path, f"the schema refers to more than {_MOST_FILES} files")
                self.document(document, uri)
                return uri
        sentence = f"{quote(spot.value)}: there is no file {path}"
        if not path:
            sentence = (
                f"{quote(spot.value)} is not a file, and references are never fetched from the network: "
                "save a copy beside the schema and refer to it by its file name"
            )
        raise closure.fault(spot.document, spot.path, sentence)

    def _candidates(self, path: str) -> list[str]:
        if self.path is not None:
            return [path]
        # An inline schema has no place of its own: its references are looked up in each directory.
        first = (self.directories[0] if self.directories else "/").rstrip("/") + "/"
        return [path, *(f"{other.rstrip('/')}/{path.removeprefix(first)}" for other in self.directories[1:])]

    def _read(self, spot: Spot, path: str) -> Any:
        try:
            return None if "\0" in path else self.read(path)
        except Fault as fault:
            if fault.file is not None:
                raise
            sentence = f"{quote(spot.value)} {fault.sentence}"
            raise self.closure.fault(spot.document, spot.path, sentence) from None


def _is_too_deep(document: Any) -> bool:
    pending = [(document, 1)]
    while pending:
        value, level = pending.pop()
        children = value.values() if isinstance(value, dict) else value
        pending += [(child, level + 1) for child in children if isinstance(child, dict | list)]
        if level > _DEEPEST:
            return True
    return False


def _meta_schemas() -> Any:
    from jsonschema_specifications import REGISTRY  # type: ignore[import-untyped]

    return REGISTRY


def why_no_pattern(pattern: str) -> str | None:
    """Why Python's `re`, which applies the patterns of schemas, can't use one."""
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        return str(error)
    return None
