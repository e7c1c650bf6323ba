"""Where restored state comes from besides snapshots: siblings, salvage, rebuild, initial; and if there is nothing."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import (
    Computed,
    Format,
    Guards,
    Initial,
    ItemKind,
    Rebuild,
    Restore,
    StateItem,
    Validation,
)

ALL = ("siblings", "snapshots", "rebuild", "initial")


def declare(house: Any, item: str = "main", **keys: Any) -> None:
    house.change(state={**house.service.state, item: replace(house.service.state[item], **keys)})


def policy(house: Any, **keys: Any) -> None:
    house.change(restore=replace(house.service.restore, **keys))


def beside(house: Any, name: str, counter: int, *, ago_s: float = 0.0) -> bytes:
    """A valid sibling of the state file, written so long ago."""
    data = json.dumps({"version": "1", "counter": counter}).encode()
    path: Path = house.state.parent / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    then = time.time() - ago_s
    os.utime(path, (then, then))
    return data


def source(result: Any, item: str = "main") -> tuple[str, str | None]:
    return next((one.source, one.candidate) for one in result.items if one.item == item)


class TestSiblings:
    @pytest.mark.parametrize(
        "name",
        ["state.json.tmp", "state.json.tmp123", "state.json.new", "state.json.bak", "state.json~", ".state.json.tmp-x"],
    )
    def test_a_newer_one_is_better_than_a_snapshot(self, house: Any, name: str) -> None:
        """recovery.md: what the last write left behind is newer than anything that was captured."""
        house.snapshot()
        data = beside(house, name, 7, ago_s=-1)
        house.state.write_bytes(b"")
        result = house.restore()
        assert (result.outcome, result.exit_status) == ("restored", 0)
        assert source(result) == ("sibling", f"sibling {name}")
        assert house.state.read_bytes() == data
        assert (house.state.parent / name).read_bytes() == data, "a sibling is copied, not taken away"

    def test_an_older_one_is_not(self, house: Any) -> None:
        """The known-good version in the snapshot is newer: promise 1."""
        good = house.state.read_bytes()
        beside(house, "state.json.bak", 7, ago_s=60)
        house.snapshot()
        house.state.write_bytes(b"")
        assert source(house.restore()) == ("snapshot", "app/1")
        assert house.state.read_bytes() == good

    def test_an_older_one_counts_where_there_is_no_snapshot(self, house: Any) -> None:
        data = beside(house, "state.json.bak", 7, ago_s=3600)
        beside(house, "state.json.backup", 6, ago_s=7200)
        house.state.write_bytes(b"\0" * 10)
        result = house.restore()
        assert source(result)[0] == "sibling"
        assert house.state.read_bytes() == data
        assert 3500 < next(one.age_s for one in result.items if one.item == "main") < 3700

    def test_the_time_in_the_name_counts(self, house: Any) -> None:
        """recovery.md: ordered by the time in the name, else mtime."""
        declare(house, siblings=("backups/{stem}.*.json",))
        data = beside(house, "backups/state.2026-01-02T03-04-05.json", 2, ago_s=9000)
        beside(house, "backups/state.2025-12-31T03-04-05.json", 1)
        house.state.write_bytes(b"{")
        assert source(house.restore()) == ("sibling", "sibling backups/state.2026-01-02T03-04-05.json")
        assert house.state.read_bytes() == data

    @pytest.mark.parametrize("content", [b"", b'{"version": "1", "cou', b'{"version": "2"}', b"\0" * 30])
    def test_what_is_not_valid_is_no_candidate(self, house: Any, content: bytes) -> None:
        """jellyfin#17111: the backups were corrupt as well."""
        house.snapshot()
        (house.state.parent / "state.json.tmp").write_bytes(content)
        house.state.write_bytes(b"")
        result = house.restore()
        assert source(result) == ("snapshot", "app/1")
        assert any("state.json.tmp beside state.json is no candidate" in reason for reason in result.reasons)

    def test_half_of_what_nobody_can_parse_is_not_taken(self, house: Any) -> None:
        """Where nothing tells whole from torn, only what was asked for by name is a sibling."""
        path = house.root / "state" / "blob.bin"
        path.write_bytes(b"\x01 good")
        house.change(state={"blob": StateItem("blob", ItemKind.FILE, str(path), Format.OPAQUE)})
        house.snapshot()
        torn = path.with_name("blob.bin.tmp")
        torn.write_bytes(b"\x01 half")
        os.utime(torn, (time.time() + 1, time.time() + 1))
        path.write_bytes(b"")
        assert source(house.restore(), "blob") == ("snapshot", "app/1")
        declare(house, "blob", siblings=("{name}.tmp",))
        path.write_bytes(b"")
        assert house.restore(origin="siblings").outcome == "restored"
        assert path.read_bytes() == b"\x01 half"

    def test_only_regular_files(self, house: Any) -> None:
        """Promise 12: a link or FIFO planted beside the state is not opened."""
        house.snapshot()
        secret = house.root / "secret.json"
        secret.write_text('{"version": "1", "counter": 5}')
        (house.state.parent / "state.json.tmp").symlink_to(secret)
        os.mkfifo(house.state.parent / "state.json.new")
        (house.state.parent / "state.json.bak").mkdir()
        house.state.write_bytes(b"")
        assert source(house.restore()) == ("snapshot", "app/1")

    def test_documents_of_a_directory_have_them_too(self, house: Any) -> None:
        house.snapshot()
        path = house.tasks / "task-003.json"
        newer = json.dumps({"id": "task-003", "done": True}).encode()
        (house.tasks / "task-003.json.tmp").write_bytes(newer)
        os.utime(house.tasks / "task-003.json.tmp", (time.time() + 1, time.time() + 1))
        path.write_bytes(b"")
        result = house.restore()
        assert source(result, "tasks") == ("sibling", "sibling task-003.json.tmp")
        assert path.read_bytes() == newer

    def test_owner_and_mode_are_those_of_the_document(self, house: Any) -> None:
        house.state.chmod(0o640)
        house.snapshot()
        beside(house, "state.json.tmp", 7, ago_s=-1)
        (house.state.parent / "state.json.tmp").chmod(0o600)
        house.state.write_bytes(b"")
        house.restore()
        assert house.state.stat().st_mode & 0o777 == 0o640

    def test_a_large_one(self, house: Any) -> None:
        """More than a block: it is read again where it lies, and hashed on the way."""
        house.snapshot()
        data = json.dumps({"version": "1", "counter": 3, "pad": "x" * 3_000_000}).encode()
        path = house.state.parent / "state.json.tmp"
        path.write_bytes(data)
        os.utime(path, (time.time() + 1, time.time() + 1))
        house.state.write_bytes(b"")
        assert source(house.restore())[0] == "sibling"
        assert house.state.read_bytes() == data

    def test_a_shrunken_one_is_suspicious(self, house: Any) -> None:
        declare(house, guards=Guards(max_shrink=0.5))
        good = house.write(1, pad="x" * 1000)
        house.snapshot()
        beside(house, "state.json.tmp", 7, ago_s=-1)
        house.state.write_bytes(b"")
        assert source(house.restore()) == ("snapshot", "app/1")
        assert house.state.read_bytes() == good


class TestRebuild:
    RULE = Rebuild(
        collect={"/tasks": "tasks"},
        constants={"/version": "1"},
        compute={"/counter": Computed("count", "tasks", {"done": True}), "/saved": Computed("now")},
    )

    @pytest.fixture
    def rebuilt(self, house: Any) -> Any:
        declare(house, rebuild=self.RULE)
        policy(house, fallback=ALL)
        house.write_task("task-001", done=True)
        return house

    def test_what_was_never_captured(self, rebuilt: Any) -> None:
        """first-systems.md no. 2: rebuilt from the tasks with metrics computed; up, and degraded."""
        rebuilt.state.write_bytes(b"")
        result = rebuilt.restore()
        assert (result.outcome, result.exit_status, source(result)) == ("degraded", 3, ("rebuild", "rebuild"))
        document = json.loads(rebuilt.state.read_bytes())
        assert (document["counter"], len(document["tasks"]), document["version"]) == (1, 100, "1")
        assert rebuilt.verdict() == "ok"
        assert rebuilt.restore().exit_status == 0

    def test_a_snapshot_is_better(self, rebuilt: Any) -> None:
        rebuilt.snapshot()
        rebuilt.state.write_bytes(b"")
        assert source(rebuilt.restore()) == ("snapshot", "app/1")

    def test_a_forced_rebuild(self, rebuilt: Any) -> None:
        """`restore --from rebuild` is also for state that is ok; what it replaces goes to quarantine."""
        good = rebuilt.state.read_bytes()
        rebuilt.snapshot()
        result = rebuilt.restore(origin="rebuild")
        assert source(result) == ("rebuild", "rebuild")
        assert json.loads(rebuilt.state.read_bytes())["counter"] == 1
        rebuilt.undo()
        assert rebuilt.state.read_bytes() == good

    def test_damaged_parts_do_not_count(self, rebuilt: Any) -> None:
        """Continuing with partial state when some task files are bad: their known-good versions, or nothing."""
        rebuilt.snapshot()
        (rebuilt.tasks / "task-002.json").write_bytes(b"\0\0")
        (rebuilt.tasks / "unknown.json").write_bytes(b"{")
        result = rebuilt.restore(origin="rebuild")
        assert result.outcome == "blocked"
        policy(rebuilt, exhausted="empty")
        result = rebuilt.restore()
        assert (result.outcome, result.exit_status) == ("degraded", 3)
        assert not (rebuilt.tasks / "unknown.json").exists()
        assert rebuilt.restore(origin="rebuild").outcome == "degraded"
        assert len(json.loads(rebuilt.state.read_bytes())["tasks"]) == 100

    def test_written_as_it_was(self, rebuilt: Any) -> None:
        """The encoding found (indented, compact) is kept by whatever recoverd writes."""
        rebuilt.state.write_text(json.dumps({"version": "1", "counter": 1}, indent=4) + "\n")
        rebuilt.snapshot()
        rebuilt.restore(origin="rebuild")
        lines = rebuilt.state.read_text().splitlines()
        assert lines[1].startswith("    ")
        assert not lines[1].startswith("     ")

    def test_what_the_schema_refuses_is_not_written(self, house: Any) -> None:
        declare(house, rebuild=Rebuild(constants={"/version": "9"}), initial=Initial({"version": "1", "counter": 0}))
        policy(house, fallback=ALL)
        house.state.write_bytes(b"")
        result = house.restore()
        assert (result.outcome, source(result)) == ("degraded", ("initial", "initial"))
        assert any("what rebuild gives is not valid" in reason for reason in result.reasons)
        assert json.loads(house.state.read_bytes()) == {"version": "1", "counter": 0}

    @pytest.mark.parametrize(
        ("command", "outcome"),
        [
            (("sh", "-c", """echo warned >&2; echo '{"version": "1", "counter": 4}'"""), "degraded"),
            (("sh", "-c", "echo broken >&2; exit 3"), "blocked"),
            (("sh", "-c", "echo '{'"), "blocked"),
            (("/nowhere/at-all",), "blocked"),
        ],
    )
    def test_a_command(self, house: Any, command: tuple[str, ...], outcome: str) -> None:
        declare(house, rebuild=Rebuild(command=command))
        policy(house, fallback=ALL)
        house.state.write_bytes(b"")
        result = house.restore()
        assert result.outcome == outcome, result
        if outcome == "degraded":
            assert json.loads(house.state.read_bytes())["counter"] == 4
        else:
            assert house.state.read_bytes() == b""


class TestInitial:
    def test_nothing_to_rebuild_from(self, house: Any) -> None:
        """first-systems.md no. 2: after the rebuild comes the empty initial state; a rebuild of nothing is none."""
        declare(house, rebuild=TestRebuild.RULE, initial=Initial({"version": "1", "counter": 0}))
        policy(house, fallback=ALL)
        for task in house.tasks.iterdir():
            task.unlink()
        house.state.write_bytes(b"")
        result = house.restore()
        assert source(result) == ("initial", "initial")
        assert "main can't be rebuilt: there is no document in tasks to rebuild it from" in result.reasons

    def test_the_content_of_a_file(self, house: Any) -> None:
        path = house.root / "state" / "dump.rdb"
        path.write_bytes(b"")
        first = Initial(path="/etc/first", content="UkVESVMA")
        item = StateItem("dump", ItemKind.FILE, str(path), Format.OPAQUE, magic=b"REDIS".hex(), initial=first)
        house.change(state={"dump": item}, restore=Restore(fallback=ALL))
        result = house.restore()
        assert (result.outcome, result.exit_status) == ("degraded", 3)
        assert path.read_bytes() == b"REDIS\0"

    def test_of_what_is_not_there(self, house: Any) -> None:
        """`restore --from initial` also for a service that starts afresh: what is said of live state is true."""
        declare(house, initial=Initial({"version": "1", "counter": 0}))
        house.state.unlink()
        result = house.restore(origin="initial")
        assert (result.outcome, source(result)) == ("degraded", ("initial", "initial"))
        assert next(one.verdict_before for one in result.items if one.item == "main") == "new"

    def test_a_snapshot_of_the_same_keeps_its_place(self, house: Any) -> None:
        """Promise 1: that the newest known-good version equals the initial document makes no older one better."""
        house.write(3)
        house.snapshot()
        declare(house, initial=Initial({"version": "1", "counter": 0}))
        policy(house, fallback=ALL)
        house.restore(origin="initial")
        newest = house.state.read_bytes()
        house.snapshot()
        house.state.write_bytes(b"")
        result = house.restore()
        assert (result.outcome, source(result)[0]) == ("restored", "snapshot")
        assert house.state.read_bytes() == newest

    def test_it_is_the_last(self, house: Any) -> None:
        declare(house, initial=Initial({"version": "1", "counter": 0}))
        policy(house, fallback=ALL)
        good = house.write(3)
        house.snapshot()
        house.state.write_bytes(b"")
        assert house.restore().outcome == "restored"
        assert house.state.read_bytes() == good


class TestNothingLeft:
    @pytest.mark.parametrize("exhausted", ["block", "leave", "empty"])
    def test_what_is_declared_happens(self, house: Any, exhausted: str) -> None:
        """recovery.md, exhausted: block (exit 1), leave (start it as it is) or empty."""
        policy(house, exhausted=exhausted)
        house.state.write_bytes(b"torn")
        dry = house.restore(dry_run=True)
        assert house.state.read_bytes() == b"torn"
        result = house.restore()
        assert (result.outcome, result.exit_status) == {
            "block": ("blocked", 1),
            "leave": ("degraded", 3),
            "empty": ("degraded", 3),
        }[exhausted]
        assert (dry.outcome, dry.exit_status) == (result.outcome, result.exit_status)
        assert house.state.exists() is (exhausted != "empty")
        if exhausted == "empty":
            assert next(one.age_s for one in result.items if one.item == "main") is None, "nothing was brought back"
        if exhausted == "empty":
            assert house.restore().exit_status == 0, "a fresh service"
            house.undo()
        assert house.state.read_bytes() == b"torn"

    def test_the_rest_is_restored(self, house: Any) -> None:
        """One hopeless document does not keep the others from coming back."""
        policy(house, exhausted="leave")
        good = (house.tasks / "task-001.json").read_bytes()
        house.snapshot()
        (house.tasks / "task-001.json").write_bytes(b"")
        (house.tasks / "never.json").write_bytes(b"torn")
        result = house.restore()
        assert (result.outcome, result.exit_status) == ("degraded", 3)
        assert (house.tasks / "task-001.json").read_bytes() == good
        assert (house.tasks / "never.json").read_bytes() == b"torn"
        assert any("never.json" in reason and "it is left as it is" in reason for reason in result.reasons)


class TestSalvage:
    @pytest.fixture
    def log(self, house: Any) -> Path:
        path: Path = house.root / "state" / "log.jsonl"
        path.write_bytes(b"".join(b'{"n": %d}\n' % number for number in range(50)))
        item = StateItem("log", ItemKind.FILE, str(path), Format.JSON_LINES)
        house.change(state={"log": item}, restore=Restore(salvage="tail"))
        house.snapshot()
        return path

    @pytest.mark.parametrize("tail", [b'{"n": 5', b"\0" * 300, b'{"n": 51}}\n', b"\xff\xfe\n"])
    def test_whole_lines_are_kept(self, house: Any, log: Path, tail: bytes) -> None:
        """What was appended since the snapshot is kept up to the torn end: better than the snapshot."""
        whole = log.read_bytes() + b'{"n": 50}\n'
        log.write_bytes(whole + tail)
        result = house.restore()
        assert (result.outcome, result.exit_status, source(result, "log")[0]) == ("degraded", 3, "salvage")
        assert log.read_bytes() == whole

    def test_less_than_the_snapshot_is_not(self, house: Any, log: Path) -> None:
        """Damage in the middle: the snapshot holds more."""
        good = log.read_bytes()
        log.write_bytes(good[:100] + b"\0" * 50 + good[150:])
        assert source(house.restore(), "log") == ("snapshot", "app/1")
        assert log.read_bytes() == good

    def test_not_unless_declared(self, house: Any, log: Path) -> None:
        house.change(restore=Restore())
        good = log.read_bytes()
        log.write_bytes(good + b'{"n": 5')
        assert source(house.restore(), "log") == ("snapshot", "app/1")


def test_a_rejected_sibling_is_not_tried_again(judged: Any) -> None:
    """recovery.md: rejected durably, so that a reboot loop can't try the same one for ever."""
    house = judged
    good = house.write(1)
    house.snapshot()
    beside(house, "state.json.tmp", 5000, ago_s=-1)
    house.state.write_bytes(b"")
    result = house.restore()
    assert [(one.candidate, one.result) for one in result.attempts] == [
        ("sibling state.json.tmp", "rejected"),
        ("app/1", "restored"),
    ]
    assert house.state.read_bytes() == good
    house.state.write_bytes(b"")
    house.reopen()
    assert [(one.candidate, one.result) for one in house.restore().attempts] == [("app/1", "restored")]


def test_a_sibling_is_validated(house: Any) -> None:
    """The service's own tool has the last word on it too."""
    path = house.root / "state" / "dump.rdb"
    path.write_bytes(b"REDIS END")
    check = Validation(("sh", "-c", 'tail -c 3 "$0" | grep -q END', "{path}"))
    house.change(state={"dump": StateItem("dump", ItemKind.FILE, str(path), Format.OPAQUE, validate=check)})
    house.snapshot()
    for name, content in (("dump.rdb.bak", b"REDIS 2 END"), ("dump.rdb.tmp", b"REDIS 3")):
        path.with_name(name).write_bytes(content)
        os.utime(path.with_name(name), (time.time() + 1, time.time() + 1))
    path.write_bytes(b"")
    assert source(house.restore(), "dump") == ("sibling", "sibling dump.rdb.bak")
    assert path.read_bytes() == b"REDIS 2 END"
