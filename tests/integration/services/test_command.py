"""The `command` driver over real processes: what it starts, how, and what it says when it can't."""

from __future__ import annotations

import functools
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Secret
from recoverd.errors import ServiceError
from recoverd.services import process_tree
from recoverd.services.command import CommandDriver
from recoverd.services.process_record import Phase, ProcessRecord
from recoverd.system.processes import ProcessIdentity, is_alive

Make = Callable[..., CommandDriver]
Says = Callable[..., str]
Marked = Callable[[], list[int]]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def record_of(tmp_path: Path) -> ProcessRecord:
    return ProcessRecord.from_json(json.loads((tmp_path / "ledger.json").read_bytes()))


def wait_gone(identity: ProcessIdentity, within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while is_alive(identity):
        assert time.monotonic() < deadline, "the process still runs"
        time.sleep(0.01)


def surroundings(log: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(next(line for line in log.splitlines() if line.startswith('{"pid"')))
    return told


# --- start, status, stop --------------------------------------------------------------------------------


def test_start_status_stop(make_driver: Make, log_says: Says, tmp_path: Path) -> None:
    """The contract of a driver: idempotent start and stop, status from identity, durable facts."""
    driver = make_driver("tells_surroundings.py")
    assert not driver.status().running
    assert driver.status().detail == "it was never started"
    assert driver.stop().how == "not running"

    started = driver.start()
    assert not started.already
    assert is_alive(started.identity)
    again = driver.start()
    assert again.already
    assert again.identity == started.identity
    status = make_driver("tells_surroundings.py").status()
    assert status.running
    assert status.identity == started.identity
    assert status.wanted == "running"
    assert status.since_ns is not None
    assert abs(time.time_ns() - status.since_ns) < 60e9
    assert status.detail.startswith(f"process {started.pid} runs since 2")

    log_says('{"pid"')
    stopped = driver.stop()
    assert (stopped.was_running, stopped.how) == (True, "term")
    assert not is_alive(started.identity)
    assert driver.status().detail.startswith("it was stopped at 2")
    assert driver.status().wanted == "running", "a stop for a restore must not look like an operator's"
    assert record_of(tmp_path).ended_cleanly
    assert driver.stop() == type(stopped)(was_running=False, how="not running", seconds=0.0)


def test_operator_stop_is_remembered(make_driver: Make) -> None:
    """What was stopped on purpose is known as such, by any driver, until it is started again."""
    driver = make_driver("/bin/sleep", "600")
    driver.start()
    driver.stop(by_operator=True)
    assert make_driver("/bin/sleep", "600").status().wanted == "stopped"
    driver.stop()
    assert driver.status().wanted == "stopped"
    driver.start()
    assert driver.status().wanted == "running"


def test_started_again_while_told_to_be_down(make_driver: Make, tmp_path: Path) -> None:
    """A start of a service that still runs although it was to be stopped makes it wanted again."""
    driver = make_driver("/bin/sleep", "600")
    pid = driver.start().pid
    record = json.loads((tmp_path / "ledger.json").read_bytes())
    (tmp_path / "ledger.json").write_text(json.dumps({**record, "wanted": "stopped"}))
    assert driver.start().already
    assert driver.status().wanted == "running"
    assert driver.start().pid == pid


def test_surroundings_of_the_process(make_driver: Make, log_says: Says, tmp_path: Path) -> None:
    """Nothing of recoverd leaks into a service: no descriptor (locks are inherited by them), no signal mask, no
    ignored signal, no variable; and it is nobody's child in a session of its own."""
    secret_file = (tmp_path / "held").open("w")
    os.set_inheritable(secret_file.fileno(), True)
    os.environ["RECOVERD_LEAK"] = "x"
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    (tmp_path / "home").mkdir()
    try:
        started = make_driver(
            "tells_surroundings.py",
            cwd=str(tmp_path / "home"),
            env={"GREETING": "grüße", "BOTH": "declared"},
            extra_env={"BOTH": "extra", "RECOVERD_RESUME": "/run/x"},
        ).start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGHUP, before)
        secret_file.close()
        del os.environ["RECOVERD_LEAK"]
    told = surroundings(log_says('"status"'))
    assert told["pid"] == started.pid == told["session"]
    assert told["parent"] != os.getpid()
    assert told["cwd"] == str(tmp_path / "home")
    assert (told["umask"], told["blocked"]) == (0o022, [])
    log = str(tmp_path / "logs" / "agent.log")
    assert {fd: told["descriptors"][fd] for fd in "012"} == {"0": "/dev/null", "1": log, "2": log}
    assert set(told["descriptors"].values()) <= {"/dev/null", log, f"/proc/{started.pid}/fd"}
    # Python itself ignores SIGPIPE and SIGXFSZ and catches SIGINT; nothing else may be ignored, but for
    # 32 and 33, which belong to the C library: nobody can set them, so whatever started us decides
    ignored = int(next(line for line in told["status"] if line.startswith("SigIgn")).split()[1], 16)
    assert ignored & ~(1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1 | 1 << 31 | 1 << 32) == 0
    env = told["env"]
    assert env["GREETING"] == "grüße"
    assert (env["BOTH"], env["RECOVERD_RESUME"]) == ("extra", "/run/x")
    assert set(env) <= {
        *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_CTYPE", "GREETING", "BOTH", "RECOVERD_RESUME"),
        *("RECOVERD_TEST", "RECOVERD_START_ID"),
    }
    assert record_of(tmp_path).token == env["RECOVERD_START_ID"]


def test_secrets_reach_the_process_only(make_driver: Make, log_says: Says, tmp_path: Path) -> None:
    """A secret is fetched at the start; neither record nor command line holds it."""
    (tmp_path / "token").write_text("s3cr3t\n")
    (tmp_path / "token").chmod(0o600)
    env = {"API_TOKEN": Secret("file", str(tmp_path / "token"))}
    started = make_driver("tells_surroundings.py", env=env).start()
    assert surroundings(log_says('"status"'))["env"]["API_TOKEN"] == "s3cr3t"
    assert "s3cr3t" not in (tmp_path / "ledger.json").read_text()
    assert b"s3cr3t" not in Path(f"/proc/{started.pid}/cmdline").read_bytes()


def test_secret_that_is_not_there(make_driver: Make, tmp_path: Path) -> None:
    """Without its secret a service is not started, and the reason is remembered like any other."""
    driver = make_driver("/bin/sleep", "600", env={"API_TOKEN": Secret("env", "RECOVERD_NOT_SET")})
    with pytest.raises(ServiceError, match=r"variable API_TOKEN has no value: .*RECOVERD_NOT_SET is not set"):
        driver.start()
    assert record_of(tmp_path).phase is Phase.FAILED


def test_what_does_not_end_blocks(make_driver: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that can't be stopped is an error with its name, and is not recorded as stopped."""
    driver = make_driver("/bin/sleep", "600", stop_timeout_s=0.05)
    driver.start()
    with monkeypatch.context() as patch:
        patch.setattr(process_tree, "_signal", lambda identity, number: None)  # as in uninterruptible sleep
        patch.setattr(process_tree, "end_tree", functools.partial(process_tree.end_tree, kill_timeout_s=0.1))
        with pytest.raises(ServiceError, match=r"agent can't be stopped: process \d+ does not end"):
            driver.stop()
    assert driver.status().running


@as_root
def test_becomes_another_user(make_driver: Make, log_says: Says, room: Path) -> None:
    """`user:` switches user, group and supplementary groups, and takes nothing of root along."""
    import pwd

    nobody = pwd.getpwnam("nobody")
    make_driver("/bin/sh", "-c", "echo user $(id -u) $(id -g) $(id -G) home $HOME path $PATH end; sleep 600",
                user="nobody", cwd=str(room)).start()  # fmt: skip
    log = log_says("end")
    assert f"user {nobody.pw_uid} {nobody.pw_gid} {nobody.pw_gid} home {nobody.pw_dir} path /usr/local/sbin:" in log
    log_file = os.stat(room / "logs" / "agent.log")
    assert (log_file.st_uid, log_file.st_mode & 0o777) == (0, 0o640)


@as_root
def test_directory_is_entered_as_the_user(make_driver: Make, room: Path) -> None:
    """The working directory is entered with the rights of the service's user, not with root's."""
    (room / "closed").mkdir(mode=0o700)
    with pytest.raises(ServiceError, match="closed can't be entered: Permission denied"):
        make_driver("/bin/true", user="nobody", cwd=str(room / "closed")).start()


def test_log_is_appended_over_restarts(make_driver: Make, log_says: Says, tmp_path: Path) -> None:
    """Output of both streams is captured, and that of a former run is kept."""
    driver = make_driver("dies_after.py", "0.1")
    wait_gone(driver.start().identity)
    driver.start()
    log_says("dying", times=2)
    assert log_says("ready", times=2).startswith("ready\ndying\nready")


def test_restarts_are_counted(make_driver: Make, tmp_path: Path) -> None:
    """A start after an end that recoverd asked for is no restart; one after a crash is, and no clean stop."""
    driver = make_driver("/bin/sleep", "600")
    driver.start()
    driver.stop()
    first = driver.start()
    assert driver.status().restarts == 0
    os.kill(first.pid, signal.SIGKILL)
    wait_gone(first.identity)
    assert driver.status().detail == f"process {first.pid} ended by itself"
    assert not record_of(tmp_path).ended_cleanly
    driver.start()
    assert driver.status().restarts == 1
    assert record_of(tmp_path).starts == 3


# --- errors ---------------------------------------------------------------------------------------------


def script(path: Path, text: str, mode: int) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize(
    ("case", "sentence", "hint"),
    [
        ("missing", "missing can't be executed: No such file or directory", "install it"),
        ("not on path", "recoverd-no-such can't be executed: No such file", "PATH"),
        ("no interpreter", "script can't be executed: No such file or directory", "interpreter"),
        ("not executable", "script can't be executed: Permission denied", "executable"),
        ("no program", "script can't be executed: Exec format error", "#!"),
        ("directory", "can't be executed: Permission denied", "executable"),
        ("nul", "can't be executed: embedded null byte", "run.command"),
        ("no cwd", "nowhere can't be entered: No such file or directory", "run.cwd"),
        ("cwd is a file", "can't be entered: Not a directory", "run.cwd"),
        ("unknown user", "there is no user 'no-such-user'", "run.user"),
        ("unknown group", "there is no group 'no-such-group'", "run.group"),
        ("no log directory", "can't be opened: No such file or directory", "run.log"),
    ],
)
def test_a_start_that_fails_says_why(
    case: str, sentence: str, hint: str, make_driver: Make, tmp_path: Path, marked: Marked
) -> None:
    """Each failure to start is one clear error at once, remembered, and leaves no process."""
    make: dict[str, Callable[[], CommandDriver]] = {
        "missing": lambda: make_driver(str(tmp_path / "missing")),
        "not on path": lambda: make_driver("recoverd-no-such"),
        "no interpreter": lambda: make_driver(script(tmp_path / "script", "#!/no/such\n", 0o755)),
        "not executable": lambda: make_driver(script(tmp_path / "script", "#!/bin/sh\n", 0o644)),
        "no program": lambda: make_driver(script(tmp_path / "script", "?", 0o755)),
        "directory": lambda: make_driver(str(tmp_path)),
        "nul": lambda: make_driver("/bin/echo", "a\0b"),
        "no cwd": lambda: make_driver("/bin/true", cwd=str(tmp_path / "nowhere")),
        "cwd is a file": lambda: make_driver("/bin/true", cwd=script(tmp_path / "script", "", 0o644)),
        "unknown user": lambda: make_driver("/bin/true", user="no-such-user"),
        "unknown group": lambda: make_driver("/bin/true", group="no-such-group"),
        "no log directory": lambda: make_driver("/bin/true", log=str(tmp_path / "nowhere" / "log")),
    }
    driver = make[case]()
    with pytest.raises(ServiceError) as caught:
        driver.start()
    assert caught.value.message.startswith("agent can't be started: ")
    assert sentence in caught.value.message
    assert caught.value.hint is not None
    assert hint in caught.value.hint
    assert not marked()
    record = record_of(tmp_path)
    assert (record.phase, record.identity, record.wanted) == (Phase.FAILED, None, "running")
    assert sentence in driver.status().detail
    # and the next start is not hindered by it
    assert not make_driver("/bin/sleep", "600").start().already


@pytest.mark.skipif(os.geteuid() == 0, reason="root can become anybody")
def test_a_plain_user_can_become_nobody_else(make_driver: Make) -> None:
    """As a plain user, `user: root` is refused with a sentence."""
    with pytest.raises(ServiceError, match="can't start a service as user 0"):
        make_driver("/bin/true", user="root").start()


def test_lock_that_cant_be_made(make_driver: Make, tmp_path: Path) -> None:
    """Something in the way of recoverd's own directory is a clear error, not a traceback."""
    (tmp_path / "logs").write_text("in the way")
    with pytest.raises(ServiceError, match=r"agent: the lock .* can't be taken"):
        make_driver("/bin/true").start()


# --- the log --------------------------------------------------------------------------------------------


def test_log_on_a_full_device_is_an_error(make_driver: Make, tmp_path: Path) -> None:
    """A device in the place of a log is refused, not written to."""
    with pytest.raises(ServiceError) as caught:
        make_driver("/bin/true", log="/dev/full").start()
    assert "/dev/full is not a plain file" in caught.value.message


def test_start_is_fast(make_driver: Make) -> None:
    """A start costs little beside the program itself (about 40 ms here; generous for a busy machine)."""
    best = 9.0
    for _ in range(3):
        driver = make_driver("/bin/sleep", "600")
        began = time.monotonic()
        driver.start()
        best = min(best, time.monotonic() - began)
        driver.stop()
    assert best < 0.5
