"""Guards, version, name field, magic and validation: what can't be meant is said with its place."""

from __future__ import annotations

from collections.abc import Callable

import pytest

HEAD = "services:\n  web:\n    state:\n      main: "


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ("{file: /srv/a, guards: {require: [tasks]}}", '"tasks" is no JSON pointer'),
        ("{file: /srv/a, guards: {min_items: {a~2: 1}}}", '"a~2" is no JSON pointer'),
        ("{file: /srv/a, guards: {max_shrink: 120%}}", "120%"),
        ("{file: /srv/a, guards: {min_bytes: lots}}", "lots"),
        ("{file: /srv/a, format: opaque, guards: {require: [/a]}}", "format opaque have no fields"),
        ("{file: /srv/a, format: json-lines, guards: {min_items: {/a: 1}}}", "format json-lines have no fields"),
        ("{file: /srv/a, format: opaque, version: {field: v, current: 1}}", "format opaque have no version field"),
        ("{file: /srv/a, name_field: id}", "is for directory items"),
        ("{directory: /srv/a, format: opaque, name_field: id}", "have no field to be named by"),
        ("{file: /srv/a, magic: 'hex:0'}", "pairs of hexadecimal digits"),
        ("{file: /srv/a, magic: 'hex:'}", "1 to 4096 bytes"),
        ("{file: /srv/a, validate: {command: [check]}}", "does not say {path} anywhere"),
        ("{file: /srv/a, validate: {command: ['', '{path}']}}", "program must not be empty"),
        ("{file: /srv/a, validate: {command: [check, '{path}'], timeout: 0s}}", "longer than 0s"),
    ],
)
def test_what_can_not_be_meant(item: str, wanted: str, problems: Callable[..., list[str]]) -> None:
    (found,) = problems(HEAD + item + "\n")
    assert wanted in found
    assert found.startswith("4:")
