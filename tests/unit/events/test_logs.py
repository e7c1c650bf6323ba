"""The log: one line per record whatever is in it, JSON lines, levels, debug areas."""

from __future__ import annotations

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.config.model import LogConfig
from recoverd.errors import UsageError
from recoverd.events import Events
from recoverd.events.logs import log_sink, set_up

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    root = logging.getLogger("recoverd")
    before = (list(root.handlers), root.level, root.propagate)
    yield
    root.handlers[:], root.level, root.propagate = before
    for area in ("scheduler", "events"):
        logging.getLogger(f"recoverd.{area}").setLevel(logging.NOTSET)


def test_one_line_of_text() -> None:
    """The line that the manual shows: time, level, event, service, message."""
    stream = io.StringIO()
    set_up(LogConfig(), stream=stream, environment={})
    Events([log_sink]).emit("snapshot.saved", service="coding-agent", files=12, new_bytes=35_328, sequence=42)
    expected = rf"{STAMP} info snapshot\.saved coding-agent: 12 files, 34\.5 KiB new \(42\)\n"
    assert re.fullmatch(expected, stream.getvalue())


def test_an_item_stands_beside_its_service() -> None:
    """Who reads the log sees which item it is about; an event of the host has neither."""
    stream = io.StringIO()
    set_up(LogConfig(format="text"), stream=stream, environment={})
    Events([log_sink]).emit("state.corrupt", service="svc", item="main", message="m")
    Events([log_sink]).emit("disk.low", message="n")
    assert re.fullmatch(rf"{STAMP} error state\.corrupt svc/main: m\n{STAMP} warning disk\.low: n\n", stream.getvalue())


def test_hostile_content_stays_on_one_line_and_passwords_stay_out() -> None:
    """Promise 12: no file name forges a log line; config.md: secrets are masked."""
    stream = io.StringIO()
    set_up(LogConfig(), stream=stream, environment={})
    logging.getLogger("recoverd.state").warning("bad name %s at http://u:p@h/", "x\n2026-01-01T00:00:00Z info forged")
    (line,) = stream.getvalue().splitlines()
    assert r"x\n2026" in line
    assert "u:p" not in line


def test_json_lines() -> None:
    """log.format json: one object a line, with the event's own keys."""
    stream = io.StringIO()
    set_up(LogConfig(format="json"), stream=stream, environment={})
    Events([log_sink]).emit("snapshot.saved", service="svc", message="at http://u:p@h/", bytes=5)
    logging.getLogger("recoverd.scheduler").warning("late\nby %d s", 3)
    try:
        raise OSError("broken")
    except OSError:
        logging.getLogger("recoverd.cli").exception("oops")
    event, record, failure = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (event["event"], event["service"], event["figures"]) == ("snapshot.saved", "svc", {"bytes": 5})
    assert event["message"] == "at http://***@h/"
    assert (record["area"], record["level"], record["message"]) == ("scheduler", "warning", "late\nby 3 s")
    assert "OSError: broken" in failure["exception"]


def test_an_exception_takes_one_line_of_text_too() -> None:
    """A traceback is one record, so it is one line."""
    stream = io.StringIO()
    set_up(LogConfig(), stream=stream, environment={})
    try:
        raise ValueError("odd")
    except ValueError as error:
        logging.getLogger("recoverd.scheduler").warning("mistake", exc_info=error)
    (line,) = stream.getvalue().splitlines()
    assert "warning scheduler: mistake\\nTraceback" in line
    assert line.endswith("ValueError: odd")


def test_levels_and_debug_areas() -> None:
    """`--debug scheduler` shows what the scheduler says in detail, and nobody else."""
    stream = io.StringIO()
    set_up(LogConfig(level="warning", debug=("scheduler",)), stream=stream, environment={})
    logging.getLogger("recoverd.scheduler").debug("detail")
    logging.getLogger("recoverd.state").info("chatter")
    logging.getLogger("recoverd.state").warning("heard")
    assert [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()] == [
        "debug scheduler: detail",
        "warning state: heard",
    ]


def test_set_up_again_forgets_what_was_before() -> None:
    """SIGHUP reloads the log settings: no doubled lines, no areas that stay on."""
    old, new = io.StringIO(), io.StringIO()
    set_up(LogConfig(debug=("scheduler",)), stream=old, environment={})
    set_up(LogConfig(), stream=new, level="info", environment={})
    logging.getLogger("recoverd.scheduler").debug("detail")
    logging.getLogger("recoverd.scheduler").info("once")
    assert old.getvalue() == ""
    assert len(new.getvalue().splitlines()) == 1


def test_in_the_journal_a_priority_instead_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd.exec(5): $JOURNAL_STREAM names the file that goes to the journal, which has times of its own. So it is
    told where it does not take what comes with all fields."""
    monkeypatch.setattr("recoverd.events.journal.SOCKET", str(tmp_path / "nobody"))
    with open(tmp_path / "log", "w+", encoding="utf-8") as stream:
        status = os.fstat(stream.fileno())
        set_up(LogConfig(), stream=stream, environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        Events([log_sink]).emit("disk.low", message="m")
        set_up(LogConfig(), stream=stream, environment={"JOURNAL_STREAM": "1:1"})
        Events([log_sink]).emit("disk.low", message="m")
        stream.seek(0)
        journal, other = stream.read().splitlines()
    assert journal == "<4>warning disk.low: m"
    assert re.fullmatch(rf"{STAMP} warning disk\.low: m", other)


def test_a_log_that_cannot_be_written_disturbs_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """stderr may be closed or full; the capture goes on without a traceback."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        set_up(LogConfig(), stream=full, environment={})
        Events([log_sink]).emit("disk.low")
        logging.getLogger("recoverd").handlers.clear()
        with pytest.raises(OSError, match="No space left"):  # proof that it really could not be written
            full.flush()
        with open("/dev/null", "w", encoding="utf-8") as nothing:
            os.dup2(nothing.fileno(), full.fileno())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (LogConfig(debug=("sheduler",)), "no debug area 'sheduler'"),
        (LogConfig(level="loud"), "no log level 'loud'"),
        (LogConfig(format="xml"), "no log format 'xml'"),
    ],
)
def test_settings_that_do_not_exist_are_refused(config: LogConfig, sentence: str) -> None:
    """Refused with what there is, never ignored."""
    with pytest.raises(UsageError, match=sentence) as caught:
        set_up(config, stream=io.StringIO(), environment={})
    assert caught.value.hint
