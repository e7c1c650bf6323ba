"""sd_notify to a real socket, and the watchdog."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recoverd.scheduler.notify import Watchdog, notify, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """systemd's end: a datagram socket in the file system or an abstract one, and the environment that names it."""
    name = (
        str(tmp_path / "notify") if request.param == "path" else f"@recoverd-test-{os.getpid()}-{time.monotonic_ns()}"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(name if name[0] == "/" else "\0" + name[1:])
        channel.settimeout(5)
        yield channel, {"NOTIFY_SOCKET": name}


def test_assignments_arrive_as_one_message(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """sd_notify(3): assignments separated by newlines, one datagram."""
    channel, environment = manager
    notify("RELOADING=1", "MONOTONIC_USEC=5", environment=environment)
    assert channel.recv(100) == b"RELOADING=1\nMONOTONIC_USEC=5"


@pytest.mark.parametrize("name", ["", "/nowhere/at/all", "@nobody-listens-here", "vsock:2:1"])
def test_without_a_listener_nothing_happens(name: str) -> None:
    """Outside systemd, and when it went away, `run` just runs."""
    notify("READY=1", environment={"NOTIFY_SOCKET": name} if name else {})


def test_a_manager_that_does_not_read_stops_nothing(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """The queue of a datagram socket is short; who finds it full gives up after a moment instead of hanging."""
    channel, environment = manager
    channel.setblocking(False)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
        filler.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                filler.sendto(b"x", channel.getsockname())
    began = time.monotonic()
    notify("WATCHDOG=1", environment=environment)
    assert 0.5 < time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("environment", "interval_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_how_often_systemd_wants_to_hear_of_us(environment: dict[str, str], interval_s: float | None) -> None:
    """sd_watchdog_enabled(3): half of the time that is allowed, only if it is meant for this process."""
    assert watchdog_interval_s(environment) == interval_s


def test_the_watchdog_is_fed_only_while_the_loop_is_alive(manager: tuple[socket.socket, dict[str, str]]) -> None:
    """A loop that hangs must be seen to hang: the thread alone proves nothing."""
    channel, environment = manager
    alive = threading.Event()
    alive.set()
    watchdog = Watchdog(alive.is_set, environment | {"WATCHDOG_USEC": "40000"})
    watchdog.start()
    assert [channel.recv(100) for _ in range(3)] == [b"WATCHDOG=1"] * 3
    alive.clear()
    time.sleep(0.05)
    channel.setblocking(False)
    while True:  # what was on its way
        try:
            channel.recv(100)
        except BlockingIOError:
            break
    time.sleep(0.1)
    with pytest.raises(BlockingIOError):
        channel.recv(100)
    watchdog.stop()
