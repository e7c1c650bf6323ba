"""`diff`: what changed between two snapshots, or a snapshot and live state, down to the values of documents."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.errors import UsageError
from recoverd.operations.diff import Change, DiffRequest, diff

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


def changes(house: House, a: str, b: str | None = None, *, good: bool = False) -> list[Change]:
    house.assess()
    return list(diff(house.context, DiffRequest(a, b, good)).changes)


def brief(found: list[Change]) -> list[tuple[str, str, tuple[str, ...]]]:
    return [(one.change, f"{one.item}/{one.path}", one.differs) for one in found]


def test_nothing_changed(house: House) -> None:
    """A touch is no change, as it makes no snapshot."""
    house.snapshot()
    os.utime(house.state, ns=(1, 1))
    assert changes(house, "app/1") == []


def test_files_and_values(house: House) -> None:
    """Added, removed and changed files against live state; the JSON Patch of each changed document."""
    house.write(1, list=[1, 2, 3])
    house.snapshot()
    house.write(2, list=[1, 3])
    house.write_task("task-new")
    (house.tasks / "task-000.json").unlink()
    (house.tasks / "task-001.json").chmod(0o600)
    house.write_task("task-002", description=7)
    found = changes(house, "app/1")
    assert brief(found) == [
        ("changed", "main/", ("content",)),
        ("removed", "tasks/task-000.json", ()),
        ("changed", "tasks/task-001.json", ("mode",)),
        ("changed", "tasks/task-002.json", ("content",)),
        ("added", "tasks/task-new.json", ()),
    ]
    assert found[3].patch == ({"op": "replace", "path": "/description", "value": 7},)
    assert found[0].patch == (
        {"op": "replace", "path": "/counter", "value": 2},
        {"op": "remove", "path": "/list/1"},
    )
    assert all(one.patch is None for one in (*found[1:3], found[4]))
    house.snapshot()
    assert changes(house, "app/1", "app/2") == found
    assert [one.change for one in changes(house, "app/2", "app/1")] == ["changed", "added", *["changed"] * 2, "removed"]
    document: Any = json.loads(json.dumps(diff(house.context, DiffRequest("app/1", "app/2")).to_json()))
    assert (document["a"], document["b"], len(document["changes"])) == ("app/1", "app/2", 5)
    assert document["changes"][2]["after"]["mode"] == "0600"


def test_what_is_no_document_is_compared_as_bytes(house: House) -> None:
    """Damaged, not a number of JSON, too deep, too large: each says why there is no patch."""
    house.write(1)
    house.snapshot()
    for content, why in (
        (b"{", "no JSON document"),
        (b'{"a": NaN}', "no JSON document"),
        (b'{"a": 1e999}', "no JSON document"),
        (b"[" * 300 + b"]" * 300, "too deep"),
        (b"[" * 100_000, "no JSON document"),
        (b'"' + b"x" * (5 << 20) + b'"', "too large"),
    ):
        house.state.write_bytes(content)
        (found,) = changes(house, "app/1")
        assert (found.differs, found.patch) == (("content",), None)
        assert why in (found.why_no_patch or "")
    house.state.unlink()
    assert brief(changes(house, "app/1")) == [("removed", "main/", ())]
    house.state.symlink_to("/etc/passwd")
    assert brief(changes(house, "app/1")) == [("removed", "main/", ())]  # never followed


def test_the_same_document_written_differently(house: House) -> None:
    data = house.write(1)
    house.snapshot()
    house.state.write_bytes(json.dumps(json.loads(data), indent=4).encode())
    (found,) = changes(house, "app/1")
    assert found.patch == ()


def test_a_directory_of_one_side_is_told_file_by_file(house: House) -> None:
    house.snapshot()
    (house.tasks / "deep" / "er").mkdir(parents=True)
    (house.tasks / "deep" / "er" / "x.json").write_text("{}")
    house.change(state={"tasks": _everything(house), "main": house.service.state["main"]})
    found = changes(house, "app/1")
    assert brief(found) == [("added", "tasks/deep/er/x.json", ())]


def _everything(house: House) -> Any:
    from dataclasses import replace

    return replace(house.service.state["tasks"], include=())


def test_a_nested_live_document_is_read_below_its_directories(house: House) -> None:
    house.change(state={"tasks": _everything(house)})
    nested = house.tasks / "deep" / "er" / "x.json"
    nested.parent.mkdir(parents=True)
    nested.write_text('{"id": "x"}')
    house.snapshot()
    nested.write_text('{"id": "y"}')
    (found,) = changes(house, "app/1")
    assert (found.path, found.patch) == ("deep/er/x.json", ({"op": "replace", "path": "/id", "value": "y"},))


def test_known_good_files_can_be_compared(house: House) -> None:
    """As found a snapshot holds the damage; its known-good files are the ones before."""
    house.write(1)
    house.snapshot()
    house.state.write_bytes(b"{")
    house.write_task("task-000", description="new")
    house.snapshot()
    assert [one.item for one in changes(house, "app/1", "app/2")] == ["main", "tasks"]
    assert [one.item for one in changes(house, "app/1", "app/2", good=True)] == ["tasks"]


def test_snapshots_of_one_service_only(house: House) -> None:
    house.snapshot()
    with pytest.raises(UsageError, match="no service"):
        changes(house, "app/1", "other/1")
    with pytest.raises(UsageError):
        changes(house, "app")
