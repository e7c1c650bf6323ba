"""Starts that hang or are given up, and trees that do not want to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.errors import ServiceError
from recoverd.services import process_tree
from recoverd.services.launching import Launch, LaunchSpec
from recoverd.services.process_tree import end_tree
from recoverd.system.processes import ProcessIdentity, identify, is_alive


def spec(*command: str, cwd: str = "/", mark: str = "") -> LaunchSpec:
    env = {"PATH": "/usr/bin:/bin", "RECOVERD_TEST": mark}
    return LaunchSpec(command, env, cwd, os.getuid(), os.getgid(), None)


@pytest.fixture
def log_fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    yield fd
    os.close(fd)


def wait_gone(identity: ProcessIdentity) -> None:
    deadline = time.monotonic() + 5
    while is_alive(identity):
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_abandoned_before_release(log_fd: int, tmp_path: Path) -> None:
    """A process that is not released never executes the command."""
    with Launch(spec("/usr/bin/touch", str(tmp_path / "executed")), log_fd) as launch:
        assert is_alive(launch.identity)
    wait_gone(launch.identity)
    assert not (tmp_path / "executed").exists()


def test_released(log_fd: int, mark: str) -> None:
    """On return of `release` the command has been executed, and leaving the block does not end it."""
    with Launch(spec("/bin/sleep", "600", mark=mark), log_fd) as launch:
        launch.release()
        assert Path(f"/proc/{launch.identity.pid}/cmdline").read_bytes() == b"\0".join([b"/bin/sleep", b"600", b""])
    assert is_alive(launch.identity)


def test_one_that_hangs_after_release_never_begins(log_fd: int, tmp_path: Path) -> None:
    """Executing from a dead file system can hang; once that was called a failure it must not start later, unknown."""
    with Launch(spec("/usr/bin/touch", str(tmp_path / "executed")), log_fd, deadline_s=2) as launch:
        os.kill(launch.identity.pid, signal.SIGSTOP)  # as good as a hanging file system
        launch._deadline_s = 0.2
        with pytest.raises(ServiceError, match=r"/usr/bin/touch could not be executed within 0\.2 s"):
            launch.release()
    wait_gone(launch.identity)
    assert not (tmp_path / "executed").exists()


def test_one_that_hangs_before_it_waits(log_fd: int) -> None:
    """A deadline also holds for the first step; nothing stays."""
    with pytest.raises(ServiceError, match="could not be executed within 0 s"):
        Launch(spec("/bin/true"), log_fd, deadline_s=0)


def test_one_that_was_killed_before_release(log_fd: int) -> None:
    """Whoever may signal the service's user may kill it at any time: no exception but a process that is gone."""
    with Launch(spec("/bin/sleep", "600"), log_fd) as launch:
        os.kill(launch.identity.pid, signal.SIGKILL)
        wait_gone(launch.identity)
        launch.release()
    assert not is_alive(launch.identity)


def test_large_environment(log_fd: int, mark: str, tmp_path: Path) -> None:
    """A specification larger than a pipe holds reaches the process whole."""
    env = {f"V{number}": "x" * 100_000 for number in range(10)} | {"PATH": "/bin", "RECOVERD_TEST": mark}
    big = LaunchSpec(("/bin/sh", "-c", f"echo $V9 > {tmp_path}/out"), env, "/", os.getuid(), os.getgid(), None)
    with Launch(big, log_fd) as launch:
        launch.release()
    wait_gone(launch.identity)
    assert len((tmp_path / "out").read_text()) == 100_001


@pytest.mark.parametrize(
    ("interpreter", "sentence"),
    [("/no/such/python", "no process can be started: No such file"), ("/bin/true", "its process ended too early")],
)
def test_interpreter_that_is_gone(
    interpreter: str, sentence: str, log_fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scheduler that runs while its Python is replaced says so."""
    monkeypatch.setattr(sys, "executable", interpreter)
    with pytest.raises(ServiceError, match=sentence):
        Launch(spec("/bin/true"), log_fd)


@pytest.mark.skipif(os.geteuid() == 0, reason="root can become anybody")
def test_credentials_that_are_refused(log_fd: int) -> None:
    """The kernel's refusal to become another user is told as such."""
    with pytest.raises(ServiceError, match="can't become user 0"):
        Launch(LaunchSpec(("/bin/true",), {"PATH": ""}, "/", 0, 0, (0,)), log_fd)


# --- ending ---------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[ProcessIdentity]:
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as process:
        identity = identify(process.pid)
        assert identity is not None
        yield identity
        process.kill()


def test_a_process_that_survives_sigkill_is_an_error(sleeper: ProcessIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in uninterruptible sleep (here: one that gets no signal) blocks, and is never reported as stopped."""
    monkeypatch.setattr(process_tree, "_signal", lambda identity, number: None)
    with pytest.raises(ServiceError, match=f"process {sleeper.pid} does not end, not even when killed"):
        end_tree(sleeper, "", timeout_s=0.1, kill_timeout_s=0.1)


def test_nobody_means_seen_twice(sleeper: ProcessIdentity, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that just misses a process which is being forked does not make the service ended."""
    looks = [[sleeper], [], [sleeper]]
    really = process_tree.members
    monkeypatch.setattr(process_tree, "members", lambda *all_: looks.pop(0) if looks else really(*all_))
    end_tree(sleeper, "", stop_signal=signal.SIGCONT, timeout_s=0.3)
    assert not is_alive(sleeper)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a process of somebody else")
def test_a_process_of_somebody_else_is_an_error() -> None:
    """A plain user's recoverd can't end what has become root: that is told, and is no success."""
    with subprocess.Popen(["/bin/sleep", "600"], start_new_session=True) as process:
        identity = identify(process.pid)
        assert identity is not None
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setresuid(65534, 65534, 65534)
                end_tree(identity, "", timeout_s=1)
            except ServiceError as error:
                status = 42 if "belongs to another user" in error.message else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
        assert process.poll() is None
        process.kill()


def test_a_tree_of_another_boot_is_nobody(sleeper: ProcessIdentity) -> None:
    """Pids of a former boot mean nothing now."""
    other = ProcessIdentity("00000000-0000-4000-8000-000000000000", sleeper.pid, sleeper.start_ticks)
    assert end_tree(other, "", timeout_s=1).how == "not running"
    assert is_alive(sleeper)


def test_a_session_whose_leader_is_gone_is_not_ours() -> None:
    """When the main process is gone, the number of its session may be another's: who is only in it is left alone."""
    code = "import subprocess; print(subprocess.Popen(['/bin/sleep', '600']).pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        member = identify(int(leader.stdout.readline()))
        main = identify(leader.pid)
        assert main is not None
        assert member is not None
    try:
        assert not is_alive(main)
        assert end_tree(main, "no token", timeout_s=1).how == "not running"
        assert is_alive(member)
    finally:
        os.kill(member.pid, signal.SIGKILL)
