"""`restore --only ITEM[/PATH]`: that part comes back, all else stays, and nobody claims more than is true."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import UsageError
from recoverd.operations.extract import ExtractRequest, extract
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest
from recoverd.values import replace

House = Any  # of conftest.py, which test files can't import


def damage(house: House) -> dict[str, bytes]:
    """One good snapshot, then damage in both items; everything as it is then."""
    house.write(1)
    house.snapshot()
    house.state.write_bytes(b"{")
    for name in ("task-001", "task-002"):
        (house.tasks / f"{name}.json").write_bytes(b"")
    return dict(house.contents())


@pytest.mark.parametrize("asked", [{}, {"snapshot": "app/1"}, {"snapshot": "app/good"}])
@pytest.mark.parametrize(
    ("only", "comes_back"),
    [
        ("main", {"state.json"}),
        ("tasks", {"tasks/task-001.json", "tasks/task-002.json"}),
        ("tasks/task-001.json", {"tasks/task-001.json"}),
    ],
)
def test_only_that_part_comes_back(house: House, only: str, comes_back: set[str], asked: dict[str, str]) -> None:
    """What else is damaged stays as it is, byte for byte, and is told: the exit status claims no success."""
    good = None
    house.write(1)
    good = dict(house.contents())
    before = damage(house)
    result = house.restore(only=only, **asked)
    now = house.contents()
    assert {name for name in now if now[name] != before[name]} == comes_back
    assert all(now[name] == good[name] for name in comes_back)
    assert result.exit_status == 1
    assert any("not asked for, so it stays as it is" in reason for reason in result.reasons)
    assert {(one.item, one.document) for one in result.items if one.source == "snapshot"} <= {
        (only.partition("/")[0], name) for name in ("", "task-001.json", "task-002.json")
    }
    assert house.undo().undone and house.contents() == before


def test_the_last_damaged_part_is_success(house: House) -> None:
    """Nothing else is damaged: state is valid, and that is said."""
    damage(house)
    assert house.restore(only="main").exit_status == 1
    assert house.restore(only="tasks/task-001.json").exit_status == 1
    result = house.restore(only="tasks/task-002.json")
    assert (result.outcome, result.exit_status) == ("restored", 0)
    assert house.verdict() == "ok"


def test_a_part_that_is_ok_is_left_alone(house: House) -> None:
    """Promise 1: without --snapshot or --at, asking for a part makes it no less good."""
    before = damage(house)
    result = house.restore(only="tasks/task-003.json")
    assert (result.outcome, result.exit_status) == ("untouched", 1) and house.contents() == before
    house.restore()
    assert house.restore(only="main").exit_status == 0


def test_explicit_over_good_state(house: House) -> None:
    """One document as it was, in a directory of others that all have changed since, or are new, or are gone."""
    house.write_task("task-001", at=1)
    (house.tasks / "deep").mkdir()
    house.snapshot()
    for name in ("task-001", "task-002", "new"):
        house.write_task(name, at=2)
    os.unlink(house.tasks / "task-003.json")
    before = dict(house.contents())
    result = house.restore(only="tasks/task-001.json", snapshot="app/1")
    assert (result.outcome, result.exit_status) == ("restored", 0)
    now = house.contents()
    assert {name for name in now if now[name] != before[name]} == {"tasks/task-001.json"}
    assert json.loads(now["tasks/task-001.json"])["at"] == 1
    assert house.restore(only="tasks/task-003.json", snapshot="app/1").exit_status == 0
    assert "tasks/task-003.json" in house.contents()
    new = house.contents()["tasks/new.json"]
    assert house.restore(only="tasks/new.json", snapshot="app/1").exit_status == 0  # there was none then
    assert "tasks/new.json" not in house.contents()
    assert house.undo().undone and house.contents()["tasks/new.json"] == new


def test_one_document_of_a_directory_that_is_gone(house: House) -> None:
    """The directories above it come back with it, and nothing else in them."""
    house.write(1)
    (house.tasks / "a" / "b").mkdir(parents=True)
    (house.tasks / "a" / "b" / "deep.json").write_text('{"id": "deep"}')
    item = house.service.state["tasks"]
    house.change(state={**house.service.state, "tasks": replace(item, include=("**/*.json",))})
    house.snapshot()
    for path in sorted(house.tasks.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    house.tasks.rmdir()
    result = house.restore(only="tasks/a/b/deep.json")
    assert (result.outcome, result.exit_status) == ("restored", 0), result
    assert set(house.contents()) == {"state.json", "tasks/a/b/deep.json"}
    for path in (house.tasks / "a" / "b" / "deep.json", house.tasks / "a" / "b", house.tasks / "a"):
        path.rmdir() if path.is_dir() else path.unlink()
    assert house.restore(only="tasks/a", snapshot="app/1").exit_status == 0
    assert set(house.contents()) == {"state.json", "tasks/a/b/deep.json"}


@pytest.mark.parametrize("was_running", [True, False])
def test_the_service_only_runs_on_other_damage_if_it_did_before(frail: House, was_running: bool) -> None:
    """The asked part is restored all the same; exit status 1; nothing is proven, nothing is rejected."""
    frail.write(1)
    frail.snapshot()
    if was_running:
        frail.start()
    frail.state.write_bytes(b"{")
    (frail.tasks / "task-001.json").write_bytes(b"")
    result = frail.restore(only="main")
    assert result.exit_status == 1 and frail.running() is was_running
    assert json.loads(frail.state.read_bytes())["counter"] == 1
    assert not any(one.marks.rejected for one in frail.list())
    assert not frail.context.repository().record("app").last_restore
    assert frail.restore().exit_status == 0 and frail.running()


def test_blocked_by_other_state_it_stays_blocked(frail: House) -> None:
    """What blocks the service goes on doing so; the asked part comes back."""
    frail.change(restore=replace(frail.service.restore, verdicts={"missing": "block"}))
    frail.write(1)
    frail.snapshot()
    frail.state.write_bytes(b"{")
    frail.tasks.rename(frail.root / "elsewhere")
    assert frail.restore().outcome == "blocked"
    result = frail.restore(only="main")
    assert (result.outcome, result.exit_status) == ("restored", 1) and not frail.running()
    assert frail.context.repository().record("app").blocked is not None
    (frail.root / "elsewhere").rename(frail.tasks)
    assert frail.restore().exit_status == 0 and frail.running()


def test_what_does_not_work_is_replaced_by_older_where_nothing_else_is_damaged(frail: House) -> None:
    """A part, proven like the whole: the walk back goes on for it."""
    frail.write(1)
    frail.snapshot()
    frail.write(2, poison=True)
    frail.snapshot()
    frail.state.write_bytes(b"")
    result = frail.restore(only="main")
    assert [(one.candidate, one.result) for one in result.attempts] == [("app/2", "rejected"), ("app/1", "restored")]
    assert result.exit_status == 0 and frail.running()


@pytest.mark.parametrize(
    ("only", "sentence", "hint"),
    [
        ("mian", "no state item 'mian'", "did you mean main?"),
        ("zzz", "no state item 'zzz'", "there are: main, tasks"),
        ("main/x", "main is one document", "--only main"),
        ("tasks/../x", "no path below tasks", "recoverd show"),
        ("tasks/task-01.json", "no task-01.json in tasks", "did you mean tasks/task-0"),
        ("tasks/Ω", "no Ω in tasks", "recoverd show"),
    ],
)
def test_what_is_not_there_is_told_with_what_is_near(house: House, only: str, sentence: str, hint: str) -> None:
    """Before anything is touched."""
    before = damage(house)
    for named in (None, "app/1"):
        with pytest.raises(UsageError) as raised:
            restore(house.context, RestoreRequest(services=("app",), only=only, snapshot=named))
        assert sentence in raised.value.message and hint in (raised.value.hint or "")
    assert house.contents() == before


def test_a_dry_run_changes_nothing_and_says_the_same(house: House) -> None:
    before = damage(house)
    foreseen = house.restore(only="main", dry_run=True)
    assert (foreseen.outcome, foreseen.exit_status) == ("restored", 1) and house.contents() == before


def test_to_a_directory_only_that_part_is_written(house: House, tmp_path: Path) -> None:
    """At the very place below it that the whole would have."""
    damage(house)
    for number, (only, files) in enumerate(
        [("main", 1), ("tasks", 100), ("tasks/task-001.json", 1)],
    ):
        target = tmp_path / f"to{number}"
        result = extract(house.context, ExtractRequest(str(target), ("app",), only=only))
        written = [path for path in target.rglob("*") if path.is_file()]
        assert len(written) == files and result.exit_status == 0
        assert {one.item for one in result.items} == {only.partition("/")[0]}
    whole = tmp_path / "whole"
    extract(house.context, ExtractRequest(str(whole), ("app",)))
    part = next(path for path in (tmp_path / "to2").rglob("*.json"))
    assert part.read_bytes() == (whole / part.relative_to(tmp_path / "to2")).read_bytes()
    with pytest.raises(UsageError, match="no nothing"):
        extract(house.context, ExtractRequest(str(tmp_path / "none"), ("app",), only="tasks/nothing.json"))
    assert not (tmp_path / "none").exists()
