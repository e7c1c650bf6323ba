"""Statuses, the worst of them, and the two formats of one list of results."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.health import Figure, Result, Status, overall
from recoverd.health.json_format import document
from recoverd.health.text import render

OK, WARNING, CRITICAL, UNKNOWN = Status.OK, Status.WARNING, Status.CRITICAL, Status.UNKNOWN


def result(name: str, service: str | None, status: Status, **more: str) -> Result:
    return Result(name, service, status, more.get("message", f"{name} says"), hint=more.get("hint"))


def test_exit_statuses_are_those_of_monitoring() -> None:
    """cli.md, "Exit status": for `check` alone 0, 1, 2, 3."""
    assert [status.exit_status for status in (OK, WARNING, CRITICAL, UNKNOWN)] == [0, 1, 2, 3]


@given(st.lists(st.sampled_from(list(Status))))
def test_nothing_hides_a_critical_result(statuses: list[Status]) -> None:
    """Promise 10: one critical result makes the whole critical, and only all OK is OK."""
    worst = overall([result("x", None, status) for status in statuses])
    assert (worst is CRITICAL) == (CRITICAL in statuses)
    assert (worst is OK) == (bool(statuses) and set(statuses) == {OK})


def test_what_was_not_checked_is_not_fine() -> None:
    """An empty list is no proof of health."""
    assert overall([]) is UNKNOWN
    assert render([]) == "UNKNOWN: nothing was checked"
    assert document([]) == {"status": "UNKNOWN", "results": []}


RESULTS = [
    result("repository", None, OK),
    result("process", "good", OK),
    result("captures", "good", OK),
    result("process", "bad", OK),
    result("snapshot-age", "bad", CRITICAL, message="too old", hint="do something"),
    result("paused", "bad", WARNING, hint="resume"),
    result("process", "late", WARNING),
]


def test_text_groups_by_service_with_the_worst_first() -> None:
    """cli.md, `check`: one list of results; a pipe gets words, no colours, no symbols."""
    assert render(RESULTS).splitlines() == [
        "CRITICAL: 3 of 7 checks not OK",
        "bad:",
        "  CRITICAL snapshot-age: too old",
        "    hint: do something",
        "  WARNING paused: paused says",
        "    hint: resume",
        "  OK 1 other check",
        "late:",
        "  WARNING process: process says",
        "OK host: 1 check",
        "OK good: 2 checks",
    ]


def test_verbose_shows_all_and_quiet_only_what_is_not_ok() -> None:
    """Silence is the goal; whoever wants more asks for it."""
    assert "  OK captures: captures says" in render(RESULTS, verbose=True).splitlines()
    quiet = render(RESULTS, quiet=True)
    assert "OK host" not in quiet
    assert "OK 1 other" not in quiet
    assert "WARNING process" in quiet
    assert render(RESULTS[:3]).splitlines() == ["OK: 3 checks", "OK host: 1 check", "OK good: 2 checks"]


def test_a_terminal_gets_colours_and_symbols_and_the_same_words() -> None:
    """The words are the same with and without colours."""
    shown = render(RESULTS, color=True, symbols=True)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", shown)
    assert plain != shown
    assert plain == render(RESULTS, symbols=True)
    assert "  ✗ snapshot-age: too old" in plain
    assert "✓ good: 2 checks" in plain


def test_the_text_of_a_pipe_adds_nothing_beyond_ascii() -> None:
    """Through a pipe: plain and stable."""
    assert render(RESULTS, verbose=True).isascii()


def test_a_hostile_message_drives_no_terminal() -> None:
    """Promise 12: names of a service's files stand in messages."""
    shown = render([result("x", "svc", CRITICAL, message="bad \x1b[2J\n name", hint="\x07")])
    assert "\x1b" not in shown
    assert "\x07" not in shown
    assert len(shown.splitlines()) == 4


def test_json_has_the_shape_of_the_contract() -> None:
    """cli.md, "JSON": check; integers that readers would round are strings."""
    figures = {"bytes": Figure(2**60, "B"), "age_seconds": Figure(1.5, "s", warn=120.0, crit=360)}
    shown = json.loads(json.dumps(document([Result("a", "svc", WARNING, "m", "h", figures), RESULTS[0]])))
    assert shown["status"] == "WARNING"
    assert shown["results"][0] == {
        "name": "a",
        "service": "svc",
        "status": "WARNING",
        "message": "m",
        "hint": "h",
        "figures": {
            "bytes": {"value": str(2**60), "unit": "B", "warn": None, "crit": None},
            "age_seconds": {"value": 1.5, "unit": "s", "warn": 120.0, "crit": 360},
        },
    }
    assert shown["results"][1]["service"] is None
    assert shown["results"][1]["hint"] is None


@pytest.mark.parametrize("module", ["thresholds", "text", "json_format"])
def test_health_imports_nothing_heavy(module: str) -> None:
    """architecture.md, "Heavy imports are late": `check` answers in well under 150 ms."""
    heavy = "yaml jsonschema psutil apscheduler sqlite3 rich referencing statistics asyncio"
    code = f"import sys, recoverd.health.{module}; print([m for m in {heavy.split()!r} if m in sys.modules])"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert found.strip() == "[]"
