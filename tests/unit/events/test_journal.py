"""cli.md, "Events": journald fields RECOVERD_… with stable MESSAGE_IDs, in its own protocol, over a socket."""

from __future__ import annotations

import logging
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recoverd.config.model import LogConfig
from recoverd.events import EventName, Events
from recoverd.events.journal import message_id
from recoverd.events.logs import log_sink, set_up

Entry = dict[str, str]


def decoded(datagram: bytes) -> Entry:
    """Written from the protocol's description, not from our code."""
    fields, rest = {}, datagram
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            (length,) = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + length], rest[9 + length :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Entry]]]:
    """A journal that takes datagrams, and recoverd as a unit that logs there; what it got so far."""
    root = logging.getLogger("recoverd")
    before = (list(root.handlers), root.level, root.propagate)
    path = tmp_path / "socket"
    monkeypatch.setattr("recoverd.events.journal.SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server, open(tmp_path / "log", "w") as stream:
        server.bind(str(path))
        server.setblocking(False)
        status = os.fstat(stream.fileno())
        set_up(LogConfig(), stream=stream, environment={"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})

        def received() -> list[Entry]:
            found = []
            while True:
                try:
                    found.append(decoded(server.recv(1 << 20)))
                except BlockingIOError:
                    return found

        yield received
    root.handlers[:], root.level, root.propagate = before


def test_an_event_has_all_its_fields(journal: Callable[[], list[Entry]], tmp_path: Path) -> None:
    Events([log_sink]).emit(
        "restore.finished",
        service="app",
        item="main",
        path="/srv/a",
        format="json",
        seconds=0.5,
        healthy=True,
        bytes=2**60,
    )
    (entry,) = journal()
    assert entry == {
        "MESSAGE": "info restore.finished app/main: restore finished: 1.0 EiB, in 500 ms, healthy True",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "recoverd",
        "MESSAGE_ID": message_id(EventName.RESTORE_FINISHED),
        "RECOVERD_EVENT": "restore.finished",
        "RECOVERD_SERVICE": "app",
        "RECOVERD_ITEM": "main",
        "RECOVERD_PATH": "/srv/a",
        "RECOVERD_FORMAT": "json",
        "RECOVERD_SECONDS": "0.5",
        "RECOVERD_HEALTHY": "true",
        "RECOVERD_BYTES": str(2**60),
    }
    assert (tmp_path / "log").read_text() == "", "it is told once"


def test_what_is_no_event_has_its_area(journal: Callable[[], list[Entry]]) -> None:
    logging.getLogger("recoverd.scheduler").warning("late")
    (entry,) = journal()
    assert (entry["MESSAGE"], entry["PRIORITY"]) == ("warning scheduler: late", "4")
    assert entry["RECOVERD_AREA"] == "scheduler"
    assert "MESSAGE_ID" not in entry


def test_nothing_forges_a_field(journal: Callable[[], list[Entry]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 12: names hold line breaks, equal signs and bytes that are no text; only `messages` has lines."""
    log = logging.getLogger("recoverd")  # without the handlers of pytest, which can't pass such bytes on
    monkeypatch.setattr(log, "handlers", [one for one in log.handlers if "recoverd" in type(one).__module__])
    hostile = "a\nPRIORITY=0\n\x1b[2J\udcff\0=http://me:geheim@h/"
    Events([log_sink]).emit("state.corrupt", service="app", path=hostile, message=hostile, messages="one\ntwo\x1b")
    (entry,) = journal()
    assert entry["PRIORITY"] == "3"
    assert entry["RECOVERD_MESSAGES"] == "one\ntwo\\x1b"
    assert "\n" not in entry["MESSAGE"]
    assert "\x1b" not in entry["RECOVERD_PATH"]
    assert "geheim" not in str(entry)


def test_a_journal_that_takes_no_more(journal: Callable[[], list[Entry]], tmp_path: Path) -> None:
    """One that finds it too long, or is not there any more: the line goes to stderr, which systemd reads as well."""
    Events([log_sink]).emit("disk.low", message="x" * (16 << 20))
    assert (tmp_path / "log").read_text().startswith("<4>warning disk.low: xxx")
    (tmp_path / "socket").unlink()
    Events([log_sink]).emit("disk.low", message="gone")
    assert (tmp_path / "log").read_text().endswith("<4>warning disk.low: gone\n")
    assert journal() == []


def test_message_ids_never_change() -> None:
    """Catalogs and filters are written against them. Copied from recoverd(8)'s first release, all different."""
    known = {name: message_id(name) for name in EventName}
    assert len(set(known.values())) == len(EventName)
    assert all(len(one) == 32 and one == one.lower() for one in known.values())
    assert known[EventName.SNAPSHOT_SAVED] == "acdf251b2ce3447185d26441a05ca4b9"
    assert known[EventName.RESTORE_FINISHED] == "6b7acee335e145c681fbc95657486c0a"
    assert known[EventName.RESTORE_FAILED] == "ff582f00a23244918c68ed8df02999b9"
