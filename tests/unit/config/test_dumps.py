"""Dump items: what of a state item is for them, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recoverd.config.dump_model import Dump
from recoverd.config.loading import Loaded
from recoverd.config.model import Format, ItemKind

_SERVICE = "services:\n  db:\n{more}    state:\n      backup: {{dump: {{save: [s], load: [l]}}{item}}}\n"


def service(item: str = "", more: str = "") -> str:
    return _SERVICE.format(item=item, more="".join(f"    {line}\n" for line in more.splitlines()))


def test_a_dump_lies_nowhere_and_is_opaque(load_text: Callable[..., Loaded]) -> None:
    """It has no path that could be claimed twice: two services may have one each."""
    text = service() + "  other:\n    state: {backup: {dump: {save: [s], load: [l]}}}\n"
    config = load_text(text).config
    item = config.services["db"].state["backup"]
    assert (item.kind, item.path, item.format) == (ItemKind.DUMP, "", Format.OPAQUE)
    assert item.dump == Dump(("s",), ("l",), 600.0, None, None)
    assert config.services["db"].dumps == ("backup",)


def test_its_tools_run_as_the_user_of_a_service_that_recoverd_starts(load_text: Callable[..., Loaded]) -> None:
    """The right user: not root, only because nobody said so twice."""
    more = "run: {command: [server], user: nobody}"
    item = load_text(service(more=more)).config.services["db"].state["backup"]
    assert item.dump is not None and item.dump.user == "nobody"
    own = load_text(service(more=more).replace("load: [l]", "load: [l], user: 7")).config.services["db"].state["backup"]
    assert own.dump is not None and own.dump.user == "7"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (service(", schema: {type: object}"), "schema: is not for dumps"),
        (service(", optional: true"), "optional: is not for dumps"),
        (service(", siblings: ['*.bak']"), "siblings: is not for dumps"),
        (service(", initial: {}"), "initial: is not for dumps"),
        (service(", include: ['*']"), "include: is not for dumps"),
        (service(", format: json"), "format: a dump is opaque"),
        (service(", guards: {require: [/a]}"), "guards.require: a dump has no fields"),
        (service(", validate: {command: [check]}"), "does not say {path}"),
        (service(", max_bytes: much"), "max_bytes"),
        (service(", max_bytes: 0"), "max_bytes: must be more than 0"),
        (service().replace("backup", "evidence.json"), "a dump can't have a name that begins with evidence"),
        (service().replace("save: [s], ", ""), "save"),
        (service().replace("[l]", "['']"), "load: the program must not be empty"),
        (service().replace("[l]", "[l], timeout: 0s"), "must be longer than 0s"),
        (service(more="autosave: {on_change: {}}"), "on_change: has nothing to watch"),
        ("services: {a: {state: {m: {file: /srv/x/a, max_bytes: 3}}}}", "max_bytes: is for dumps"),
    ],
)
def test_what_is_not_for_dumps_is_a_problem(text: str, problem: str, problems: Callable[..., list[str]]) -> None:
    """Refused at its place, never ignored."""
    found = problems(text)
    assert len(found) == 1 and problem in found[0], found
