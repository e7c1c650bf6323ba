"""Reading logs: the newest lines, through rotation, and nothing that was planted."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.errors import ServiceError
from recoverd.services.log_reading import last_line, read_log
from recoverd.services.logs import open_log


def numbers(first: int, end: int) -> str:
    return "".join(f"line {number}\n" for number in range(first, end))


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30), max_size=30),
    count=st.integers(0, 40),
    finished=st.booleans(),
)
def test_as_tail_does_it(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], count: int, finished: bool
) -> None:
    """The last `count` lines, whatever is in them; a line that is not finished counts, an empty end does not."""
    path = tmp_path_factory.mktemp("log") / "a.log"
    path.write_text("\n".join(lines) + ("\n" if finished and lines else ""), encoding="utf-8")
    whole = path.read_bytes().decode().removesuffix("\n").split("\n") if path.stat().st_size else []
    assert list(read_log(str(path), count)) == (whole[-count:] if count else [])


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text(numbers(0, 300_000))
    assert list(read_log(str(path), 3)) == ["line 299997", "line 299998", "line 299999"]
    assert len(list(read_log(str(path), 50_000))) == 50_000


def test_older_files_fill_what_is_missing(tmp_path: Path) -> None:
    """Right after a rotation the log is nearly empty, and the lines that matter are in PATH.1."""
    path = tmp_path / "a.log"
    (tmp_path / "a.log.2").write_text(numbers(0, 3))
    (tmp_path / "a.log.1").write_text(numbers(3, 6))
    path.write_text(numbers(6, 7))
    assert list(read_log(str(path), 5)) == [f"line {number}" for number in range(2, 7)]
    assert last_line(str(path)) == "line 6"


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"caf\xe9\r\n\n")
    assert list(read_log(str(path), 2)) == ["caf\udce9", ""]
    assert last_line(str(path)).encode(errors="surrogateescape") == b"caf\xe9"


def test_no_log_yet(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"there is no log .*/a\.log yet"):
        read_log(str(tmp_path / "a.log"), 3)
    assert last_line(str(tmp_path / "a.log")) == ""


@pytest.mark.parametrize("planted", ["link", "hard link", "fifo", "directory"])
def test_nothing_planted_is_read(tmp_path: Path, planted: str) -> None:
    """product.md 12: a service's user may own the directory, and recoverd's operator may be root."""
    secret = tmp_path / "secret"
    secret.write_text("root:hash\n")
    path = tmp_path / "a.log"
    if planted == "link":
        path.symlink_to(secret)
    elif planted == "hard link":
        path.hardlink_to(secret)
    elif planted == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    for follow in (False, True):
        with pytest.raises(ServiceError, match=r"can't be read|not a plain file"):
            read_log(str(path), 3, follow=follow)
    assert last_line(str(path)) == ""


def collect(lines: Iterator[str], into: list[str]) -> threading.Thread:
    thread = threading.Thread(target=lambda: into.extend(iter(lambda: next(lines), "end")), daemon=True)
    thread.start()
    return thread


def test_following_goes_through_rotation(tmp_path: Path) -> None:
    """Each line comes once, whole, in order: those before, those added, those of the file that follows."""
    path, seen = tmp_path / "a.log", list[str]()
    path.write_text("one\ntwo\nthr")
    thread = collect(read_log(str(path), 1, follow=True), seen)
    time.sleep(0.3)
    with open(path, "a", encoding="utf-8") as file:
        file.write("ee\nfour\n")
    time.sleep(0.3)
    fd = open_log(str(path), rotate_bytes=1)
    os.write(fd, b"five\nend\n")
    os.close(fd)
    thread.join(10)
    assert seen == ["two", "three", "four", "five"]


def test_following_waits_for_a_log_and_survives_its_emptying(tmp_path: Path) -> None:
    path, seen = tmp_path / "a.log", list[str]()
    thread = collect(read_log(str(path), 5, follow=True), seen)
    time.sleep(0.3)
    path.write_text("a first line\n")
    time.sleep(0.5)
    with open(path, "w", encoding="utf-8") as file:
        file.write("again\n")
    time.sleep(0.5)
    with open(path, "a", encoding="utf-8") as file:
        file.write("end\n")
    thread.join(10)
    assert seen == ["a first line", "again"]
