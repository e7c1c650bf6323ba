"""`recoverd drill`: what a restore would bring back is brought back elsewhere, judged and tried; live state stays."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.config.model import Drill
from recoverd.operations.drill import DrillRequest, ServiceDrill, drill
from recoverd.values import replace

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where drills happen; nothing may be left there."""
    place = tmp_path / "scratch"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    return place


def rehearse(house: House) -> ServiceDrill:
    return drill(house.context, DrillRequest()).services[0]


def command(house: House, text: str, **more: Any) -> None:
    house.change(drill=Drill(command=(sys.executable, "-c", text, "{directory}"), **more))


def test_a_good_snapshot_passes(house: House, scratch: Path) -> None:
    """What is told: which snapshot, how old its data is, how long it took; the snapshot counts as drilled."""
    house.snapshot()
    before = house.contents()
    found = rehearse(house)
    assert (found.passed, found.healthy, found.candidate) == (True, None, "app/1")
    assert found.files == 101
    assert found.age_s is not None
    assert 0 <= found.age_s < 1000
    assert found.to_json()["outcome"] == "restored"
    assert house.list()[0].marks.drilled_ns is not None
    assert "drill.passed" in {event.name for event in house.events}
    assert house.contents() == before
    assert os.listdir(scratch) == []
    (run,) = house.context.repository().catalog.runs("app", "drill", 9)
    assert run.outcome == "passed"


def test_the_command_finds_the_layout_of_the_state(house: House) -> None:
    """The items lie below {directory} as they lie below the directory that they have in common."""
    house.snapshot()
    command(
        house,
        "import json, os, sys; d = sys.argv[1];"
        "assert sorted(os.listdir(d)) == ['state.json', 'tasks'], os.listdir(d);"
        "assert json.load(open(d + '/state.json'))['counter'] == 0;"
        "assert len(os.listdir(d + '/tasks')) == 100",
    )
    assert rehearse(house).healthy is True


def test_a_command_that_fails_is_a_drill_that_failed(house: House, scratch: Path) -> None:
    """It says why; the snapshot is not drilled, and is not rejected either: nothing is concluded for restores."""
    house.snapshot()
    command(house, "import sys; print('the index is empty'); sys.exit(7)")
    found = rehearse(house)
    assert (found.passed, found.healthy) == (False, False)
    assert "exited with status 7: the index is empty" in found.reasons[0]
    assert house.list()[0].marks.drilled_ns is None
    assert not house.list()[0].marks.rejected
    assert "drill.failed" in {event.name for event in house.events}
    command(house, "import time; time.sleep(600)", timeout_s=0.5)
    assert "did not end within 0.5 s" in rehearse(house).reasons[0]
    assert os.listdir(scratch) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become the owner of the state")
def test_the_command_runs_as_the_owner_of_the_state(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 12: what a service's user wrote is not read by a program of root's."""
    monkeypatch.setenv("TMPDIR", "/var/tmp")  # which that user can reach
    for path in [house.root / "state", house.state, house.tasks, *house.tasks.iterdir()]:
        os.chown(path, 12345, 12345)
    house.snapshot()
    script = 'test "$(id -u)" = 12345 && cat "$1/state.json" && : > "$1/new"'
    house.change(drill=Drill(command=("/bin/sh", "-c", script, "sh", "{directory}")))
    found = rehearse(house)
    assert found.passed, found.reasons


def test_what_is_damaged_in_the_repository_is_passed_over(house: House) -> None:
    """As a restore passes it over; and it is told."""
    house.snapshot()
    house.write(1)
    house.snapshot()
    newest = max(house.packs, key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(newest.read_bytes())
    data[20:60] = bytes(40)
    newest.write_bytes(data)
    found = rehearse(house)
    assert (found.passed, found.candidate) == (True, "app/1")
    assert [(one.candidate, one.result) for one in found.attempts] == [("app/2", "damaged"), ("app/1", "restored")]


def test_what_no_longer_passes_its_schema(house: House) -> None:
    """A schema that nothing saved ever passed is found by a drill, not by the next boot."""
    house.snapshot()
    main = house.service.state["main"]
    stricter = house.schema({"type": "object", "required": ["nobody writes this"]})
    house.change(state={**house.service.state, "main": replace(main, schema=stricter)})
    found = rehearse(house)
    assert not found.passed
    assert "nobody writes this" in found.reasons[0]
    assert found.attempts[0].result == "invalid"


def test_nothing_saved_yet(house: House) -> None:
    house.context.repository(create=True)
    found = rehearse(house)
    assert not found.passed
    assert found.reasons == ("there is no known-good snapshot to restore",)


def test_no_room(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Said before anything is written."""
    from recoverd.operations import scratch_directory

    house.snapshot()
    monkeypatch.setattr(scratch_directory, "free_bytes", lambda fd: (1000, 2000))
    found = rehearse(house)
    assert not found.passed
    assert "free" in found.reasons[0]


def test_what_a_killed_drill_left_is_removed(house: House, scratch: Path) -> None:
    """Only what is recoverd's own, and of a process that is gone."""
    gone = scratch / "recoverd-drill.tmp-00000000-0000-0000-0000-000000000000-1-1-abcdef"
    gone.mkdir()
    (gone / "state.json").write_text("{}")
    foreign = scratch / "recoverd-drill-of-mine"
    foreign.mkdir()
    house.snapshot()
    assert rehearse(house).passed
    assert os.listdir(scratch) == [foreign.name]


def drill_result(house: House) -> Any:
    return next((one for one in house.check().results if one.name == "drill-age"), None)


def test_check_tells_of_drills(house: House) -> None:
    """Silent where nobody asked for any; then the age, what it took, and what a restore would lose."""
    house.snapshot()
    assert drill_result(house) is None
    house.change(check=replace(house.service.check, max_drill_age_s=1000.0))
    assert (drill_result(house).status, drill_result(house).message) == ("WARNING", "no drill has passed yet")
    rehearse(house)
    found = drill_result(house)
    assert found.status == "OK"
    assert found.figures["age_seconds"].warn == 1000.0
    assert found.figures["data_age_seconds"].value >= 0
    house.change(check=replace(house.service.check, max_drill_age_s=1e-9))
    assert drill_result(house).status == "WARNING"
    house.change(check=replace(house.service.check, max_drill_age_s=1000.0))
    (house.state_dir / "catalog.sqlite").unlink()
    house.reopen()
    assert drill_result(house).status == "OK", "the marks of snapshots know it too"


def test_check_is_critical_when_the_last_drill_failed(house: House) -> None:
    """The next restore would fail too, whatever passed before."""
    house.snapshot()
    rehearse(house)
    command(house, "raise SystemExit('no')")
    rehearse(house)
    found = drill_result(house)
    assert (found.status, found.figures["age_seconds"].value >= 0) == ("CRITICAL", True)
    assert "exited with status 1: no" in found.message
    command(house, "")
    rehearse(house)
    assert drill_result(house).status == "OK"


def test_the_schedule_says_how_old_it_may_be(house: House) -> None:
    """Two times of its crontab may pass."""
    house.snapshot()
    house.change(drill=Drill(cron="* * * * *"))
    assert drill_result(house).message == "no drill has passed yet"
    rehearse(house)
    found = drill_result(house)
    assert 60 <= found.figures["age_seconds"].warn < 121
    assert found.status == "OK"
