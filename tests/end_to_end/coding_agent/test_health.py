"""The coding agent's health figures, metrics and alerts in `check`, and its four events in the log."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.end_to_end.coding_agent.agency import Agency, document

# -- health, metrics, alerts -----------------------------------------------------------------------------------

HEALTH = {  # its own health figures -> result and figure of `recoverd check --json`
    "directory exists": ("state-path/main", None),
    "writable": ("state-path/tasks", None),
    "disk space": ("state-space/main", "free_bytes"),
    "last save": ("snapshot-age", "age_seconds"),
    "backup count": ("snapshots", "snapshots"),
}
METRICS = {
    "save duration": ("save-duration", "median_seconds"),
    "load duration": ("load-duration", "last_seconds"),
    "failure rate of saves": ("captures", "failure_rate"),
    "failure rate of loads": ("load-duration", "failure_rate"),
    "disk usage of the state": ("state-path/main", "bytes"),
    "disk usage of the snapshots": ("repository", "bytes"),
    "file count": ("state-path/tasks", "files"),
    "file count of a snapshot": ("snapshots", "files"),
}


def test_its_health_figures_and_metrics_are_in_check(working: Agency) -> None:
    working.restore(0)
    working.world.wait_for(lambda: working.run("snapshot").status == 0, "a capture between two writes of the agent")
    files = {len(list(working.tasks.iterdir()))}
    checks = working.checks()
    files.add(len(list(working.tasks.iterdir())))
    for name, figure in (HEALTH | METRICS).values():
        assert checks[name]["status"] == "OK", checks[name]
        if figure is not None:
            value = checks[name]["figures"][figure]["value"]
            assert value > 0 or "rate" in figure, (name, figure)
    assert checks["snapshots"]["figures"]["snapshots"]["value"] >= 1
    assert min(files) <= checks["state-path/tasks"]["figures"]["files"]["value"] <= max(files)
    assert checks["load-duration"]["figures"]["runs"]["value"] == 2


def test_alerts_of_damage_and_of_saves_that_fail(working: Agency) -> None:
    """Corruption, save failure and backup failure: CRITICAL, with a hint, exit status 2; and gone when they are."""
    working.run_without_privileges()
    working.run("snapshot").fine()
    whole = working.main.read_bytes()
    working.main.write_bytes(b"")
    assert working.checks()["state-path/main"]["status"] == "CRITICAL"
    working.main.write_bytes(whole[:-9])
    working.run("snapshot").fine(1)
    checks = working.checks("--live")
    for corruption in ("snapshot-verdict", "state"):
        assert checks[corruption]["status"] == "CRITICAL", checks[corruption]
        assert "main" in checks[corruption]["message"]
        assert "recoverd restore coding-agent" in checks[corruption]["hint"]
    working.run("check").fine(2)
    assert working.restore(0, "--no-start")["outcome"] == "restored"

    with hindered(working):
        for failures in (1, 2, 3):
            working.main.write_text(json.dumps(document(working.main) | {"changed": failures}))
            working.run("snapshot").fine(1)
            captures = working.checks()["captures"]
            assert captures["figures"]["failures"]["value"] == failures
            assert captures["status"] == ("CRITICAL" if failures >= 3 else "WARNING"), "check.max_failures"
        assert working.checks()["repository"]["status"] == "CRITICAL"
    working.run("snapshot").fine()
    captures = working.checks()["captures"]
    assert captures["status"] == "OK"
    assert captures["figures"]["failure_rate"]["value"] > 0


@contextlib.contextmanager
def hindered(agency: Agency) -> Iterator[None]:
    """The repository takes no new packs."""
    packs = agency.world.repository / "packs"
    packs.chmod(0o500)
    for path in packs.iterdir():
        path.chmod(0o500)
    yield
    for path in (packs, *packs.iterdir()):
        path.chmod(0o700)


def test_an_alert_of_permissions(working: Agency) -> None:
    """State that can't be read, as the user who runs recoverd."""
    working.run("snapshot").fine()
    working.main.chmod(0)
    working.run_without_privileges()
    done = working.run("--json", "check").fine(2)
    (path,) = (one for one in done.json["results"] if one["name"] == "state-path/main")
    assert path["status"] == "CRITICAL"
    assert "can't be read" in path["message"]


def test_an_alert_of_a_full_disk(agency: Agency) -> None:
    """The file system of the state runs full: disk low, then nearly full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    agency.state.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "recoverd-test", str(agency.state)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        agency.restore(3, "--from", "initial", "--no-start")
        agency.run("snapshot").fine()
        assert agency.checks()["state-space/main"]["status"] == "OK"
        (agency.state / "filler").write_bytes(bytes(3800 << 10))
        assert agency.checks()["state-space/main"]["status"] == "WARNING"
        (agency.state / "more").write_bytes(bytes(200 << 10))
        full = agency.checks()["state-space/main"]
        assert full["status"] == "CRITICAL"
        assert full["figures"]["free_bytes"]["crit"] > full["figures"]["free_bytes"]["value"]
    finally:
        subprocess.run(["umount", "-l", str(agency.state)], check=True)


# -- its four events -------------------------------------------------------------------------------------------


def test_its_four_events_are_in_the_log(agency: Agency) -> None:
    """Saved, loaded, save error and autosave triggered: `snapshot.saved`, `state.loaded`, `snapshot.failed` and
    `autosave.triggered`, with service and figures."""
    agency.run_without_privileges()
    host = agency.world.conf / "recoverd.yaml"
    host.write_text(host.read_text() + "log: {format: json, level: debug}\n")
    loaded = agency.run("--debug", "events", "restore").fine().err.splitlines()
    (event,) = (one for one in map(json.loads, loaded) if one.get("event") == "state.loaded")
    assert event["service"] == "coding-agent"
    assert event["figures"]["seconds"] > 0

    scheduler = agency.scheduler()

    def happened(name: str) -> Callable[[], bool]:
        return lambda: any(one["event"] == name and one["service"] == "coding-agent" for one in agency.events())

    for name in ("autosave.triggered", "snapshot.saved"):
        agency.world.wait_for(happened(name), name)
    saved = next(one for one in agency.events() if one["event"] == "snapshot.saved")
    assert saved["figures"]["size_bytes"] > 0
    assert saved["figures"]["seconds"] > 0
    with hindered(agency):
        agency.world.wait_for(happened("snapshot.failed"), "snapshot.failed")
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(30) == 0
