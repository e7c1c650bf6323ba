"""The samples under config/: they load as they are installed, and judge what the coding agent really writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from recoverd.config.loading import Loaded, load
from recoverd.config.model import ItemKind
from recoverd.state.judging import Judge, build_judge
from recoverd.state.verdicts import Verdict

REPOSITORY = Path(__file__).parents[3]
SAMPLES = REPOSITORY / "config"
AGENT = REPOSITORY / "tests" / "subjects" / "coding_agent.py"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The samples copied to where an operator copies them (a checkout may belong to another user than root)."""
    target = tmp_path / "recoverd"
    shutil.copytree(SAMPLES, target, copy_function=shutil.copyfile)
    return target


def load_samples(directory: Path, **environ: str) -> Loaded:
    return load(
        [str(directory)], environ={"STATE_DIRECTORY": "/var/lib/recoverd", **environ}, euid=os.geteuid(), home="/root"
    )


def test_they_load(installed: Path) -> None:
    loaded = load_samples(installed, STATE_PATH="/srv/agent")
    assert (loaded.problems, loaded.config.failed) == ((), ())
    agent = loaded.config.services["coding-agent"]
    assert {name: (item.kind, item.path) for name, item in agent.state.items()} == {
        "main": (ItemKind.FILE, "/srv/agent/state.json"),
        "tasks": (ItemKind.DIRECTORY, "/srv/agent/tasks"),
        "sessions": (ItemKind.DIRECTORY, "/srv/agent/sessions"),
        "logs": (ItemKind.DIRECTORY, "/srv/agent/logs"),
        "reports": (ItemKind.DIRECTORY, "/srv/agent/reports"),
    }
    assert (agent.autosave.every_s, agent.autosave.on_shutdown) == (30, True)


def test_state_path_has_a_default(installed: Path) -> None:
    """first-systems.md: STATE_PATH (default ./coding-agent-state)."""
    item = load_samples(installed).config.services["coding-agent"].state["main"]
    assert item.path == f"{installed}/conf.d/coding-agent-state/state.json"


@pytest.mark.parametrize("sample", sorted(SAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_editors_can_complete_them(sample: Path) -> None:
    """Each names the schema, relative to itself, in its first line."""
    first = sample.read_text().splitlines()[0]
    found = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert found, first
    assert (sample.parent / found[1]).resolve() == SAMPLES / "recoverd.schema.json"


@pytest.mark.parametrize("sample", sorted(SAMPLES.rglob("*.yaml")), ids=lambda path: path.name)
def test_the_readme_tells_of_them(sample: Path) -> None:
    assert sample.name in (REPOSITORY / "README.md").read_text()


@pytest.mark.parametrize("schema", sorted(SAMPLES.rglob("*.schema.json")), ids=lambda path: path.name)
def test_schemas_are_schemas(schema: Path) -> None:
    Draft202012Validator.check_schema(json.loads(schema.read_text()))


def test_schemas_accept_what_the_agent_writes(installed: Path, tmp_path: Path) -> None:
    """A real agent works for a while and is told to stop: every document that it has written passes."""
    state = tmp_path / "state"
    with subprocess.Popen(
        [sys.executable, str(AGENT), "--state", str(state), "--pace", "0.01"], stdout=subprocess.DEVNULL
    ) as agent:
        try:
            deadline = time.monotonic() + 20
            while len(list(state.glob("tasks/task_*.json"))) < 5 and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            agent.send_signal(signal.SIGTERM)
        assert agent.wait(10) == 0
    for name, files in (("main", [state / "state.json"]), ("tasks", sorted(state.glob("tasks/task_*.json")))):
        judge = judge_of(installed, name)
        for file in files:
            assert judge.judge(file.name, file.read_bytes()).verdict is Verdict.OK, file
    assert len(files) >= 5


def judge_of(directory: Path, item: str) -> Judge:
    """What judges the documents of an item of the coding agent, as the sample declares it."""
    return build_judge(load_samples(directory).config.services["coding-agent"].state[item])


TASK: dict[str, Any] = {
    "id": "task_1",
    "description": "x",
    "status": "pending",
    "tool": None,
    "created_at": "2026-11-21T09:30:00.000Z",
    "updated_at": "2026-11-21T09:30:00.000Z",
    "logs": [],
    "result": None,
}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "a/b"},
        {"id": ""},
        {"id": 3},
        {"status": "done"},
        {"status": None},
        {"created_at": "today"},
        {"updated_at": "2026-02-30T09:30:00Z"},
        {"completed_at": "2026-11-21"},
        {"description": None},
        {"logs": [{}]},
    ],
)
def test_schemas_refuse_what_the_agent_never_writes(installed: Path, change: dict[str, Any]) -> None:
    """A schema that accepts anything would promote anything; state.json holds the tasks to the same one."""
    tasks, main = judge_of(installed, "tasks"), judge_of(installed, "main")

    def verdicts(task: dict[str, Any]) -> set[Verdict]:
        metrics = {"total_tasks": 1, "completed_tasks": 0, "failed_tasks": 0, "average_completion_time": 0}
        state = {
            "version": "1.0.0",
            "tasks": [task],
            "sessions": [],
            "metrics": metrics,
            "last_saved": TASK["created_at"],
        }
        document = json.dumps(task).encode()
        return {tasks.judge("task_task_1.json", document).verdict, main.judge("", json.dumps(state).encode()).verdict}

    assert verdicts(TASK) == {Verdict.OK}
    assert verdicts({**TASK, **change}) == {Verdict.CORRUPT}
    for key in ("id", "description", "status", "created_at", "updated_at"):
        assert verdicts({name: value for name, value in TASK.items() if name != key}) == {Verdict.CORRUPT}


def test_the_initial_document_is_valid(installed: Path) -> None:
    """The last way out must not be one that the schema bars."""
    initial = load_samples(installed).config.services["coding-agent"].state["main"].initial
    assert initial is not None
    assert judge_of(installed, "main").judge("", json.dumps(initial.document).encode()).verdict is Verdict.OK
