"""All the processes of a service, and how they are ended.

A service's processes are its main process, what descends from it, what shares its session, and what carries its
start id in the environment: so also children that outlived it, or that left the session on purpose, are found.
"""

from __future__ import annotations

import os
import signal as signals
import time
from collections.abc import Iterable

from recoverd.errors import ServiceError
from recoverd.services.driver import How
from recoverd.services.environment import START_ID
from recoverd.system import processes
from recoverd.system.clock import boot_id, monotonic_s
from recoverd.system.processes import ProcessIdentity
from recoverd.values import dataclass

KILL_TIMEOUT_S = 10.0  # SIGKILL can't be refused: only a process that waits for a dead disk takes longer
_SHORTEST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """`main` tells whether the main process was among those that were ended."""

    main: bool
    how: How
    seconds: float


def carries(pid: int, token: str) -> bool:
    """Whether a process was started with this start id. False when its environment can't be read."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = file.read()
    except OSError:
        return False
    return f"{START_ID}={token}".encode() in environment.split(b"\0")


def members(main: ProcessIdentity, token: str, known: Iterable[ProcessIdentity] = ()) -> list[ProcessIdentity]:
    """The living processes of a service, of which `known` were seen before; never the calling process.

    Only identities are returned, and each was found by a property that a foreign process with a reused pid lacks.
    """
    if main.boot_id != boot_id():
        return []
    found = dict.fromkeys(one for one in known if processes.is_alive(one))
    same_session: list[ProcessIdentity] = []
    for name in os.listdir("/proc"):
        identity = processes.identify(int(name)) if name.isdecimal() else None
        # nothing that is older than the main process was started by it; so few environments are read
        if identity is None or identity.start_ticks < main.start_ticks or identity in found:
            continue
        if identity == main or (token and carries(identity.pid, token)):
            found[identity] = None
        elif _session(identity.pid) == main.pid:
            same_session.append(identity)
    if processes.is_alive(main):  # else the number of its session may by now be another's
        found.update(dict.fromkeys(same_session))
    for one in list(found):
        found.update(dict.fromkeys(processes.descendants(one)))
    # recoverd may have been called by the service itself
    return [one for one in found if one.pid != os.getpid()]


def end_tree(
    main: ProcessIdentity,
    token: str,
    *,
    stop_signal: int = signals.SIGTERM,
    timeout_s: float,
    kill_timeout_s: float = KILL_TIMEOUT_S,
) -> Ended:
    """End all processes of a service and wait until they are gone.

    The main process gets `stop_signal`; the others get SIGTERM once it has gone, or when half of `timeout_s` has
    passed, because a main process may want to end its children itself, in order. What is left after `timeout_s`
    is killed. Raises ServiceError when something can't be signalled, or is still there `kill_timeout_s` later.
    """
    began = monotonic_s()
    alive = members(main, token)
    if not alive:
        return Ended(main=False, how="not running", seconds=0.0)
    had_main = main in alive
    asked: set[ProcessIdentity] = set()
    known: set[ProcessIdentity] = set(alive)
    pause_s = _SHORTEST_PAUSE_S
    while alive and monotonic_s() - began < timeout_s:
        others_too = main not in alive or monotonic_s() - began >= timeout_s / 2
        for one in alive:
            if one not in asked and (one == main or others_too):
                _signal(one, stop_signal if one == main else signals.SIGTERM)
                _signal(one, signals.SIGCONT)  # a stopped process acts on nothing else
                asked.add(one)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, _LONGEST_PAUSE_S)
        alive = _settled(main, token, known)
    how: How = "kill" if alive else "term"
    deadline = monotonic_s() + kill_timeout_s
    while alive:
        for one in alive:
            _signal(one, signals.SIGKILL)
        time.sleep(_SHORTEST_PAUSE_S)
        alive = _settled(main, token, known)
        if alive and monotonic_s() > deadline:
            raise ServiceError(
                f"process {alive[0].pid} does not end, not even when killed",
                hint="it waits for a disk or a network file system, or starts new processes all the time",
            )
    return Ended(main=had_main, how=how, seconds=monotonic_s() - began)


def _settled(main: ProcessIdentity, token: str, known: set[ProcessIdentity]) -> list[ProcessIdentity]:
    """Who is alive now. One look may miss a process that is just being forked, so nobody means: seen twice."""
    for _ in range(2):
        alive = members(main, token, known)
        known.update(alive)
        if alive:
            return alive
    return []


def _signal(identity: ProcessIdentity, number: int) -> None:
    try:
        processes.signal(identity, number)
    except PermissionError as error:
        raise ServiceError(
            f"process {identity.pid} belongs to another user and can't be ended", hint="run recoverd as root"
        ) from error


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None
