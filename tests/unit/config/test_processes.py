"""`processes` and `instances`: what can't mean anything is told at its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

ITEMS = "{s: {file: /srv/x/s.json}, o: {file: /srv/x/o, format: opaque}, d: {directory: /srv/x/d}}"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("processes: {item: x, select: /a}", 'processes.item: there is no state item "x" in this service'),
        ("processes: {item: d, select: /a}", "processes.item: d is no file item"),
        ("processes: {item: o, select: /a}", "processes.item: o has format opaque"),
        ("processes: {item: s, select: a}", 'processes.select: "a" is no JSON pointer'),
        ("processes: {item: s, select: /a, pid: ''}", "processes.pid: must not be empty"),
        ("instances: {item: s, select: /a, command: ['']}", "instances.command: the program must not be empty"),
        ("instances: {item: s, select: /a, command: [x], name: y}", 'instances.name: "y" names no field'),
        ("instances: {item: s, select: /a, command: [x, 'a{}']}", "instances.command: {} is no field"),
        ("instances: {item: s, select: /a, command: [x], cwd: a}", 'instances.cwd: "a" must be a whole path'),
        ("instances: {item: s, select: /a, command: [x], where: {t: {within: x}}}", "instances.where: t: "),
        ("instances: {item: s, select: /a, command: [x], where: {t: {after: x}}}", "instances.where: t: is neither"),
    ],
)
def test_problems(keys: str, sentence: str, problems: Callable[..., list[str]]) -> None:
    (found,) = problems(f"services:\n  web:\n    state: {ITEMS}\n    {keys}\n")
    assert found.startswith("4:")
    assert f": services.web.{sentence}" in found


def test_the_whole_document_can_be_the_list(problems: Callable[..., list[str]]) -> None:
    keys = "instances: {item: s, select: '', command: ['{a/b}'], cwd: '{path}', where: {at: {within: 1h}}}"
    assert problems(f"services:\n  web:\n    state: {ITEMS}\n    {keys}\n") == []
