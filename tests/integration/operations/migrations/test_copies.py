"""Copies elsewhere hold what was saved, byte for byte, and say that it is of an older version."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.migration_model import MigrationStep
from recoverd.operations.export import ExportRequest, export
from recoverd.operations.extract import ExtractRequest, extract
from recoverd.values import replace


@pytest.fixture
def saved(update: Any) -> Any:
    """The file is of version 1, and of three documents two are of versions 1 and 2."""
    main = update.house.service.state["main"]
    update.declare_tasks(
        MigrationStep("1", "2", rename={"/a": "/b"}), MigrationStep("2", "3", command=("/nonexistent",))
    )
    update.house.change(state={"main": main, **update.house.service.state})
    update.only_tasks(x={"v": 1, "a": 1}, y={"v": 2}, z={"v": 3})
    assert update.house.snapshot().verdict == "ok"
    return update


OLDER = {"main": {"": "1"}, "tasks": {"x.json": "1", "y.json": "2"}}
TOLD = (
    "main has version 1, as when it was saved: a restore in place would migrate it to 2",
    "2 documents of tasks have version 1, 2, as when they were saved: a restore in place would migrate them to 3",
)


def test_a_copy_in_a_directory_says_what_versions_it_holds(saved: Any, tmp_path: Path) -> None:
    """`restore --to` is for a look at what was saved: no step is taken, no command run, and that is said."""
    before = saved.house.state.read_bytes()
    out = tmp_path / "out"
    result = extract(saved.house.context, ExtractRequest(str(out)))
    assert (out / "app" / "main" / "state.json").read_bytes() == before
    assert (result.notes, result.exit_status) == (TOLD, 0)
    assert {one["item"]: one["older"] for one in result.to_json()["items"]} == OLDER

    one = extract(saved.house.context, ExtractRequest(str(tmp_path / "one"), ("app",), only="tasks/y.json"))
    assert [item.older for item in one.items] == [{"y.json": "2"}]
    current = extract(saved.house.context, ExtractRequest(str(tmp_path / "two"), ("app",), only="tasks/z.json"))
    assert ([item.older for item in current.items], current.notes) == ([{}], ())


def test_an_archive_says_it_too(saved: Any, tmp_path: Path) -> None:
    """The same bytes as ever: what is declared today changes no archive of a snapshot."""
    out = io.BytesIO()
    result = export(saved.house.context, ExportRequest("app/1"), out)
    assert (result.notes, result.exit_status, result.to_json()["older"]) == (TOLD, 0, OLDER)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        member = tar.extractfile("app/main/state.json")
        assert member is not None
        assert member.read() == saved.house.state.read_bytes()
    plain = {name: replace(item, migrate=()) for name, item in saved.house.service.state.items()}
    saved.house.change(state=plain)
    again = io.BytesIO()
    undeclared = export(saved.house.context, ExportRequest("app/1"), again)
    assert (undeclared.notes, undeclared.older, again.getvalue()) == ((), {}, out.getvalue())


def test_what_is_current_needs_no_word(update: Any, tmp_path: Path) -> None:
    update.migrate()
    result = extract(update.house.context, ExtractRequest(str(tmp_path / "out")))
    assert (result.notes, [one.older for one in result.items]) == ((), [{}])
