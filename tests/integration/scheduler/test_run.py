"""`recoverd run` as a real process: real signals, real time, captures that only take notes."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from recoverd.scheduler.alone import LOCK_NAME
from recoverd.system import locks

if TYPE_CHECKING:
    from .conftest import World

FAST = {"every": 0.2}
NEVER = {"every": 3600.0}


def test_all_that_is_due_is_captured_in_one_call(world: World) -> None:
    """repository.md: one pack for each tick, all due services together; what is overdue at the start is caught up."""
    world.configure(a=FAST, b=FAST, c=FAST)
    run = world.start()
    assert run.announced() == "watching 3 services, next autosave now"
    run.until(lambda: len(world.calls()) >= 5, "five captures")
    assert run.stop() == 0
    calls = world.calls()
    assert [call["services"] for call in calls] == [["a", "b", "c"]] * len(calls)
    assert all(call["reason"] == "scheduled" and call["prune"] and not call["full_read"] for call in calls)
    elapsed_s = calls[-1]["time"] - calls[0]["time"]
    assert len(calls) <= elapsed_s / 0.2 + 2  # no tick is captured twice


def test_at_the_start_only_what_is_overdue_is_captured(world: World) -> None:
    """Catch-up is computed from the last captures, not from when the scheduler was started."""
    world.write("last.json", json.dumps({"old": 4000, "young": 10, "future": -500}))
    world.configure(old=NEVER, young=NEVER, future=NEVER, fresh=NEVER)
    run = world.start()
    run.until(world.calls, "the catch-up")
    assert run.stop() == 0
    assert [sorted(call["services"]) for call in world.calls()] == [["fresh", "future", "old"]]


def test_the_start_up_line_says_when(world: World) -> None:
    """One line for people: how many services, when the next autosave is."""
    world.write("last.json", json.dumps({"a": 3596, "b": 10}))
    world.configure(a={"every": 3720.0}, b=NEVER, c={"on_shutdown": True})
    run = world.start()
    assert run.announced().startswith("watching 3 services, next autosave in 2 min")
    assert run.stop() == 0
    world.configure(c={"on_shutdown": True})
    assert world.start().announced() == "watching 1 service, to be saved on shutdown"


def test_without_anything_to_watch_it_says_so_and_waits(world: World) -> None:
    """A fresh machine: no service yet, SIGHUP will bring some."""
    world.configure()
    run = world.start()
    assert run.announced() == "watching no service: none has `autosave`"
    world.configure(a=FAST)
    run.signal(signal.SIGHUP)
    run.until(world.calls, "the first capture of the new service")
    assert run.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_takes_the_shutdown_snapshots(world: World, number: int) -> None:
    """config.md, `on_shutdown`; repository.md: a full read at shutdown."""
    world.write("last.json", json.dumps({"a": 0, "b": 0}))
    world.configure(a=NEVER | {"on_shutdown": True}, b=NEVER, c={"on_shutdown": True})
    run = world.start()
    run.signal(number)
    assert run.ended() == 0
    (call,) = world.calls()
    assert (call["services"], call["reason"], call["full_read"]) == (["a", "c"], "shutdown", True)


def test_a_capture_under_way_is_finished_first(world: World) -> None:
    """SIGTERM in the middle of a capture loses neither it nor the shutdown snapshot, which waits longer for locks."""
    world.write("mode", "slow 0.6")
    world.configure(a=NEVER | {"on_shutdown": True})
    run = world.start()
    run.until(world.calls, "a capture under way")
    assert run.stop() == 0
    assert [call["reason"] for call in world.calls()] == ["scheduled", "shutdown"]
    assert [call["wait_s"] for call in world.calls()] == [2.0, 7.0]
    assert (world.directory / "finished").read_text() == "xx"


def test_a_second_signal_ends_it_at_once_and_cleanly(world: World) -> None:
    """Whoever asks twice does not wait for a capture; the locks are free, no traceback is shown."""
    world.write("mode", "slow 60")
    world.configure(a=NEVER | {"on_shutdown": True})
    run = world.start()
    run.until(world.calls, "a capture under way")
    run.signal(signal.SIGTERM)
    time.sleep(0.05)
    run.signal(signal.SIGTERM)  # so soon it is the same wish
    time.sleep(0.5)
    assert run.process.poll() is None
    run.signal(signal.SIGTERM)
    assert run.ended() == 130
    assert "Traceback" not in run.log()
    assert not locks.is_held(str(world.directory / "state" / LOCK_NAME))


def test_sighup_loads_the_new_configuration(world: World) -> None:
    """New services are captured, gone ones are not, the rest keep their place."""
    world.configure(a=FAST, gone=FAST, slow=NEVER)
    run = world.start()
    run.until(lambda: len(world.calls()) >= 2, "captures")
    world.configure(a=FAST, new=FAST, slow=NEVER)
    run.signal(signal.SIGHUP)
    run.until_logged("configuration loaded again: watching 3 services")
    before = len(world.calls())
    run.until(lambda: len(world.calls()) >= before + 3, "captures after the reload")
    assert run.stop() == 0
    later = {name for call in world.calls()[before + 1 :] for name in call["services"]}
    assert later == {"a", "new"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{not json", ["config.json:1:1", "config.json:2:1"]),
        ('{"services": {"a": {"every": 0.2}}, "failed": {"b": ["b.yaml:1:2: bad", "b.yaml:3:4: worse"]}}', ["worse"]),
        ('{"services": {}, "state_dir": "/elsewhere"}', ["needs a restart"]),
        ('{"raise": "out of the blue"}', ["RuntimeError: out of the blue"]),
    ],
    ids=["unreadable", "one broken drop-in", "other state_dir", "unforeseen"],
)
def test_a_broken_new_configuration_leaves_the_old_one_running(world: World, text: str, words: list[str]) -> None:
    """cli.md, `run`: SIGHUP reloads (a broken new configuration leaves the old one running); all problems are told."""
    world.configure(a=FAST)
    run = world.start()
    world.write("config.json", text)
    run.signal(signal.SIGHUP)
    run.until_logged("the old one stays in force")
    for word in words:
        assert word in run.log()
    before = len(world.calls())
    run.until(lambda: len(world.calls()) >= before + 2, "captures by the old configuration")
    assert world.calls()[-1]["services"] == ["a"]
    assert run.stop() == 0


def test_a_drop_in_that_was_broken_before_hinders_no_reload(world: World) -> None:
    """At the start the other services are watched, and they can be changed while the broken one waits."""
    failed = {"b": ["b.yaml:1:2: bad"]}
    world.write("config.json", json.dumps({"services": {"a": NEVER}, "failed": failed}))
    run = world.start()
    run.until_logged("error scheduler: b is not watched: b.yaml:1:2: bad")
    world.write("config.json", json.dumps({"services": {"a": NEVER, "c": NEVER}, "failed": failed}))
    run.signal(signal.SIGHUP)
    run.until(lambda: any("c" in call["services"] for call in world.calls()), "the new service")
    assert run.stop() == 0


def test_a_configuration_that_is_broken_at_the_start_ends_it(world: World) -> None:
    """cli.md, exit status 78; every problem is told."""
    world.write("config.json", "{")
    run = world.start(wait=False)
    assert run.ended() == 78
    assert "config.json:2:1" in run.log()


def test_a_second_run_is_refused_and_names_the_first(world: World) -> None:
    """One scheduler per state directory: exit status 75, naming the process."""
    world.configure(a=NEVER)
    first = world.start()
    second = world.start(wait=False)
    assert second.ended() == 75
    assert f"is in use by process {first.process.pid}" in second.log()
    assert "Traceback" not in second.log()
    assert first.stop() == 0


def test_kill_9_leaves_no_stale_lock(world: World) -> None:
    """Promise 9: locks are the kernel's and die with their process."""
    world.write("mode", "slow 60")
    world.configure(a=NEVER)
    first = world.start()
    first.until(world.calls, "a capture under way")
    assert locks.holders(str(world.directory / "state" / LOCK_NAME))[0][0] == first.process.pid
    first.signal(signal.SIGKILL)
    assert first.ended() == -signal.SIGKILL
    assert (world.directory / "state" / LOCK_NAME).exists()
    world.write("mode", "fine")
    second = world.start()
    second.until(lambda: len(world.calls()) >= 2, "the capture of the next run")
    assert second.stop() == 0


def test_a_repository_in_use_is_no_failure(world: World) -> None:
    """What is due stays due until the other recoverd is done."""
    world.write("mode", "locked")
    world.configure(a=NEVER, b=NEVER)
    run = world.start()
    run.until(lambda: len(world.calls()) >= 3, "tries")
    world.write("mode", "fine")
    seen = len(world.calls())
    run.until(lambda: len(world.calls()) > seen, "the capture")
    time.sleep(0.5)
    assert len(world.calls()) <= seen + 2  # done: nothing is due any more
    assert "snapshot.failed" not in run.log()
    assert "autosave waits: the repository is in use by process 1 (somebody)" in run.log()
    assert all(call["services"] == ["a", "b"] for call in world.calls())
    assert run.stop() == 0


@pytest.mark.parametrize(("mode", "words"), [("broken", "the disk is gone"), ("bug", "ZeroDivisionError: one of ours")])
def test_a_capture_that_raises_is_told_and_tried_again_ever_more_slowly(world: World, mode: str, words: str) -> None:
    """The scheduler outlives whatever a capture does, and does not hammer a disk that is gone."""
    world.write("mode", mode)
    world.configure(a={"every": 0.05})
    run = world.start()
    run.until(lambda: len(world.calls()) >= 5, "tries")
    times = [call["time"] for call in world.calls()]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] >= 0.1
    assert pauses[1] >= 0.2
    assert pauses[2] >= 0.4
    assert f"error snapshot.failed a: {words}; next try in 100 ms" in run.log()
    assert ("Traceback" in run.log()) == (mode == "bug")
    world.write("mode", "fine")
    seen = len(world.calls())
    run.until(lambda: len(world.calls()) >= seen + 6, "captures at the usual pace")
    assert world.calls()[-1]["time"] - world.calls()[-2]["time"] < 0.4
    assert run.stop() == 0


def test_a_capture_slower_than_its_interval_does_not_chase_itself(world: World) -> None:
    """Promise 11: marks that came during the capture of a service are done with it."""
    world.write("mode", "slow 0.5")
    world.configure(a={"every": 0.4})
    run = world.start()
    run.until(lambda: len(world.calls()) >= 5, "captures")
    run.stop()
    times = [call["time"] for call in world.calls("scheduled")]
    # At 0.8, 1.6, 2.4, …: the first interval that begins after a capture; one that chased itself takes 0.6.
    assert (times[-1] - times[1]) / (len(times) - 2) > 0.7


def test_paused_services_are_left_alone_until_resumed(world: World) -> None:
    """pause and resume work at run time, without a signal; a pause covers the shutdown snapshot."""
    world.write("paused", "a")
    world.configure(a=FAST | {"on_shutdown": True}, b=FAST)
    run = world.start()
    run.until(lambda: len(world.calls()) >= 3, "captures")
    assert {name for call in world.calls() for name in call["services"]} == {"b"}
    world.write("paused", "")
    run.until(lambda: "a" in world.calls()[-1]["services"], "the resumed service")
    world.write("paused", "a b")
    time.sleep(0.5)
    seen = len(world.calls())
    assert run.stop() == 0
    assert len(world.calls()) == seen


def test_what_became_due_while_paused_is_saved_once_it_is_resumed(world: World) -> None:
    """A service saved once a day does not wait a day for its next time."""
    world.write("paused", "a")
    world.configure(a=NEVER)  # never captured, so due at once
    run = world.start()
    time.sleep(0.5)
    assert world.calls() == []
    world.write("paused", "")
    run.until(world.calls, "the resumed service")
    time.sleep(0.5)
    assert len(world.calls()) == 1
    assert run.stop() == 0


def test_records_that_cannot_be_read_stop_no_autosave(world: World) -> None:
    """Better saved once too often."""
    world.write("paused", "unreadable")
    world.write("last.json", '{"damaged": 1}')
    world.configure(a=NEVER)
    run = world.start()
    run.until(world.calls, "the capture")
    assert "when services were saved last is not known" in run.log()
    assert run.stop() == 0


@pytest.mark.parametrize(("step", "captured"), [("7200", True), ("-7200", False)])
def test_a_step_of_the_clock_while_running(world: World, step: str, captured: bool) -> None:
    """A machine that slept two hours saves at once; a clock set back stops nothing and floods nothing."""
    world.write("last.json", json.dumps({"a": 10}))
    world.configure(a=NEVER, fast=FAST)
    run = world.start()
    world.write("step", step)
    run.until_logged(f"the clock was set {'forward' if captured else 'back'} by 2 h")
    if captured:
        run.until(lambda: any("a" in call["services"] for call in world.calls()), "the capture after the sleep")
    before = len(world.calls())
    run.until(lambda: len(world.calls()) >= before + 3, "captures after the step")
    assert captured or all(call["services"] == ["fast"] for call in world.calls())
    assert run.stop() == 0


@pytest.mark.parametrize("mode", ["failing", "broken", "locked"])
def test_a_shutdown_snapshot_that_failed_is_no_success(world: World, mode: str) -> None:
    """Promise 10: exit status 0 means that what was asked for is true."""
    world.configure(a={"on_shutdown": True})
    world.write("mode", mode)
    run = world.start()
    assert run.stop() == 1
    assert len(world.calls()) == 1
    assert mode == "failing" or "error snapshot.failed a: " in run.log()


def test_systemd_is_told(world: World, manager: socket.socket) -> None:
    """sd_notify(3): READY when it watches, RELOADING with its time and READY again, STOPPING, and the watchdog."""
    world.environment = {"NOTIFY_SOCKET": str(world.directory / "notify"), "WATCHDOG_USEC": "100000"}
    world.configure(a=NEVER | {"on_shutdown": True})
    run = world.start()
    heard: list[str] = []

    def listen(for_what: str) -> None:
        while for_what not in heard:
            heard.append(manager.recv(200).decode().split("\n")[0])

    listen("READY=1")
    listen("WATCHDOG=1")
    run.signal(signal.SIGHUP)
    listen("RELOADING=1")
    run.until_logged("configuration loaded again")
    run.signal(signal.SIGTERM)
    listen("STOPPING=1")
    assert run.ended() == 0
    assert [word for word in heard if word != "WATCHDOG=1"] == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_the_watchdog_is_fed_during_a_long_capture(world: World, manager: socket.socket) -> None:
    """systemd must not kill a capture because it is a large one."""
    world.environment = {"NOTIFY_SOCKET": str(world.directory / "notify"), "WATCHDOG_USEC": "100000"}
    world.write("mode", "slow 1")
    world.configure(a=NEVER)
    run = world.start()
    run.until(world.calls, "a capture under way")
    assert manager.recv(200) == b"READY=1"
    assert [manager.recv(200) for _ in range(8)] == [b"WATCHDOG=1"] * 8
    assert not (world.directory / "finished").exists()
    assert run.stop() == 0
