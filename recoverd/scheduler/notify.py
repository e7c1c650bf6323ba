"""Telling systemd how we are (sd_notify(3)), and its watchdog that we still are."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Mapping

_PATIENCE_S = 1.0  # the socket's queue may be full while systemd is busy; that must not stop autosave


def notify(*assignments: str, environment: Mapping[str, str] | None = None) -> None:
    """Send `READY=1`, `STOPPING=1`, … to $NOTIFY_SOCKET; nothing without one, or when systemd does not listen."""
    address = (os.environ if environment is None else environment).get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.settimeout(_PATIENCE_S)
        try:
            channel.sendto("\n".join(assignments).encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return  # systemd judges by silence; there is nobody else to tell


def watchdog_interval_s(environment: Mapping[str, str]) -> float | None:
    """How often systemd wants to hear of this process: half of what it allows. None: it does not ask."""
    allowed_us, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not allowed_us.isdecimal() or int(allowed_us) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(allowed_us) / 2e6


class Watchdog:
    """Sends `WATCHDOG=1` from a thread of its own as long as `is_alive` says so.

    The thread waits on the monotonic clock: a step of the wall clock neither floods nor starves systemd.
    """

    def __init__(self, is_alive: Callable[[], bool], environment: Mapping[str, str]) -> None:
        self._is_alive, self._environment = is_alive, environment
        self._end = threading.Event()
        self._interval_s = watchdog_interval_s(environment)

    def start(self) -> None:
        """Begin, if systemd asks for it."""
        if self._interval_s is not None:
            threading.Thread(target=self._beat, args=(self._interval_s,), name="watchdog", daemon=True).start()

    def stop(self) -> None:
        self._end.set()

    def _beat(self, interval_s: float) -> None:
        while not self._end.wait(interval_s):
            if self._is_alive():
                notify("WATCHDOG=1", environment=self._environment)
