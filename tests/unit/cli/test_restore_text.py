"""What `restore` says of each document in text, by where it came from."""

from __future__ import annotations

import io

import pytest

from recoverd.cli.restore import render
from recoverd.cli.terminal import Terminal
from recoverd.config.in_flight_model import InFlight
from recoverd.operations.restore_results import Attempt, ItemOutcome, RestoreResult, ServiceRestore
from recoverd.recovery.in_flight import Asked
from recoverd.recovery.resume import ResumeReport, Shutdown
from recoverd.values import replace


@pytest.mark.parametrize(
    ("source", "candidate", "age_s", "said"),
    [
        ("snapshot", "app/7", 90.0, "restored from app/7, 1 min 30 s old"),
        ("sibling", "sibling a.json.tmp", 2.0, "restored from sibling a.json.tmp, 2 s old"),
        ("salvage", "the first 5 of 9 bytes", 2.0, "restored from the first 5 of 9 bytes, 2 s old"),
        ("rebuild", "rebuild", 0.0, "rebuilt from other state"),
        ("initial", "initial", 0.0, "replaced by the initial document"),
        ("empty", "empty", None, "taken away"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_each_origin_has_its_words(source: str, candidate: str, age_s: float | None, said: str, dry_run: bool) -> None:
    """A document that is taken away is not "restored from empty", and none is older than its service."""
    item = ItemOutcome("tasks", "a.json", "corrupt", source, candidate, age_s)
    out = io.StringIO()
    result = RestoreResult((ServiceRestore("app", "degraded", items=(item,)),), dry_run=dry_run)
    render(result, Terminal(out, io.StringIO(), environment={}))
    assert f"  tasks: a.json was corrupt; {'would be ' if dry_run else ''}{said}\n" in out.getvalue()


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_state_holds_drives_no_terminal(dry_run: bool) -> None:
    """Promise 12: names of siblings and documents, and what `in_flight` shows of these, may be anybody's words."""
    hostile = "a\x1b]0;x\x07\r\u202eb\n\udcff.json"
    query = InFlight("main", "/tasks", {}, ("id", "title"), called="task:{id}", message="{id}", notify="{id}")
    asked = Asked((query,), now_ns=0)
    asked.add("main", hostile, {"tasks": [{"id": hostile, "title": [hostile]}]})
    asked.note(f"{hostile} was not asked")
    found = asked.found()
    report = ResumeReport("app", 0, "boot", "b", 1, Shutdown(None, "by itself"), "restored", in_flight=found)
    item = ItemOutcome("tasks", hostile, "corrupt", "sibling", f"sibling {hostile}", 2.0, quarantine="/q/app/1")
    moved = replace(item, source="live", migrated=(hostile, "2"))
    attempt = Attempt(f"sibling {hostile}", "invalid", hostile)
    one = ServiceRestore(
        "app", "blocked", attempts=(attempt,), items=(item, moved), reasons=(hostile,), hint=hostile, resume=report
    )
    out = io.StringIO()
    render(RestoreResult((one,), dry_run=dry_run), Terminal(out, io.StringIO(), environment={}))
    text = out.getvalue()
    assert "task:a\\x1b]0;x" in text
    assert all(letter == "\n" or letter.isprintable() for letter in text), text
    assert "\nb" not in text
