"""Who a process is: boot id, pid and start time, never a bare pid.

Pids are reused, so a pid alone may by now name somebody else. The start time in clock ticks
(field 22 of /proc/PID/stat, proc(5)) does not move when the wall clock is set.
"""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Mapping
from typing import Any

from recoverd.system.clock import boot_id
from recoverd.values import dataclass

_DEAD_STATES = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    boot_id: str
    pid: int
    start_ticks: int

    def to_json(self) -> dict[str, str | int]:
        """A JSON object; the ticks are a string, being a 64-bit value."""
        return {"boot_id": self.boot_id, "pid": self.pid, "start_ticks": str(self.start_ticks)}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ProcessIdentity:
        """The reverse of `to_json`. Raises ValueError when the object is not one."""
        try:
            return ProcessIdentity(str(value["boot_id"]), int(value["pid"]), int(value["start_ticks"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a process identity: {value!r}") from error


@dataclass(frozen=True, slots=True)
class _Stat:
    state: str
    parent: int
    start_ticks: int


def _read_stat(pid: int) -> _Stat | None:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # the command name in field 2 may hold spaces and brackets: fields count from the last one
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    return _Stat(fields[0].decode("ascii"), int(fields[1]), int(fields[19]))


def identify(pid: int) -> ProcessIdentity | None:
    """Who has this pid now; None when nobody has, or only a zombie."""
    stat = _read_stat(pid)
    if stat is None or stat.state in _DEAD_STATES:
        return None
    return ProcessIdentity(boot_id(), pid, stat.start_ticks)


def is_alive(identity: ProcessIdentity) -> bool:
    """Whether exactly this process still runs: same boot, pid and start time, and not a zombie."""
    return identity.boot_id == boot_id() and identify(identity.pid) == identity


def own_identity() -> ProcessIdentity:
    """The identity of the calling process."""
    identity = identify(os.getpid())
    if identity is None:
        raise OSError("/proc is not mounted")
    return identity


def signal(identity: ProcessIdentity, number: int) -> bool:
    """Send a signal to exactly this process; False when it is gone.

    The pidfd is opened first and the identity is checked after: a pid that was reused before, between
    or later never gets the signal. Raises PermissionError when the process belongs to somebody else.
    """
    try:
        pidfd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return False
    try:
        if not is_alive(identity):
            return False
        signals.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def descendants(identity: ProcessIdentity) -> list[ProcessIdentity]:
    """The living children of a process, their children and so on, parents before children.

    Empty when the process is gone (its children then belong to init and can't be told apart).
    """
    if not is_alive(identity):
        return []
    children: dict[int, list[tuple[int, _Stat]]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            stat = _read_stat(int(name))
            if stat is not None and stat.state not in _DEAD_STATES:
                children.setdefault(stat.parent, []).append((int(name), stat))
    found: list[ProcessIdentity] = []
    waves = [identity.pid]
    for parent in waves:
        for pid, stat in sorted(children.get(parent, ()), key=lambda child: child[0]):
            found.append(ProcessIdentity(identity.boot_id, pid, stat.start_ticks))
            waves.append(pid)
    return found
