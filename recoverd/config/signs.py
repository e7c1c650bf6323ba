"""What a state item declares about good state besides format and schema: guards, version, name, magic, a command."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from recoverd.config.migration_model import VersionRule
from recoverd.config.model import Format, Guards, ItemKind, Validation
from recoverd.config.sections import Section

_MOST_MAGIC_BYTES = 4096
_WITHOUT_FIELDS = frozenset({Format.OPAQUE, Format.JSON_LINES})
_POINTER = re.compile(r"(/([^~/]|~[01])*)*\Z")


def why_no_pointer(text: str) -> str | None:
    """Why a text is no JSON pointer (RFC 6901)."""
    return None if _POINTER.match(text) else f'"{text}" is no JSON pointer: one such as /tasks/0 starts with a slash'


def build_guards(item: Section) -> Guards | None:
    """None where none are declared."""
    if not item.has("guards"):
        return None
    section = item.section("guards")
    require = section.texts("require")
    counts: Mapping[str, int] = {
        pointer: int(node.content)
        for pointer, node in (section.section("min_items").node.content or {}).items()
        if isinstance(node.content, int)
    }
    for key, pointers in (("require", require), ("min_items", tuple(counts))):
        for pointer in pointers:
            if reason := why_no_pointer(pointer):
                section.problem(key, reason)
    guards = Guards(
        min_bytes=section.size_or_none("min_bytes"),
        max_shrink=section.percentage_or_none("max_shrink"),
        require=require,
        min_items=MappingProxyType(dict(counts)),
    )
    if (require or counts) and _format(item) in _WITHOUT_FIELDS:
        what = "require" if require else "min_items"
        section.problem(what, f"documents of format {_format(item).value} have no fields that could be looked up")
    return guards


def build_version(item: Section) -> VersionRule | None:
    """None where none is declared."""
    if not item.has("version"):
        return None
    section = item.section("version")
    if _format(item) in _WITHOUT_FIELDS:
        item.problem("version", f"documents of format {_format(item).value} have no version field")
    field, current = section.text("field"), section.text("current")
    if field is not None and field.startswith("/") and (reason := why_no_pointer(field)):
        section.problem("field", reason)
    return VersionRule(field, current) if field is not None and current is not None else None


def build_name_field(item: Section, kind: ItemKind) -> str | None:
    """None where none is declared."""
    field = item.text("name_field")
    if field is None:
        return None
    if kind is not ItemKind.DIRECTORY:
        item.problem("name_field", "is for directory items: the name of a file item is given by its path")
    elif _format(item) in _WITHOUT_FIELDS:
        item.problem("name_field", f"documents of format {_format(item).value} have no field to be named by")
    return field


def build_magic(item: Section) -> str:
    """The first bytes of every document in hexadecimal, "" where none are declared."""
    text = item.text("magic")
    if text is None:
        return ""
    magic = text.encode()
    if text.startswith("hex:"):
        try:
            magic = bytes.fromhex(text[len("hex:") :])
        except ValueError:
            item.problem("magic", f'"{text}" is not hex: followed by pairs of hexadecimal digits')
            return ""
    if not magic or len(magic) > _MOST_MAGIC_BYTES:
        item.problem("magic", f"must have 1 to {_MOST_MAGIC_BYTES} bytes")
    return magic.hex()


def build_validation(item: Section) -> Validation | None:
    """None where none is declared."""
    if not item.has("validate"):
        return None
    section = item.section("validate")
    command = section.texts("command")
    if not command or not command[0]:
        section.problem("command", "the program must not be empty")
    elif not any("{path}" in word for word in command):
        section.problem("command", "does not say {path} anywhere, so it can't judge the copy that it is given")
    return Validation(command, section.duration("timeout", Validation(()).timeout_s, positive=True))


def _format(item: Section) -> Format:
    return Format(item.text("format") or Format.AUTO)
