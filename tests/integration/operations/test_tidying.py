"""What is over of the processes that a document listed goes in the end, and nothing else does."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Health
from recoverd.config.process_model import Instances
from recoverd.operations import instances, lifecycle
from recoverd.operations.log_bounds import bound_logs
from recoverd.operations.tidying import KEEP_NS, MOST, doomed, tidy
from recoverd.services.logs import ROTATE_BYTES

RULE = Instances("main", "/sessions", ("/bin/sh", "-c", "{script}"), {"status": "Active"}, most=9)
OLD_S = KEEP_NS / 1e9 + 60


def entry(name: str, script: str = "echo here; exec sleep 600") -> dict[str, Any]:
    return {"id": name, "status": "Active", "script": script}


@pytest.fixture
def desk(house: Any) -> Iterator[Any]:
    house.change(instances=RULE, health=Health(stable_for_s=0.0))
    yield house
    house.reopen()
    house.write(1, sessions=[])
    lifecycle.stop(house.context, ["app"])


def files(house: Any, name: str) -> list[Path]:
    """Record and logs of a process, as they are kept."""
    found = [*(house.state_dir / "services").glob(f"{name}.json"), *(house.state_dir / "logs").glob(f"{name}.log*")]
    return sorted(found)


def age(house: Any, name: str, seconds: float = OLD_S) -> None:
    for path in files(house, name):
        os.utime(path, (time.time() - seconds,) * 2)


def kill(house: Any, name: str) -> None:
    pid = house.context.repository().record(name).process["identity"]["pid"]
    os.kill(pid, signal.SIGKILL)
    found = next(one for one in instances.known(house.context, house.service) if one.name == name)
    deadline = time.monotonic() + 60
    while instances.status_of(house.context, found).running:
        assert time.monotonic() < deadline
        time.sleep(0.005)


@given(st.dictionaries(st.text("abc", min_size=1), st.integers(0, 4 * KEEP_NS), max_size=3 * MOST))
def test_only_what_is_old_or_beyond_the_newest_is_forgotten(over: dict[str, int]) -> None:
    """Bounded by age and by number; a wrong clock makes nothing old."""
    now_ns = 2 * KEEP_NS
    gone = set(doomed(over, now_ns))
    kept = over.keys() - gone
    assert len(kept) <= MOST
    assert all(over[name] >= now_ns - KEEP_NS for name in kept)
    young = {name for name in over if over[name] >= now_ns - KEEP_NS}
    assert gone.isdisjoint(young) or len(young) > MOST
    assert min((over[name] for name in kept), default=0) >= max((over[name] for name in gone & young), default=0)


def test_what_is_over_goes_with_its_logs(desk: Any) -> None:
    """Gone from the document, ended, and a month old: all three."""
    desk.write(1, sessions=[entry("over"), entry("young"), entry("runs"), entry("listed")])
    assert all(one.error is None for one in instances.bring_back(desk.context, desk.service))
    names = ("app@over", "app@young", "app@runs", "app@listed")
    for name in ("app@over", "app@young", "app@listed"):
        kill(desk, name)
    (desk.state_dir / "logs" / "app@over.log.1").write_text("former\n")
    desk.write(2, sessions=[entry("listed")])
    for name in names:
        age(desk, name)
    age(desk, "app@young", 3600)
    before = {name: files(desk, name) for name in names}
    assert len(before["app@over"]) == 3
    assert tidy(desk.context) == ("app@over",)
    assert {name: files(desk, name) for name in names} == before | {"app@over": []}
    assert tidy(desk.context) == ()
    assert not desk.context.repository().record("app@over").process


def test_nothing_goes_while_the_document_can_not_be_believed(desk: Any) -> None:
    desk.write(1, sessions=[entry("over")])
    instances.bring_back(desk.context, desk.service)
    kill(desk, "app@over")
    age(desk, "app@over")
    desk.state.write_bytes(b'{"version": "1", "cou')
    assert tidy(desk.context) == ()
    desk.write(2, sessions=[])
    assert tidy(desk.context) == ("app@over",)


def test_what_left_a_child_behind_stays_known(desk: Any, tmp_path: Path) -> None:
    """Its record alone tells whose that child is: without it nobody could end it."""
    pid_file = tmp_path / "child"
    desk.write(1, sessions=[entry("over", f"setsid sleep 600 & echo $! > {pid_file}; exec sleep 600")])
    instances.bring_back(desk.context, desk.service)
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text().endswith("\n")):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    kill(desk, "app@over")
    desk.write(2, sessions=[])
    age(desk, "app@over")
    assert tidy(desk.context) == ()
    (child,) = (int(one) for one in pid_file.read_text().split())
    os.kill(child, signal.SIGKILL)
    while Path(f"/proc/{child}").exists() and Path(f"/proc/{child}/cmdline").read_bytes():
        time.sleep(0.005)
    assert tidy(desk.context) == ("app@over",)


def test_one_that_somebody_is_at_stays(desk: Any) -> None:
    desk.write(1, sessions=[entry("over")])
    instances.bring_back(desk.context, desk.service)
    kill(desk, "app@over")
    desk.write(2, sessions=[])
    age(desk, "app@over")
    lock = desk.state_dir / "logs" / "app@over.lock"
    with subprocess.Popen(["flock", str(lock), "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.write(b"x\n")
        holder.stdin.flush()
        assert holder.stdout.readline() == b"x\n"  # so it has the lock
        assert tidy(desk.context) == ()
        holder.stdin.close()
    assert tidy(desk.context) == ("app@over",)


def test_their_logs_are_kept_within_bounds_while_they_run(desk: Any) -> None:
    """A session that talks for a year fills no disk."""
    desk.write(1, sessions=[entry("talks")])
    instances.bring_back(desk.context, desk.service)
    log = desk.state_dir / "logs" / "app@talks.log"
    with log.open("ab") as file:
        file.write(bytes(ROTATE_BYTES))
    bound_logs(desk.context.config)
    assert log.stat().st_size < ROTATE_BYTES
    assert log.with_name("app@talks.log.1").stat().st_size == ROTATE_BYTES
