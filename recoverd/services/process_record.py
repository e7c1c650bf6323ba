"""What recoverd remembers of a service's process; part of the on-disk format (services/<service>.json)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, cast

from recoverd.services.driver import Wanted
from recoverd.system.processes import ProcessIdentity
from recoverd.values import dataclass


class Phase(StrEnum):
    """How far the last start or stop came."""

    NONE = "none"  # never started
    STARTING = "starting"  # the process exists, and executes the command only after this is durable
    RUNNING = "running"  # the command was executed; whether it still runs, its identity tells
    STOPPED = "stopped"  # recoverd ended it
    FAILED = "failed"  # the command could not be executed


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """Times are wall clock nanoseconds; 0 is never."""

    wanted: Wanted = "unknown"
    phase: Phase = Phase.NONE
    identity: ProcessIdentity | None = None
    token: str = ""  # RECOVERD_START_ID in the environment of the process and of its children
    command: tuple[str, ...] = ()
    started_ns: int = 0
    starts: int = 0
    restarts: int = 0  # starts that followed an end which recoverd had not asked for
    last_stop_ns: int = 0
    last_clean_stop_ns: int = 0  # of the last stop for which nothing had to be killed
    error: str = ""  # why the last start failed
    limited_by: str = ""  # who enforces the declared limits; "" where there are none
    triggers: tuple[str, ...] = ()  # units that start the service, stopped with it, to be started with it again
    dependants: tuple[str, ...] = ()  # units that its manager stopped along with it, to be started after it

    @property
    def ended_cleanly(self) -> bool:
        """Whether the last run was ended by recoverd and had the time to finish its writes."""
        return self.phase is Phase.STOPPED and self.last_clean_stop_ns == self.last_stop_ns

    def to_json(self) -> dict[str, Any]:
        """A JSON object; nanoseconds are strings, being 64-bit values."""
        return {
            "wanted": self.wanted,
            "phase": str(self.phase),
            "identity": None if self.identity is None else self.identity.to_json(),
            "token": self.token,
            "command": list(self.command),
            "started_ns": str(self.started_ns),
            "starts": self.starts,
            "restarts": self.restarts,
            "last_stop_ns": str(self.last_stop_ns),
            "last_clean_stop_ns": str(self.last_clean_stop_ns),
            "error": self.error,
            **({"limited_by": self.limited_by} if self.limited_by else {}),
            "triggers": list(self.triggers),
            "dependants": list(self.dependants),
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> ProcessRecord:
        """The reverse of `to_json`. Never raises: what is missing or makes no sense gets its default, what is
        unknown is left out, so that an older or a damaged record never keeps a service from starting."""
        wanted, phase = value.get("wanted"), value.get("phase")
        return ProcessRecord(
            wanted=cast("Wanted", wanted) if wanted in ("running", "stopped") else "unknown",
            phase=Phase(phase) if isinstance(phase, str) and phase in set(Phase) else Phase.NONE,
            identity=_identity(value.get("identity")),
            token=_text(value.get("token")),
            command=_texts(value.get("command")),
            started_ns=_count(value.get("started_ns")),
            starts=_count(value.get("starts")),
            restarts=_count(value.get("restarts")),
            last_stop_ns=_count(value.get("last_stop_ns")),
            last_clean_stop_ns=_count(value.get("last_clean_stop_ns")),
            error=_text(value.get("error")),
            limited_by=_text(value.get("limited_by")),
            triggers=_texts(value.get("triggers")),
            dependants=_texts(value.get("dependants")),
        )


def _identity(value: object) -> ProcessIdentity | None:
    if not isinstance(value, Mapping):
        return None
    try:
        identity = ProcessIdentity.from_json(value)
    except ValueError:
        return None
    return identity if identity.pid > 0 else None  # kill(2) gives 0 and -1 meanings of their own


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(word) for word in value) if isinstance(value, list | tuple) else ()


def _count(value: object) -> int:
    """A number that may be written as a string."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return 0
    try:
        return max(0, int(value))
    except ValueError:
        return 0
