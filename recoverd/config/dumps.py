"""Dump items: state that the service's own tools save and load."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.config.dump_model import Dump
from recoverd.config.model import Format, ItemKind, Place, Run, Service, StateItem
from recoverd.config.sections import Section
from recoverd.config.signs import build_guards, build_magic, build_validation
from recoverd.config.units import format_duration, format_size
from recoverd.values import replace

_USUAL = Dump((), ())
# What is for documents that lie somewhere, or that are parsed: a dump is a stream that only the service's tools read.
_NOT_FOR_DUMPS = (
    *("schema", "version", "migrate", "allow", "include", "exclude", "name_field", "siblings", "rebuild", "initial"),
    *("optional", "check", "require_tables", "assert"),
)


def build_dump(item: Section, name: str) -> tuple[StateItem, Place]:
    """The state item, and where it is declared; problems are reported on the way."""
    for key in _NOT_FOR_DUMPS:
        if item.has(key):
            item.problem(key, "is not for dumps: only `validate`, `magic`, `guards` and `max_bytes` judge them")
    if Format(item.text("format") or Format.OPAQUE) not in {Format.OPAQUE, Format.AUTO}:
        item.problem("format", "a dump is opaque: what its tools write is theirs")
    if name.startswith("evidence"):
        item.problem(None, "a dump can't have a name that begins with evidence: so does what recoverd keeps beside it")
    guards = build_guards(item)
    if guards is not None and (guards.require or guards.min_items):
        key = "require" if guards.require else "min_items"
        item.section("guards").problem(key, "a dump has no fields that could be looked up")
    dump, most = item.section("dump"), item.size_or_none("max_bytes")
    if most == 0:
        item.problem("max_bytes", "must be more than 0: nothing would ever be saved")
    built = StateItem(
        name=name,
        kind=ItemKind.DUMP,
        path="",
        format=Format.OPAQUE,
        guards=guards,
        magic=build_magic(item),
        validate=build_validation(item),
        dump=Dump(
            save=_program(dump, "save"),
            load=_program(dump, "load"),
            timeout_s=dump.duration("timeout", _USUAL.timeout_s, positive=True),
            user=dump.text("user"),  # looked up when it is used: a package may ship this before it makes the user
            max_bytes=most,
        ),
    )
    return built, item.place("dump")


def _program(dump: Section, key: str) -> tuple[str, ...]:
    command = dump.texts(key)
    if not command or not command[0]:
        dump.problem(key, "the program must not be empty")
    return command


def as_users_of(run: Run | None, state: Mapping[str, StateItem]) -> dict[str, StateItem]:
    """The state items; a dump's tools run as the user of a service that recoverd starts, unless told otherwise."""
    user = run.user if run is not None else None
    return {
        name: replace(item, dump=replace(item.dump, user=user))
        if user is not None and item.dump is not None and item.dump.user is None
        else item
        for name, item in state.items()
    }


def check_dumps(section: Section, service: Service) -> None:
    """What a dump among the state of a service rules out."""
    if service.autosave.on_change is not None and len(service.dumps) == len(service.state) > 0:
        section.section("autosave").problem("on_change", "has nothing to watch: a dump lies nowhere, so give it times")


def plain_dump(item: StateItem) -> dict[str, Any]:
    """The item's own keys, as a file says them."""
    dump = item.dump
    assert dump is not None, "a dump item has its commands"
    commands = {"save": list(dump.save), "load": list(dump.load), "timeout": format_duration(dump.timeout_s)}
    return {
        "dump": commands | ({} if dump.user is None else {"user": dump.user}),
        **({} if dump.max_bytes is None else {"max_bytes": format_size(dump.max_bytes)}),
    }
