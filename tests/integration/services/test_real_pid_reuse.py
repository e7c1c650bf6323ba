"""A pid that the kernel really gives to another process: nobody is taken for the service, and nobody else is ended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

# In a pid namespace of its own, where nobody else takes pids; ns_last_pid: proc_sys_kernel(5).
SCRIPT = """\
import json, os, signal, subprocess, sys, time
from recoverd.config.model import Run, RunKind
from recoverd.services import process_tree
from recoverd.services.command import CommandDriver
from recoverd.system import processes

class Ledger:
    known = {}
    def load(self):
        return self.known
    def save(self, process):
        self.known = dict(process)

run = Run(RunKind.COMMAND, command=("/bin/sleep", "600"), stop_timeout_s=5.0)
driver = CommandDriver("app", run, Ledger(), log_dir=sys.argv[1])
first = driver.start().identity
os.kill(first.pid, signal.SIGKILL)
while os.path.exists(f"/proc/{first.pid}"):  # whoever is its parent here has to bury it
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        pass
    time.sleep(0.001)
tick_s = 1 / os.sysconf("SC_CLK_TCK")
end_s = time.monotonic() + 2 * tick_s
while time.monotonic() < end_s:  # two processes of one tick are one to the kernel too
    time.sleep(tick_s)
foreign = None
for _ in range(1000):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(first.pid - 1))
    foreign = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    if foreign.pid == first.pid:
        break
    foreign.kill()
    foreign.wait()
told = {
    "same": foreign.pid == first.pid,
    "running": driver.status().running,
    "members": len(process_tree.members(first, "no token")),
    "signalled": processes.signal(first, signal.SIGKILL),
    "stop": driver.stop().how,
}
second = driver.start()
told |= {"already": second.already, "other": second.identity.pid != first.pid, "lives": foreign.poll() is None}
told["ended"] = driver.stop().how
told["lives still"] = foreign.poll() is None
print(json.dumps(told))
"""


def test_a_pid_that_the_kernel_has_given_away(tmp_path: Path) -> None:
    """recovery.md, "Processes": identity is boot id, pid and start time, never a bare pid."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can make a pid namespace, in which pids can be chosen")
    command = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        sys.executable,
        "-c",
        SCRIPT,
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode != 0 and done.stderr.startswith("unshare: "):
        pytest.skip(f"no pid namespace: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "same": True,
        "running": False,
        "members": 0,
        "signalled": False,
        "stop": "not running",
        "already": False,
        "other": True,
        "lives": True,
        "ended": "term",
        "lives still": True,
    }
