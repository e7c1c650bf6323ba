"""The log lies in a directory that may belong to the service's user (promise 12)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from recoverd.errors import ServiceError
from recoverd.services.logs import bound_log, open_log


def append(path: Path, text: str, **keys: int) -> None:
    fd = open_log(str(path), **keys)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def test_appends(tmp_path: Path) -> None:
    """Each opening writes behind what is there, also when two have it open; mode 0640."""
    log = tmp_path / "log"
    append(log, "one\n")
    first, second = open_log(str(log)), open_log(str(log))
    for fd in (first, second, first):
        os.write(fd, b"more\n")
    os.close(first)
    os.close(second)
    assert log.read_text() == "one\nmore\nmore\nmore\n"
    assert log.stat().st_mode & 0o777 == 0o640


def test_descriptor_blocks_and_is_not_inherited(tmp_path: Path) -> None:
    """The service must not get a non-blocking stdout, nor anybody else this descriptor."""
    fd = open_log(str(tmp_path / "log"))
    try:
        assert os.get_blocking(fd)
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_rotates_when_large(tmp_path: Path) -> None:
    """More than the limit moves on to .1, .2, .3; the oldest goes; at the limit nothing moves."""
    log = tmp_path / "log"
    for number in range(6):
        append(log, f"{number}" * 11, rotate_bytes=10)
    assert {path.name: path.read_text()[0] for path in tmp_path.iterdir()} == {
        "log": "5", "log.1": "4", "log.2": "3", "log.3": "2",
    }  # fmt: skip
    append(log, "", rotate_bytes=11)
    assert log.read_text() == "5" * 11


@pytest.mark.parametrize("planted", ["symlink", "dangling symlink", "hard link", "fifo", "directory"])
def test_nothing_planted_is_written_to(planted: str, tmp_path: Path) -> None:
    """A link, FIFO or directory in place of the log is refused at once, and what it leads to is untouched."""
    victim, log = tmp_path / "victim", tmp_path / "log"
    victim.write_text("precious" * 4)
    match planted:
        case "symlink":
            log.symlink_to(victim)
        case "dangling symlink":
            log.symlink_to(tmp_path / "new")
        case "hard link":
            log.hardlink_to(victim)
        case "fifo":
            os.mkfifo(log)
        case "directory":
            log.mkdir()
    with pytest.raises(ServiceError) as caught:
        append(log, "x", rotate_bytes=100)
    assert str(log) in caught.value.message
    assert caught.value.hint
    assert victim.read_text() == "precious" * 4
    assert not (tmp_path / "new").exists()


def test_a_fifo_with_a_reader_is_refused_too(tmp_path: Path) -> None:
    """Then the open succeeds, and the look at what was opened refuses."""
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(ServiceError, match="is not a plain file with one name"):
            open_log(str(tmp_path / "log"))
    finally:
        os.close(reader)


def test_relative_path_is_refused(tmp_path: Path) -> None:
    """The model gives absolute paths; another one is an error and not a file somewhere."""
    with pytest.raises(ServiceError, match="not an absolute path"):
        open_log("log")


def test_a_log_that_is_written_to_is_bounded(tmp_path: Path) -> None:
    """A service that runs for months must not fill the disk: the newest part is kept, three times, and it writes on."""
    log = tmp_path / "log"
    assert not bound_log(str(log))
    fd = open_log(str(log))
    try:
        for number in range(6):
            os.write(fd, b"%d" % number * 25)
            assert bound_log(str(log), most_bytes=10)
            assert log.read_bytes() == b""
        os.write(fd, b"on")
        assert not bound_log(str(log), most_bytes=10)
    finally:
        os.close(fd)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "log": "on", "log.1": "5" * 10, "log.2": "4" * 10, "log.3": "3" * 10,
    }  # fmt: skip
    assert (tmp_path / "log.1").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("planted", ["symlink", "hard link", "fifo", "directory"])
def test_nothing_planted_is_emptied(planted: str, tmp_path: Path) -> None:
    """Whatever lies in place of the log, what it leads to keeps its content, and no copy of it is made."""
    victim, log = tmp_path / "victim", tmp_path / "log"
    victim.write_bytes(b"v" * 100)
    if planted == "symlink":
        log.symlink_to(victim)
    elif planted == "hard link":
        os.link(victim, log)
    elif planted == "fifo":
        os.mkfifo(log)
    else:
        log.mkdir()
    with pytest.raises(ServiceError):
        bound_log(str(log), most_bytes=10)
    assert victim.read_bytes() == b"v" * 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "victim"]


def test_what_is_planted_in_place_of_an_older_log_is_not_written_to(tmp_path: Path) -> None:
    victim, log = tmp_path / "victim", tmp_path / "log"
    victim.write_text("v")
    (tmp_path / "log.1").symlink_to(victim)
    append(log, "x" * 25)
    assert bound_log(str(log), most_bytes=10)
    assert victim.read_text() == "v"
    assert (tmp_path / "log.1").read_text() == "x" * 10


def test_a_copy_that_fails_leaves_the_log_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk nothing is lost, and nothing half-written stays."""
    log = tmp_path / "log"
    append(log, "x" * 25)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(ServiceError, match="No space left"):
        bound_log(str(log), most_bytes=10)
    monkeypatch.undo()
    assert log.read_text() == "x" * 25
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
