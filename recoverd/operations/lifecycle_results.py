"""What became of the processes of services, or how they are: values that text, JSON and exit status render."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recoverd.services.driver import ServiceStatus
from recoverd.system import clock
from recoverd.values import dataclass

STARTED, RESTARTED, RUNNING = "started", "restarted", "running"
STOPPED, FAILED, BLOCKED, UNKNOWN, STATELESS = "stopped", "failed", "blocked", "unknown", "state only"


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """What became of the process of one service, or how it is.

    `outcome`: of start "started", or "running" where it ran already; of restart "restarted"; of stop "stopped"; of
    status "running", "stopped" or "state only" (nothing to run). Besides "failed", "blocked" (by its state, or by a
    service that it comes after) and "unknown" (no such service, or its manager does not answer).
    """

    service: str
    outcome: str
    running: bool | None = None  # None: not known, or there is nothing to run
    pid: int | None = None
    since_ns: int | None = None
    restarts: int = 0
    wanted: str = "unknown"  # running | stopped | unknown
    healthy: bool | None = None  # None: nobody asked
    detail: str = ""
    hint: str | None = None
    seconds: float = 0.0
    exit_status: int = 0
    resumed: Mapping[str, Any] | None = None  # the newest resume report, for `status`

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "outcome": self.outcome,
            "running": self.running,
            "pid": self.pid,
            "since": None if self.since_ns is None else clock.rfc3339(self.since_ns),
            "restarts": self.restarts,
            "wanted": self.wanted,
            "healthy": self.healthy,
            "detail": self.detail,
            "hint": self.hint,
            "seconds": round(self.seconds, 3),
            "restart_count": None if self.resumed is None else self.resumed.get("restart_count"),
            "clean_shutdown": None if self.resumed is None else self.resumed.get("clean_shutdown"),
            "resumed": None if self.resumed is None else self.resumed.get("time"),
            "in_flight": None if self.resumed is None else self.resumed.get("in_flight"),
        }


@dataclass(frozen=True, slots=True)
class LifecycleResult:
    services: tuple[ServiceProcess, ...]

    @property
    def exit_status(self) -> int:
        """0: what was asked for is true of all. 64 or 75 where that is all that went wrong, else 1."""
        wrong = {one.exit_status for one in self.services} - {0}
        return wrong.pop() if len(wrong) == 1 else int(bool(wrong))

    def to_json(self) -> dict[str, Any]:
        return {"services": [one.to_json() for one in self.services]}


def described(name: str, outcome: str, found: ServiceStatus) -> ServiceProcess:
    """A result with what a driver tells."""
    return ServiceProcess(
        service=name,
        outcome=outcome,
        running=found.running,
        pid=None if found.identity is None else found.identity.pid,
        since_ns=found.since_ns,
        restarts=found.restarts,
        wanted=found.wanted,
        detail=found.detail,
    )
