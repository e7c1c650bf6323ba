"""The `command` driver: a stop ends all of a service, in order, or says that it could not."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from recoverd.services.command import CommandDriver
from recoverd.services.process_record import ProcessRecord
from recoverd.system import processes
from recoverd.system.processes import identify, is_alive

Make = Callable[..., CommandDriver]
Says = Callable[..., str]
Marked = Callable[[], list[int]]


def record_of(tmp_path: Path) -> ProcessRecord:
    return ProcessRecord.from_json(json.loads((tmp_path / "ledger.json").read_bytes()))


# --- stopping -------------------------------------------------------------------------------------------


def test_stop_ends_the_whole_tree(make_driver: Make, log_says: Says, marked: Marked) -> None:
    """Children, and orphans that left the session, go with the service."""
    driver = make_driver("has_children.py")
    driver.start()
    log_says("child")
    log_says("orphan")
    assert len(marked()) == 3
    assert driver.stop().was_running
    assert not marked()


def test_stop_finds_relatives_without_environment(make_driver: Make, log_says: Says) -> None:
    """Who carries no start id is told by descent, or by the session that it shares with the main process."""
    driver = make_driver("has_children.py", "--forget-environment")
    driver.start()
    lines = (log_says("child") + log_says("orphan")).splitlines()
    relatives = [identify(int(line.split()[1])) for line in lines if line.startswith(("child", "orphan"))]
    assert len(set(relatives)) == 2
    try:
        driver.stop()
        for relative in relatives:
            assert relative is not None
            assert not is_alive(relative)
    finally:
        for relative in relatives:
            if relative is not None:
                processes.signal(relative, signal.SIGKILL)


def test_stop_kills_what_ignores_the_signal(make_driver: Make, log_says: Says, tmp_path: Path) -> None:
    """A process that ignores SIGTERM is killed after the deadline; that is no clean stop."""
    driver = make_driver("ignores_term.py", stop_timeout_s=0.3)
    started = driver.start()
    log_says("ready")
    stopped = driver.stop()
    assert stopped.how == "kill"
    assert 0.3 <= stopped.seconds < 3
    assert not is_alive(started.identity)
    record = record_of(tmp_path)
    assert record.last_stop_ns > 0
    assert not record.ended_cleanly


def test_stop_catches_what_forks_while_it_is_ended(make_driver: Make, log_says: Says, marked: Marked) -> None:
    """New stubborn processes, made in answer to the signal and in sessions of their own, do not get away."""
    driver = make_driver("forks_when_killed.py", stop_timeout_s=0.5)
    driver.start()
    log_says("ready")
    assert driver.stop().how == "kill"
    assert not marked()


def test_stop_gives_time_to_flush(make_driver: Make, log_says: Says, tmp_path: Path) -> None:
    """A service asked to stop may finish its writes before it is gone."""
    driver = make_driver("flushes_at_exit.py", str(tmp_path / "state.json"))
    driver.start()
    log_says("ready")
    assert (tmp_path / "state.json").read_text() == ""
    assert driver.stop().how == "term"
    assert json.loads((tmp_path / "state.json").read_text()) == {"flushed": True}


def test_stop_lets_the_main_process_end_its_children(make_driver: Make, log_says: Says) -> None:
    """The main process is asked alone at first, so that it can end its children in its own order."""
    code = "sleep 600 & C=$!; trap 'sleep 0.2; kill -0 $C && echo child is there; exit' TERM; echo ready; wait"
    driver = make_driver("/bin/sh", "-c", code)
    driver.start()
    log_says("ready")
    assert driver.stop().how == "term"
    log_says("child is there")


def test_stop_asks_the_children_of_a_main_process_that_waits(make_driver: Make, log_says: Says) -> None:
    """A main process that only ends after its children gets its chance: they are asked at half of the timeout."""
    code = (
        "import signal, subprocess; child = subprocess.Popen(['/bin/sleep', '600']);"
        "signal.signal(signal.SIGTERM, lambda *_: None); print('ready'); child.wait()"
    )
    driver = make_driver(sys.executable, "-u", "-c", code, stop_timeout_s=2.0)
    driver.start()
    log_says("ready")
    stopped = driver.stop()
    assert stopped.how == "term"
    assert 1.0 <= stopped.seconds < 2.0


def test_stop_uses_the_declared_signal(make_driver: Make, log_says: Says) -> None:
    """`stop_signal` is what the main process gets."""
    driver = make_driver(
        "/bin/sh", "-c", "trap 'echo interrupted; exit' INT; trap '' TERM; echo ready; while :; do sleep 0.05; done",
        stop_signal="INT",
    )  # fmt: skip
    driver.start()
    log_says("ready")
    assert driver.stop().how == "term"
    log_says("interrupted")


def test_stop_wakes_a_suspended_process(make_driver: Make) -> None:
    """A process stopped by SIGSTOP can answer SIGTERM only when it is continued."""
    driver = make_driver("/bin/sleep", "600")
    os.kill(driver.start().pid, signal.SIGSTOP)
    assert driver.stop().how == "term"
