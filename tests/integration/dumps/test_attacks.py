"""Dumps under attack: whoever is killed, whatever goes full, and however the tools end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Restore
from recoverd.operations import pending_loads

LATER, BAD = "second\nEND\n", "half a ro"
MIB = 1 << 20


def in_child(dumped: Any, work: Callable[[], object]) -> int:
    """The pid of a process that does this, and that the test kills, or waits for."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            dumped.reopen()
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def kill_while(dumped: Any, work: Callable[[], object], marker: str) -> None:
    """kill -9 of the process that does this, and of the tool that has written its pid to this file."""
    path = dumped.base / marker
    child = in_child(dumped, work)
    dumped.until(lambda: path.exists() and path.read_text().endswith("\n"), marker)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.kill(int(path.read_text()), signal.SIGKILL)
    dumped.reopen()


def leftovers(dumped: Any) -> list[Path]:
    return [path for path in dumped.state_dir.rglob("*") if ".going-" in path.name or ".tmp-" in path.name]


# --- saving


def test_warnings_on_stderr_are_no_failure(dumped: Any) -> None:
    """The exit status counts: a tool that warns and says 0 has made a whole dump, of its output alone."""
    dumped.write(LATER)
    dumped.mode("save", "warns")
    made = dumped.snapshot()
    assert (made.outcome, made.verdict, made.error) == ("saved", "ok", None)
    dumped.mode("save", None)
    assert dumped.snapshot().outcome == "unchanged"


def test_a_command_that_can_not_be_run_is_told(dumped: Any) -> None:
    """The package was removed, or the path is wrong: a failed capture with the program's name, and nothing else."""
    for number, program in enumerate(("/nowhere/pg_dump", "/etc/hostname", "/")):
        dumped.settings.write_text(f'{{"counter": {number + 2}}}')
        dumped.declare(dump={"save": (program, "app")})
        made = dumped.snapshot()
        assert made.error is not None and program in made.error, made
        newest = dumped.context.repository().snapshots("db")[-1]
        assert newest.items["settings"].verdict == "ok" and newest.items["database"].verdict == "unreadable"
        assert newest.items["database"].good is not None


def test_a_cut_dump_whose_tool_says_zero_is_found_by_what_judges_it(dumped: Any) -> None:
    """Promise 2: exit status 0 is not enough where `validate`, `magic` or a guard knows better."""
    good = dumped.rows.read_bytes()
    for size in (1, 10, len(good) // 2, len(good) - 5):
        dumped.rows.write_bytes(good[:size])
        assert dumped.snapshot().outcome in {"saved", "invalid", "unchanged"}
        newest = dumped.context.repository().snapshots("db")[-1].items["database"]
        assert newest.verdict == "corrupt" and newest.good != newest.root
    assert dumped.restore().outcome == "restored"
    assert dumped.rows.read_bytes() == good


def test_memory_is_bounded_through_save_and_load(dumped: Any) -> None:
    """Promise 11: forty times as much goes through hardly more memory, into the repository and back."""

    def peak_kib(size: int) -> int:
        (dumped.base / "size").write_text(str(size))
        dumped.mode("save", "large")

        def work() -> None:
            assert dumped.snapshot().outcome == "saved"
            dumped.mode("save", None)
            dumped.write(LATER)
            assert dumped.restore(snapshot="db/latest").outcome == "restored"
            assert dumped.rows.stat().st_size == size + 5

        child = in_child(dumped, work)
        _, status, used = os.wait4(child, 0)
        assert status == 0
        dumped.reopen()
        return used.ru_maxrss

    first = peak_kib(MIB)
    assert peak_kib(40 * MIB) - first < 20 * 1024  # the tool itself, of which the peak is too, needs none


# --- loading


def test_killed_between_the_load_and_its_record(dumped: Any) -> None:
    """Promise 5: the rows are in, and nobody knows: the next one finds out, and loads nothing twice."""
    first = dumped.rows.read_text()
    dumped.write(LATER)
    dumped.snapshot()
    dumped.mode("save", "once-loaded")
    kill_while(dumped, lambda: dumped.restore(snapshot="db/1"), "saving")
    dumped.mode("save", None)
    assert dumped.rows.read_text() == first
    assert pending_loads.load(dumped.context.repository(), "db")["database"].has_begun
    result = dumped.confirm()
    assert result.exit_status == 0, result
    assert dumped.rows.read_text() == first and dumped.calls("load") == 1
    assert not pending_loads.load(dumped.context.repository(), "db") and not leftovers(dumped)
    dumped.undo()
    assert dumped.rows.read_text() == LATER


@pytest.mark.parametrize("scope", ["item", "service"])
def test_a_server_that_dies_in_the_middle_of_a_load(dumped: Any, scope: str) -> None:
    """It can't take back what was there either: noted, told, and brought to its end by whoever starts it."""
    first = dumped.rows.read_text()
    dumped.change(restore=Restore(scope=scope))
    dumped.write(LATER)
    dumped.snapshot()
    dumped.mode("load", "server-dies")
    result = dumped.restore(snapshot="db/1")
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert "connection lost" in str(result.reasons) + str(result.attempts)
    assert (dumped.quarantines[0] / "database").read_text() == LATER
    assert dumped.rows.read_text() != LATER
    dumped.reopen()
    for _ in range(2):  # with `service`, what was there is loaded back first; that is a whole too
        result = dumped.confirm()
        assert result.exit_status == 0, result
    assert dumped.rows.read_text() == (first if scope == "item" else LATER)
    assert not pending_loads.load(dumped.context.repository(), "db") and not leftovers(dumped)


@pytest.mark.parametrize("scope", ["item", "service"])
def test_no_room_for_what_is_replaced(dumped: Any, small_disk: Callable[[Path], None], scope: str) -> None:
    """Promise 4 on a full disk: without room for a dump of what is there nothing is loaded, and the room is back."""
    dumped.change(restore=Restore(scope=scope))
    quarantine = dumped.state_dir / "quarantine"
    quarantine.mkdir(exist_ok=True)
    small_disk(quarantine)
    dumped.rows.write_bytes(os.urandom(24 * MIB) + b"\nEND\n")
    before = dumped.rows.read_bytes()
    result = dumped.restore(snapshot="db/1")
    assert result.outcome == "failed" and result.exit_status == 1, result
    assert "No space left on device" in str(result.reasons), result.reasons
    assert dumped.rows.read_bytes() == before and dumped.calls("load") == 0
    assert not leftovers(dumped) and not list(quarantine.rglob("database"))


def test_killed_while_what_is_there_is_dumped(dumped: Any) -> None:
    """Before anything was loaded: nothing is noted, nothing is left but what the next one removes."""
    dumped.write(BAD)
    (dumped.base / "calls").write_text("load\n")
    dumped.mode("save", "once-loaded")
    kill_while(dumped, dumped.restore, "saving")
    assert not pending_loads.load(dumped.context.repository(), "db") and dumped.rows.read_text() == BAD
    dumped.mode("save", None)
    assert dumped.restore().outcome == "restored"
    assert not leftovers(dumped)
