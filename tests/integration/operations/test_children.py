"""Children that a service's state names: survivors are ended before a start, and never anybody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Health, Run, RunKind
from recoverd.config.process_model import Processes
from recoverd.system.processes import ProcessIdentity, identify, is_alive
from recoverd.values import replace

RUNNER = """
import json, os, subprocess, sys, time
path, out = sys.argv[1:]
while not os.path.exists(out + ".go"):
    time.sleep(0.01)
# out of its session, and without its environment: nothing but the document tells whose it is
child = subprocess.Popen([sys.executable, "-c", sys.argv[0] and CHILD], env={}, start_new_session=True)
open(path + ".new", "w").write(json.dumps({"version": "1", "counter": 1, "services": [{"pid": child.pid}]}))
os.rename(path + ".new", path)
open(out, "w").write(str(child.pid))
time.sleep(600)
"""
PLAIN = "import time; time.sleep(600)"
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
open({ready!r} + str(os.getpid()), "w")
time.sleep(600)
"""


@pytest.fixture
def ended() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that are killed at the end."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for child in started:
        child.kill()
        child.wait()


def wait_for(true: Any, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def sleeper(started: list[subprocess.Popen[bytes]], **options: Any) -> subprocess.Popen[bytes]:
    child: subprocess.Popen[bytes] = subprocess.Popen(["/bin/sleep", "600"], **options)
    started.append(child)
    return child


def children(house: Any) -> list[ProcessIdentity]:
    record = house.context.repository().record("app")
    return [ProcessIdentity.from_json(one) for one in record.children]


def declare(house: Any, **run: Any) -> None:
    house.change(processes=Processes("main", "/services"), **run)


def test_a_survivor_is_ended_before_the_service_starts_again(house: Any, tmp_path: Path) -> None:
    """The runner is killed; its child, in a session of its own and without its environment, lives on. The restore that
    starts the runner again ends it first, with what descends from it."""
    out, script = tmp_path / "child", tmp_path / "runner.py"
    script.write_text(f"CHILD = {PLAIN!r}\n{RUNNER}")
    run = Run(RunKind.COMMAND, command=(sys.executable, str(script), str(house.state), str(out)), stop_timeout_s=5.0)
    declare(house, run=run, health=Health(stable_for_s=0.0))
    house.start()
    (tmp_path / "child.go").touch()
    wait_for(out.exists)
    first = identify(int(out.read_text()))
    assert first is not None
    assert house.snapshot().outcome == "saved"
    assert children(house) == [first]
    out.unlink()
    pid = house.context.repository().record("app").process["identity"]["pid"]
    os.kill(pid, 9)
    wait_for(lambda: identify(pid) is None)
    assert is_alive(first)
    house.state.write_bytes(b"")  # whatever the document says now
    result = house.restore()
    assert (result.outcome, result.healthy) == ("restored", True)
    assert not is_alive(first)
    wait_for(out.exists)
    second = identify(int(out.read_text()))
    assert second is not None and second != first
    house.snapshot()
    assert children(house) == [second]
    os.kill(second.pid, 9)


def test_a_stubborn_tree_is_killed(house: Any, tmp_path: Path, ended: list[subprocess.Popen[bytes]]) -> None:
    """SIGTERM to the whole tree, the deadline, then SIGKILL."""
    code = STUBBORN.format(ready=f"{tmp_path}/ready-")
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    ended.append(child)
    wait_for(lambda: len(list(tmp_path.glob("ready-*"))) == 2)
    tree = [one for path in tmp_path.glob("ready-*") if (one := identify(int(path.name.partition("-")[2]))) is not None]
    assert len(tree) == 2
    declare(house)
    house.write(1, services=[{"pid": child.pid}])
    house.snapshot()
    run = Run(RunKind.COMMAND, command=("/bin/sleep", "600"), stop_timeout_s=0.3)
    declare(house, run=run, health=Health(stable_for_s=0.0))
    assert house.restore().healthy
    child.wait()
    assert not any(is_alive(one) for one in tree)


def test_a_foreign_process_with_the_same_pid_is_left_alone(house: Any, ended: list[subprocess.Popen[bytes]]) -> None:
    """Identity is boot id, pid and start time: another boot's, or another start's, is somebody else."""
    child = sleeper(ended)
    declare(house)
    house.write(1, services=[{"pid": child.pid}])
    house.snapshot()
    (known,) = children(house)
    others = (
        ProcessIdentity(known.boot_id, known.pid, known.start_ticks - 1),
        ProcessIdentity("another-boot", known.pid, known.start_ticks),
    )
    repository = house.context.repository()
    repository.update_record(
        "app", lambda record: replace(record, children=(*(one.to_json() for one in others), {"pid": "x"}, {"pid": -1}))
    )
    declare(house, run=Run(RunKind.COMMAND, command=("/bin/sleep", "600")), health=Health(stable_for_s=0.0))
    assert house.restore().healthy
    assert child.poll() is None


def test_stale_and_planted_pids_are_not_noted(house: Any, ended: list[subprocess.Popen[bytes]]) -> None:
    """A pid in a document proves nothing: not one that began after it was written, not recoverd itself or what it runs
    below, not init, not another user's."""
    declare(house)
    fine = sleeper(ended)
    named = [{"pid": pid} for pid in (fine.pid, os.getpid(), os.getppid(), 1, 0, -1, 1 << 40, "7", None)]
    house.write(1, services=named)
    house.snapshot()
    assert [one.pid for one in children(house)] == [fine.pid]
    past_ns = time.time_ns() - 3600 * 10**9
    house.write(2, services=named)
    os.utime(house.state, ns=(past_ns, past_ns))
    late = sleeper(ended)
    house.write(3, services=[{"pid": late.pid}])
    os.utime(house.state, ns=(past_ns, past_ns))
    house.snapshot()
    assert children(house) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can end processes of others")
def test_another_users_process_is_not_noted(house: Any, ended: list[subprocess.Popen[bytes]]) -> None:
    """A hostile service user writes the pid of a process of somebody else, or of root, into its document."""
    roots, own = sleeper(ended), sleeper(ended, user=65534)
    declare(house)
    house.write(1, services=[{"pid": roots.pid}, {"pid": own.pid}])
    os.chown(house.state.parent, 65534, 65534)
    os.chown(house.state, 65534, 65534)
    house.snapshot()
    assert [one.pid for one in children(house)] == [own.pid]


def test_a_damaged_document_forgets_nobody(house: Any, ended: list[subprocess.Popen[bytes]]) -> None:
    child = sleeper(ended)
    declare(house)
    house.write(1, services=[{"pid": child.pid}])
    house.snapshot()
    house.state.write_text(json.dumps({"version": "9", "services": []}))
    assert house.snapshot().outcome == "invalid"
    assert [one.pid for one in children(house)] == [child.pid]
