"""The 40 golden policies of restic over 103 snapshots (tests/conformance/retention) give the same answer here."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Retention, Span
from recoverd.repository.retention import Candidate, decide

CASES = Path(__file__).parents[2] / "conformance" / "retention" / "cases.json"
DATA: dict[str, Any] = json.loads(CASES.read_text())
NOW_NS = 1_500_000_000 * 10**9  # after the newest of them


def nanoseconds(text: str) -> int:
    moment = datetime.fromisoformat(text.replace(".1Z", ".100000Z"))
    return int(moment.timestamp()) * 10**9 + moment.microsecond * 1000


def span(text: str) -> Span:
    amounts = {unit: int(number) for number, unit in re.findall(r"(\d+)([ymdh])", text)}
    return Span(
        years=amounts.get("y", 0),
        months=amounts.get("m", 0),
        days=amounts.get("d", 0),
        seconds=amounts.get("h", 0) * 3600.0,
    )


def policy_of(keys: dict[str, Any]) -> Retention:
    found: dict[str, Any] = {"keep_invalid": 0}
    for key, value in keys.items():
        name = key.removeprefix("keep_")
        if name == "tags":
            found[name] = tuple(tuple(tags) for tags in value)
        else:
            found[name] = span(value) if name.startswith("within") else value
    return Retention(**found)


def rule_of(match: str) -> str:
    """restic's words for a reason -> recoverd's name of the rule."""
    match = match.removeprefix("oldest ")
    if match.startswith("has tags"):
        return "tags"
    if match.startswith("within"):
        return "within"
    if found := re.fullmatch(r"(\w+) within .*", match):
        return f"within_{found[1]}"
    return match.removesuffix(" snapshot")


def candidates() -> dict[int, Candidate]:
    """index -> candidate; restic's order (time, equal times as listed) becomes the sequence."""
    newest_first = sorted(DATA["snapshots"], key=lambda entry: -nanoseconds(entry["time"]))
    count = len(newest_first)
    return {
        entry["index"]: Candidate(count - place, nanoseconds(entry["time"]), tags=tuple(entry["tags"]))
        for place, entry in enumerate(newest_first)
    }


def test_all_forty_are_there() -> None:
    assert [case["case"] for case in DATA["cases"]] == list(range(40))
    assert len(DATA["snapshots"]) == 103


@pytest.mark.parametrize("case", DATA["cases"], ids=lambda case: str(case["case"]))
def test_golden_case(case: dict[str, Any]) -> None:
    """Keep list, order and reasons; `known-good` is recoverd's own and aside here."""
    known = candidates()
    index_of = {candidate.sequence: index for index, candidate in known.items()}
    decisions = decide(policy_of(case["policy"]), known.values(), now_ns=NOW_NS, zone="UTC", protected={})
    found = {
        index_of[decision.sequence]: set(decision.rules) - {"known-good"}
        for decision in decisions
        if set(decision.rules) - {"known-good"}
    }
    assert list(found) == case["expected_keep"]
    expected = {reason["index"]: {rule_of(match) for match in reason["matches"]} for reason in case["expected_reasons"]}
    assert found == expected
