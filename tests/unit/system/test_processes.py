from __future__ import annotations

import os
import signal as signals
import subprocess
from collections.abc import Callable
from dataclasses import replace

import pytest

from recoverd.system import processes
from recoverd.system.processes import ProcessIdentity

Start = Callable[[str], "subprocess.Popen[bytes]"]
SLEEPER = "import time; print('ready', flush=True); time.sleep(60)"
FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c",
    "import subprocess, sys; p = subprocess.Popen(['sleep', '60']); print('up', flush=True); p.wait()"],
    stdout=subprocess.PIPE)
child.stdout.readline()
print("ready", flush=True)
time.sleep(60)
"""


def identity_of(process: subprocess.Popen[bytes]) -> ProcessIdentity:
    identity = processes.identify(process.pid)
    assert identity is not None
    return identity


def test_a_reused_pid_is_another_process(child: Start) -> None:
    """ncpa#1068, nebula#5998: a pid with another start time, or of another boot, is not the service."""
    identity = identity_of(child(SLEEPER))
    assert processes.is_alive(identity)
    assert not processes.is_alive(replace(identity, start_ticks=identity.start_ticks - 1))
    assert not processes.is_alive(replace(identity, boot_id="0" * 36))


def test_a_signal_reaches_exactly_the_process_meant(child: Start) -> None:
    """A signal to a reused pid hits nobody; to the process itself it arrives."""
    process = child(SLEEPER)
    identity = identity_of(process)
    assert not processes.signal(replace(identity, start_ticks=1), signals.SIGKILL)
    assert processes.is_alive(identity)
    assert processes.signal(identity, signals.SIGKILL)
    assert process.wait() == -signals.SIGKILL
    assert not processes.signal(identity, signals.SIGKILL)


def test_a_zombie_is_not_alive(child: Start) -> None:
    """A process that ended but was not waited for runs no service and holds nothing."""
    process = child(SLEEPER)
    identity = identity_of(process)
    os.kill(process.pid, signals.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not processes.is_alive(identity)
    assert processes.identify(process.pid) is None
    assert not processes.signal(identity, signals.SIGTERM)


def test_descendants_are_the_whole_tree_parents_first(child: Start) -> None:
    """SIGTERM goes to the whole tree: children of children are found, strangers are not."""
    process = child(FAMILY)
    identity = identity_of(process)
    found = processes.descendants(identity)
    try:
        assert len(found) == 2
        assert processes.descendants(found[0]) == [found[1]]
        assert processes.descendants(found[1]) == []
        assert {one.pid for one in found} <= {one.pid for one in processes.descendants(processes.own_identity())}
    finally:
        for one in found:
            processes.signal(one, signals.SIGKILL)
    assert processes.descendants(replace(identity, start_ticks=1)) == []


def test_names_with_brackets_do_not_shift_the_fields(tmp_path: os.PathLike[str]) -> None:
    """proc(5): the command in /proc/PID/stat may hold anything; a service can name itself to fool a parser."""
    script = os.path.join(tmp_path, "a) R 1 (b")
    os.symlink("/bin/sleep", script)
    process = subprocess.Popen([script, "60"])
    try:
        while os.readlink(f"/proc/{process.pid}/exe") != os.path.realpath("/bin/sleep"):
            pass
        with open(f"/proc/{process.pid}/stat", "rb") as file:
            assert b"a) R 1 (b" in file.read()
        identity = identity_of(process)
        assert abs(identity.start_ticks - processes.own_identity().start_ticks) < 10**9
        assert identity in processes.descendants(processes.own_identity())
    finally:
        process.kill()
        process.wait()


def test_identity_survives_json() -> None:
    """The ticks are a string in JSON (64-bit); what is no identity is refused."""
    own = processes.own_identity()
    assert own.to_json()["start_ticks"] == str(own.start_ticks)
    assert ProcessIdentity.from_json(own.to_json()) == own
    for damaged in ({}, {"boot_id": "x", "pid": None, "start_ticks": "1"}, {"boot_id": "x", "pid": 1}):
        with pytest.raises(ValueError):
            ProcessIdentity.from_json(damaged)


def test_nobody_has_an_impossible_pid() -> None:
    """Absent processes are None, not an error."""
    assert processes.identify(2**22 + 1) is None
    assert not processes.signal(ProcessIdentity(processes.own_identity().boot_id, 2**22 + 1, 1), signals.SIGTERM)
