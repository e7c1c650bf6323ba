"""docs/schemas.md: its schemas can be used as they stand there, and say what the page says that they say."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from recoverd.config.loading import Loaded
from recoverd.config.model import StateItem
from recoverd.state.judging import build_judge
from recoverd.state.schema_formats import CHECKERS
from recoverd.state.verdicts import Verdict

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "schemas.md").read_text()


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(text) for _, text in found]


@pytest.fixture
def item(load_text: Callable[..., Loaded]) -> Callable[[str], StateItem]:
    return lambda text: next(iter(next(iter(load_text(text).config.services.values())).state.values()))


def test_the_problems_are_those_of_the_page(item: Callable[[str], StateItem]) -> None:
    (text,) = blocks("yaml")
    judge = build_judge(item(text))
    good = {"version": "1", "tasks": [{"id": "task_1", "status": "open", "due": "2026-11-21T03:12:45Z"}]}
    assert judge.judge("", json.dumps(good).encode()).verdict is Verdict.OK
    bad = {"version": "1", "tasks": [{"id": "task_1"}, {"id": "7", "status": "open", "due": "tomorrow"}]}
    judgement = judge.judge("", json.dumps(bad).encode())
    assert [str(problem) for problem in judgement.problems] == blocks("text")[0].splitlines()


def test_the_files_refer_to_each_other(
    item: Callable[[str], StateItem], write: Callable[[Mapping[str, str]], Path]
) -> None:
    names = re.findall(r"^`(\w+\.schema\.json)`$", PAGE, re.MULTILINE)
    write(dict(zip(names, blocks("json"), strict=True)))
    judge = build_judge(item(f"services: {{a: {{state: {{m: {{file: /srv/a, schema: {names[0]}}}}}}}}}"))
    assert judge.judge("", b'{"tasks": [{"id": "task_1", "parent": "task_2"}]}').verdict is Verdict.OK
    assert judge.judge("", b'{"tasks": [{"id": "task_1", "parent": 2}]}').verdict is Verdict.CORRUPT


def test_all_formats_are_listed() -> None:
    table = PAGE.partition("## Formats")[2].partition("\n\nOther")[0]
    assert {name for row in table.splitlines()[4:] for name in re.findall(r"`([a-z-]+\d?)`", row.split("|")[1])} == set(
        CHECKERS
    )
