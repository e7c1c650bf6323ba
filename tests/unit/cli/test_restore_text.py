"""What `restore` says of each document in text, by where it came from."""

from __future__ import annotations

import io

import pytest

from recoverd.cli.restore import render
from recoverd.cli.terminal import Terminal
from recoverd.operations.restore_results import ItemOutcome, RestoreResult, ServiceRestore


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
