"""Siblings, rebuild and initial: what can't be meant is said with its place; the content of a file is taken in."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import pytest

from recoverd.config.loading import Loaded

HEAD = "services:\n  web:\n    root: /srv/web\n    state:\n      tasks: {directory: tasks}\n      main: "


@pytest.mark.parametrize(
    ("item", "wanted"),
    [
        ("{file: a, siblings: ['{nam}.bak']}", "has {nam}: there are {name} and {stem}"),
        ("{file: a, siblings: ['/tmp/x']}", "must lie below the directory"),
        ("{file: a, siblings: ['../x']}", "must lie below the directory"),
        ("{file: a, siblings: ['**/x']}", "say how deep"),
        ("{file: a, siblings: ['{name}']}", "is the document itself"),
        ("{directory: d, siblings: ['x.bak']}", "it needs {name} or {stem}"),
        ("{directory: d, rebuild: {collect: {/a: tasks}}}", "is for file items"),
        ("{file: a, rebuild: {}}", "says nothing"),
        ("{file: a, rebuild: {command: ['']}}", "must not be empty"),
        ("{file: a, rebuild: {command: [x], collect: {/a: tasks}}}", "nothing else can be given beside it"),
        ("{file: a, format: opaque, rebuild: {collect: {/a: tasks}}}", "can only be rebuilt by a command"),
        ("{file: a, rebuild: {collect: {a: tasks}}}", "no JSON pointer"),
        ("{file: a, rebuild: {constants: {'': 1}}}", "can't be one value"),
        ("{file: a, rebuild: {collect: {/a: jobs}}}", "there is no state item jobs"),
        ("{file: a, rebuild: {collect: {/a: main}}}", "can't be rebuilt from itself"),
        ("{file: a, rebuild: {compute: {/a: {}}}}", "give one of count and mean"),
        ("{file: a, rebuild: {compute: {/a: {count: tasks, mean: tasks}}}}", "give one of count and mean"),
        ("{file: a, rebuild: {compute: {/a: {mean: tasks}}}}", "give seconds_from, to"),
        ("{file: a, rebuild: {compute: {/a: {count: tasks, to: x}}}}", "a count has no"),
        ("{file: a, rebuild: {compute: {/a: {count: tasks, where: {t: {within: soon}}}}}}", "soon"),
        ("{file: a, rebuild: {compute: {/a: {count: tasks, where: {t: {before: 1h}}}}}}", "neither a value nor"),
        ("{directory: d, initial: {}}", "is for file items"),
        ("{file: a, format: opaque, initial: {}}", "must be the path of a file"),
        ("{file: a, initial: /nowhere/first.json}", "/nowhere/first.json can't be read"),
    ],
)
def test_what_can_not_be_meant(item: str, wanted: str, problems: Callable[..., list[str]]) -> None:
    found = problems(HEAD + item + "\n")
    assert len(found) == 1, found
    assert wanted in found[0]
    assert found[0].startswith("6:")


def test_the_content_of_an_initial_file(load_text: Callable[..., Loaded], tmp_path: Path) -> None:
    """Taken in when the configuration loads, where the ownership rule holds: nothing is read at the boot."""
    first = tmp_path / "first.bin"
    first.write_bytes(b"REDIS\0\xff")
    loaded = load_text(HEAD + f"{{file: a, format: opaque, initial: {first}}}\n")
    initial = loaded.config.services["web"].state["main"].initial
    assert initial is not None
    assert (initial.path, base64.b64decode(initial.content)) == (str(first), b"REDIS\0\xff")
    assert str(first) in [file.path for file in loaded.sources.files]
