"""`format: auto`: what a document is, by its content.

JSON is what begins like an object or a list of JSON; a damaged one does so too and is judged as JSON. JSON lines are
JSON whose first line is a whole object or list and is not the only one. A `.json` on text that is not JSON decides
nothing: that is how many programs begin.

Nearly every text is YAML, and INI files look like TOML, so content alone can't tell these. Where a schema says that a
document is meant to be parsed, it is TOML or YAML if it can be read so and is more than a single text. Where nothing
does, its name is a hint (`.yaml`, `.yml`, `.toml`, also before `.gz` and `.zst`): it is what the name says if it can be
read so. All else is opaque.
"""

from __future__ import annotations

import re

from recoverd.config.model import Format
from recoverd.state.formats import json_format
from recoverd.state.formats.compression import unpack
from recoverd.state.formats.reading import read_plain
from recoverd.state.formats.text import Documents, Limits, Unjudgeable

HEAD_BYTES = 4096
"""How much of the beginning is looked at to tell parsable from opaque."""

_SPACE = rb"[ \t\r\n]*"
_BEGINS_LIKE_JSON = re.compile(
    rb"(?:\xef\xbb\xbf)?"
    + _SPACE
    + rb"(?:\["
    + _SPACE
    + rb")*+(?:\{"
    + _SPACE
    + rb'(?:["}]|\Z)|(?<=[\[ \t\r\n])(?:["\]]|(?:-?[0-9][-+.0-9eE]*|true|false|null)'
    + _SPACE
    + rb"(?:[,\]]|\Z))|\Z)"
)
# "[1]" or "[true]" with something else in the next line is the heading of an INI file.
_HEADING = re.compile(rb"[ \t\r\n]*\[[^\[\]{}\",\n]*\][ \t\r]*\n\s*[^\s\[]")

_NAMES = re.compile(r"\.(?:(ya?ml)|toml)(?:\.(?:gz|zst))?\Z", re.IGNORECASE)


def looks_parsable(head: bytes) -> bool:
    """Whether a document with this beginning (`HEAD_BYTES`, or all of it) is JSON or JSON lines, damaged or not."""
    head = head[:HEAD_BYTES]
    stripped = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if stripped[:1] not in (b"{", b"["):
        return False
    return _BEGINS_LIKE_JSON.match(head) is not None and _HEADING.match(head) is None


def is_lines(data: bytes) -> bool:
    """Whether a document that looks parsable is JSON lines: its first line is whole, and another one follows."""
    first, newline, rest = data.lstrip(b" \t\r\n").partition(b"\n")
    if not newline or first.rstrip()[-1:] not in (b"}", b"]"):
        return False
    following = rest.lstrip(b" \t\r\n")
    # NUL bytes behind a whole document are a damaged tail, not a second line.
    if not following.strip(b"\0 \t\r\n"):
        return False
    return not json_format.parse(first, allow=frozenset({json_format.ALLOW_NAN})).problems


def detect(data: bytes) -> Format:
    """JSON, JSON lines or opaque, of a whole document."""
    if not looks_parsable(data):
        return Format.OPAQUE
    return Format.JSON_LINES if is_lines(data) else Format.JSON


def hint(name: str) -> Format | None:
    """What a document of this name may be, if it is no JSON."""
    found = _NAMES.search(name)
    return None if found is None else Format.YAML if found[1] else Format.TOML


def try_as(format: Format, data: bytes, limits: Limits) -> Documents | None:
    """What reading a document as YAML or TOML gives; None when it can't be, or when there is only a text in it."""
    try:
        found = read_plain(data, format, limits=limits)
    except Unjudgeable:
        return None
    structured = not found.problems and any(isinstance(value, dict | list) for value in found.values)
    return found if structured else None


def detect_structured(data: bytes, limits: Limits) -> tuple[Format, Documents | None]:
    """What a document is that is meant to be parsed, and does not look like JSON; with what reading it gave."""
    for format in (Format.TOML, Format.YAML):
        found = try_as(format, data, limits)
        if found is not None:
            return format, found
    return Format.JSON, None


def format_of(data: bytes, name: str = "", *, structured: bool = False) -> Format:
    """What a whole document of `format: auto` is, seen through its compression. `structured`: a schema says that it is
    meant to be parsed; then it is never opaque, unless it is larger than is parsed."""
    limits = Limits()
    try:
        plain = unpack(data, limits.size_bytes).data
    except Unjudgeable:
        return Format.OPAQUE
    found = detect(plain)
    if structured:
        return detect_structured(plain, limits)[0] if found is Format.OPAQUE else found
    named = hint(name)
    return named if named is not None and try_as(named, plain, limits) is not None else found
