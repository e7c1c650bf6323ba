"""Promises 1, 2, 4 and 12 over what service users, full disks and busy writers leave in a state directory."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recoverd.config.model import Format, ItemKind, StateItem
from recoverd.operations.accept import AcceptRequest, accept
from recoverd.recovery.walk import MAX_DEPTH
from tests.doors import open_the_way

if TYPE_CHECKING:
    from tests.integration.operations.conftest import House

ODD = {
    "new line": b"one\ntwo.json",
    "not UTF-8": b"\xff\xfe\x80.json",
    "as long as can be": b"x" * 250 + b".json",
    "quotes": b"\"'\\$(id).json",
    "control": b"\x1b[31m\x07.json",
    "dash": b"-rf.json",
    "not a pattern": b"[a-z]*?.json",
}


@contextmanager
def plain_user() -> Iterator[None]:
    """Nobody may read what only root may; for who is no root nothing changes."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def reaches_everything(house: House) -> None:
    """Hand the house to the plain user, as which it will be visited."""
    if os.geteuid() == 0:
        for path in (house.root, *house.root.rglob("*")):
            os.chown(path, 65534, 65534)
        open_the_way(house.root.parent)


@pytest.mark.parametrize("kind", ODD)
def test_odd_names(house: House, kind: str) -> None:
    """Damaged, told, and brought back like any other; alone, and with the whole directory."""
    path = os.fsencode(house.tasks) + b"/" + ODD[kind]
    with open(path, "wb") as file:
        file.write(b'{"id": "odd"}')
    assert house.snapshot().verdict == "ok"
    with open(path, "wb") as file:
        file.write(b"{")
    name = os.fsdecode(ODD[kind])
    item = house.assess().services[0].items["tasks"]
    assert [finding.document for finding in item.findings] == [name]
    json.dumps(house.assess().to_json()).encode()
    assert house.snapshot().outcome == "invalid"
    assert house.restore().outcome == "restored"
    with open(path, "rb") as file:
        assert file.read() == b'{"id": "odd"}'
    shutil.rmtree(house.tasks)
    assert house.restore().outcome == "restored"
    assert ODD[kind] in os.listdir(os.fsencode(house.tasks))


def test_a_hard_link_under_a_name_that_is_no_text(house: House) -> None:
    """A service user can't stop captures with it, and both names come back as one file."""
    first, second = (os.fsencode(house.tasks) + name for name in (b"/\xff.json", b"/\xfe.json"))
    with open(first, "wb") as file:
        file.write(b'{"id": "odd"}')
    os.link(first, second)
    assert house.snapshot().verdict == "ok"
    shutil.rmtree(house.tasks)
    assert house.restore().outcome == "restored"
    assert os.stat(first).st_ino == os.stat(second).st_ino


def test_directories_nested_without_end(house: House) -> None:
    """They block the service whose they are, in a sentence; nothing is swallowed, nothing crashes."""
    root = house.root / "deep"
    root.mkdir()
    (root / "one.json").write_text("{}")
    here = os.open(root, os.O_RDONLY)
    for _ in range(MAX_DEPTH * 3):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    house.change(state={"deep": StateItem("deep", ItemKind.DIRECTORY, str(root), Format.JSON)})
    made = house.snapshot()
    assert (made.outcome, made.verdict) == ("saved", "partial")
    assert any(f"deeper than {MAX_DEPTH}" in sentence for _, _, sentence in made.problems)
    assert house.verdict() == "unreadable"
    result = house.restore()
    assert result.outcome == "blocked"
    while os.path.isdir(root / "d"):  # deeper than rmtree can go
        for _ in range(MAX_DEPTH):
            deep = root / "d" / "d"
            if not deep.is_dir():
                shutil.rmtree(root / "d")
                break
            deep.rename(root / "e")
            (root / "d").rmdir()
            (root / "e").rename(root / "d")


@pytest.mark.parametrize("what", ["FIFO", "socket", "symlink", "directory", "dangling link"])
def test_something_else_where_a_document_was(house: House, what: str) -> None:
    """It may have been planted: never opened, never followed, and replaced by the document that was there."""
    path = house.tasks / "task-001.json"
    good = path.read_bytes()
    house.snapshot()
    path.unlink()
    secret = house.root / "secret.json"
    secret.write_text('{"id": "secret"}')
    if what == "FIFO":
        os.mkfifo(path)
    elif what == "socket":
        here = os.getcwd()
        os.chdir(house.tasks)  # names of sockets are short
        try:
            with socket.socket(socket.AF_UNIX) as planted:
                planted.bind(path.name)
        finally:
            os.chdir(here)
    elif what == "directory":
        path.mkdir()
    else:
        path.symlink_to(secret if what == "symlink" else "nowhere")
    assert house.verdict() == "corrupt"
    assert house.snapshot().outcome == "invalid"
    assert house.restore().outcome == "restored"
    assert not path.is_symlink()
    assert path.read_bytes() == good
    assert secret.read_text() == '{"id": "secret"}'
    house.undo()
    assert house.restore().outcome == "untouched", "what was put back is accepted, or the next boot would redo it"
    path.rename(house.root / "away")
    os.mkfifo(path)
    assert house.restore().outcome == "restored", "something else is not"
    assert path.read_bytes() == good


@pytest.mark.parametrize("item", ["main", "tasks"])
def test_something_else_that_is_accepted(house: House, item: str) -> None:
    """What `accept` says is left alone is left alone, also where nothing of it could be captured."""
    house.snapshot()
    path = house.state if item == "main" else house.tasks
    path.rename(house.root / "away")
    os.mkfifo(path)
    assert house.verdict() == "corrupt"
    assert accept(house.context, AcceptRequest("app")).accepted == ((item, "", "corrupt"),)
    assert house.restore().outcome == "untouched"
    path.rename(house.root / "first")
    os.mkfifo(path)
    assert house.restore().outcome == "restored"


def test_something_else_where_the_item_was(house: House) -> None:
    """A file where a directory is declared is no state, and goes to quarantine when it is replaced."""
    house.snapshot()
    shutil.rmtree(house.tasks)
    house.tasks.write_text("planted")
    assert house.verdict() == "corrupt"
    assert house.snapshot().outcome == "invalid"
    result = house.restore()
    assert result.outcome == "restored"
    assert len(list(house.tasks.iterdir())) == 100


def test_what_can_t_be_read_blocks_and_is_carried(house: House) -> None:
    """EACCES is no damage: nothing is rolled back for it, and its known-good version is kept in every capture."""
    reaches_everything(house)
    path = house.tasks / "task-001.json"
    good = path.read_bytes()
    with plain_user():
        house.snapshot()
        path.chmod(0)
        assert house.verdict() == "unreadable"
        house.write_task("task-002", n=1)
        assert house.snapshot().verdict == "partial"
        result = house.restore()
        assert (result.outcome, result.exit_status) == ("blocked", 1)
        assert "task-001.json" in result.reasons[0]
        path.chmod(0o600)
        assert house.verdict() == "ok"
        path.write_bytes(b"{")
        assert house.restore().outcome == "restored"
        assert path.read_bytes() == good


def test_a_first_capture_with_something_unreadable_is_partial(house: House) -> None:
    """One document out of reach does not make a hundred good ones evidence only."""
    reaches_everything(house)
    with plain_user():
        (house.tasks / "task-001.json").chmod(0)
        house.state.unlink()
        for path in house.tasks.iterdir():
            if path.name not in {"task-001.json", "task-002.json"}:
                path.unlink()
        made = house.snapshot()
        assert (made.outcome, made.verdict, made.files) == ("saved", "partial", 1)


@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_directory_that_can_t_be_entered_is_carried(house: House, mode: int) -> None:
    """Its documents stay in the known-good tree, whatever becomes of it, also when only its names can be listed."""
    below = house.tasks / "below"
    below.mkdir()
    (below / "one.json").write_text('{"id": "one"}')
    reaches_everything(house)
    with plain_user():
        house.snapshot()
        below.chmod(mode)
        assert house.verdict() == "unreadable"
        assert house.snapshot().outcome == "invalid"
        below.chmod(0o700)
        (below / "one.json").write_bytes(b"{")
        assert house.restore().outcome == "restored"
        assert (below / "one.json").read_text() == '{"id": "one"}'


def test_a_writer_in_full_swing_never_makes_a_torn_capture_good(house: House) -> None:
    """Two halves of a document that one call writes: what is known-good is always of one piece.

    No stat tells of a write call that the machine suspends in its middle for longer than the 20 ms after which a
    file counts as quiet; a round in which that happened proves nothing and is played again.
    """
    for _ in range(5):
        if _slowest_write_s(house) < 0.01:
            return _all_of_one_piece(house)
        shutil.rmtree(house.state_dir)
        house.reopen()
    pytest.skip("this machine is so busy that it suspends writers in the middle of a call")


def _slowest_write_s(house: House) -> float:
    """Capture three times while a thread writes; how long its slowest call took."""
    path = house.tasks / "task-001.json"
    stop = threading.Event()
    took = [0.0]

    def write() -> None:
        number = 0
        with open(path, "r+b", buffering=0) as file:
            while not stop.is_set():
                number = (number + 1) % 10
                half = str(number).encode() * 30_000
                started = time.monotonic()
                os.pwrite(file.fileno(), b'{"id": "%b", "again": "%b"}' % (half, half), 0)
                took.append(time.monotonic() - started)
                stop.wait(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            house.snapshot()
    finally:
        stop.set()
        writer.join()
    return max(took)


def _all_of_one_piece(house: House) -> None:
    path = house.tasks / "task-001.json"
    for listed in house.list():
        snapshot = listed.snapshot
        with house.context.repository().reader() as reader:
            root = snapshot.items["tasks"].good
            assert root is not None
            entry = next(iter(reader.tree(root)))
            for one in reader.tree(entry.hash or ""):
                if one.name == path.name:
                    document = json.loads(reader.read(one.hash or ""))
                    assert document["id"] == document.get("again", document["id"])
                    assert len(set(document["id"])) == 1 or document["id"] == "task-001"


def test_documents_that_come_and_go_during_the_walk(house: House) -> None:
    """A name that vanished is a deleted document: no damage, no error."""
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            path = house.tasks / f"churn-{number % 50}.json"
            fresh = house.tasks / f".tmp-{number}"
            fresh.write_text('{"id": "churn"}')
            fresh.rename(path)
            (house.tasks / f"churn-{(number + 25) % 50}.json").unlink(missing_ok=True)

    writer = threading.Thread(target=churn)
    writer.start()
    try:
        made = [house.snapshot() for _ in range(4)]
    finally:
        stop.set()
        writer.join()
    assert {one.outcome for one in made} <= {"saved", "unchanged", "invalid"}
    assert not [sentence for one in made for _, _, sentence in one.problems if "kept changing" not in sentence]
    assert house.verdict() == "ok"


def test_a_log_that_grows_is_taken_at_its_first_length(house: House) -> None:
    """Lines that are appended while it is read are of the next capture; small and large files."""
    logs = house.root / "logs"
    logs.mkdir()
    line = b'{"event": "' + b"x" * 100 + b'"}\n'
    small, large = logs / "small.jsonl", logs / "large.jsonl"
    small.write_bytes(line * 10)
    large.write_bytes(line * 20_000)
    house.change(state={"logs": StateItem("logs", ItemKind.DIRECTORY, str(logs), Format.JSON_LINES)})
    stop = threading.Event()

    def append() -> None:
        with open(small, "ab", buffering=0) as one, open(large, "ab", buffering=0) as other:
            while not stop.wait(0.001):
                one.write(line)
                other.write(line)

    writer = threading.Thread(target=append)
    writer.start()
    try:
        made = [house.snapshot() for _ in range(3)]
    finally:
        stop.set()
        writer.join()
    assert [one.verdict for one in made] == ["ok"] * 3, made


@pytest.mark.parametrize(
    ("format", "before", "after"),
    [
        (Format.OPAQUE, b"binary \x01\x02" * 10, bytes(120)),
        (Format.OPAQUE, b"binary \x01\x02" * 10, b""),
        (Format.JSON_LINES, b'{"a": 1}\n', b""),
        (Format.AUTO, b'{"a": 1}', b"\x8f\x01\xfe\x00\x99garbage"),
        (Format.AUTO, b'{"a": 1}', bytes(8)),
        (Format.OPAQUE, b"binary \x01\x02" * 200_000, bytes(2_000_000)),
    ],
)
def test_what_is_blank_or_unlike_its_known_good_version(
    house: House, format: Format, before: bytes, after: bytes
) -> None:
    """Nobody can parse it, or anything would do: it is judged by what was there before, however often it is asked."""
    path = house.root / "state" / "blob"
    path.write_bytes(before)
    house.change(state={"blob": StateItem("blob", ItemKind.FILE, str(path), format)})
    assert house.snapshot().verdict == "ok"
    path.write_bytes(after)
    for _ in range(2):
        assert house.verdict() == "corrupt"
        house.snapshot()
    assert house.restore().outcome == "restored"
    assert path.read_bytes() == before


@pytest.mark.parametrize("size", [0, 100, 2_000_000])
def test_what_was_always_blank_is_fine(house: House, size: int) -> None:
    """A file that a service keeps reserved but empty is nothing to repair, in captures and assessments alike."""
    path = house.root / "state" / "blob"
    path.write_bytes(bytes(size))
    house.change(state={"blob": StateItem("blob", ItemKind.FILE, str(path), Format.OPAQUE)})
    for _ in range(2):
        assert house.snapshot().verdict == "ok"
        assert house.verdict() == "ok"


def test_large_documents_are_judged_stored_and_brought_back(house: House) -> None:
    """Beyond a megabyte they go block by block; one damaged block is damage, a hole stays one."""
    path = house.tasks / "large.json"
    good = json.dumps({"id": "large", "text": "word " * 600_000}).encode()
    path.write_bytes(good)
    assert house.snapshot().verdict == "ok"
    path.write_bytes(good[:1_500_000] + bytes(4096) + good[1_504_096:])
    assert house.verdict() == "corrupt"
    assert house.snapshot().outcome == "invalid"
    assert house.restore().outcome == "restored"
    assert path.read_bytes() == good
    assert house.snapshot().outcome == "unchanged"


def test_links_and_empty_directories_come_back(house: House) -> None:
    """They are state too, where nothing says otherwise."""
    tasks = replace(house.service.state["tasks"], include=())
    house.change(state={"tasks": tasks})
    (house.tasks / "empty").mkdir(mode=0o750)
    (house.tasks / "link").symlink_to("/nowhere/at all")
    house.snapshot()
    shutil.rmtree(house.tasks)
    assert house.restore().outcome == "restored"
    assert os.readlink(house.tasks / "link") == "/nowhere/at all"
    assert Path(house.tasks / "empty").stat().st_mode & 0o777 == 0o750


def test_what_a_restore_keeps_beside_its_target_is_no_state(house: House) -> None:
    """Quarantine of a mount root lies inside it; captures and verdicts pass it over."""
    house.change(
        state={**house.service.state, "tasks": replace(house.service.state["tasks"], include=())},
    )
    house.snapshot()
    place = house.tasks / ".recoverd-0123456789ab"
    place.mkdir(mode=0o700)
    (place / "00001").write_bytes(b"{ what was replaced")
    assert house.verdict() == "ok"
    assert house.snapshot().outcome == "unchanged"
    (house.tasks / "sub" / ".recoverd-x").mkdir(parents=True)
    (house.tasks / "sub" / ".recoverd-x" / "a.json").write_bytes(b"{")
    assert house.verdict() == "corrupt"  # deeper down it is just a name
