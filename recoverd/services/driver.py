"""What every kind of service driver promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, Protocol

from recoverd.system.processes import ProcessIdentity
from recoverd.values import dataclass

# Holds a unit that is to be started along with a service, and tells whether it may be.
Claim = Callable[[str], AbstractContextManager[bool]]
Wanted = Literal["running", "stopped", "unknown"]
How = Literal["term", "kill", "not running"]


def free_to_start(_unit: str) -> AbstractContextManager[bool]:
    """A `Claim` of which everything may be started."""
    return nullcontext(True)


@dataclass(frozen=True, slots=True)
class Started:
    """The service is up. `already`: it was so before, and nothing was started. `identity` is that of its main
    process, None where its driver can't tell it.
    """

    already: bool
    identity: ProcessIdentity | None

    @property
    def pid(self) -> int | None:
        return None if self.identity is None else self.identity.pid


@dataclass(frozen=True, slots=True)
class StartedProcess(Started):
    """A start by a driver that always knows the process."""

    identity: ProcessIdentity

    @property
    def pid(self) -> int:
        return self.identity.pid


@dataclass(frozen=True, slots=True)
class Stopped:
    """The service has no process any more.

    `was_running` is about its main process. `how` is what it took for the whole tree: "term" when every
    process went by itself after it was asked to, "kill" when at least one had to be killed.
    """

    was_running: bool
    how: How
    seconds: float


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What is known of a service's process now.

    `since_ns` is the wall clock time of the start, None when it does not run or nobody knows. `wanted` is what
    recoverd was last told, or what its manager was. `restarts` counts the starts that followed an end which recoverd
    had not asked for. `detail` is a clause for people, such as "process 123 runs since 2026-11-21T09:30:00.123Z".
    A service that is not `settled` is being started, restarted or stopped by its manager right now. What is
    `supervised` gets a new process from its manager when one ends.
    """

    running: bool
    identity: ProcessIdentity | None
    since_ns: int | None
    wanted: Wanted
    restarts: int
    detail: str
    settled: bool = True
    supervised: bool = False


class Driver(Protocol):
    """Starts, stops and describes the one process (with its children) of one service, and reads its log.

    All of it may be called at any time, from any process and thread; a driver holds no state of its own
    beside the ledger, so a new driver knows what a former one did, also after `kill -9` or a reboot.
    """

    def start(self) -> Started:
        """Bring the service up. Idempotent: a service that runs is left alone (`already`), and concurrent
        starts start one. What is left of a former run is ended first. On return the process has been
        executed and its identity is durable; whether it is healthy is for the probes to say.

        Raises ServiceError when it can't be executed, LockHeld when another start or stop takes too long.
        """
        ...

    def stop(self, *, by_operator: bool = False) -> Stopped:
        """Bring the service down, with every process it has started. Idempotent. On return all are gone.

        The service stays wanted, as it must for a restore that stops and starts it, unless `by_operator`
        says that somebody wants it down; that is durable before the first signal is sent.

        Raises ServiceError when a process remains, LockHeld as `start`.
        """
        ...

    def status(self) -> ServiceStatus:
        """Whether the service's process runs: told by its identity, never by a bare pid. Changes nothing.

        Raises ServiceError when whoever runs the service can't be asked.
        """
        ...

    def log(self, lines: int, *, follow: bool = False) -> Iterator[str]:
        """The newest `lines` lines of the service's log, oldest first; with `follow` also those that come, for ever.

        Raises ServiceError, before the first line, when there is no log that recoverd can read.
        """
        ...

    def complaint(self) -> str:
        """The last thing that the service, or what starts it, said; "" when there is nothing. Raises nothing."""
        ...


class Ledger(Protocol):
    """Where a driver keeps what must outlive it: one small JSON object per service."""

    def load(self) -> Mapping[str, Any]:
        """What was saved last; empty at first."""
        ...

    def save(self, process: Mapping[str, Any]) -> None:
        """Replace it; durable on return."""
        ...
