"""A dump's commands: bounded, ended as a whole, and believed only when they came to a good end."""

from __future__ import annotations

import os
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.errors import ServiceError
from recoverd.services.streaming import read_from, read_into

WITHIN_S = 60.0


def shell(script: str) -> list[str]:
    return ["/bin/sh", "-c", script]


def python(script: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script]


def gone(pid: int) -> bool:
    """Whether a process has ended, at the latest within a minute."""
    for _ in range(600):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":
            return True
        time.sleep(0.1)
    return False


def test_all_that_comes_is_handed_on_in_order() -> None:
    """Promise 7: not a byte of a dump is lost or added."""
    got = bytearray()
    script = "import sys; [sys.stdout.buffer.write(bytes([n % 251]) * 1000) for n in range(3000)]"
    done = read_from(python(script), got.extend, timeout_s=WITHIN_S)
    assert done.whole and done.ran.status == 0 and done.size_bytes == 3_000_000
    assert bytes(got) == b"".join(bytes([n % 251]) * 1000 for n in range(3000))


def test_a_large_stream_takes_bounded_memory() -> None:
    """Promise 11: 64 MiB go through less than 4 MiB of memory."""
    seen = 0

    def take(data: bytes) -> None:
        nonlocal seen
        seen += len(data)

    tracemalloc.start()
    try:
        done = read_from(shell("head -c 67108864 /dev/zero"), take, timeout_s=WITHIN_S)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert done.whole and seen == 64 << 20
    assert peak < 4 << 20


def test_its_exit_status_and_last_words_are_told() -> None:
    """A dump that dies is none: what it wrote before, however much, does not make it whole."""
    done = read_from(shell("echo half; echo 'no such table' >&2; exit 3"), lambda _: None, timeout_s=WITHIN_S)
    assert done.ran.status == 3
    assert done.ran.last_line == "no such table"


def test_one_that_is_killed_says_so() -> None:
    done = read_from(shell("echo half; kill -9 $$"), lambda _: None, timeout_s=WITHIN_S)
    assert done.ran.status == -9
    assert done.ran.ending == "was ended by SIGKILL"


def test_errors_without_end_neither_block_it_nor_fill_memory() -> None:
    """A tool that says a lot on its standard error still comes to its end; only the tail is kept."""
    done = read_from(
        shell("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo last >&2; echo data"),
        lambda _: None,
        timeout_s=WITHIN_S,
    )
    assert done.whole and done.ran.status == 0
    assert len(done.ran.output) <= 8 * 1024
    assert done.ran.last_line == "last"


def test_at_its_deadline_the_whole_group_is_ended(tmp_path: Path) -> None:
    """What the tool has started does not go on writing, or holding locks, when nobody reads any more."""
    pid_file = tmp_path / "child"
    script = f"sleep 600 & echo $! > {pid_file}; echo half; wait"
    done = read_from(shell(script), lambda _: None, timeout_s=1.0)
    assert done.ran.status is None and not done.whole
    assert "did not end within" in done.ran.ending
    assert gone(int(pid_file.read_text()))


def test_what_a_child_still_writes_belongs_to_it() -> None:
    """A shell that ends before its pipeline does: the rest is waited for, so that nothing is cut."""
    got = bytearray()
    done = read_from(shell("(sleep 0.3; echo late) & echo early"), got.extend, timeout_s=WITHIN_S)
    assert done.whole
    assert bytes(got) == b"early\nlate\n"


def test_more_than_it_may_have_ends_it(tmp_path: Path) -> None:
    """max_bytes: nothing beyond it is handed on, and an endless tool ends."""
    got = bytearray()
    done = read_from(
        shell(f"echo $$ > {tmp_path}/pid; exec cat /dev/zero"), got.extend, timeout_s=WITHIN_S, most_bytes=100_000
    )
    assert done.too_large and not done.whole
    assert len(got) <= 100_000
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_taker_that_fails_leaves_no_process(tmp_path: Path) -> None:
    """A full disk under the taker: its error comes through, and the tool is gone."""

    def take(data: bytes) -> None:
        raise OSError(28, f"no room for {len(data)} bytes")

    with pytest.raises(OSError, match="no room"):
        read_from(shell(f"echo $$ > {tmp_path}/pid; exec cat /dev/zero"), take, timeout_s=WITHIN_S)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(OSError, match="No such file"):
        read_from(["/nowhere/pg_dump"], lambda _: None, timeout_s=WITHIN_S)


CONTENT = b"".join(bytes([number % 251]) * 70_001 for number in range(40))


@pytest.fixture
def dump(tmp_path: Path) -> Iterator[int]:
    """An open file of 2.8 MB."""
    path = tmp_path / "dump"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_loader_gets_all_of_it(dump: int, tmp_path: Path) -> None:
    """What is loaded is what was stored, byte for byte, and standard input ends where it ends."""
    done = read_into(shell(f"cat > {tmp_path}/got"), dump, timeout_s=WITHIN_S)
    assert done.whole and done.ran.status == 0
    assert (tmp_path / "got").read_bytes() == CONTENT


def test_a_loader_that_reads_nothing_has_loaded_nothing(dump: int) -> None:
    """Exit status 0 alone proves nothing: `load: [true]` is a mistake, not a load."""
    done = read_into(["/bin/true"], dump, timeout_s=WITHIN_S)
    assert done.ran.status == 0
    assert not done.whole


def test_a_loader_that_fails_says_why(dump: int) -> None:
    done = read_into(shell("cat > /dev/null; echo 'syntax error' >&2; exit 1"), dump, timeout_s=WITHIN_S)
    assert done.ran.status == 1 and done.ran.last_line == "syntax error"


def test_a_loader_that_hangs_ends_at_its_deadline_with_all_it_started(dump: int, tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/child; wait"
    done = read_into(shell(script), dump, timeout_s=1.0)
    assert done.ran.status is None and not done.whole
    assert gone(int((tmp_path / "child").read_text()))


def test_an_empty_dump_can_be_loaded(tmp_path: Path) -> None:
    """What was there may have been nothing; an undo brings that back too."""
    (tmp_path / "dump").write_bytes(b"")
    with (tmp_path / "dump").open("rb") as file:
        done = read_into(shell(f"cat > {tmp_path}/got"), file.fileno(), timeout_s=WITHIN_S)
    assert done.whole and done.ran.status == 0
    assert (tmp_path / "got").read_bytes() == b""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_it_runs_as_the_user_it_is_meant_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 12: a service's tool gets the rights and the home of its user, and none of root's environment."""
    monkeypatch.setenv("RECOVERD_SECRET", "root's own")
    got = bytearray()
    done = read_from(shell("id -u; id -g; id -G; echo $HOME; env"), got.extend, timeout_s=WITHIN_S, user="nobody")
    assert done.whole
    uid, gid, groups, home, *environment = got.decode().splitlines()
    assert (uid, gid) == ("65534", "65534") and "0" not in groups.split()
    assert home == "/nonexistent"
    assert not any(line.startswith("RECOVERD_SECRET") for line in environment)


@pytest.mark.skipif(os.geteuid() == 0, reason="root becomes anybody")
def test_a_plain_user_becomes_nobody_else() -> None:
    with pytest.raises(ServiceError, match="can't start"):
        read_from(shell("id"), lambda _: None, timeout_s=WITHIN_S, user="root")


def test_nobody_is_no_user(dump: int) -> None:
    with pytest.raises(ServiceError, match="no user"):
        read_into(shell("cat"), dump, timeout_s=WITHIN_S, user="no-such-user-here")
