"""`format: auto`: what a document is, by its content alone.

JSON is what begins like an object or a list of JSON; a damaged one does so too and is judged as JSON. JSON lines are
JSON whose first line is a whole object or list and is not the only one. All else is opaque, INI and TOML (which begin
with "[" as well) among them. A name decides nothing: `.json` on text that is not JSON is how many programs begin.
"""

from __future__ import annotations

import re

from recoverd.config.model import Format
from recoverd.state.formats import json_format

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
