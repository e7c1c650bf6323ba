"""The houses of the orchestrator's and of the conversation store's pages, and what has just happened to them."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.documentation.houses import House

ORCHESTRATOR = """\
services:
  orchestrator:
    root: {root}/agentmux/state
    run: {{command: [{root}/bin/agentmux]}}
    health: {{within: 10s, stable_for: 200ms, probes: []}}
"""


def orchestrator(house: House) -> None:
    """The orchestrator's sample as it is shipped. It is busy, and was saved under a label."""
    conf = house.root / "etc"
    (conf / "conf.d" / "assistant.yaml").unlink()
    samples = Path(__file__).resolve().parents[2] / "config"
    shutil.copytree(samples / "schemas", conf / "schemas", copy_function=shutil.copyfile)
    shutil.copyfile(samples / "conf.d" / "orchestrator.yaml", conf / "conf.d" / "orchestrator.yaml")
    (conf / "conf.d" / "orchestrator.yaml.d").mkdir()
    house.write("etc/conf.d/orchestrator.yaml.d/here.yaml", ORCHESTRATOR.format(root=house.root))
    house.program("agentmux", "#!/bin/sh\nwhile :; do sleep 1; done\n")
    (house.root / "agentmux" / "state" / "backups").mkdir(parents=True)
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    tasks: list[dict[str, object]] = [
        {"id": "t7", "title": "Mend the build", "status": "in_progress", "priority": "high", "checkpoint": {"step": 3}},
        {"id": "t9", "title": "Update the manual", "status": "paused", "priority": "low"},
    ]
    metadata = {"version": "1.0.0", "hostname": "host", "pid": 700, "startedAt": now}
    state = {
        "id": "state-1",
        "version": "1.0.0",
        "checkpointedAt": now,
        "checkpointReason": "user_request",
        "conversations": [{"id": "c3", "source": "chat", "recentMessages": [], "lastActivityAt": now}],
        "tasks": [{**task, "progress": {"percentComplete": 40}} for task in tasks],
        "agents": [{"sessionName": "agent-1"}],
        "projects": [],
        "selfImprovement": {"currentTask": {"description": "a faster start", "status": "testing"}},
        "metadata": {**metadata, "uptimeSeconds": 9, "restartCount": 0},
    }
    house.write("agentmux/state/orchestrator-state.json", json.dumps(state))
    house.must("recoverd restore && recoverd snapshot --reason user_request --label before-upgrade --tag risky")


def cut_orchestrator(house: House) -> None:
    """The power failed in the middle of a checkpoint."""
    orchestrator(house)
    house.kill()
    state = house.root / "agentmux" / "state" / "orchestrator-state.json"
    state.write_bytes(state.read_bytes()[:300])


def upgraded_orchestrator(house: House) -> None:
    """The upgrade went wrong: it has dropped its tasks, which is valid."""
    orchestrator(house)
    state = house.root / "agentmux" / "state" / "orchestrator-state.json"
    state.write_text(json.dumps(json.loads(state.read_bytes()) | {"tasks": []}))
    house.must("recoverd snapshot")


STORE = """\
services:
  conversations: {{root: {root}/helixcode}}
"""


def torn_store(house: House) -> None:
    """A hundred conversations in three encodings, as a real program writes them; one was cut when the power failed."""
    conf = house.root / "etc"
    (conf / "conf.d" / "assistant.yaml").unlink()
    top = Path(__file__).resolve().parents[2]
    shutil.copytree(top / "config" / "schemas", conf / "schemas", copy_function=shutil.copyfile)
    shutil.copyfile(top / "config" / "conf.d" / "conversation-store.yaml", conf / "conf.d" / "conversation-store.yaml")
    (conf / "conf.d" / "conversation-store.yaml.d").mkdir()
    house.write("etc/conf.d/conversation-store.yaml.d/here.yaml", STORE.format(root=house.root))
    program = top / "tests" / "subjects" / "conversation_store.py"
    command = [sys.executable, str(program), "--base", str(house.root / "helixcode"), "--fill", "100", "--once"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    house.must("recoverd snapshot")
    torn = house.root / "helixcode" / "conversations" / "conv-041.json"
    torn.write_bytes(gzip.compress(torn.read_bytes(), mtime=0)[:100])


STORES: tuple[Callable[[House], None], ...] = (cut_orchestrator, upgraded_orchestrator, torn_store)
