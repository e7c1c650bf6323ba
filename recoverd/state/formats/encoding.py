"""How a document is written, besides what it says: so that whatever recoverd writes looks like what it replaces.

`describe` looks at the bytes found, `encode` writes a value in the same way. What the bytes do not tell has the
plainest answer. A document as any common writer of JSON leaves it comes back byte by byte.
"""

from __future__ import annotations

import re
from typing import Any

from recoverd.config.model import Format
from recoverd.errors import StateError
from recoverd.state.formats import json_format
from recoverd.state.formats.compression import Compression, level_of, pack, unpack
from recoverd.state.formats.integers import LongInteger, decimal_digits
from recoverd.state.formats.json_writing import to_json
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.values import dataclass, replace

_BOM = b"\xef\xbb\xbf"
_FIRST_INDENT = re.compile(r"\s*[\[{][ \t]*\r?\n([ \t]*)[^\s\]}]")
# A text without an end goes to the end: nothing is looked at twice.
_SEPARATORS = re.compile(r'"(?:[^"\\]++|\\.)*+"?(?P<key> {0,8}: ?)?|(?P<item>, ?)', re.DOTALL)
_YAML_INDENT = re.compile(r"^(?:[^\s#-].*|\"[^\"\n]*\"):[ \t]*\n( +)[^\s-]", re.MULTILINE)
_YAML_LIST = re.compile(r"^([^\s#-].*|\"[^\"\n]*\"):[ \t]*\n( *)- ", re.MULTILINE)
_TO_ESCAPE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
_NO_WRAP = 1 << 30


@dataclass(frozen=True, slots=True)
class Encoding:
    """How a document is written. Plain values, so that it can be compared and kept."""

    format: Format
    compression: Compression = Compression.NONE
    level: int | None = None  # of the compression; None: the usual one
    byte_order_mark: bool = False
    newline: str = "\n"
    final_newline: bool = True
    indent: str | None = None  # what each level of nesting adds; None: all in one line
    item_separator: str = ", "
    key_separator: str = ": "
    ascii_only: bool = True
    sorted_keys: bool = False
    escaped_slashes: bool = False  # "\/", as PHP writes it
    escaped_html: bool = False  # "\u003c" for "<", as Go writes it
    start_marker: bool = False  # YAML: "---" before the document
    indented_lists: bool = False  # YAML: lists stand deeper than the key that they belong to


def describe(data: bytes, format: Format) -> Encoding:
    """How `data`, a document of this format (not `auto`), is written; of a damaged one, as far as can be seen."""
    try:
        unpacked = unpack(data, Limits().size_bytes)
    except Unjudgeable:
        return Encoding(format)
    plain = unpacked.data
    text = plain.removeprefix(_BOM).decode("utf-8", "replace")
    common = Encoding(
        format,
        compression=unpacked.compression,
        level=level_of(data),
        byte_order_mark=plain.startswith(_BOM),
        newline="\r\n" if "\r\n" in text else "\n",
        final_newline=text.endswith("\n") or not text.strip(),
        ascii_only=text.isascii() and "\x7f" not in text,  # DEL is ASCII, and escaped like all beyond it
    )
    if format is Format.YAML:
        return _describe_yaml(common, text)
    return _describe_json(common, text) if format in {Format.JSON, Format.JSON_LINES} else common


def encode(value: Any, encoding: Encoding) -> bytes:
    """`value` written so. JSON lines take a list, an entry for each line.

    Raises StateError for a format that can't be written: TOML, whose comments and types would be lost, and opaque.
    """
    if encoding.format is Format.YAML:
        text = _yaml(value, encoding)
    elif encoding.format is Format.JSON_LINES:
        if not isinstance(value, list):
            raise StateError("JSON lines can be written of a list only", hint="give a list, an entry for each line")
        text = "\n".join(_json(entry, encoding) for entry in value)
    elif encoding.format is Format.JSON:
        text = _json(value, encoding)
    else:
        raise StateError(
            f"a document of format {encoding.format.value} can't be written, only kept as it is",
            hint="json, json-lines and yaml can be written",
        )
    text = text.rstrip("\n") + "\n" if encoding.final_newline and text else text.rstrip("\n")
    if encoding.newline != "\n":
        text = text.replace("\n", encoding.newline)
    plain = (_BOM if encoding.byte_order_mark else b"") + text.encode()
    return pack(plain, encoding.compression, encoding.level)


# -- JSON -------------------------------------------------------------------------------------------------


def _describe_json(common: Encoding, text: str) -> Encoding:
    lines = common.format is Format.JSON_LINES
    if lines:
        text = next((line for line in text.split("\n") if line.strip()), "")
    indent = None if lines else _FIRST_INDENT.match(text)
    key = next((found["key"] for found in _SEPARATORS.finditer(text) if found["key"]), None)
    item = next((found["item"] for found in _SEPARATORS.finditer(text) if found["item"]), None)
    usual = "," if indent or key == ":" else ", "
    key_usual = ":" if item == "," and not indent else ": "
    return replace(
        common,
        indent=indent[1] if indent else None,
        item_separator=item or usual,
        key_separator=key or key_usual,
        sorted_keys=_are_sorted(text),
        escaped_slashes="\\/" in text,
        escaped_html=re.search(r"\\u00(?:3[cC]|3[eE]|26)", text) is not None,
    )


def _are_sorted(text: str) -> bool:
    """Whether the keys of all objects are in order, and there are several in one: chance would not have it so."""
    parsed = json_format.parse(text.encode("utf-8", "surrogatepass"), allow=frozenset({json_format.ALLOW_NAN}))
    if parsed.problems:
        return False
    several = False
    waiting = [parsed.value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            keys = list(value)
            if keys != sorted(keys):
                return False
            several = several or len(keys) > 1
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return several


def _json(value: Any, encoding: Encoding) -> str:
    style: dict[str, Any] = {
        "indent": encoding.indent,
        "separators": (encoding.item_separator, encoding.key_separator),
        "sort_keys": encoding.sorted_keys,
    }
    text = to_json(value, ensure_ascii=encoding.ascii_only, **style)
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a character can only be escaped
        text = to_json(value, ensure_ascii=True, **style)
    if encoding.escaped_slashes:
        text = text.replace("/", "\\/")
    if encoding.escaped_html:
        for char in "<>&":
            text = text.replace(char, f"\\u00{ord(char):02x}")
    return text


# -- YAML -------------------------------------------------------------------------------------------------


def _describe_yaml(common: Encoding, text: str) -> Encoding:
    text = text.replace("\r\n", "\n")
    indent, a_list = _YAML_INDENT.search(text), _YAML_LIST.search(text)
    return replace(
        common,
        indent=indent[1] if indent else "  ",
        start_marker=re.match(r"(?:#[^\n]*\n|\s)*---\s", text) is not None,
        indented_lists=bool(a_list and a_list[2]),
    )


def _yaml(value: Any, encoding: Encoding) -> str:
    """In block style; anchors and aliases are written out."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
            super().increase_indent(flow, indentless and not encoding.indented_lists)

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 -- whatever it is
            return True

    def long_integer(dumper: yaml.SafeDumper, number: LongInteger) -> yaml.ScalarNode:
        return dumper.represent_scalar("tag:yaml.org,2002:int", decimal_digits(number))

    def dump(*, ascii_only: bool) -> str:
        return yaml.dump(
            value,
            Dumper=Dumper,
            indent=min(9, max(2, len(encoding.indent or "  "))),
            width=_NO_WRAP,
            allow_unicode=not ascii_only,
            default_flow_style=False,
            sort_keys=encoding.sorted_keys,
            explicit_start=encoding.start_marker,
        ).removesuffix("...\n")

    Dumper.add_representer(LongInteger, long_integer)
    text = dump(ascii_only=encoding.ascii_only)
    # the emitter breaks lines at these without a need, and half of a character has no bytes: both must be escaped
    return dump(ascii_only=True) if _TO_ESCAPE.search(text) else text
