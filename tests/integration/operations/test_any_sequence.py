"""Promises 1 to 4 and 7 through any sequence of what services, power losses and operators do."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from recoverd.config.model import Retention, StateItem

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

MAIN = ""
NAMES = ("a.json", "b.json", "c.json")
DAMAGES = (b"", b"{", bytes(64), b'{"id": 5, "version": "1"}', b"[]", b'{"id": "x"} {"id": "x"}')

documents = st.sampled_from((MAIN, *NAMES))
tasks = st.sampled_from(NAMES)


def test_what_comes_back_is_the_newest_version_that_was_ok(house: House) -> None:
    """The model knows, for each document, what is there, and the newest content that was ok in a capture."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.place = tempfile.TemporaryDirectory(prefix="recoverd-")
            root = Path(self.place.name)
            state = {
                name: replace(item, path=str(root / "state" / os.path.basename(item.path)))
                for name, item in house.service.state.items()
            }
            service = replace(house.service, state=state, retention=Retention(last=2, keep_invalid=1))
            self.house = type(house)(root, service)
            self.house.tasks.mkdir(parents=True)
            self.live: dict[str, tuple[bytes, bool]] = {}  # content, whether it is ok
            self.known: dict[str, bytes] = {}  # what each snapshot must carry forward
            self.ever: dict[str, set[bytes]] = {}  # all that was ok in any capture
            self.count = 0

        def teardown(self) -> None:
            self.house.context.repository(create=True).close()
            self.place.cleanup()

        def path(self, name: str) -> Path:
            return self.house.state if name == MAIN else self.house.tasks / name

        def put(self, name: str, content: bytes, ok: bool) -> None:
            self.path(name).write_bytes(content)
            self.live[name] = content, ok

        @rule(name=documents)
        def write(self, name: str) -> None:
            self.count += 1
            document = {"version": "1", "counter": self.count} if name == MAIN else {"id": name, "n": self.count}
            self.put(name, json.dumps(document).encode(), ok=True)

        @rule(name=documents, damage=st.sampled_from(DAMAGES))
        def damage(self, name: str, damage: bytes) -> None:
            self.put(name, damage, ok=False)

        @rule(name=documents)
        def delete(self, name: str) -> None:
            if self.live.pop(name, None) is not None:
                self.path(name).unlink()

        @rule(old=tasks, new=tasks)
        def rename(self, old: str, new: str) -> None:
            if old in self.live and old != new:
                self.path(old).rename(self.path(new))
                self.live[new] = self.live.pop(old)

        @rule(name=documents)
        def touch(self, name: str) -> None:
            if name in self.live:
                os.utime(self.path(name))

        def captured(self) -> None:
            for name in NAMES:
                if name not in self.live:
                    self.known.pop(name, None)  # services delete documents
            for name, (content, ok) in self.live.items():
                if ok:
                    self.known[name] = content
                    self.ever.setdefault(name, set()).add(content)

        @rule(full_read=st.booleans())
        def snapshot(self, full_read: bool) -> None:
            before = len(self.house.list())
            made = self.house.snapshot(full_read=full_read)
            wrong = any(not ok for _, ok in self.live.values()) or (MAIN in self.known and MAIN not in self.live)
            if made.outcome != "unchanged":
                assert (made.verdict == "ok") is not wrong, made
                assert made.outcome == ("invalid" if made.verdict == "invalid" else "saved")
            elif before:
                assert self.house.snapshot().outcome == "unchanged"
            self.captured()

        @rule()
        def prune(self) -> None:
            self.house.context.repository(create=True)
            self.house.prune()

        @rule()
        def lose_the_catalog(self) -> None:
            self.house.context.repository(create=True).close()
            self.house.reopen()
            for path in self.house.state_dir.glob("catalog.sqlite*"):
                path.unlink()

        @precondition(lambda self: self.live or self.known)
        @rule()
        def restore(self) -> None:
            wrong = {name for name, (_, ok) in self.live.items() if not ok}
            if MAIN in self.known and MAIN not in self.live:
                wrong.add(MAIN)
            before = {name: (content, self.path(name).stat().st_ino) for name, (content, _) in self.live.items()}
            result = self.house.restore()
            there = {MAIN: self.house.state} if self.house.state.exists() else {}
            there |= {path.name: path for path in self.house.tasks.iterdir()}
            after = {name: (path.read_bytes(), path.stat().st_ino) for name, path in there.items()}
            if not wrong:
                assert result.outcome == "untouched", result
                assert after == before
                return
            if result.outcome == "blocked":
                assert wrong - self.known.keys(), f"{result} although every document has a known-good version"
                assert after == before
                return
            assert (result.outcome, result.exit_status) == ("restored", 0), result
            assert after.keys() == before.keys() | wrong
            for name, (content, inode) in after.items():
                if name not in wrong:
                    assert (content, inode) == before[name]
                elif name in self.known:
                    assert content == self.known[name], name
                else:
                    assert content in self.ever[name], name
                self.live[name] = content, True
            self.captured()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_an_item_that_was_not_declared_for_a_while_is_missed(house: House) -> None:
    """Its known-good version is found further back, when its path is empty and when it is damaged."""
    both = house.service.state
    good = house.write(7)
    house.snapshot()
    house.change(state={"tasks": both["tasks"]})
    house.write_task("task-000", n=1)
    house.snapshot()
    house.state.unlink()
    house.change(state=both)
    assert house.verdict() == "missing"
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good


def test_an_item_declared_at_another_path_is_another_item(house: House) -> None:
    """What lay at the old path is never written to the new one, and is kept for the day it is declared again."""
    house.change(retention=Retention(last=1))
    good = house.write(7)
    house.snapshot()
    old = house.service.state
    moved = replace(old["main"], path=str(house.root / "elsewhere" / "state.json"))
    house.change(state={**old, "main": moved})
    Path(moved.path).parent.mkdir()
    assert house.verdict() == "new"
    Path(moved.path).write_bytes(b"{")
    assert house.snapshot().outcome == "invalid"
    assert house.restore().outcome == "blocked"
    Path(moved.path).write_bytes(json.dumps({"version": "1", "counter": 8}).encode())
    for number in range(3):
        house.write_task("task-000", n=number)
        house.snapshot()
    house.state.unlink()
    house.change(state=old)
    assert house.restore().outcome == "restored"
    assert house.state.read_bytes() == good


def test_the_same_bytes_at_another_path_are_captured(house: House) -> None:
    """Else nothing would be known of the new path."""
    house.snapshot()
    elsewhere = house.root / "elsewhere"
    elsewhere.mkdir()
    house.state.rename(elsewhere / "state.json")
    moved = replace(house.service.state["main"], path=str(elsewhere / "state.json"))
    house.change(state={**house.service.state, "main": moved})
    assert house.snapshot().outcome == "saved"
    (elsewhere / "state.json").unlink()
    assert house.verdict() == "missing"


def test_an_explicit_restore_of_what_is_not_declared_any_more_is_refused(house: House) -> None:
    """A directory is never written where a file is declared."""
    house.snapshot()
    state: dict[str, StateItem] = {"tasks": replace(house.service.state["main"], name="tasks")}
    house.change(state=state)
    before = house.contents()
    result = house.restore(snapshot="app/1")
    assert (result.outcome, result.exit_status) == ("failed", 1)
    assert "holds nothing" in result.reasons[0]
    assert house.contents() == before
