"""The houses of the session manager's page: two projects, sessions that run, and what has just happened to them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.documentation.houses import House

HERE = """\
services:
  claudectl:
    instances: {{command: [{root}/bin/claude, --resume, "{{id}}"]}}
    health: {{within: 10s, stable_for: 200ms}}
"""
SESSION = """\
#!/bin/sh
echo "$2 goes on in $(pwd)"
case $2 in broken*) echo "no conversation $2"; exit 3 ;; esac
trap 'echo "$2 has saved its work"; exit 0' TERM
while :; do sleep 0.1; done
"""


def projects(house: House) -> None:
    """The sample as it is shipped, and two projects with active sessions; nothing was ever saved or started."""
    conf = house.root / "etc"
    (conf / "conf.d" / "assistant.yaml").unlink()
    samples = Path(__file__).resolve().parents[2] / "config"
    shutil.copytree(samples / "schemas", conf / "schemas", copy_function=shutil.copyfile)
    shutil.copyfile(samples / "conf.d" / "session-manager.yaml", conf / "conf.d" / "session-manager.yaml")
    (conf / "conf.d" / "session-manager.yaml.d").mkdir()
    house.write("etc/conf.d/session-manager.yaml.d/here.yaml", HERE.format(root=house.root))
    house.program("claude", SESSION)
    for project, sessions in (
        ("app", {"parser": "Active", "docs": "Active", "old": "Stopped"}),
        ("site", {"css": "Active"}),
    ):
        (house.root / "src" / project / ".claudectl").mkdir(parents=True)
        about = {"id": project, "name": project, "path": f"/home/ada/src/{project}"}
        about["created_at"] = "2026-11-20T08:00:00.000Z"
        house.write(f"src/{project}/.claudectl/project.json", json.dumps(about))
        sessions_of(house, project, **sessions)


def sessions_of(house: House, project: str, **sessions: str) -> None:
    """What the manager writes of a project's sessions."""
    entries = [
        {"id": name, "name": name, "project_id": project, "status": status, "created_at": "2026-11-20T08:00:00.000Z"}
        for name, status in sessions.items()
    ]
    house.write(f"src/{project}/.claudectl/sessions.json", json.dumps({"sessions": entries}, indent=1))


def at_work(house: House) -> None:
    """All of it saved, and all active sessions run."""
    projects(house)
    house.must("recoverd restore && recoverd snapshot")


def interrupted(house: House) -> None:
    """The power failed while the manager wrote down the sessions of one project."""
    at_work(house)
    house.kill()
    path = house.root / "src" / "app" / ".claudectl" / "sessions.json"
    path.write_bytes(path.read_bytes()[:200])


def diverged(house: House) -> None:
    """One session was killed, one was marked as stopped and runs on."""
    at_work(house)
    record = json.loads((house.root / "recoverd" / "services" / "claudectl-app@docs.json").read_text())
    pid = int(record["process"]["identity"]["pid"])
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        time.sleep(0.01)
    sessions_of(house, "site", css="Stopped")


def troubled(house: House) -> None:
    """One session can't go on."""
    at_work(house)
    sessions_of(house, "app", parser="Active", broken="Active")


DESKS: tuple[Callable[[House], None], ...] = (projects, at_work, interrupted, diverged, troubled)
