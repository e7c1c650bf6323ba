"""`watch` of what a document lists: `recoverd run` follows real sessions of a real manager, killed and damaged."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SESSION = Path(__file__).parents[1] / "subjects" / "session.py"
CONFIG = """\
services:
  desk:
    root: {app}
    state:
      main:
        file: sessions.json
        format: json
        schema: {{type: object, required: [sessions]}}
    instances:
      {{item: main, select: /sessions, where: {{status: Active}}, command: ["{{program}}", {session}, "{{id}}"]}}
    health: {{within: 10s, stable_for: 100ms}}
    watch: {{every: 100ms, backoff: {{first: 50ms, most: 100ms}}, give_up_after: 2}}
"""


class Desk:
    """One service whose document lists sessions, watched by a real `recoverd run`."""

    def __init__(self, world: Any) -> None:
        self.world, self.path = world, world.app / "sessions.json"
        (world.conf / "conf.d" / "notes.yaml").unlink()
        world.declare(CONFIG.format(app=world.app, session=SESSION), "desk")
        self.log_path = world.root / "run.log"

    def write(self, **sessions: str) -> None:
        """Session -> status; one whose name starts with `lost` has a program that is not there."""
        entries = [
            {"id": name, "status": status, "program": "/not/there" if name.startswith("lost") else sys.executable}
            for name, status in sessions.items()
        ]
        beside = self.path.with_suffix(".new")
        beside.write_text(json.dumps({"sessions": entries}))
        beside.replace(self.path)

    def watch(self) -> None:
        with self.log_path.open("ab") as log:
            self.world.spawn("run", stderr=log)

    def record(self, name: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.world.state_dir / "services" / f"desk@{name}.json").read_text())
        except FileNotFoundError:
            return {"process": {}}
        return found

    def running(self) -> dict[str, list[int]]:
        """Session -> all processes that really run it, asked of the kernel."""
        found: dict[str, list[int]] = {}
        for pid in self.world.processes():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue
            if str(SESSION) in words:  # what has ended has none
                found.setdefault(words[2], []).append(pid)
        return found

    def kill(self, name: str) -> int:
        (pid,) = self.running()[name]
        os.kill(pid, signal.SIGKILL)
        return pid

    def until(self, true: Callable[[], Any], what: str) -> None:
        try:
            self.world.wait_for(true, what, within_s=60)
        except AssertionError as error:
            log = self.log_path.read_text() if self.log_path.exists() else ""
            raise AssertionError(f"{error}; the log:\n{log}") from None

    def up(self, *names: str) -> None:
        self.until(lambda: sorted(self.running()) == sorted(names), f"{', '.join(names)} and no other to run")

    def back(self, name: str, former: int) -> None:
        self.until(lambda: self.running().get(name, [former]) != [former], f"another process for {name}")

    def noted(self) -> dict[str, Any]:
        """What the scheduler has noted of its last look."""
        for path in (self.world.root / "run").glob("listed-*-desk.json"):
            found: dict[str, Any] = json.loads(path.read_bytes())
            return found
        return {"listed": [], "unlisted": [], "error": None}

    def check(self) -> dict[str, Any]:
        found = {one["name"]: one for one in self.world.json("check", "desk")["results"]}
        result: dict[str, Any] = found["instances"]
        return result


@pytest.fixture
def desk(world: Any) -> Desk:
    return Desk(world)


def test_what_the_document_lists_is_what_runs(desk: Desk) -> None:
    """first-systems.md 3: statuses are compared with real processes, dead ones are restarted and none runs twice. A
    session that becomes Active is started; one that is Stopped is left alone, and not brought back when it ends."""
    desk.write(a="Active", b="Active", c="Stopped")
    desk.world.run("restore").fine()
    desk.up("a", "b")
    first = desk.running()
    desk.watch()
    desk.back("a", desk.kill("a"))
    desk.write(a="Active", b="Stopped", c="Active", d="Active")
    desk.up("a", "b", "c", "d")
    assert desk.running()["b"] == first["b"]  # nobody's work is ended because a document says so
    desk.until(lambda: desk.noted()["unlisted"] == ["desk@b"], "a word of b")
    found = desk.check()
    assert "running without being listed: desk@b" in found["message"]
    assert found["hint"] == "`recoverd stop desk@b` ends it, if nobody needs it any more"
    desk.kill("b")
    desk.world.run("stop", "desk@c").fine()
    desk.back("d", desk.kill("d"))  # by now b and c were looked at too
    desk.back("a", desk.kill("a"))
    desk.up("a", "d")
    desk.write(a="Active", b="Active", c="Active", d="Active")
    desk.up("a", "b", "d")  # c was stopped on purpose: only `start` starts it
    desk.world.run("start", "desk@c").fine()
    desk.up("a", "b", "c", "d")
    assert all(len(pids) == 1 for pids in desk.running().values())
    desk.until(lambda: (len(desk.noted()["listed"]), desk.noted()["unlisted"]) == (4, []), "a look")
    found = desk.check()
    assert found["status"] == "OK"
    figures = {name: one["value"] for name, one in found["figures"].items()}
    assert (figures["listed"], figures["running"], figures["dead"], figures["unlisted"]) == (4, 4, 0, 0)


def test_a_damaged_document_comes_back_with_the_dead_and_the_living_are_left_alone(desk: Desk) -> None:
    """A document that can't be believed ends nobody and starts nobody; when one dies that was listed, the document is
    restored first."""
    desk.write(a="Active", b="Active")
    desk.world.run("restore").fine()
    desk.world.run("snapshot").fine()
    good = desk.path.read_bytes()
    desk.watch()
    desk.until(lambda: len(desk.noted()["listed"]) == 2, "the first look")
    desk.path.write_bytes(good[:-3])
    desk.until(lambda: desk.noted()["error"] is not None, "the damage to be seen")
    before = desk.running()
    found = desk.check()
    assert found["status"] == "CRITICAL"
    assert "which processes it lists is not known" in found["message"]
    assert desk.path.read_bytes() == good[:-3]  # while all run, nobody touches it
    desk.back("b", desk.kill("b"))
    assert desk.path.read_bytes() == good
    assert desk.running()["a"] == before["a"]


def test_one_that_can_not_run_is_given_up_and_no_other_suffers(desk: Desk) -> None:
    """`give_up_after`, told by an event, `check` and `status`; a new scheduler remembers it; a new command is new."""
    desk.write(a="Active", broken="Active", lost="Active")
    desk.world.run("restore").fine(1)
    desk.watch()
    desk.until(
        lambda: "given_up" in desk.record("broken") and "given_up" in desk.record("lost"), "the end of all tries"
    )
    desk.until(lambda: desk.log_path.read_text().count("service.gave-up") == 2, "the events")
    assert desk.record("broken")["process"]["starts"] == 3
    found = desk.check()
    assert (found["status"], found["figures"]["given_up"]["value"]) == ("CRITICAL", 2)
    assert "desk@broken (brought back 2 times in vain; it does not run: process" in found["message"]
    assert "given up: brought back 2 times in vain" in desk.world.run("status", "desk@lost").fine(1).out
    assert len(desk.running()["a"]) == 1
    desk.world.children[-1].terminate()
    assert desk.world.children[-1].wait(60) == 0

    desk.watch()
    desk.back("a", desk.kill("a"))
    assert desk.record("broken")["process"]["starts"] == 3
    document = json.loads(desk.path.read_bytes())
    document["sessions"][2]["program"] = sys.executable
    desk.path.write_text(json.dumps(document))
    desk.up("a", "lost")
    desk.until(
        lambda: "given_up" not in desk.record("lost") or not desk.record("lost")["given_up"], "it to be forgotten"
    )
