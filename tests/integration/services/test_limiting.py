"""`limits`: who enforces them, told from what is there; and that they hold."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.keeping import Limits
from recoverd.config.model import Run, RunKind
from recoverd.services import limiting
from recoverd.services.command import CommandDriver
from recoverd.services.limiting import Form, Surroundings, forms

Says = Callable[..., str]
ALLOCATES = (
    "import time\ntry:\n    bytearray(1 << 30)\nexcept MemoryError:\n    print('refused', flush=True)\ntime.sleep(600)"
)


class Ledger:
    def __init__(self) -> None:
        self.document: dict[str, Any] = {}

    def load(self) -> dict[str, Any]:
        return self.document

    def save(self, process: Any) -> None:
        self.document = dict(process)


@pytest.fixture
def driver(tmp_path: Path, mark: str) -> Callable[..., CommandDriver]:
    def make(*command: str, **limits: int) -> CommandDriver:
        run = Run(RunKind.COMMAND, command=command, env={"RECOVERD_TEST": mark}, stop_timeout_s=5.0)
        return CommandDriver("agent", run, Ledger(), log_dir=str(tmp_path / "logs"), limits=Limits(**limits))

    return make


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither systemd nor a cgroup."""
    monkeypatch.setattr(limiting, "look_around", lambda: limiting.NOWHERE)


@given(
    st.builds(Limits, st.none() | st.integers(1), st.none() | st.integers(1)),
    st.builds(Surroundings, st.booleans(), st.booleans(), st.none() | st.just("/sys/fs/cgroup")),
)
def test_the_strongest_form_comes_first_and_the_last_always_works(limits: Limits, around: Surroundings) -> None:
    """config.md, `limits`: the unit, else a scope, else a cgroup, else setrlimit; nothing where nothing is declared."""
    found = forms(limits, around)
    assert (found == (Form.NONE,)) is not limits.are_set
    if limits.are_set:
        assert (found == (Form.UNIT,)) is around.in_limited_unit
        assert found[-1] in {Form.UNIT, Form.RLIMIT}
        assert list(found) == sorted(found, key=[Form.UNIT, Form.SCOPE, Form.CGROUP, Form.RLIMIT].index)
        if not around.in_limited_unit:
            assert (Form.SCOPE in found) is around.has_systemd
            assert (Form.CGROUP in found) is (around.group_root is not None)


@pytest.mark.usefixtures("alone")
def test_memory_is_limited_where_nothing_better_is_there(driver: Any, log_says: Says) -> None:
    """The weaker form holds, is not that of recoverd itself, and status says which it is."""
    one = driver(sys.executable, "-u", "-c", ALLOCATES, memory_bytes=256 << 20)
    started = one.start()
    log_says("refused")
    assert "limited by setrlimit, for each process alone" in one.status().detail
    lines = Path(f"/proc/{started.pid}/limits").read_text().splitlines()
    assert next(line for line in lines if line.startswith("Max address space")).split()[3:5] == [str(256 << 20)] * 2
    assert "unlimited" in Path("/proc/self/limits").read_text()
    one.stop()


@pytest.mark.usefixtures("alone")
def test_tasks_are_limited(driver: Any) -> None:
    one = driver("/bin/sleep", "600", tasks=4321)
    started = one.start()
    lines = Path(f"/proc/{started.pid}/limits").read_text().splitlines()
    assert next(line for line in lines if line.startswith("Max processes")).split()[2:4] == ["4321", "4321"]
    one.stop()


def test_without_limits_nothing_is_asked_and_nothing_said(driver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "look_around", lambda: pytest.fail("nobody needs to know"))
    one = driver("/bin/sleep", "600")
    one.start()
    assert "limited" not in one.status().detail
    one.stop()


def test_a_scope_is_asked_for_and_holds_the_process(
    driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in takes systemd-run's place: it notes what it is asked, and becomes what it is given, as that does."""
    tools = tmp_path / "tools"
    tools.mkdir()
    stand_in = tools / "systemd-run"
    stand_in.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
    )
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.setattr(limiting, "look_around", lambda: Surroundings(False, True, None))
    one = driver("/bin/sleep", "600", memory_bytes=1 << 30, tasks=9)
    one.start()
    status = one.status()
    assert status.running
    assert "limited by a scope of systemd" in status.detail
    asked = (tmp_path / "asked").read_text()
    for word in ("--scope", "--property=MemoryMax=1073741824", "--property=TasksMax=9"):
        assert word in asked
    one.stop()
    stand_in.write_text("#!/bin/sh\necho 'Failed to connect to bus' >&2\nexit 1\n")
    one.start()
    assert "limited by setrlimit" in one.status().detail  # weaker, rather than not at all
    one.stop()


def test_a_group_gets_its_limits_and_loses_those_of_before(tmp_path: Path) -> None:
    """The files are those of cgroup v2; here they are plain ones."""
    group = tmp_path / "recoverd" / "agent"
    group.mkdir(parents=True)
    for directory in (tmp_path, tmp_path / "recoverd"):
        (directory / "cgroup.subtree_control").write_text("cpu")
    for name in ("memory.max", "pids.max", "cgroup.procs"):
        (group / name).write_text("")
    assert limiting.make_group(str(tmp_path), "agent", Limits(1 << 20, 5)) == str(group)
    limiting.enter_group(str(group), 4242)
    assert [(group / name).read_text() for name in ("memory.max", "pids.max", "cgroup.procs")] == [
        "1048576",
        "5",
        "4242",
    ]
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+memory +pids"
    for name in ("memory.max", "pids.max"):
        (group / name).write_text("")
    limiting.make_group(str(tmp_path), "agent", Limits(None, 7))
    assert [(group / name).read_text() for name in ("memory.max", "pids.max")] == ["max", "7"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.usefixtures("alone")
def test_limits_hold_for_another_user_too(tmp_path: Path, mark: str, log_says: Says) -> None:
    """They are set once it has become that user, to whom they mean something: all that this takes is there by then."""
    words = ("/bin/sh", "-c", "echo uid $(id -u) limit $(ulimit -v); sleep 600")
    run = Run(RunKind.COMMAND, command=words, env={"RECOVERD_TEST": mark}, user="nobody", stop_timeout_s=5.0)
    one = CommandDriver("agent", run, Ledger(), log_dir=str(tmp_path / "logs"), limits=Limits(1 << 30, 10_000))
    one.start()
    assert f"limit {1 << 20}" in log_says("limit")
    one.stop()
