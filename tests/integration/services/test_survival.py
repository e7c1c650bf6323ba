"""The `command` driver: the life of recoverd is not the life of the service, and a pid is not a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from recoverd.services.command import CommandDriver
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.system.processes import ProcessIdentity, identify, is_alive

Make = Callable[..., CommandDriver]
Says = Callable[..., str]
Marked = Callable[[], list[int]]


def write_record(tmp_path: Path, record: ProcessRecord) -> None:
    (tmp_path / "ledger.json").write_text(json.dumps(record.to_json()))


def wait_gone(identity: ProcessIdentity, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while is_alive(identity):
        assert time.monotonic() < deadline, "the process still runs"
        time.sleep(0.01)


# --- the life of recoverd is not the life of the service -------------------------------------------------

PARENT = """
    import json, sys, time
    sys.path.insert(0, {conftest!r})
    from conftest import FileLedger
    from pathlib import Path
    from recoverd.config.model import Run, RunKind
    from recoverd.services.command import CommandDriver
    run = Run(RunKind.COMMAND, command=tuple({command!r}), env={env!r})
    driver = CommandDriver("agent", run, FileLedger(Path({ledger!r})), log_dir={logs!r})
    {before}
    started = driver.start()
    print(started.pid, started.already, flush=True)
    time.sleep(600)
"""


def recoverd(tmp_path: Path, mark: str, *command: str, before: str = "") -> subprocess.Popen[str]:
    """A process of its own that starts the service, as recoverd would."""
    code = textwrap.dedent(PARENT).format(
        conftest=str(Path(__file__).parent),
        command=list(command),
        env={"RECOVERD_TEST": mark},
        ledger=str(tmp_path / "ledger.json"),
        logs=str(tmp_path / "logs"),
        before=before,
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "RECOVERD_TEST": mark},
    )  # fmt: skip


def test_survives_recoverd(make_driver: Make, tmp_path: Path, mark: str) -> None:
    """recoverd and its whole session are killed: the service runs on, and a new driver finds it, starts no second one,
    and can stop it."""
    parent = recoverd(tmp_path, mark, "/bin/sleep", "600")
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline().split()[0])
        os.killpg(parent.pid, signal.SIGHUP)
        os.killpg(parent.pid, signal.SIGKILL)
    driver = make_driver("/bin/sleep", "600")
    found = driver.start()
    assert (found.already, found.pid) == (True, pid)
    assert driver.stop().was_running


@pytest.mark.parametrize(
    ("moment", "runs"),
    [("before it is saved", False), ("after it was saved", False), ("after it was told to go on", True)],
)
def test_no_process_that_nobody_knows(
    moment: str, runs: bool, make_driver: Make, tmp_path: Path, mark: str, marked: Marked
) -> None:
    """recoverd is killed at each step of a start: afterwards the service either does not run, or is known; the next
    start gives exactly one process."""
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    save = "save = FileLedger.save\n"
    step = {
        "before it is saved": f"def f(self, p):\n    {kill}\nFileLedger.save = f",
        "after it was saved": save + f"def f(self, p):\n    save(self, p)\n    {kill}\nFileLedger.save = f",
        "after it was told to go on": save
        + f"def f(self, p):\n    if p['phase'] == 'running':\n        {kill}\n    save(self, p)\nFileLedger.save = f",
    }[moment]
    with recoverd(tmp_path, mark, "/bin/sleep", "600", before=step) as parent:
        assert parent.wait(20) == -signal.SIGKILL
    driver = make_driver("/bin/sleep", "600")
    started = driver.start()
    assert started.already == runs
    assert marked() == [started.pid]
    assert driver.status().running


@pytest.mark.parametrize(
    ("seconds", "token", "already"),
    [
        ("0.3", "another token", False),  # it was about to end, its recoverd being dead
        ("600", "the token", True),  # it has executed the command
        ("600", "another token", True),  # it has, and hides its environment, or it would have ended
    ],
)
def test_a_start_that_was_broken_off_is_waited_for(
    seconds: str, token: str, already: bool, make_driver: Make, tmp_path: Path, mark: str
) -> None:
    """Between being made and executing the command a process is not yet the service, though it is alive."""
    env = {"RECOVERD_START_ID": token, "RECOVERD_TEST": mark}
    with subprocess.Popen(["/bin/sleep", seconds], env=env, start_new_session=True) as process:
        identity = identify(process.pid)
        write_record(tmp_path, ProcessRecord("running", Phase.STARTING, identity, "the token", started_ns=1))
        started = make_driver("/bin/sleep", "600").start()
        process.kill()
    assert started.already == already
    assert (started.identity == identity) == already


def test_concurrent_starts_start_one(make_driver: Make, tmp_path: Path, mark: str, marked: Marked) -> None:
    """Two recoverds and several threads start at once: there is one process, and one of them has started it."""
    parents = [recoverd(tmp_path, mark, "/bin/sleep", "600") for _ in range(2)]
    results: list[tuple[int, bool]] = []

    def start() -> None:
        started = make_driver("/bin/sleep", "600").start()
        results.append((started.pid, started.already))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for parent in parents:
        with parent:
            assert parent.stdout is not None
            pid, already = parent.stdout.readline().split()
            results.append((int(pid), already == "True"))
            parent.kill()
    assert len({pid for pid, _ in results}) == 1
    assert sorted(already for _, already in results) == [False, True, True, True, True]
    assert marked() == [results[0][0]]


# --- whose pid is it ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["start time", "boot"])
def test_a_foreign_process_with_the_same_pid_is_left_alone(make_driver: Make, tmp_path: Path, change: str) -> None:
    """Pid reuse (ncpa#1068, nebula#5998): identity is more than a pid; the service is started anew."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as foreign:
        try:
            real = identify(foreign.pid)
            assert real is not None
            faked = (
                ProcessIdentity(real.boot_id, real.pid, real.start_ticks - 1)
                if change == "start time"
                else ProcessIdentity("00000000-0000-4000-8000-000000000000", real.pid, real.start_ticks)
            )
            write_record(
                tmp_path, ProcessRecord("running", Phase.RUNNING, faked, "0" * 32, ("/bin/sleep", "600"), 1, starts=1)
            )
            driver = make_driver("/bin/sleep", "600")
            assert not driver.status().running
            assert driver.stop().how == "not running"
            assert foreign.poll() is None
            started = driver.start()
            assert not started.already
            assert started.pid != foreign.pid
            assert foreign.poll() is None
            assert driver.status().restarts == 1
        finally:
            foreign.kill()


def test_reboot_is_told_as_such(make_driver: Make, tmp_path: Path) -> None:
    """After a reboot the status says that the process ended with the former boot."""
    gone = ProcessIdentity("00000000-0000-4000-8000-000000000000", 1, 1)
    write_record(tmp_path, ProcessRecord("running", Phase.RUNNING, gone))
    assert make_driver("/bin/true").status().detail == "process 1 ended with a former boot"


def test_children_that_outlived_their_main_process_are_ended_first(
    make_driver: Make, log_says: Says, marked: Marked
) -> None:
    """A lingering process of a former run would write into the state of the new one: it is found by its start id."""
    driver = make_driver("has_children.py")
    first = driver.start()
    log_says("child")
    os.kill(first.pid, signal.SIGKILL)
    wait_gone(first.identity)
    lingering = set(marked())
    assert len(lingering) == 2
    driver.start()
    log_says("child", times=2)
    now = set(marked())
    assert not lingering & now
    assert len(now) == 3


def test_stop_without_main_process_still_ends_its_children(make_driver: Make, log_says: Says, marked: Marked) -> None:
    """`was_running` is about the main process; on return nothing of the service is left in any case."""
    driver = make_driver("has_children.py")
    first = driver.start()
    log_says("child")
    os.kill(first.pid, signal.SIGKILL)
    wait_gone(first.identity)
    stopped = driver.stop()
    assert (stopped.was_running, stopped.how) == (False, "term")
    assert not marked()


def test_a_service_that_stops_itself_is_not_killed_by_it(make_driver: Make, tmp_path: Path, mark: str) -> None:
    """recoverd called by the service itself, as its descendant, ends the service but not itself."""
    code = textwrap.dedent(PARENT).format(
        conftest=str(Path(__file__).parent),
        command=["/bin/true"],
        env={},
        ledger=str(tmp_path / "ledger.json"),
        logs=str(tmp_path / "logs"),
        before="time.sleep(0.3); stopped = driver.stop(); print('stopped by', stopped.how, flush=True); sys.exit()",
    )
    driver = make_driver("/bin/sh", "-c", '"$0" -c "$1" & wait', sys.executable, code)
    started = driver.start()
    wait_gone(started.identity)
    deadline = time.monotonic() + 10
    while "stopped by term" not in (tmp_path / "logs" / "agent.log").read_text():
        assert time.monotonic() < deadline, (tmp_path / "logs" / "agent.log").read_text()
        time.sleep(0.02)
