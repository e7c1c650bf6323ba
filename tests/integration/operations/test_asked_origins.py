"""`restore --from`: one origin, or a directory, that somebody asked for; also over state that is ok."""

from __future__ import annotations

import json
import os
import time
from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Format, Guards, Initial, ItemKind, Rebuild, StateItem
from recoverd.errors import UsageError
from recoverd.operations.extract import ExtractRequest, extract

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


class TestFromADirectory:
    def test_what_to_wrote_can_be_restored_from(self, house: Any, tmp_path: Path) -> None:
        """`restore --to DIR`, edit, `restore --from DIR`: also over state that is ok; an undo takes it back."""
        house.snapshot()
        extract(house.context, ExtractRequest(str(tmp_path / "out"), ("app",)))
        edited = json.dumps({"version": "1", "counter": 77}).encode()
        (tmp_path / "out" / "app" / "main" / "state.json").write_bytes(edited)
        (tmp_path / "out" / "app" / "tasks" / "tasks" / "task-009.json").unlink()
        before = house.contents()
        result = house.restore(services=("app",), origin=str(tmp_path / "out"))
        assert (result.outcome, source(result)[0]) == ("restored", "snapshot"), result
        assert house.state.read_bytes() == edited
        assert len(list(house.tasks.iterdir())) == 99
        house.undo()
        assert house.contents() == before

    def test_one_file_is_enough(self, house: Any, tmp_path: Path) -> None:
        """Items of which the directory has no copy are left alone."""
        data = json.dumps({"version": "1", "counter": 5}).encode()
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "state.json").write_bytes(data)
        house.restore(services=("app",), origin=str(tmp_path / "copy"))
        assert house.state.read_bytes() == data
        assert len(list(house.tasks.iterdir())) == 100

    def test_a_slip_of_the_pen_is_refused(self, house: Any, tmp_path: Path) -> None:
        """Promise 10: what was asked for is all that is in the directory, not what happens to be good of it."""
        house.snapshot()
        extract(house.context, ExtractRequest(str(tmp_path / "out"), ("app",)))
        (tmp_path / "out" / "app" / "main" / "state.json").write_text("{")
        (tmp_path / "out" / "app" / "tasks" / "tasks" / "task-009.json").unlink()
        before = house.contents()
        result = house.restore(services=("app",), origin=str(tmp_path / "out"))
        assert (result.outcome, result.exit_status) == ("failed", 1)
        assert "is not valid state of app: main: state.json" in result.reasons[0]
        assert house.contents() == before
        assert len(house.context.repository().snapshots("app")) == 1

    def test_nothing_good_is_refused(self, house: Any, tmp_path: Path) -> None:
        (tmp_path / "copy").mkdir()
        (tmp_path / "copy" / "state.json").write_bytes(b"{}")
        before = house.contents()
        result = house.restore(services=("app",), origin=str(tmp_path / "copy"))
        assert (result.outcome, result.exit_status) == ("failed", 1)
        assert "is not valid state" in result.reasons[0]
        assert house.contents() == before

    @pytest.mark.parametrize(
        ("request_", "words"),
        [
            ({"origin": "sibling"}, "there is no such origin or directory"),
            ({"origin": "replicas"}, "is not supported yet"),
            ({"origin": "DIR"}, "needs the name of one service"),
            ({"origin": "DIR", "services": ("app",), "dry_run": True}, "do not go together"),
        ],
    )
    def test_what_can_not_be_meant(self, house: Any, tmp_path: Path, request_: dict[str, Any], words: str) -> None:
        if request_["origin"] == "DIR":
            request_ = request_ | {"origin": str(tmp_path)}
        with pytest.raises(UsageError, match=words):
            house.restore(**request_)

    def test_nothing_is_declared(self, house: Any) -> None:
        result = house.restore(origin="rebuild")
        assert (result.outcome, result.exit_status) == ("failed", 1)
        assert "declares no `rebuild`" in result.reasons[0]


class TestOneOriginOnly:
    """`restore --from ORIGIN`: this one and no other."""

    def test_a_sibling_that_is_older_than_a_snapshot(self, house: Any) -> None:
        """It was asked for, so it is not held against what was not asked."""
        old = beside(house, "state.json.bak", 7, ago_s=600)
        house.snapshot()
        house.state.write_bytes(b"")
        assert house.restore(origin="siblings").outcome == "restored"
        assert house.state.read_bytes() == old

    @pytest.mark.parametrize("exhausted", ["block", "leave", "empty"])
    @pytest.mark.parametrize("origin", ["siblings", "rebuild"])
    def test_that_it_has_nothing_takes_nothing_away(self, house: Any, origin: str, exhausted: str) -> None:
        """`exhausted` is for when nothing is left at all."""
        declare(house, rebuild=Rebuild(constants={"/version": "9"}))
        policy(house, fallback=ALL, exhausted=exhausted)
        good = house.state.read_bytes()
        house.snapshot()
        house.state.write_bytes(b"torn")
        for dry_run in (True, False):
            result = house.restore(origin=origin, dry_run=dry_run)
            assert (result.outcome, result.exit_status) == ("blocked", 1)
            assert house.state.read_bytes() == b"torn"
        assert house.restore().outcome == "restored"
        assert house.state.read_bytes() == good

    def test_state_that_is_ok_is_not_blocked_by_it(self, house: Any) -> None:
        """A rebuild that fails is no reason to keep a service from starting on good state."""
        declare(house, rebuild=Rebuild(constants={"/version": "9"}))
        house.snapshot()
        before = house.contents()
        result = house.restore(origin="rebuild")
        assert (result.outcome, result.exit_status) == ("failed", 1)
        assert any("what rebuild gives is not valid" in reason for reason in result.reasons)
        assert house.context.repository().record("app").blocked is None
        assert house.contents() == before

    def test_what_can_not_be_read_is_not_written_over(self, house: Any) -> None:
        """Nobody knows what is there, and a disk that fails now would lose more; also when somebody asks for it."""
        path = house.root / "state" / "conf.toml"
        path.write_bytes(b"a = 1\n" + b"#" * (4 << 20))  # more than is parsed
        first = Initial(path="/etc/first", content=b64encode(b"a = 1\n").decode())
        house.change(state={"conf": StateItem("conf", ItemKind.FILE, str(path), Format.TOML, initial=first)})
        assert house.verdict() == "unreadable"
        before = path.read_bytes()
        assert house.restore(origin="initial").outcome == "blocked"
        assert path.read_bytes() == before


class TestEmptiedOnPurpose:
    """A guard says that state was emptied; whoever asked for just that need not say it twice."""

    @pytest.fixture(params=["alert", "restore", "block"])
    def guarded(self, house: Any, request: pytest.FixtureRequest) -> Any:
        house.write(1)
        house.snapshot()
        house.write(2, pad="x" * 4000)
        house.snapshot()
        declare(house, guards=Guards(max_shrink=0.5), initial=Initial({"version": "1", "counter": 0}))
        policy(house, fallback=ALL, verdicts={"reset": request.param})
        return house

    @pytest.mark.parametrize("asked", [{"snapshot": "app/1"}, {"origin": "initial"}, {"services": ("app",)}])
    def test_it_stays_and_counts(self, guarded: Any, tmp_path: Path, asked: dict[str, Any]) -> None:
        """recovery.md: an explicit restore is not taken back by the next one, and what is saved after it is good."""
        if "services" in asked:
            (tmp_path / "copy").mkdir()
            (tmp_path / "copy" / "state.json").write_text('{"version": "1", "counter": 9}')
            asked = asked | {"origin": str(tmp_path / "copy")}
        result = guarded.restore(**asked)
        assert result.outcome in {"restored", "degraded"}, result
        asked_for = guarded.state.read_bytes()
        assert len(asked_for) < 200
        assert guarded.verdict() == "ok"
        assert guarded.restore().outcome == "untouched"
        guarded.write(5)
        assert guarded.snapshot().verdict == "ok", "from now on this is what guards compare with"
        last = guarded.state.read_bytes()
        guarded.state.write_bytes(b"")
        guarded.restore()
        assert guarded.state.read_bytes() == last

    @pytest.mark.parametrize("asked", [False, True])
    @pytest.mark.parametrize("reset", ["alert", "restore", "block"])
    def test_an_initial_document_may_be_empty(self, house: Any, reset: str, asked: bool) -> None:
        """Nothing else is left: the service is up, degraded, and the guard goes on telling until it has worked."""
        first = Initial({"version": "1", "counter": 0, "entries": []})
        declare(house, guards=Guards(min_items={"/entries": 1}), initial=first)
        policy(house, fallback=ALL, verdicts={"reset": reset})
        house.state.write_bytes(b"")
        result = house.restore(origin="initial" if asked else None)
        assert (result.outcome, source(result)) == ("degraded", ("initial", "initial")), result
        assert house.verdict() == ("ok" if asked else "reset")
        house.write(1, entries=[1])
        assert house.verdict() == "ok"
