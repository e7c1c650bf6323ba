"""Where a state item's content can come from besides snapshots: siblings, a rebuild, an initial document."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from recoverd.config import trust
from recoverd.config.model import Computed, Format, Initial, ItemKind, Rebuild
from recoverd.config.nodes import Node
from recoverd.config.sections import Section
from recoverd.config.signs import why_no_pointer
from recoverd.config.units import parse_duration

_MOST_INITIAL_BYTES = 4 * 1024 * 1024
_PLACEHOLDER = re.compile(r"\{[^}]*\}")
_OPERATORS = ("within",)


def build_siblings(item: Section, kind: ItemKind) -> tuple[str, ...] | None:
    """Patterns below the directory of a document; None where none are declared, so that the usual ones hold."""
    if not item.has("siblings"):
        return None
    patterns = item.texts("siblings")
    for pattern in patterns:
        unknown = sorted(set(_PLACEHOLDER.findall(pattern)) - {"{name}", "{stem}"})
        if unknown:
            item.problem("siblings", f'"{pattern}" has {unknown[0]}: there are {{name}} and {{stem}}')
        elif pattern.startswith("/") or ".." in pattern.split("/"):
            item.problem("siblings", f'"{pattern}" must lie below the directory of the document, without / and ..')
        elif "**" in pattern.split("/"):
            item.problem("siblings", f'"{pattern}" has **: say how deep siblings lie, as in backups/*.json')
        elif kind is ItemKind.DIRECTORY and "{" not in pattern:
            item.problem("siblings", f'"{pattern}" would do for every document: it needs {{name}} or {{stem}}')
        elif pattern in {"{name}", ""}:
            item.problem("siblings", f'"{pattern}" is the document itself')
    return patterns


def build_rebuild(item: Section, kind: ItemKind) -> Rebuild | None:
    """None where none is declared. The items that it names are for `check_rebuild`, once all are known."""
    if not item.has("rebuild"):
        return None
    section = item.section("rebuild")
    if kind is not ItemKind.FILE:
        item.problem("rebuild", "is for file items: of a directory there is no telling which documents it lacks")
    command = section.texts("command")
    collect = {pointer: str(node.content) for pointer, node in _entries(section, "collect").items()}
    constants = {pointer: node.plain() for pointer, node in _entries(section, "constants").items()}
    compute = {pointer: _computed(section, pointer, node) for pointer, node in _entries(section, "compute").items()}
    if command and (collect or constants or compute):
        section.problem("command", "writes the whole document: nothing else can be given beside it")
    elif section.has("command") and (not command or not command[0]):
        section.problem("command", "the program must not be empty")
    elif not (command or collect or constants or compute):
        item.problem("rebuild", "says nothing: give collect, constants and compute, or a command")
    if not command and item.text("format") in {Format.OPAQUE, Format.JSON_LINES}:
        item.problem("rebuild", f"a document of format {item.text('format')} can only be rebuilt by a command")
    for key, pointers in (("collect", collect), ("constants", constants), ("compute", compute)):
        for pointer in pointers:
            if reason := why_no_pointer(pointer):
                section.problem(key, reason)
            elif not pointer:
                section.problem(key, "the whole document can't be one value: give pointers such as /tasks")
    return Rebuild(collect, constants, compute, command)


def check_rebuild(item: Section, rebuild: Rebuild, own_name: str, others: Mapping[str, ItemKind]) -> None:
    """Problems with the state items that a rebuild names; `others` are all of the service."""
    for name in rebuild.items:
        if name == own_name:
            item.problem("rebuild", f"{name} can't be rebuilt from itself")
        elif name not in others:
            item.problem("rebuild", f"there is no state item {name} in this service")
        elif others[name] not in {ItemKind.FILE, ItemKind.DIRECTORY}:
            item.problem("rebuild", f"{name} has no documents to rebuild from")


def build_initial(item: Section, kind: ItemKind) -> Initial | None:
    """None where none is declared, or a problem was reported. Text names a file with the content."""
    node = item.node.get("initial")
    if node is None or node.content is None:
        return None
    if kind is not ItemKind.FILE:
        item.problem("initial", "is for file items: a directory starts empty by `restore.exhausted: empty`")
    if not isinstance(node.content, str):
        if item.text("format") in {Format.OPAQUE, Format.JSON_LINES, Format.TOML}:
            item.problem("initial", f"of format {item.text('format')} must be the path of a file with the content")
        return Initial(document=node.plain())
    path = item.file_path("initial")
    if path is None:
        return None
    try:
        data = item.context.read(path, _MOST_INITIAL_BYTES)
    except trust.Unusable as reason:
        item.problem("initial", f"{path} {reason}")
        return None
    if len(data) > _MOST_INITIAL_BYTES:
        item.problem("initial", f"{path} is larger than {_MOST_INITIAL_BYTES // 1024 // 1024} MiB")
        return None
    return Initial(path=path, content=base64.b64encode(data).decode("ascii"))


def _entries(section: Section, key: str) -> Mapping[str, Node]:
    node = section.node.get(key)
    content: Any = node.content if node is not None else None
    return content if isinstance(content, dict) else {}


def _computed(section: Section, pointer: str, node: Node) -> Computed:
    if not isinstance(node.content, dict):
        return Computed("now")
    rule: dict[str, Any] = {key: below.plain() for key, below in node.content.items()}
    where = rule.get("where") or {}
    for field, wanted in where.items():
        if isinstance(wanted, dict):
            check_wanted(section, "compute", f"{pointer}: {field}", wanted)
    kinds = [kind for kind in ("count", "mean") if kind in rule]
    if len(kinds) != 1:
        section.problem("compute", f"{pointer}: give one of count and mean, with the name of a state item")
        return Computed("now")
    if kinds == ["mean"] and not ("seconds_from" in rule and "to" in rule):
        section.problem(
            "compute", f"{pointer}: a mean is of the seconds from one field to another: give seconds_from, to"
        )
    if kinds == ["count"] and ("seconds_from" in rule or "to" in rule):
        section.problem("compute", f"{pointer}: a count has no seconds_from and to")
    return Computed(
        kinds[0], str(rule[kinds[0]]), where, str(rule.get("seconds_from") or ""), str(rule.get("to") or "")
    )


def check_wanted(section: Section, key: str, place: str, wanted: Mapping[str, Any]) -> None:
    """Problems with a mapping that stands for a value in `where`."""
    if not isinstance(wanted, dict) or tuple(wanted) != _OPERATORS or not isinstance(wanted["within"], str):
        section.problem(key, f"{place}: is neither a value nor a list of them, nor {{within: 1h}}")
        return
    try:
        parse_duration(wanted["within"])
    except ValueError as error:
        section.problem(key, f"{place}: {error}")
