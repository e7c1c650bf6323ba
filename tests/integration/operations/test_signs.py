"""Verdicts that need more than a format: emptied, too new, wrongly named, refused by the service's own tool."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.migration_model import VersionRule
from recoverd.config.model import Format, Guards, ItemKind, Restore, StateItem, Validation
from recoverd.operations.accept import AcceptRequest, accept
from tests.doors import open_the_way

CHECK = """
import os, sys
path = sys.argv[1]
data = open(path, "rb").read()
with open(sys.argv[2], "a") as log:
    print(os.geteuid(), os.path.basename(path), file=log)
sys.exit("no end mark") if not data.endswith(b"END") else None
"""


def declare(house: Any, **keys: Any) -> None:
    """The state file with other keys."""
    house.change(state={**house.service.state, "main": replace(house.service.state["main"], **keys)})


@pytest.fixture
def guarded(house: Any) -> Any:
    """Something is in the list of jobs, and a shrinkage by more than half is suspicious."""
    declare(house, schema=None, guards=Guards(min_items={"/jobs": 1}, max_shrink=0.5))
    house.write(1, jobs=["a", "b"])
    assert house.snapshot().verdict == "ok"
    return house


def test_emptied_state_is_told_and_left_alone(guarded: Any) -> None:
    """recovery.md: `reset` is valid; the service starts on it, and it never becomes known-good by itself."""
    good = guarded.state.read_bytes()
    emptied = guarded.write(2, jobs=[])
    assert guarded.verdict() == "reset"
    assert guarded.snapshot().verdict == "invalid"
    assert [event.name for event in guarded.events if event.name == "state.reset"]
    assert guarded.restore().outcome == "untouched"
    assert guarded.state.read_bytes() == emptied
    guarded.state.write_bytes(b"")
    assert guarded.restore().outcome == "restored"
    assert guarded.state.read_bytes() == good


def test_emptied_state_is_restored_where_that_is_declared(guarded: Any) -> None:
    good = guarded.state.read_bytes()
    guarded.change(restore=Restore(verdicts={"reset": "restore"}))
    guarded.write(2, jobs=[])
    assert guarded.restore().outcome == "restored"
    assert guarded.state.read_bytes() == good


def test_emptied_state_blocks_where_that_is_declared(guarded: Any) -> None:
    guarded.change(restore=Restore(verdicts={"reset": "block"}))
    emptied = guarded.write(2, jobs=[])
    assert guarded.restore().outcome == "blocked"
    assert guarded.state.read_bytes() == emptied


@pytest.mark.parametrize("how", ["command", "policy"])
def test_accepted_emptiness_is_known_good(guarded: Any, how: str) -> None:
    """recovery.md: `recoverd accept SERVICE` blesses what is there as known-good."""
    emptied = guarded.write(2, jobs=[])
    if how == "policy":
        guarded.change(restore=Restore(verdicts={"reset": "accept"}))
        assert guarded.snapshot().verdict == "ok"
    else:
        assert guarded.snapshot().verdict == "invalid"
        assert accept(guarded.context, AcceptRequest("app")).accepted == (("main", "", "reset"),)
        guarded.reopen()
    assert guarded.verdict() == "ok"
    assert accept(guarded.context, AcceptRequest("app")).verdict in {"ok", "reset"}
    assert guarded.verdict() == "ok", "what was accepted twice is still accepted"
    guarded.state.write_bytes(b"")
    assert guarded.restore().outcome == "restored"
    assert guarded.state.read_bytes() == emptied


def test_shrunken_state(guarded: Any) -> None:
    """Against the newest known-good version, not against what was damaged in between."""
    guarded.write(2, jobs=["x" * 1000])
    guarded.snapshot()
    guarded.write(3, jobs=["x" * 400])
    assert guarded.verdict() == "reset"
    guarded.write(3, jobs=["x" * 600])
    assert guarded.verdict() == "ok"


def test_a_directory_that_lost_its_documents(house: Any) -> None:
    """A service deletes documents, but not nine of ten of them."""
    tasks = replace(house.service.state["tasks"], guards=Guards(max_shrink=0.5))
    house.change(state={"tasks": tasks}, restore=Restore(verdicts={"reset": "restore"}))
    assert house.snapshot().verdict == "ok"
    for number in range(40):
        (house.tasks / f"task-{number:03d}.json").unlink()
    assert house.snapshot().verdict == "ok", "that many come and go"
    for number in range(40, 95):
        (house.tasks / f"task-{number:03d}.json").unlink()
    assert house.verdict() == "reset"
    assert house.snapshot().verdict == "invalid"
    assert house.snapshot().outcome == "unchanged"
    assert house.restore().outcome == "restored"
    assert len(list(house.tasks.iterdir())) == 60
    shutil.rmtree(house.tasks)
    house.tasks.mkdir()
    house.change(restore=Restore())
    assert accept(house.context, AcceptRequest("app")).accepted == (("tasks", "", "reset"),)
    assert house.verdict() == "ok"


def test_what_is_too_new_is_left_alone(house: Any) -> None:
    """A downgraded machine must not roll back what the newer service wrote; nor is it known-good for the older one."""
    declare(house, version=VersionRule("version", "1"))
    good = house.write(1)
    house.snapshot()
    newer = json.dumps({"version": "2.0", "jobs": []}).encode()
    house.state.write_bytes(newer)
    assert house.verdict() == "newer"
    assert house.snapshot().verdict == "invalid"
    assert house.restore().outcome == "untouched"
    assert house.state.read_bytes() == newer
    assert [event.name for event in house.events if event.name == "state.newer"]
    house.state.write_bytes(b"")
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good


def test_a_document_under_a_wrong_name(house: Any) -> None:
    """Equal content is right under one name and wrong under another, also when its verdict is remembered."""
    tasks = replace(house.service.state["tasks"], name_field="id")
    house.change(state={"tasks": tasks})
    assert house.snapshot().verdict == "ok"
    good = (house.tasks / "task-001.json").read_bytes()
    (house.tasks / "task-001.json").write_bytes((house.tasks / "task-002.json").read_bytes())
    for _ in range(2):
        found = house.assess().services[0].items["tasks"].findings
        assert [(one.document, one.verdict.value) for one in found] == [("task-001.json", "corrupt")]
    assert house.restore().outcome == "restored"
    assert (house.tasks / "task-001.json").read_bytes() == good


def test_what_only_a_format_tells_of_is_named(house: Any) -> None:
    """recovery.md: without schema, guard or validator `ok` goes as far as the format does, and `check` says so."""
    said = {one.name: one.message for one in house.check().results}
    assert "unchecked but" not in said["state-path/main"]
    declare(house, schema=None)
    said = {one.name: one.message for one in house.check().results}
    assert said["state-path/main"] == f"{house.state}: unchecked but for its format"
    assert "unchecked but" not in said["state-path/tasks"]
    for sign in ({"guards": Guards()}, {"magic": "7b"}, {"validate": Validation(("true", "{path}"))}):
        declare(house, **{"guards": None, "magic": "", "validate": None} | sign)
        said = {one.name: one.message for one in house.check().results}
        assert "unchecked but" not in said["state-path/main"], sign


class Tool:
    """A service's own checking tool, which logs as whom it was asked about which copy."""

    def __init__(self, root: Path) -> None:
        self.script = root / "check.py"
        self.script.write_text(CHECK)
        self.log = root / "asked"
        self.log.touch()
        self.log.chmod(0o666)

    def validation(self, timeout_s: float = 20.0) -> Validation:
        return Validation((sys.executable, "-I", str(self.script), "{path}", str(self.log)), timeout_s)

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


@pytest.fixture
def dump(house: Any, tool: Tool) -> Path:
    """An opaque file that its tool calls valid."""
    path: Path = house.root / "state" / "dump.rdb"
    path.write_bytes(b"REDIS one END")
    item = StateItem("dump", ItemKind.FILE, str(path), Format.OPAQUE, validate=tool.validation())
    house.change(state={"dump": item})
    assert house.snapshot().verdict == "ok"
    return path


@pytest.mark.parametrize("size", [0, 3_000_000], ids=["small", "large"])
def test_the_tool_of_the_service(house: Any, dump: Path, tool: Tool, size: int) -> None:
    """config.md: any tool of the service's own; it runs on the captured and on the staged copy."""
    good = b"REDIS " + b"x" * size + b" END"
    dump.write_bytes(good)
    assert house.snapshot().verdict == "ok"
    before = len(tool.asked())
    assert house.snapshot().outcome == "unchanged"
    dump.write_bytes(b"REDIS " + b"y" * size)
    assert house.verdict() == "corrupt"
    (problem,) = house.assess().services[0].items["dump"].problems
    assert "exited with status 1: no end mark" in problem.problem
    assert house.snapshot().verdict == "invalid"
    assert house.restore().outcome == "restored"
    assert dump.read_bytes() == good
    assert len(tool.asked()) > before
    assert {line.split()[1] for line in tool.asked()} == {"dump.rdb"}


def test_a_candidate_is_asked_about_too(house: Any, dump: Path, tool: Tool) -> None:
    """Promise 7 and 10: what the tool refuses today is not brought back, however it was judged then."""
    good = dump.read_bytes()
    item = house.service.state["dump"]
    house.change(state={"dump": replace(item, validate=None)})
    dump.write_bytes(b"REDIS torn")
    assert house.snapshot().verdict == "ok"
    dump.write_bytes(b"")
    house.change(state={"dump": item})
    restored = house.restore()
    assert restored.outcome == "restored"
    assert [one.result for one in restored.attempts] == ["invalid", "restored"]
    assert dump.read_bytes() == good


@pytest.mark.parametrize(
    ("validation", "words"),
    [
        (Validation(("/nowhere/check", "{path}")), "/nowhere/check can't be run: No such file"),
        (Validation(("sh", "-c", "sleep 60; : {path}"), 0.3), "did not end within 0.3 s"),
        (Validation(("sh", "-c", "kill -9 $$; : {path}")), "was ended by SIGKILL"),
        (Validation(("sh", "-c", "nothing-of-that-name {path}")), "exited with status 127"),
    ],
    ids=["missing", "slow", "killed", "not found"],
)
def test_a_tool_that_can_not_be_asked_rolls_nothing_back(
    house: Any, dump: Path, validation: Validation, words: str
) -> None:
    """Promise 1: it says nothing about the state, so the service is blocked, and nothing is restored."""
    house.change(state={"dump": replace(house.service.state["dump"], validate=validation)})
    changed = b"REDIS two END"
    dump.write_bytes(changed)
    assert house.verdict() == "unreadable"
    assert words in house.assess().services[0].items["dump"].problems[0].problem
    assert house.restore().outcome == "blocked"
    assert dump.read_bytes() == changed


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a tool as somebody else")
def test_the_tool_runs_as_the_owner(house: Any, dump: Path, tool: Tool) -> None:
    """Promise 12: what a service's user wrote is not fed to a parser that runs as root."""
    open_the_way(house.root)
    os.chown(dump, 65534, 65534)
    dump.write_bytes(b"REDIS three END")
    house.change(state={"dump": replace(house.service.state["dump"], validate=_as_anybody(tool))})
    assert house.snapshot().verdict == "ok"
    assert tool.asked()[-1].split()[0] == "65534"


def _as_anybody(tool: Tool) -> Validation:
    """The same tool without an interpreter that lies where only root can go."""
    script = tool.script.with_suffix(".sh")
    script.write_text('tail -c 3 "$1" | grep -q END && echo "$(id -u) ${1##*/}" >> "$2"\n')
    return Validation(("sh", str(script), "{path}", str(tool.log)))


def test_check_says_what_helps_against_a_reset(house: Any) -> None:
    """A restore leaves it alone, so it is not what the hint of `check` advises."""
    house.change(
        state={**house.service.state, "main": replace(house.service.state["main"], guards=Guards(max_shrink=0.5))}
    )
    house.write(1, pad="x" * 1000)
    house.snapshot()
    house.write(2)
    house.snapshot()
    hint = next(one.hint for one in house.check().results if one.name == "snapshot-verdict")
    assert "recoverd accept app" in hint
    house.restore(snapshot="app/good")
    house.state.write_bytes(b"")
    house.snapshot()
    hint = next(one.hint for one in house.check().results if one.name == "snapshot-verdict")
    assert "recoverd restore app`" in hint
