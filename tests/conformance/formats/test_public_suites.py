"""The public test suites of JSON, YAML and TOML, through the judge, as the README beside this file says.

The suites are not part of this tree: `RECOVERD_SUITES` names a directory with checkouts of them. What differs from what
a suite expects stands in outcomes.toml, case by case; anything else is a failure, and so is a case that came right.
"""

from __future__ import annotations

import json
import os
import re
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from recoverd.config.model import Format
from recoverd.state.formats.reading import read
from recoverd.state.judging import Judge
from recoverd.state.verdicts import Judgement

OUTCOMES: dict[str, Any] = tomllib.loads(Path(__file__).with_name("outcomes.toml").read_text())
MOST_S = 1.0
# What the YAML suite writes for what can't be seen.
SPELLED = ((r"—*»", "\t"), ("␣", " "), ("←", "\r"), ("⇔", "\ufeff"), ("↵", ""), (r"∎\n?", ""))


def suite(name: str) -> Path:
    place = Path(os.environ.get("RECOVERD_SUITES", "/nowhere"), name)
    if not place.is_dir():
        pytest.skip(f"RECOVERD_SUITES names no directory with a checkout of {name}")
    return place


def judged(format: Format, data: bytes, case: str) -> Judgement:
    """The verdict, the same as a whole and in blocks, within a second: the better of two, for a busy machine."""
    judge = Judge(format)
    taken = []
    for _ in range(2):
        began = time.monotonic()
        judgement = judge.judge("", data)
        taken.append(time.monotonic() - began)
        if taken[-1] < MOST_S:
            break
    assert min(taken) < MOST_S, f"{case} took {min(taken):.1f} s"
    examination = judge.begin("")
    for start in range(0, len(data), 1000):
        examination.feed(data[start : start + 1000])
    assert examination.finish() == judgement, case
    return judgement


def test_json() -> None:
    """Accepts are ok, rejects corrupt, and what is left open neither crashes nor takes over a second."""
    wrong = []
    cases = sorted((suite("JSONTestSuite") / "test_parsing").glob("*.json"))
    assert len(cases) > 300
    for path in cases:
        verdict = judged(Format.JSON, path.read_bytes(), path.name).verdict.value
        if verdict != {"y": "ok", "n": "corrupt"}.get(path.name[0], verdict):
            wrong.append(path.name)
        if path.name[0] == "i":
            assert (verdict == "corrupt") == (path.stem in OUTCOMES["json"]["left_open_and_corrupt"]), path.name
    assert wrong == OUTCOMES["json"]["wrong"]


def test_toml() -> None:
    place = suite("toml-test") / "tests"
    found: dict[str, list[str]] = {"refused": [], "accepted": []}
    names = [one for one in (place / "files-toml-1.0.0").read_text().split() if one.endswith(".toml")]
    assert len(names) > 500
    for name in names:
        ok = judged(Format.TOML, (place / name).read_bytes(), name).verdict.value == "ok"
        if ok != name.startswith("valid/"):
            found["accepted" if ok else "refused"].append(name)
    assert {kind: sorted(names) for kind, names in found.items()} == OUTCOMES["toml"]


def yaml_cases() -> Iterator[tuple[str, bytes, bool, str | None]]:
    """(name, text, whether it must be refused, what it means as JSON)"""
    for path in sorted((suite("yaml-test-suite") / "src").glob("*.yaml")):
        cases = yaml.safe_load(path.read_text())
        for number, case in enumerate(cases):
            if case.get("skip"):
                continue
            text = case["yaml"]
            for spelled, meant in SPELLED:
                text = re.sub(spelled, meant, text)
            name = path.stem + (f"-{number}" if len(cases) > 1 else "")
            yield name, text.encode(), bool(case.get("fail")), case.get("json")


def documents(text: str) -> list[Any]:
    """JSON documents, one behind the other; those that hold nothing are passed over."""
    found = []
    position = 0
    while text[position:].strip():
        position += len(text[position:]) - len(text[position:].lstrip())
        value, position = json.JSONDecoder().raw_decode(text, position)
        found.append(value)
    return [value for value in found if value is not None]


def test_yaml() -> None:
    found: dict[str, list[str]] = {"refused": [], "accepted": [], "no_value": [], "other_value": []}
    count = 0
    for name, data, fails, meaning in yaml_cases():
        count += 1
        judgement = judged(Format.YAML, data, name)
        ok = judgement.verdict.value == "ok"
        if not ok and not fails:
            sentence = judgement.problems[0].problem
            found["no_value" if "no value" in sentence or "is empty" in sentence else "refused"].append(name)
        elif ok and fails:
            found["accepted"].append(name)
        elif ok and meaning and list(read(data, Format.YAML).values) != documents(meaning):
            found["other_value"].append(name)
    assert count > 300
    assert found == OUTCOMES["yaml"]
