"""Processes that a service's own documents name: its children, and those that are to be brought back."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recoverd.config.model import Format, ItemKind, StateItem
from recoverd.config.origins import check_wanted
from recoverd.config.process_model import Instances, Processes
from recoverd.config.sections import Section
from recoverd.config.signs import why_no_pointer
from recoverd.config.wording import suggest

_FIELD = re.compile(r"\{([^{}]*)\}")


def build_processes(section: Section, state: Mapping[str, StateItem]) -> Processes | None:
    """None where none are declared."""
    if not section.present:
        return None
    pid = str(section.text("pid", Processes("", "").pid))
    if not pid:
        section.problem("pid", "must not be empty")
    return Processes(_item(section, state), _pointer(section), pid)


def build_instances(section: Section, state: Mapping[str, StateItem]) -> Instances | None:
    """None where none are declared."""
    if not section.present:
        return None
    usual = Instances("", "", ())
    where = {field: node.plain() for field, node in section.section("where").node.content.items()}
    for field, wanted in where.items():
        if isinstance(wanted, dict):
            check_wanted(section, "where", field, wanted)
    command, name, cwd = section.texts("command"), str(section.text("name", usual.name)), section.expanded("cwd")
    if not command or not command[0]:
        section.problem("command", "the program must not be empty")
    if not _FIELD.search(name):
        section.problem("name", f'"{name}" names no field of an entry, such as {{id}}: all would have the same name')
    if cwd is not None and not cwd.startswith(("/", "{")):
        section.problem("cwd", f'"{cwd}" must be a whole path, or start with a field such as {{path}}')
    for key, texts in (("command", command), ("name", (name,)), ("cwd", (cwd or "",))):
        if any(not field for text in texts for field in _FIELD.findall(text)):
            section.problem(key, "{} is no field: give its name, as in {id}")
    return Instances(
        item=_item(section, state),
        select=_pointer(section),
        command=command,
        where=where,
        name=name,
        cwd=cwd,
        most=section.integer("most", usual.most),
    )


def _item(section: Section, state: Mapping[str, StateItem]) -> str:
    name = str(section.text("item", ""))
    found = state.get(name)
    if found is None:
        if not section.context.is_touched((*section.path[:2], "state", name)):
            section.problem("item", f'there is no state item "{name}" in this service{suggest(name, state)}')
    elif found.kind is not ItemKind.FILE:
        section.problem("item", f"{name} is no file item: the list must stand in one document")
    elif found.format in {Format.OPAQUE, Format.JSON_LINES}:
        section.problem("item", f"{name} has format {found.format.value}, so there is no list to be looked up in it")
    return name


def _pointer(section: Section) -> str:
    pointer = str(section.text("select", ""))
    if reason := why_no_pointer(pointer):
        section.problem("select", reason)
    return pointer
