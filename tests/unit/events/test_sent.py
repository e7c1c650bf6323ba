"""cli.md, "Events": all of them are sent by something, but for those of features that are not built; hooks can name
every figure that any of them carries."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import recoverd
from recoverd.config.templates import FIELDS, FIGURES
from recoverd.events.names import EventName
from recoverd.events.stream import Events

UNBUILT = {"replica.lagging", "replica.failed"}
OWN = inspect.signature(Events.emit).parameters.keys() - {"self", "figures"}


def emits() -> Iterator[tuple[str, set[str]]]:
    """The first argument of each call of `emit`, with * for what is filled in, and the names of its figures."""
    for path in Path(recoverd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "emit":
                first = node.args[0]
                if isinstance(node.func.value, ast.Call):
                    continue  # super().emit(record): a handler of logs
                if isinstance(first, ast.Constant):
                    name = str(first.value)
                else:
                    assert isinstance(first, ast.JoinedStr), f"{path}: an event without a name"
                    name = "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in first.values)
                yield name, {str(keyword.arg) for keyword in node.keywords} - OWN


def test_all_events_are_sent() -> None:
    sent = {name for name, _ in emits()}
    families = {name.removesuffix("*") for name in sent if name.endswith("*")}
    missing = {
        name.value for name in EventName if name.value not in sent and not name.value.startswith(tuple(families))
    }
    assert missing == UNBUILT
    assert families == {"snapshot.", "state."}  # whose outcomes and verdicts are the names


def test_hooks_can_name_every_figure() -> None:
    """`{seconds}` in a hook is refused unless it is listed, so nothing that is sent may be missing there."""
    told = {figure for _, figures in emits() for figure in figures}
    assert told <= set(FIGURES)
    assert not set(FIGURES) & set(FIELDS)
