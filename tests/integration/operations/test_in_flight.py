"""What was in flight is told before a service starts, to it and to its operator; no document keeps it down."""

from __future__ import annotations

import gzip
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.config.in_flight_model import InFlight
from recoverd.config.model import Format
from recoverd.operations.boot import boot
from recoverd.operations.confirm import confirm
from recoverd.operations.lifecycle import status
from recoverd.operations.processes import driver_of
from recoverd.operations.resume_files import load_history
from recoverd.recovery import in_flight_documents
from recoverd.recovery.in_flight_documents import look
from recoverd.system import clock
from recoverd.values import replace

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

OPEN = InFlight("tasks", "", {"status": ["open"]}, ("id",), exists="checkpoint", called="task:{id}")
TALKS = InFlight("main", "/talks", {"at": {"within": "1h"}}, called="conversation:{id}", message="Back.")
WARN = InFlight("main", "/work", {"status": "testing"}, notify="{what} was {status}: verify")


@pytest.fixture
def asked(house: House) -> House:
    """The house, with two tasks open, one conversation, and a warning."""
    house.change(in_flight=(OPEN, TALKS, WARN))
    work = {"what": "Faster start", "status": "testing"}
    now_s = clock.now_ns() / 1e9
    house.write(1, talks=[{"id": "c1", "at": now_s - 60}, {"id": "c2", "at": now_s - 7200}], work=work)
    house.write_task("task-007", status="open", checkpoint={"step": 2})
    house.write_task("task-042", status="open")
    return house


def told(house: House) -> dict[str, Any]:
    found = json.loads((house.root / "runtime-resume" / "app.json").read_text())
    assert isinstance(found, dict)
    return found


def found_in(house: House) -> Any:
    return look(house.service, now_ns=clock.now_ns(), io_timeout_s=10)


def kill(house: House) -> None:
    driver = driver_of(house.context, house.service)
    assert driver is not None
    identity = driver.status().identity
    assert identity is not None
    os.kill(identity.pid, signal.SIGKILL)
    while driver.status().running:
        pass


def test_everybody_is_told_the_same(asked: House, judged: House) -> None:
    """The report, its history, the result, `status` and the event: of state that was left alone, and of restored."""
    assert asked is judged
    judged.start()
    judged.snapshot()
    for count, damage in ((1, None), (2, b"torn")):
        kill(judged)
        if damage is not None:
            judged.state.write_bytes(damage)
        judged.events.clear()
        result = judged.restore()
        assert result.healthy
        report = told(judged)
        assert report["message"] == f"restarted (#{count}), resuming 2 tasks and 1 conversation"
        assert [one["as"] for one in report["in_flight"]["entries"]] == [
            "task:task-007",
            "task:task-042",
            "conversation:c1",
            None,
        ]
        assert [one["document"] for one in report["in_flight"]["entries"]][:2] == ["task-007.json", "task-042.json"]
        assert [one["exists"] for one in report["in_flight"]["entries"]][:2] == [
            {"checkpoint": True},
            {"checkpoint": False},
        ]
        assert report["in_flight"]["warnings"] == ["Faster start was testing: verify"]
        assert report["in_flight"]["notes"] == []
        assert result.to_json()["in_flight"] == report["in_flight"]
        assert result.to_json()["restart_count"] == count
        (seen,) = status(judged.context, ()).to_json()["services"]
        assert (seen["in_flight"], seen["restart_count"]) == (report["in_flight"], count)
        assert load_history(str(judged.state_dir), "app").reports[-1]["in_flight"] == report["in_flight"]
        (event,) = [one for one in judged.events if one.name == "restore.finished"]
        origin = "from app/1" if damage is not None else "its state was left as it is"
        assert event.message == f"{report['message']}; Faster start was testing: verify; {origin}"
        assert event.level == "warning"
        assert event.figures["in_flight"] == 3
        assert event.figures["warnings"] == 1
        assert event.figures["restart_count"] == count
        assert event.figures["messages"] == "conversation:c1: Back."
        assert event.figures["resume"] == str(judged.root / "runtime-resume" / "app.json")


def test_the_service_is_told_before_it_starts(asked: House, judged: House) -> None:
    """What its own start then changes in its state is in no report."""
    assert judged.service.run is not None
    run, seen = judged.service.run, judged.root / "seen"
    program = f'cp "$RECOVERD_RESUME" {seen}; rm -f {judged.tasks}/task-0*; exec "$@"'
    judged.change(run=replace(run, command=("/bin/sh", "-c", program, "sh", *run.command)))
    judged.start()
    assert json.loads(seen.read_text())["in_flight"]["count"] == 3
    assert not (judged.tasks / "task-007.json").exists()


def test_at_boot_it_is_told_once(asked: House, judged: House) -> None:
    """One return is one report and one count, though a boot has two phases. What was restored is told once more when it
    is proven, without what was in flight: nobody gets a message twice."""
    judged.start()
    judged.snapshot()
    for count, damage in ((1, None), (2, b"torn")):
        kill(judged)
        if damage is not None:
            judged.state.write_bytes(damage)
        judged.events.clear()
        boot(judged.context)
        assert told(judged)["message"] == f"restarted (#{count}), resuming 2 tasks and 1 conversation"
        confirm(judged.context)
        assert judged.running()
        assert load_history(str(judged.state_dir), "app").restart_count == count
        first, *second = [one for one in judged.events if one.name == "restore.finished"]
        assert (first.figures["healthy"], first.figures["in_flight"]) == (None, 3)
        assert len(second) == (damage is not None)
        for one in second:
            assert one.figures["healthy"] is True
            assert one.figures["restart_count"] == count
            assert {one.figures[name] for name in ("in_flight", "warnings", "messages")} == {None}


def test_the_restored_state_counts(asked: House) -> None:
    """What is asked is what the service comes back with, not what was damaged."""
    asked.snapshot()
    (asked.tasks / "task-007.json").write_bytes(b"torn")
    asked.write_task("task-050", status="open")
    result = asked.restore()
    assert result.resume is not None
    assert result.resume.in_flight is not None
    assert [one.called for one in result.resume.in_flight.entries][:3] == [
        "task:task-007",
        "task:task-042",
        "task:task-050",
    ]


def test_hostile_documents_are_notes(asked: House) -> None:
    """Damage, links, pipes, other people's files, depth, times in the future: each a note, or nothing, and what is good
    beside them is told. A file with a second name might be somebody else's, so that nothing in it is told."""
    other = asked.root / "secret.json"
    other.write_text('{"id": "secret", "status": "open"}')
    os.link(other, asked.tasks / "a-link.json")
    (asked.tasks / "b-link.json").symlink_to(other)
    os.mkfifo(asked.tasks / "c-pipe.json")
    (asked.tasks / "d-torn.json").write_text('{"id": "d", "status": "open"')
    (asked.tasks / "e-deep.json").write_text('{"a":' * 5000 + "1" + "}" * 5000)
    (asked.tasks / "f-number.json").write_text('{"id": ' + "9" * 90_000 + ', "status": "open"}')
    (asked.tasks / "g-list.json").write_text(json.dumps([{"id": "g", "status": "open"}, 7, None, []]))
    (asked.tasks / "h-dir.json").mkdir()
    (asked.tasks / "h-dir.json" / "i.json").write_bytes(gzip.compress(b'{"id": "i", "status": "open"}'))
    asked.write(1, talks=[{"id": "x", "at": clock.now_ns() / 1e9 + 5000}], work=3)
    found = found_in(asked)
    called = [one.called for one in found.entries]
    assert called[0].startswith("task:a number of 90")
    assert called[1:] == ["task:g", "task:i", "task:task-007", "task:task-042"]
    assert "secret" not in json.dumps(found.to_json())
    notes = "\n".join(found.notes)
    for words in (
        "a-link.json was not asked: it has several names",
        "b-link.json was not asked",
        "c-pipe.json was not asked",
        "d-torn.json was not asked: line 1, column 29: ends in the middle",
        "e-deep.json was not asked: ",
        "main /talks: 1 entry left out: at lies in the future",
        "main /work is neither",
    ):
        assert words in notes, notes


def test_absent_state_is_no_note(asked: House) -> None:
    asked.state.unlink()
    for one in asked.tasks.iterdir():
        one.unlink()
    asked.tasks.rmdir()
    assert (found_in(asked).count, found_in(asked).notes) == (0, ())


def test_reading_is_bounded(asked: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """By documents, bytes and time: what is over is told, what was read before is listed."""
    monkeypatch.setattr(in_flight_documents, "MOST_DOCUMENTS", 20)
    assert [one.called for one in found_in(asked).entries][:1] == ["task:task-007"]
    assert found_in(asked).notes == ("tasks has more than 20 documents: the others were not asked",)
    monkeypatch.setattr(in_flight_documents, "MOST_DOCUMENTS", 1000)
    monkeypatch.setattr(in_flight_documents, "MOST_BYTES", 5000)
    assert found_in(asked).entries[0].called == "task:task-007"
    assert "too much to be read" in found_in(asked).notes[0]
    monkeypatch.setattr(in_flight_documents, "WITHIN_S", -1.0)
    assert found_in(asked).entries == ()


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", "talks: 3\n", ""])
def test_other_formats_that_hold_nothing(asked: House, text: str) -> None:
    item = replace(asked.service.state["main"], format=Format.YAML, schema=None)
    asked.change(state={**asked.service.state, "main": item})
    asked.state.write_text(text)
    assert found_in(asked).count == 2


def test_lines_and_many_documents(asked: House) -> None:
    """JSON lines are a list of their lines; each document of a YAML file is asked."""
    item = replace(asked.service.state["main"], format=Format.JSON_LINES, schema=None)
    query = InFlight("main", "", {"open": True}, called="{id}")
    asked.change(state={**asked.service.state, "main": item}, in_flight=(query,))
    asked.state.write_text('{"id": 1, "open": true}\n{"id": 2, "open": false}\n{"id": 3, "open": true}\n')
    assert [(one.called, one.place) for one in found_in(asked).entries] == [("1", "/0"), ("3", "/2")]
    asked.change(state={**asked.service.state, "main": replace(item, format=Format.YAML)})
    asked.state.write_text("id: 1\nopen: true\n---\nid: 2\nopen: true\n")
    assert [one.called for one in found_in(asked).entries] == ["1", "2"]


def test_state_that_does_not_answer(asked: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that hangs is not waited for again."""
    monkeypatch.setattr(in_flight_documents, "silent", lambda paths, within_s: frozenset(paths))
    assert found_in(asked).notes == tuple(
        f"{name} does not answer, so what was in flight in it is not known" for name in ("tasks", "main")
    )


def test_a_link_on_the_way_is_not_followed(asked: House, tmp_path: Path) -> None:
    """The item itself is a link that its user may have planted."""
    real = tmp_path / "elsewhere"
    asked.tasks.rename(real)
    asked.tasks.symlink_to(real)
    asked.tasks.parent.chmod(0o777)
    found = found_in(asked)
    assert [one.called for one in found.entries] == ["conversation:c1", None]
    assert "tasks" in found.notes[0]
