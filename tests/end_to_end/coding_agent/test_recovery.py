"""The coding agent after a disaster: its recovery order, a real scheduler, and care."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tests.end_to_end.coding_agent.agency import Agency, document, item, task

FORBIDDEN = '/\\:*?"<>|'

# -- its recovery order ----------------------------------------------------------------------------------------


def test_a_first_start_makes_its_directories(agency: Agency) -> None:
    """Nothing is there, not even the directory: state is `new`, and the agent is started and proven all the same."""
    assert not agency.state.exists()
    result = agency.restore(0)
    assert (result["outcome"], result["healthy"], item(result)["verdict_before"]) == ("untouched", True, "new")
    agency.world.wait_for(agency.main.exists)
    assert {path.name for path in agency.state.iterdir() if path.is_dir()} == {"tasks", "sessions", "logs", "reports"}


def test_each_step_of_its_recovery_order(working: Agency) -> None:
    """state.json, its own backups, snapshots, rebuilt from the tasks with metrics computed, an empty initial state."""
    whole = working.main.read_bytes()

    # 1. what it saved last is good: it stays, whatever lies beside it
    result = working.restore(0, "--no-start")
    assert (result["outcome"], item(result)["source"], working.main.read_bytes()) == ("untouched", "live", whole)

    # 2. its own newest backup that is whole; the newest one of all is torn too
    torn, newest = (*reversed(working.backups()),)[:2]
    torn.write_bytes(torn.read_bytes()[:-20])
    working.main.write_bytes(b"")
    result = working.restore(0, "--no-start")
    assert (item(result)["source"], item(result)["candidate"]) == ("sibling", f"sibling {newest.name}")
    assert working.main.read_bytes() == newest.read_bytes()
    assert any(torn.name in reason for reason in result["reasons"]), "and why the other was not taken is told"

    # 3. a snapshot that is newer than its backups
    working.main.write_bytes(whole)
    working.run("snapshot").fine()
    newest_snapshot = working.snapshots()[0]["id"]
    working.main.write_bytes(whole[: len(whole) // 2])
    result = working.restore(0, "--no-start")
    assert (item(result)["source"], item(result)["candidate"]) == ("snapshot", newest_snapshot)
    assert working.main.read_bytes() == whole

    # 4. neither: rebuilt from the tasks, with the metrics as the agent itself computes them
    for backup in working.backups():
        backup.unlink()
    working.run("clear", "coding-agent", "--snapshots", "--yes").fine()
    working.main.write_bytes(bytes(len(whole)))
    result = working.restore(3, "--no-start")
    assert (result["outcome"], item(result)["source"]) == ("degraded", "rebuild")
    rebuilt, before = document(working.main), json.loads(whole)
    assert rebuilt["tasks"] == sorted(before["tasks"], key=lambda one: str(one["id"]))
    average = rebuilt["metrics"].pop("average_completion_time")
    assert average == pytest.approx(before["metrics"].pop("average_completion_time"), abs=0.001)
    assert average > 0
    assert rebuilt["metrics"] == before["metrics"]
    assert (rebuilt["version"], rebuilt["sessions"]) == ("1.0.0", [])
    assert working.restore(0)["healthy"], "and the agent goes on with that"
    assert working.health()["completed_tasks"] >= before["metrics"]["completed_tasks"]
    working.kill()

    # 5. not even tasks: an empty start
    for path in (*working.tasks.iterdir(), *working.backups()):
        path.unlink()
    working.run("clear", "coding-agent", "--snapshots", "--yes").fine()
    working.main.write_bytes(b"\0")
    result = working.restore(3)
    assert (result["outcome"], item(result)["source"], result["healthy"]) == ("degraded", "initial", True)
    assert working.health()["loaded"]


def test_what_is_newer_than_the_snapshot_is_taken_first(working: Agency) -> None:
    """A backup that the agent made after the last snapshot loses less."""
    working.run("snapshot").fine()
    working.restore(0)
    before = set(working.backups())
    working.world.wait_for(lambda: len(set(working.backups()) - before) >= 2, "newer backups")
    working.kill()
    newest = working.backups()[-1]
    working.main.write_bytes(b"{")
    result = working.restore(0, "--no-start")
    assert item(result)["candidate"] == f"sibling {newest.name}"


def test_directories_come_back(working: Agency) -> None:
    """Directories are created when missing: all of it is gone, down to the agent's own directory."""
    working.run("snapshot").fine()
    before = {path: path.read_bytes() for path in (working.main, *working.tasks.iterdir())}
    shutil.rmtree(working.state)
    result = working.restore(0)
    assert {name: item(result, name)["source"] for name in ("main", "tasks", "sessions")} == dict.fromkeys(
        ("main", "tasks", "sessions"), "snapshot"
    )
    assert result["healthy"]
    assert {path.name for path in working.tasks.iterdir()} >= {path.name for path in before if path != working.main}
    assert (working.state / "logs").is_dir(), "what may be absent is made by the agent"


# -- partial state ---------------------------------------------------------------------------------------------


def test_it_goes_on_with_partial_state(working: Agency) -> None:
    """Some task files are bad: those that were saved come back, the others go to quarantine, and the agent starts."""
    working.run("snapshot").fine()
    saved, *rest = sorted(working.tasks.iterdir())
    good = saved.read_bytes()
    saved.write_bytes(good[:30])
    never = working.tasks / "task_t0900.json"
    never.write_bytes(b'{"id": "t0900", "descr')
    result = working.restore(3)
    assert (result["outcome"], result["healthy"]) == ("degraded", True)
    assert {one["document"]: one["source"] for one in result["items"] if one["item"] == "tasks"} == {
        saved.name: "snapshot",
        never.name: "empty",
    }
    assert document(saved)["id"] == json.loads(good)["id"]
    assert not never.exists()
    assert all(path.exists() for path in rest)
    kept = [path.read_bytes() for path in Path(item(result, "tasks")["quarantine"]).rglob("*") if path.is_file()]
    assert b'{"id": "t0900", "descr' in kept
    assert working.restore(0)["outcome"] == "untouched", "and then all is well"


def test_a_rebuild_of_partial_state(working: Agency) -> None:
    """Nothing was ever saved, state.json is gone and a task is torn: the state is made of the tasks that are good."""
    for path in (working.main, *working.backups()):
        path.unlink()
    torn = min(working.tasks.iterdir())
    torn.write_bytes(torn.read_bytes()[:30])
    left = {document(path)["id"] for path in working.tasks.iterdir() if path != torn}
    working.main.write_bytes(b"\0\0")
    result = working.restore(3)
    assert (item(result)["source"], result["healthy"]) == ("rebuild", True)
    assert not torn.exists()
    assert working.health()["loaded"]
    working.kill()
    assert {one["id"] for one in document(working.main)["tasks"]} >= left


def test_names_that_no_task_may_have(working: Agency) -> None:
    """An id with one of / \\ : * ? " < > | is refused, also where its file is named by what is left of it, and so is
    a file that holds another task than its name says."""
    planted = {
        *(f"task_t{ord(letter)}{letter}.json" for letter in FORBIDDEN if letter != "/"),
        *(f"task_t{ord(letter)}.json" for letter in FORBIDDEN),
    }
    for letter in FORBIDDEN:
        text = json.dumps(task(f"t{ord(letter)}{letter}"))
        (working.tasks / f"task_t{ord(letter)}.json").write_text(text)
        if letter != "/":
            (working.tasks / f"task_t{ord(letter)}{letter}.json").write_text(text)
    (working.tasks / "task_t0777.json").write_text(json.dumps(task("t0778")))
    (working.tasks / "task_t0779.json").write_text(json.dumps(task("t0779")))
    (service,) = working.json("assess")["services"]
    (found,) = (one for one in service["items"] if one["item"] == "tasks")
    assert set(found["damaged"]) == planted | {"task_t0777.json"}
    assert set(found["damaged"].values()) == {"corrupt"}
    assert any("which is not its name" in one["problem"] for one in found["problems"])
    assert working.restore(3)["healthy"]
    assert (working.tasks / "task_t0779.json").exists()
    assert not planted & {path.name for path in working.tasks.iterdir()}


# -- a real scheduler ------------------------------------------------------------------------------------------


def test_saved_on_change_and_on_shutdown_and_brought_back(agency: Agency) -> None:
    """The whole story: a change is saved at once, kill -9 tears a write, and no finished task is lost."""
    agency.here('--pace, "0.3", --slow-write, "100"')
    agency.restore(0)
    scheduler = agency.scheduler()
    agency.world.wait_for(lambda: sum(one["reason"] == "change" for one in agency.snapshots()) >= 2, "changes saved")
    agency.world.wait_for(lambda: agency.snapshots()[0]["verdict"] == "ok", "a snapshot that is ok")
    known = {path.name for path in agency.tasks.iterdir()}

    pid = agency.pid()
    agency.world.wait_for(lambda: not whole(agency.main), "a write to be under way")
    os.kill(pid, signal.SIGKILL)
    agency.world.wait_for(lambda: not agency.lives(pid), "the agent to be gone")
    for backup in agency.backups():
        backup.write_bytes(b"")
    agency.main.write_bytes(agency.main.read_bytes()[:100])
    agency.world.wait_for(lambda: agency.snapshots()[0]["verdict"] != "ok", "the damage to be kept as evidence")

    result = agency.restore(0)
    assert (result["outcome"], result["healthy"], item(result)["source"]) == ("restored", True, "snapshot")
    assert {path.name for path in agency.tasks.iterdir()} >= known
    assert agency.pid() != pid
    agency.world.wait_for(lambda: agency.snapshots()[0]["verdict"] == "ok", "a snapshot that is ok again")

    agency.run("stop").fine()
    last = agency.snapshots()[0]["sequence"]
    (agency.tasks / "task_t0901.json").write_text(json.dumps(task("t0901")))
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(30) == 0
    newest = agency.snapshots()[0]
    assert newest["sequence"] > last
    assert newest["reason"] in {"shutdown", "change"}
    agency.run("show", "coding-agent/good", "tasks/task_t0901.json").fine()


def whole(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


# -- care ------------------------------------------------------------------------------------------------------


def test_a_forced_rebuild(working: Agency) -> None:
    """`restore --from rebuild`: also over state that is ok, which goes to quarantine and comes back by `undo`."""
    before = working.main.read_bytes()
    dry = working.run("restore", "--from", "rebuild", "--dry-run").fine(3)
    assert "would be" in dry.out
    assert working.main.read_bytes() == before
    result = working.restore(3, "--from", "rebuild", "--no-start")
    assert (result["outcome"], item(result)["source"], item(result)["verdict_before"]) == ("degraded", "rebuild", "ok")
    assert document(working.main)["sessions"] == []
    working.run("undo", "--no-start").fine()
    assert working.main.read_bytes() == before


def test_old_state_is_cleaned_up(working: Agency) -> None:
    """Retention keeps ten of the last minute; `prune` says why; `clear` empties the state into quarantine."""
    working.run("stop").fine()  # on purpose: what is captured while it should run and does not, counts for less
    for number in range(13):
        (working.tasks / f"task_t09{number:02}.json").write_text(json.dumps(task(f"t09{number:02}")))
        working.run("snapshot").fine()
    assert len(working.snapshots()) <= 12
    kept = working.json("prune", "--dry-run")["kept"]
    assert sum("last" in one["rules"] for one in kept) == 10
    assert "known-good" in kept[0]["rules"]

    tasks = {path.name for path in working.tasks.iterdir()}
    cleared = working.json("clear", "coding-agent", "--live", "--yes")
    assert not working.main.exists()
    assert cleared["quarantine"]
    assert working.restore(0, "--snapshot", "coding-agent/good")["outcome"] == "restored", "and all of it comes back"
    assert {path.name for path in working.tasks.iterdir()} >= tasks
    working.run("start").fine()
    working.run("stop").fine()
    assert working.json("clear", "coding-agent", "--all", "--yes")["removed"]
    assert not working.snapshots()
    assert item(working.restore(0, "--no-start"))["verdict_before"] == "new"


def test_debugging_one_area(working: Agency) -> None:
    """`--debug recovery` tells what was found and which candidates there are, and nothing of other areas."""
    working.main.write_bytes(b"")
    said = working.run("--debug", "recovery", "restore", "--no-start").fine().err
    lines = [line for line in said.splitlines() if " debug " in line]
    assert lines
    assert all(" debug recovery: " in line for line in lines)
    assert "main is corrupt" in said
    assert f"candidates, best first: sibling {working.backups()[-1].name}" in said
    quiet = working.run("restore", "--no-start").fine()
    assert " debug " not in quiet.err
