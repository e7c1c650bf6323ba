"""The coding agent is updated from 1.0.0 to 2.0.0: the shipped sample of the update, the real agent of each version.

first-systems.md, no. 2: migration with a backup from before, a log of it, and the way back.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.coding_agent.agency import AGENT, OPTIONS, ROOT, Agency, document, item

NEW = '--writes, "2.0.0", ' + OPTIONS
BROKEN = """
    state:
      main:
        migrate: [{from: "1.0.0", to: "2.0.0", rename: {/metrics/failed_tasks: failures}}]
"""


@pytest.fixture
def updated(working: Agency) -> Agency:
    """The agent of version 1.0.0 has worked, was saved and was killed; then the one of version 2.0.0 was installed."""
    working.run("snapshot").fine()
    drop_ins = working.world.conf / "conf.d" / "coding-agent.yaml.d"
    shutil.copyfile(ROOT / "config" / "updates" / "coding-agent-2.0.0.yaml", drop_ins / "2.0.0.yaml")
    working.here(NEW)
    return working


def test_an_update_migrates_its_state_and_can_be_taken_back(updated: Agency) -> None:
    before = updated.main.read_bytes()
    old = document(updated.main)
    refused = subprocess.run(
        [sys.executable, str(AGENT), "--state", str(updated.state), "--writes", "2.0.0"],
        capture_output=True, timeout=60, check=False, text=True,
    )  # fmt: skip
    assert (refused.returncode, "version '1.0.0' is not 2.0.0" in refused.stderr) == (1, True)

    # what waits, and what would become of it
    updated.run("snapshot")
    assert updated.checks()["migration"]["status"] == "WARNING"
    (shown,) = updated.json("migrate", "--dry-run")["services"][0]["documents"]
    assert (shown["from"], shown["to"]) == ("1.0.0", "2.0.0")
    mean = {"op": "add", "path": "/metrics/average_completion_seconds"}
    assert mean | {"value": old["metrics"]["average_completion_time"]} in shown["patch"]
    assert {"op": "add", "path": "/agents", "value": ["main"]} in shown["patch"]
    assert updated.main.read_bytes() == before

    # the next start does it, with a backup from before
    done = updated.restore(0)
    assert (done["outcome"], done["healthy"]) == ("restored", True)
    assert item(done)["migrated"] == {"from": "1.0.0", "to": "2.0.0"}
    updated.kill()  # it goes on working, and its writes are not to be read half done
    new = document(updated.main)
    assert new["version"] == "2.0.0"
    assert "average_completion_time" not in new["metrics"]
    assert [one["id"] for one in new["tasks"]][: len(old["tasks"])] == [one["id"] for one in old["tasks"]]
    saved = next(one for one in updated.snapshots() if one["reason"] == "pre-migration")
    assert (saved["pinned"], saved["label"]) == (True, "1.0.0 to 2.0.0")
    shown_before = updated.run("show", saved["id"], "main")
    assert shown_before.out.encode() == before

    # the log of it: why, from where to where, and what was replaced
    evidence = json.loads((Path(item(done)["quarantine"]) / "evidence.json").read_bytes())["evidence"]
    assert evidence["migrated"] == [{"item": "main", "document": "", "from": "1.0.0", "to": "2.0.0"}]
    resume = json.loads(Path(done["resume"]).read_bytes())
    assert item(resume)["migrated"] == {"from": "1.0.0", "to": "2.0.0"}
    updated.run("snapshot")
    assert "migration" not in updated.checks()

    # its own backups are of the old version, and are as good as before
    updated.main.write_bytes(b'{"version": "2.0')
    for backup in updated.backups():
        backup.unlink()
    updated.state.joinpath("state.backup.2026-11-21T09-30-00.000Z.json").write_bytes(before)
    again = updated.restore(0, "--from", "siblings")
    assert (item(again)["source"], item(again)["migrated"]["from"]) == ("sibling", "1.0.0")
    updated.kill()

    # back to the old agent, and its state with it
    updated.here()
    taken_back = updated.run("undo", item(done)["quarantine"].rstrip("/").rpartition("/")[2])
    assert taken_back.status == 0, taken_back
    assert updated.main.read_bytes() == before
    updated.restore(0)
    updated.kill()
    assert document(updated.main)["version"] == "1.0.0"


def test_a_migration_that_fails_changes_nothing(updated: Agency) -> None:
    """Rolled back: state stays byte for byte what it was, the log tells why, and the agent of the old version goes on.

    Once the steps are right, the same state is migrated.
    """
    before = updated.main.read_bytes()
    host = updated.world.conf / "recoverd.yaml"
    host.write_text(host.read_text() + "log: {format: json}\n")

    def migrated(status: int, options: str, more: str = "") -> Any:
        """What the log tells of a migration."""
        updated.here(options, more)
        lines = updated.run("--debug", "events", "migrate").fine(status).err.splitlines()
        (event,) = (one for one in map(json.loads, lines) if str(one.get("event")).startswith("migration."))
        return event

    failed = migrated(1, OPTIONS, BROKEN)
    assert (failed["event"], failed["service"]) == ("migration.failed", "coding-agent")
    assert "its migration to 2.0.0 fails: " in failed["message"]
    assert updated.main.read_bytes() == before
    left = updated.restore(0, "--no-start")
    assert (left["outcome"], left["verdict_before"]) == ("untouched", "newer")
    assert updated.main.read_bytes() == before
    assert updated.restore(0)["healthy"]
    updated.kill()
    assert document(updated.main)["version"] == "1.0.0"
    assert document(updated.main)["tasks"][0] == json.loads(before)["tasks"][0]

    done = migrated(0, NEW)
    assert (done["event"], done["item"], done["message"]) == ("migration.done", "main", "from version 1.0.0 to 2.0.0")
    assert done["figures"]["items"] == 1
    assert document(updated.main)["version"] == "2.0.0"


def test_an_agent_that_was_not_updated_gets_its_state_back(updated: Agency) -> None:
    """The configuration was updated and the agent was not: it refuses the migrated state, so that is taken back, and
    it goes on with what it had. Once it is installed its state can be migrated."""
    before = updated.main.read_bytes()
    updated.here()
    done = updated.restore(1)
    assert (done["outcome"], done["healthy"]) == ("failed", True), done
    assert "not healthy on migrated state" in done["reasons"][0]
    assert updated.health()["loaded"]
    updated.kill()
    assert document(updated.main)["version"] == "1.0.0"
    assert document(updated.main)["tasks"][0] == json.loads(before)["tasks"][0]
    saved = next(one for one in updated.snapshots() if one["reason"] == "pre-migration")
    assert updated.run("show", saved["id"], "main").out.encode() == before

    updated.main.write_bytes(before)  # not even the same state is migrated again, unasked
    assert updated.restore(0)["outcome"] == "untouched"
    updated.kill()
    updated.here(NEW)
    updated.main.write_bytes(before)
    again = updated.run("--json", "migrate").fine()
    assert again.json["services"][0]["outcome"] == "migrated"
    assert updated.restore(0)["healthy"]
    updated.kill()
    assert document(updated.main)["version"] == "2.0.0"
