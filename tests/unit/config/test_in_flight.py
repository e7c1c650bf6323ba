"""`in_flight`: what can't mean anything is told at its place, and what it says arrives in the model and comes back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from recoverd.config.in_flight_model import InFlight
from recoverd.config.loading import load
from recoverd.config.rendering import as_plain, yaml_lines

ITEMS = "{s: {file: /srv/x/s.json}, o: {file: /srv/x/o, format: opaque}, d: {directory: /srv/x/d}}"


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ("item: t, select: /a", '[0].item: there is no state item "t" in this service'),
        ("item: o, select: /a", "[0].item: o has format opaque"),
        ("item: s, select: a", '[0].select: "a" is no JSON pointer'),
        ("item: s, select: /a, where: {t: {within: x}}", "[0].where: t: "),
        ("item: s, select: /a, where: {t: {after: 1h}}", "[0].where: t: is neither"),
        ("item: s, select: /a, where: {t: []}", "[0].where: t: a list is one of values"),
        ("item: s, select: /a, where: {t: [[x]]}", "[0].where: t: a list is one of values"),
        ("item: s, select: /a, message: 'x {id'", "[0].message: a field such as {id} is not closed"),
        ("item: s, select: /a, where: {'': x}", "[0].where: a field must not be empty"),
        ("item: s, select: /a, show: [/a~2]", '[0].show: "/a~2" is no JSON pointer'),
        ("item: s, select: /a, exists: ''", "[0].exists: a field must not be empty"),
        ("item: s, select: /a, as: 'x:{}'", "[0].as: {} is no field"),
        ("item: s, select: /a, message: ' '", "[0].message: must not be empty"),
        ("item: s, select: /a, notify: '{/a~}'", '[0].notify: "/a~" is no JSON pointer'),
        ("item: s", '[0]: the key "select" is missing'),
        ("item: s, select: /a, filter: x", "[0].filter: unknown key"),
    ],
)
def test_problems(keys: str, sentence: str, problems: Callable[..., list[str]]) -> None:
    (found,) = problems(f"services:\n  web:\n    state: {ITEMS}\n    in_flight:\n      - {{{keys}}}\n")
    assert found.startswith("5:"), found
    assert f": services.web.in_flight{sentence}" in found


def test_a_broken_item_makes_no_false_follow_up(problems: Callable[..., list[str]]) -> None:
    text = "services:\n  web:\n    state: {s: {fle: x}}\n    in_flight: [{item: s, select: /a}]\n"
    assert not [line for line in problems(text) if "in_flight" in line]


def test_what_it_says_arrives(write: Callable[[Mapping[str, str]], Path]) -> None:
    """Every key, also by way of the effective configuration as YAML."""
    keys = (
        "{item: d, select: '', where: {status: [a, 1], at: {within: 90m}}, show: [id, /a/b], exists: c, as: 't:{id}',"
        " message: '{/a/b} is back', notify: 'look at {id}'}"
    )
    root = write({"conf.d/a.yaml": f"services:\n  web:\n    state: {ITEMS}\n    in_flight:\n      - {keys}\n"})
    loaded = load([str(root)], environ={}, euid=1000, home="/home/me")
    expected = (
        InFlight(
            "d",
            "",
            {"status": ["a", 1], "at": {"within": "90m"}},
            ("id", "/a/b"),
            "c",
            "t:{id}",
            "{/a/b} is back",
            "look at {id}",
        ),
    )
    assert loaded.config.services["web"].in_flight == expected
    shown = write({"again.yaml": "\n".join(yaml_lines(as_plain(loaded.config, mask=False), {}))})
    again = load([str(shown / "again.yaml")], environ={}, euid=1000, home="/home/me")
    assert again.config.services["web"].in_flight == expected
