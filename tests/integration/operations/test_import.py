"""`import` and `snapshot --time`: old copies become snapshots, judged, dated, and never the newest."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Format, ItemKind, Retention, StateItem
from recoverd.errors import UsageError
from recoverd.operations.import_ import ImportRequest, ImportResult, import_copies
from recoverd.system import clock

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


@pytest.fixture
def copies(tmp_path: Path) -> Path:
    directory = tmp_path / "copies"
    directory.mkdir()
    return directory


def copy(directory: Path, name: str, counter: int) -> str:
    path = directory / name
    path.write_text(json.dumps({"version": "1", "counter": counter}))
    return str(path)


def imported(house: House, *paths: str, **more: object) -> ImportResult:
    house.assess()
    return import_copies(house.context, replace(ImportRequest("app", paths), **more))  # type: ignore[arg-type]


def test_dated_copies_are_snapshots_that_are_never_the_newest(house: House, copies: Path) -> None:
    """Oldest first, of the time in their names; `latest`, `good` and the next capture do not look at them."""
    house.write(9)
    house.snapshot()
    result = imported(house, copy(copies, "state-2026-02-01.json", 2), copy(copies, "state-2026-01-01.json", 1))
    assert [(one.id, clock.rfc3339(one.time_ns)[:10], one.time_from, one.outcome) for one in result.imports] == [
        ("app/2", "2026-01-01", "name", "saved"),
        ("app/3", "2026-02-01", "name", "saved"),
    ]
    assert result.exit_status == 0
    from recoverd.operations.naming import find_snapshot

    assert find_snapshot(house.context, "app/latest").id == "app/1"
    assert find_snapshot(house.context, "app/good").id == "app/1"
    assert house.snapshot().outcome == "unchanged"
    house.state.write_bytes(b"")
    restored = house.restore()
    assert restored.attempts[-1].candidate == "app/1"
    assert b"9" in house.state.read_bytes()


def test_an_import_can_be_restored_with_the_owner_and_mode_of_the_state(house: House, copies: Path) -> None:
    """A copy that root made would otherwise come back as root's."""
    house.state.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(house.state, 12345, 12346)
    house.snapshot()
    path = copy(copies, "state-2026-01-01.json", 7)
    os.chmod(path, 0o600)
    imported(house, path)
    assert house.restore(snapshot="app/2").outcome == "restored"
    status = os.stat(house.state)
    assert json.loads(house.state.read_bytes())["counter"] == 7
    assert status.st_mode & 0o777 == 0o640
    assert status.st_uid == (12345 if os.geteuid() == 0 else os.geteuid())


def test_a_directory_with_its_date_above_it(house: House, copies: Path) -> None:
    """One damaged task does not poison the rest: partial, exit status 3."""
    house.snapshot()
    tasks = copies / "2026-03-01" / "tasks"
    tasks.mkdir(parents=True)
    (tasks / "old.json").write_text('{"id": "old"}')
    (tasks / "bad.json").write_text("{")
    (tasks / "not-covered.txt").write_text("x")
    result = imported(house, str(tasks))
    (one,) = result.imports
    assert (one.item, one.verdict, one.files, one.time_from, result.exit_status) == ("tasks", "partial", 2, "name", 3)
    assert clock.rfc3339(one.time_ns) == "2026-03-01T00:00:00.000Z"
    house.restore(snapshot="app/2")
    assert sorted(path.name for path in house.tasks.iterdir()) == ["old.json"]


def test_the_modification_time_is_the_last_resort_and_time_the_first(house: House, copies: Path) -> None:
    path = copy(copies, "state.bak", 1)
    os.utime(path, ns=(0, 1_700_000_000_000_000_001))
    (one,) = imported(house, path).imports
    assert (one.time_ns, one.time_from) == (1_700_000_000_000_000_001, "mtime")
    (one,) = imported(house, path, time="2026-05-05").imports
    assert (clock.rfc3339(one.time_ns), one.time_from) == ("2026-05-05T00:00:00.000Z", "asked")


def test_the_same_copy_twice_is_one_snapshot(house: House, copies: Path) -> None:
    path = copy(copies, "state-2026-01-01.json", 1)
    assert [imported(house, path).imports[0].outcome for _ in range(2)] == ["saved", "unchanged"]
    assert len(house.list()) == 1


def test_a_copy_that_is_not_good_is_not_kept(house: House, copies: Path) -> None:
    """Promise 2; the good one beside it is."""
    (copies / "state-2026-01-02.json").write_text('{"version": 1}')
    result = imported(house, copy(copies, "state-2026-01-01.json", 1), str(copies / "state-2026-01-02.json"))
    assert [one.outcome for one in result.imports] == ["saved", "invalid"]
    assert result.imports[1].problems
    assert result.exit_status == 1
    assert [one.snapshot.id for one in house.list()] == ["app/1"]


def test_a_dry_run_imports_nothing(house: House, copies: Path) -> None:
    result = imported(house, copy(copies, "state-2026-01-01.json", 1), dry_run=True)
    assert result.to_json()["imports"][0]["outcome"] == "saved"
    assert result.imports[0].id is None
    assert house.list() == []


def test_which_item_a_copy_is_of(house: House, copies: Path) -> None:
    """By type, then by the beginning of its name, the longest; else it must be said."""
    base = house.root / "state"
    house.change(
        state={
            name: StateItem(name, ItemKind.FILE, str(base / f"{file}.json"), Format.JSON)
            for name, file in (("a", "state"), ("b", "state-index"))
        }
    )
    assert imported(house, copy(copies, "state-index.2026-01-01.json", 1)).imports[0].item == "b"
    assert imported(house, copy(copies, "state.2026-01-01.json", 1)).imports[0].item == "a"
    other = copy(copies, "other.json", 1)
    with pytest.raises(UsageError, match="a or b"):
        imported(house, other)
    assert imported(house, other, item="b").imports[0].item == "b"
    for wrong, words in (
        ({"item": "c"}, "no item 'c'"),
        ({"time": "2099-01-01"}, "future"),
        ({"time": "soon"}, "no time"),
    ):
        with pytest.raises(UsageError, match=words):
            imported(house, other, **wrong)


def test_only_files_and_directories_are_copies(house: House, copies: Path) -> None:
    """A link may lead anywhere; what is not there is no copy; a directory is none of a file."""
    os.symlink(copy(copies, "real.json", 1), copies / "link.json")
    house.change(state={"main": house.service.state["main"]})
    for path, words in (
        (copies / "link.json", "neither a file nor a directory"),
        (copies / "absent.json", "can't be imported"),
        (copies, "is a directory"),
    ):
        with pytest.raises(UsageError, match=words):
            imported(house, str(path))
    assert house.list() == []


def test_imports_push_out_no_known_good_snapshot(house: House, copies: Path) -> None:
    """Promise 3, and repository.md: imports are never the newest."""
    house.change(retention=Retention(last=1))
    house.snapshot()
    imported(house, *[copy(copies, f"state-2026-01-0{day}.json", day) for day in range(1, 6)])
    house.prune()
    kept = {one.snapshot.id: one.kept_by for one in house.list()}
    assert "known-good" in kept["app/1"]
    assert all("known-good" not in rules for name, rules in kept.items() if name != "app/1")


def test_a_snapshot_of_another_time_is_an_import(house: House) -> None:
    """`snapshot --time`: live state as it was then; the next capture starts from the one before."""
    house.write(1)
    house.snapshot()
    time_ns = clock.parse_rfc3339("2026-01-01T00:00:00Z")
    assert house.snapshot(time_ns=time_ns, reason="import").id == "app/2"
    newest = house.list()[0].snapshot
    assert (newest.imported, newest.time_ns, newest.verdict.value) == (True, time_ns, "ok")
    house.reopen()
    assert house.snapshot().outcome == "unchanged"
