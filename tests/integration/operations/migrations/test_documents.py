"""Directories in which each document has a version of its own, and documents that no migration may touch."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

import pytest

from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.model import Drill, Format
from recoverd.operations.drill import DrillRequest, drill
from recoverd.values import replace

CHAIN = (
    MigrationStep("1", "2", rename={"/text": "/description"}),
    MigrationStep("2", "3", patch=({"op": "add", "path": "/logs", "value": []},)),
)
TASK_3 = {
    "type": "object",
    "required": ["id", "v", "description", "logs"],
    "properties": {"v": {"enum": [3, "3"]}, "description": {"type": "string"}},
}


@pytest.fixture
def mixed(update: Any) -> Any:
    """Documents of three versions, as numbers and as text."""
    update.declare_tasks(*CHAIN, schema=TASK_3)
    update.only_tasks(
        a={"v": 1, "text": "one"},
        b={"v": "2", "description": "two"},
        c={"v": 3, "description": "three", "logs": [3]},
        d={"v": 2.0, "description": "four"},
    )
    return update


def test_each_document_takes_the_steps_that_it_needs(mixed: Any) -> None:
    """One transaction for all; a version stays text or a number; what is current is not written."""
    current = (mixed.house.tasks / "c.json").stat()
    done = mixed.migrate()
    assert (done.outcome, [(one.document, one.before, one.after) for one in done.documents]) == (
        "migrated",
        [("a.json", "1", "3"), ("b.json", "2", "3"), ("d.json", "2.0", "3")],
    )
    assert {name: (type(one["v"]), one["v"], one["description"]) for name, one in mixed.tasks().items()} == {
        "a": (int, 3, "one"),
        "b": (str, "3", "two"),
        "c": (int, 3, "three"),
        "d": (float, 3.0, "four"),
    }
    after = (mixed.house.tasks / "c.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (current.st_ino, current.st_mtime_ns)
    (saved,) = [one for one in mixed.house.list() if one.snapshot.reason == "pre-migration"]
    assert saved.snapshot.label == "1 to 3, 2 to 3"
    assert saved.marks.migrated == ("1 to 3", "2 to 3")


@pytest.mark.parametrize(
    "bad",
    [
        {"v": 4, "description": "of tomorrow", "logs": []},
        {"v": 0.5, "description": "no step leads on from there"},
        {"v": 2.5, "description": "between two steps"},
        {"v": "unknown", "description": "of no known age", "logs": []},
        {"v": 1, "text": "one", "description": "there already"},
        {"v": 2, "description": 7},
    ],
    ids=["newer", "too old", "between", "unknown", "a step that fails", "a result that is not valid"],
)
def test_one_that_does_not_fit_holds_up_all_and_is_never_touched(mixed: Any, bad: dict[str, Any]) -> None:
    """All are migrated or none; an update is no damage: neither `migrate` nor a restore nor a boot touches it."""
    mixed.house.snapshot()
    mixed.task("x", **bad)
    before = mixed.house.contents()
    assert mixed.house.verdict() == "newer"
    done = mixed.migrate()
    assert (done.outcome, done.exit_status) == ("failed", 1), done
    assert "x.json" in done.reasons[0]
    result = mixed.house.restore()
    assert (result.outcome, result.exit_status) == ("untouched", 0), result
    assert "and all are migrated or none" in " ".join(result.reasons)
    assert mixed.house.contents() == before
    assert mixed.quarantined() == []
    shown = mixed.migrate(dry_run=True)
    assert (shown.outcome, shown.exit_status) == ("failed", 1)
    assert [one.document for one in shown.documents] == ["a.json", "b.json", "d.json"]
    (mixed.house.tasks / "x.json").unlink()
    assert mixed.migrate().outcome == "migrated"


def test_an_older_version_without_a_step_is_left_to_its_service(update: Any) -> None:
    """Also where a snapshot of the current version exists: what a schema of today refuses in state of an older one is
    no damage that a restore would roll back."""
    update.house.write(1, runs=[])
    update.declare(MigrationStep("1.5", "2", patch=()))
    update.house.state.write_text('{"version": "2", "counter": 1, "runs": []}')
    assert update.house.snapshot().verdict == "ok"
    update.house.state.write_text('{"version": "1", "counter": 1}')
    before = update.house.contents()
    result = update.house.restore()
    assert (result.outcome, result.verdict, update.house.contents()) == ("untouched", "newer", before)
    assert "from which no step leads to 2" in " ".join(result.reasons)


def test_a_step_in_the_middle_that_fails_leaves_everything(update: Any) -> None:
    """Three steps, the second of which can't be done: nothing of the first is written anywhere."""
    steps = (
        MigrationStep("1", "1.1", patch=({"op": "add", "path": "/runs", "value": []},)),
        MigrationStep("1.1", "1.2", command=("sh", "-c", "cat >/dev/null; echo 'no room at the inn' >&2; exit 7")),
        MigrationStep("1.2", "2", patch=({"op": "add", "path": "/last", "value": True},)),
    )
    update.declare(*steps)
    before = update.house.contents()
    done = update.migrate()
    assert (done.outcome, update.house.contents(), update.quarantined()) == ("failed", before, [])
    assert "the step from 1.1 to 1.2: sh exited with status 7: no room at the inn" in " ".join(done.reasons)


def test_a_version_deeper_in_the_document(update: Any) -> None:
    """The field is a JSON pointer: found, told, set there, and restored like any other."""
    update.declare(
        MigrationStep("1", "2", rename={"/metadata/host": "/metadata/hostname"}),
        schema={
            "type": "object",
            "properties": {
                "metadata": {
                    "type": "object",
                    "required": ["hostname"],
                    "properties": {"version": {"const": "2"}},
                }
            },
        },
        version=VersionRule("/metadata/version", "2"),
    )
    old = {"metadata": {"version": "1", "host": "here"}, "version": "9"}
    update.house.state.write_text(json.dumps(old))
    update.house.snapshot()
    assert update.house.assess().to_json()["services"][0]["items"][0]["older"] == {"": "1"}
    assert update.migrate().outcome == "migrated"
    new = {"metadata": {"version": "2", "hostname": "here"}, "version": "9"}
    assert update.main == new
    update.house.state.write_bytes(b"")
    assert update.house.restore(snapshot="app/1").outcome == "restored"
    assert update.main == new
    update.house.state.write_text(json.dumps({"metadata": {"version": "3", "hostname": "here"}}))
    found = update.house.assess().services[0]
    assert found.verdict == "newer"
    assert "#/metadata/version" in str(found.items["main"].problems[0])


def test_compressed_documents_stay_compressed(mixed: Any) -> None:
    """Whatever restores them: from a snapshot, and out of quarantine."""
    packed = gzip.compress(b'{"id":"z","v":1,"text":"packed"}')
    (mixed.house.tasks / "z.json").write_bytes(packed)
    mixed.house.snapshot()
    for how in (mixed.migrate, lambda: mixed.house.restore(snapshot="app/1")):
        assert how().outcome in {"migrated", "restored"}
        data = (mixed.house.tasks / "z.json").read_bytes()
        assert data[:2] == b"\x1f\x8b"
        assert json.loads(gzip.decompress(data)) == {"id": "z", "v": 3, "description": "packed", "logs": []}
        (mixed.house.tasks / "z.json").write_bytes(b"\0")
    mixed.house.undo()
    mixed.house.undo(mixed.quarantined()[0].name)
    assert {"z.json"} <= {path.name for path in mixed.house.tasks.iterdir()}


def test_restores_migrate_what_they_bring(mixed: Any) -> None:
    """By time, one document of many, from a sibling, in a drill: always wholly of the current version."""
    mixed.house.snapshot()
    taken = mixed.house.list()[0].snapshot.time_ns
    check = mixed.house.root / "check.sh"
    check.write_text('#!/bin/sh\n! grep -L \'"v": "\\{0,1\\}3\' "$1"/tasks/*.json | grep .\n')
    check.chmod(0o755)
    mixed.house.change(drill=Drill(command=(str(check), "{directory}")))
    rehearsed = drill(mixed.house.context, DrillRequest()).services[0]
    assert rehearsed.passed, rehearsed
    assert mixed.migrate().outcome == "migrated"
    new = mixed.tasks()
    for number, ask in enumerate(({"at_ns": taken}, {"snapshot": "app/1", "only": "tasks/a.json"}, {})):
        mixed.house.tasks.joinpath("a.json").write_bytes(b"{" * number)
        result = mixed.house.restore(services=("app",), **ask)
        assert (result.outcome, mixed.tasks()) == ("restored", new), (ask, result)
    mixed.house.tasks.joinpath("a.json").write_bytes(b"")
    mixed.house.tasks.joinpath("a.json.bak").write_text('{"id": "a", "v": 1, "text": "from the sibling"}')
    os.utime(mixed.house.tasks / "a.json.bak", (2_000_000_000, 2_000_000_000))
    result = mixed.house.restore(origin="siblings")
    mixed.house.tasks.joinpath("a.json.bak").unlink()
    assert mixed.tasks()["a"] == {"id": "a", "v": 3, "description": "from the sibling", "logs": []}, result
    assert [(one.source, one.migrated) for one in result.items if one.document] == [("sibling", ("1", "3"))]
    pinned = mixed.pinned()
    assert 1 in pinned  # what was taken in its older version is kept


@pytest.mark.parametrize("text", ["v: 1\n---\nv: 1\n", "v: 2\n---\nv: 1\n"])
def test_yaml_with_several_documents_is_told_plainly(update: Any, text: str) -> None:
    """Nothing brings such a file to the current version: it is left as it is, nothing is stopped or pinned for it, and
    it is told what can be done."""
    path = update.house.state.with_name("state.yaml")
    item = replace(update.items["main"], path=str(path), format=Format.YAML, schema=None, version=VersionRule("v", "2"))
    step = MigrationStep("1", "2", rename={"/a": "/b"})
    update.house.change(state={"main": replace(item, migrate=(step,))})
    path.write_text(text)
    done, shown, restored = update.migrate(), update.migrate(dry_run=True), update.house.restore()
    assert (done.outcome, shown.outcome, restored.outcome) == ("failed", "failed", "untouched")
    assert "has version 1, and the file holds 2 documents: only a file of one can be migrated" in shown.reasons[0]
    assert (path.read_text(), update.pinned(), update.quarantined()) == (text, [], [])
