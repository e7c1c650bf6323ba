"""`in_flight`: the queries over a service's own documents that the resume report answers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from recoverd.config.in_flight_model import InFlight
from recoverd.config.model import Format, ItemKind, StateItem
from recoverd.config.origins import check_wanted
from recoverd.config.sections import Section
from recoverd.config.signs import why_no_pointer
from recoverd.config.wording import suggest

_FIELD = re.compile(r"\{([^{}]*)\}")
_TEMPLATES = ("as", "message", "notify")


def build_in_flight(section: Section, state: Mapping[str, StateItem]) -> tuple[InFlight, ...]:
    """The queries of a service, in their order; `section` is the service."""
    return tuple(_query(query, state, section) for query in section.sections("in_flight"))


def _query(query: Section, state: Mapping[str, StateItem], service: Section) -> InFlight:
    where = {field: node.plain() for field, node in query.section("where").node.content.items()}
    for field, wanted in where.items():
        _check_field(query, "where", field)
        if isinstance(wanted, dict):
            check_wanted(query, "where", field, wanted)
        elif isinstance(wanted, list) and (not wanted or any(isinstance(one, dict | list) for one in wanted)):
            query.problem("where", f"{field}: a list is one of values, of which an entry has one")
    select, show, exists = str(query.text("select", "")), query.texts("show"), query.text("exists")
    if reason := why_no_pointer(select):
        query.problem("select", reason)
    for key, fields in (("show", show), ("exists", () if exists is None else (exists,))):
        for field in fields:
            _check_field(query, key, field)
    called, message, notify = (query.text(key) for key in _TEMPLATES)
    for key, text in zip(_TEMPLATES, (called, message, notify), strict=True):
        if text is None:
            continue
        if not text.strip():
            query.problem(key, "must not be empty")
        if text.count("{") != text.count("}"):
            query.problem(key, "a field such as {id} is not closed, or not opened")
        for field in _FIELD.findall(text):
            if not field:
                query.problem(key, "{} is no field: give its name, as in {id}")
            else:
                _check_field(query, key, field)
    return InFlight(_item(query, state, service), select, where, show, exists, called, message, notify)


def _check_field(query: Section, key: str, field: str) -> None:
    if not field:
        query.problem(key, "a field must not be empty")
    elif field.startswith("/") and (reason := why_no_pointer(field)):
        query.problem(key, reason)


def _item(query: Section, state: Mapping[str, StateItem], service: Section) -> str:
    name = str(query.text("item", ""))
    found = state.get(name)
    if found is None:
        if not query.context.is_touched((*service.path, "state", name)):
            query.problem("item", f'there is no state item "{name}" in this service{suggest(name, state)}')
    elif found.kind not in {ItemKind.FILE, ItemKind.DIRECTORY}:
        query.problem("item", f"{name} is neither a file nor a directory item, so there are no documents to ask")
    elif found.format is Format.OPAQUE:
        query.problem("item", f"{name} has format opaque, so there is nothing to be looked up in it")
    return name
