"""Migration: state of an older version is brought to the current one, all of it or nothing, and can be taken back."""

from __future__ import annotations

import gzip
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.model import Drill, Guards, Validation
from recoverd.errors import UsageError
from recoverd.operations.boot import boot
from recoverd.operations.drill import DrillRequest, drill
from recoverd.operations.migrate import MigrateRequest, ServiceMigration, migrate

MAIN = (MigrationStep("1", "2", patch=({"op": "add", "path": "/runs", "value": []},)),)
TASKS = (MigrationStep("1", "2", rename={"/text": "/description"}),)
MAIN_2 = {
    "type": "object",
    "required": ["version", "counter", "runs"],
    "properties": {"version": {"const": "2"}, "counter": {"type": "integer"}},
}
TASK_2 = {"type": "object", "required": ["id", "v", "description"], "properties": {"v": {"const": 2}}}


def declare(house: Any, *, main: Any = MAIN, tasks: Any = TASKS, **keys: Any) -> None:
    """The service was updated: it writes version 2 from now on."""
    house.change(
        state={
            "main": replace(
                house.service.state["main"],
                schema=house.schema(MAIN_2),
                version=VersionRule("version", "2"),
                migrate=main,
            ),
            "tasks": replace(
                house.service.state["tasks"], schema=house.schema(TASK_2), version=VersionRule("v", "2"), migrate=tasks
            ),
        },
        **keys,
    )


@pytest.fixture
def old(house: Any) -> Any:
    """State of version 1, captured as such, before the service was updated: one file, and a task of each encoding."""
    for path in house.tasks.iterdir():
        path.unlink()
    house.write(5)
    (house.tasks / "a.json").write_text('{\n  "id": "a",\n  "v": 1,\n  "text": "first"\n}\n')
    (house.tasks / "b.json").write_bytes(gzip.compress(b'{"id":"b","v":1,"text":"second"}'))
    (house.tasks / "c.json").write_text('{"id":"c","v":2,"description":"third"}')
    house.tasks.joinpath("a.json").chmod(0o440)
    house.snapshot()
    declare(house)
    return house


def run(house: Any, **request: Any) -> ServiceMigration:
    house.reopen()
    return migrate(house.context, MigrateRequest(**request)).services[0]


def is_new(house: Any) -> bool:
    """Wholly of version 2, or wholly of version 1: never of both."""
    main = json.loads(house.state.read_bytes())
    a = json.loads(house.tasks.joinpath("a.json").read_bytes())
    versions = {str(main["version"]), str(a["v"]), str(json.loads(plain(house.tasks / "b.json"))["v"])}
    assert len(versions) == 1, versions
    return versions == {"2"}


def plain(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def messages(house: Any, name: str) -> list[str]:
    return [event.message for event in house.events if event.name == name]


def test_all_documents_of_all_items_are_migrated_at_once(old: Any) -> None:
    """A pinned snapshot of what was there, one transaction, one quarantine; owner, mode and encoding stay."""
    done = run(old)
    assert (done.outcome, done.exit_status) == ("migrated", 0), done
    assert is_new(old)
    assert old.tasks.joinpath("a.json").read_text() == '{\n  "id": "a",\n  "v": 2,\n  "description": "first"\n}\n'
    assert old.tasks.joinpath("b.json").read_bytes()[:2] == b"\x1f\x8b"
    assert plain(old.tasks / "b.json") == b'{"id":"b","v":2,"description":"second"}'
    assert stat.S_IMODE(old.tasks.joinpath("a.json").stat().st_mode) == 0o440
    assert [(one.item, one.document) for one in done.documents] == [
        ("main", ""),
        ("tasks", "a.json"),
        ("tasks", "b.json"),
    ]
    before = next(one for one in old.list() if one.snapshot.id == done.snapshot)
    assert (before.snapshot.reason, before.snapshot.verdict.value, before.marks.pinned) == ("pre-migration", "ok", True)
    evidence = json.loads((Path(done.quarantine or "") / "evidence.json").read_bytes())
    assert {one["document"] for one in evidence["evidence"]["migrated"]} == {"", "a.json", "b.json"}
    assert sorted(messages(old, "migration.done")) == ["from version 1 to 2", "from version 1 to 2"]
    assert old.list()[0].snapshot.reason == "migration"
    assert run(old).outcome == "untouched"


def test_a_dry_run_shows_the_patches_and_changes_nothing(old: Any) -> None:
    """The diff as a JSON Patch: for people, and for programs."""
    before, snapshots = old.contents(), len(old.list())
    done = run(old, dry_run=True)
    assert (done.outcome, done.exit_status) == ("pending", 0)
    main, a, _ = done.documents
    assert main.patch == (
        {"op": "replace", "path": "/version", "value": "2"},
        {"op": "add", "path": "/runs", "value": []},
    )
    assert a.to_json()["patch"][1:] == [
        {"op": "remove", "path": "/text"},
        {"op": "add", "path": "/description", "value": "first"},
    ]
    assert (old.contents(), len(old.list())) == (before, snapshots)


def test_an_undo_takes_it_back_and_no_restore_does_it_again(old: Any) -> None:
    """`undo` reverses a migration, also for state that is written anew since; `migrate` does it again when asked."""
    before = old.contents()
    run(old)
    old.undo()
    assert old.contents() == before
    assert old.restore().outcome == "untouched"
    old.write(6)
    for result in (old.restore(), boot(old.context)[0].services[0]):
        assert result.outcome == "untouched"
        assert "its migration was undone" in " ".join(result.reasons)
    assert not is_new(old)
    old.snapshot()
    (waits,) = [one for one in old.check().results if one.name == "migration"]
    assert "its migration was undone" in waits.message
    assert run(old).outcome == "migrated"
    assert is_new(old)


def test_a_restore_migrates_before_the_service_starts(old: Any) -> None:
    """At boot too: nobody has to think of it after an update."""
    result = boot(old.context)[0].services[0]
    assert result.outcome == "restored"
    assert {(one.source, one.migrated) for one in result.items} == {("live", ("1", "2"))}
    assert is_new(old)
    old.restore()  # proves it
    assert old.restore().outcome == "untouched"


def test_a_restored_snapshot_of_an_older_version_is_migrated(old: Any) -> None:
    """Damage is repaired from a snapshot of version 1, and what lives beside it is migrated in the same transaction."""
    old.state.write_bytes(b"\0" * 40)
    result = old.restore()
    assert (result.outcome, result.exit_status) == ("restored", 0), result
    assert is_new(old)
    assert {one.quarantine for one in result.items if one.migrated} == {result.items[0].quarantine}
    assert next(one for one in old.list() if one.snapshot.id == "app/1").marks.pinned  # the older version is kept
    old.undo()
    assert old.state.read_bytes() == b"\0" * 40
    assert not json.loads(old.tasks.joinpath("a.json").read_bytes()).get("description")


def test_nothing_is_migrated_beside_what_can_not_be_repaired(house: Any) -> None:
    """All or nothing: while damage blocks the service, the rest of it stays as it is."""
    for path in house.tasks.iterdir():
        path.unlink()
    (house.tasks / "a.json").write_text('{"id": "a", "v": 1, "text": "first"}')
    house.state.write_bytes(b"{")
    declare(house)
    before = house.contents()
    result = house.restore()
    assert (result.outcome, result.exit_status, house.contents()) == ("blocked", 1, before)
    assert house.list() == []


def test_an_explicit_restore_and_a_drill_migrate_too(old: Any) -> None:
    """A snapshot of an older version is a candidate like any other, wherever it is restored to."""
    check = old.root / "check.sh"
    check.write_text("#!/bin/sh\ngrep -q '\"2\"' $1/state.json && zcat $1/tasks/b.json | grep -q description\n")
    check.chmod(0o755)
    declare(old, drill=Drill(command=(str(check), "{directory}")))
    assert drill(old.context, DrillRequest()).services[0].passed
    run(old)
    counter = json.loads(old.state.read_bytes()) | {"counter": 9}
    old.state.write_text(json.dumps(counter))
    result = old.restore(snapshot="app/1")
    assert (result.outcome, json.loads(old.state.read_bytes())["counter"]) == ("restored", 5)
    assert is_new(old)


def test_a_newer_snapshot_is_no_candidate(old: Any) -> None:
    """Of a version that this configuration does not know, captured when it did: passed over for the older one."""
    state = old.service.state
    old.change(
        state={
            "main": replace(state["main"], schema=None, version=VersionRule("version", "3"), migrate=()),
            "tasks": replace(state["tasks"], schema=None, version=None, migrate=()),
        }
    )
    old.state.write_text('{"version": "3", "counter": 1}')
    assert old.snapshot().verdict == "ok"
    declare(old)
    old.state.write_bytes(b"")
    result = old.restore()
    assert result.outcome == "restored"
    assert json.loads(old.state.read_bytes())["counter"] == 5
    assert [one.result for one in result.attempts] == ["invalid", "restored"]
    assert is_new(old)


BAD_STEPS = {
    "a patch that can't be applied": (MigrationStep("1", "2", patch=({"op": "remove", "path": "/nothing"},)),),
    "a result that its schema refuses": (MigrationStep("1", "2", rename={"/text": "/words"}),),
    "a command that fails": (MigrationStep("1", "2", command=("sh", "-c", "echo no such field >&2; exit 3")),),
    "a command that writes nonsense": (MigrationStep("1", "2", command=("echo", "{")),),
    "a command that is not there": (MigrationStep("1", "2", command=("/nonexistent/upgrade",)),),
    "a command without an end": (MigrationStep("1", "2", command=("sleep", "600"), timeout_s=0.2),),
    "a command that changes nothing": (MigrationStep("1", "2", command=("cat",)),),
    "a command of another version": (MigrationStep("1", "2", command=("sh", "-c", "echo '{\"v\": 7}'")),),
    "a command that is killed": (MigrationStep("1", "2", command=("sh", "-c", "kill -9 $$")),),
    "a command that says nothing": (MigrationStep("1", "2", command=("true",)),),
    "a command that writes half": (MigrationStep("1", "2", command=("head", "-c", "20")),),
    "a command with a null": (MigrationStep("1", "2", command=("printf", '{"v": 2}\\0')),),
}


@pytest.mark.parametrize(
    ("what", "how"),
    [(what, ("migrate", "restore")[n % 2]) for n, what in enumerate([*BAD_STEPS, next(iter(BAD_STEPS))])],
)
def test_what_can_not_be_migrated_leaves_everything_as_it_was(old: Any, what: str, how: str) -> None:
    """One item fails, and the other stays as it was with it: told with the step, and nothing is in quarantine."""
    declare(old, tasks=BAD_STEPS[what])
    before = old.contents()
    result = run(old) if how == "migrate" else old.restore()
    assert old.contents() == before
    assert not is_new(old)
    assert not list((old.state_dir / "quarantine").glob("*/*"))
    told = " ".join(result.reasons)
    assert "tasks" in told or "a.json" in told
    if what.startswith("a command"):
        assert messages(old, "migration.failed")
        assert result.exit_status == 1
        assert result.outcome == "failed"
    else:  # known by itself, before anything is done: a version that does not fit
        assert result.exit_status == (1 if how == "migrate" else 0)
        assert old.verdict() == "newer"
    assert run(old, dry_run=True).exit_status == 1
    assert old.contents() == before


def test_what_the_declared_tool_refuses_is_not_swapped_in(old: Any) -> None:
    """The result must validate by all that judges: also by the service's own tool, and against its own size."""
    state = old.service.state
    old.change(state={**state, "main": replace(state["main"], validate=Validation(("grep", "-q", '"1"', "{path}")))})
    before = old.contents()
    result = run(old)
    assert (result.outcome, old.contents()) == ("failed", before)
    assert "is refused by grep" in " ".join(result.reasons)

    shrinking = (MigrationStep("1", "2", command=("echo", '{"version": "2", "counter": 1, "runs": []}')),)
    declare(old, main=shrinking)
    state = old.service.state
    old.change(state={**state, "main": replace(state["main"], validate=None, guards=Guards(max_shrink=0.5))})
    old.write(5, padding="x" * 500)
    result = run(old)
    assert result.outcome == "failed"
    assert "shrank" in " ".join(result.reasons)


def test_a_failed_migration_does_not_keep_damage_from_being_repaired(old: Any) -> None:
    """What can't be migrated stays; what is damaged comes back all the same."""
    declare(old, tasks=BAD_STEPS["a command that fails"])
    old.state.write_bytes(b"")
    result = old.restore()
    assert result.outcome == "restored", result
    assert json.loads(old.state.read_bytes())["version"] == "2"
    assert json.loads(old.tasks.joinpath("a.json").read_bytes())["v"] == 1
    assert "nothing was migrated" in " ".join(result.reasons)


@pytest.mark.parametrize("name", ["snapshots", "marks"])
def test_nothing_is_done_without_its_pinned_snapshot(old: Any, name: str) -> None:
    """Where the state can't be saved as it was before, or that can't be pinned, it is not touched."""
    before, place = old.contents(), old.state_dir / "repository" / name / "app"
    if place.is_dir():
        place.rename(place.with_name("elsewhere"))
    place.write_text("a file where a directory is needed")
    for result in (run(old), old.restore()):
        assert (result.outcome, result.exit_status, old.contents()) == ("failed", 1, before), result
    assert not list((old.state_dir / "quarantine").glob("*/*"))


def test_what_is_damaged_is_for_a_restore(old: Any) -> None:
    """`migrate` repairs nothing: it says who does."""
    old.state.write_bytes(b"")
    before = old.contents()
    result = run(old)
    assert (result.outcome, result.exit_status, old.contents()) == ("failed", 1, before)
    assert "recoverd restore app" in (result.hint or "")
    with pytest.raises(UsageError):
        run(old, services=("nobody",))


def test_a_service_that_runs_is_stopped_for_it_and_proven(judged: Any) -> None:
    """`restore` leaves a healthy service alone; `migrate` stops it, migrates, starts it and proves it."""
    declare(judged, tasks=())
    state = judged.service.state
    judged.change(state={"main": state["main"]})
    judged.start()
    judged.write(7)
    result = judged.restore()
    assert result.outcome == "untouched"
    assert "the service runs" in " ".join(result.reasons)
    done = run(judged)
    assert (done.outcome, done.healthy) == ("migrated", True), done
    assert json.loads(judged.state.read_bytes())["version"] == "2"
    assert judged.running()


def test_a_service_that_was_down_stays_down(judged: Any) -> None:
    declare(judged, tasks=())
    judged.change(state={"main": judged.service.state["main"]})
    done = run(judged)
    assert (done.outcome, done.healthy) == ("migrated", None), done
    assert not judged.running()


def test_pending_migrations_are_told_by_check_and_assess(old: Any) -> None:
    old.snapshot()
    (waits,) = [one for one in old.check().results if one.name == "migration"]
    assert waits.status.value == "WARNING"
    assert "main has version 1, not 2; 2 documents of tasks have version 1, not 2" in waits.message
    found = old.assess().to_json()["services"][0]["items"]
    assert [one["older"] for one in found] == [{"": "1"}, {"a.json": "1", "b.json": "1"}]
    run(old)
    assert [one for one in old.check().results if one.name == "migration"] == []


def test_a_command_runs_as_the_owner_of_the_document(old: Any) -> None:
    """Promise 12: what a service user's document makes of a command is that user's own business."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    tell = "import json,os,sys; d=json.load(sys.stdin); d['runs']=[os.getuid()]; json.dump(d, sys.stdout)"
    declare(old, main=(MigrationStep("1", "2", command=("python3", "-c", tell)),))
    os.chown(old.state, 12345, 12345)
    assert run(old).outcome == "migrated"
    assert json.loads(old.state.read_bytes())["runs"] == [12345]
    assert old.state.stat().st_uid == 12345


def test_what_waits_is_looked_at_each_time(old: Any) -> None:
    """The stat cache forgets no document that waits, however long it does not change."""
    for path in (old.state, *old.tasks.iterdir()):
        os.utime(path, ns=(0, 10**18))
    for _ in range(3):
        old.snapshot()
        old.reopen()
        assert set(old.assess().services[0].items["tasks"].older) == {"a.json", "b.json"}
