"""The one list of results that every format of `recoverd check` is a rendering of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType

from recoverd.values import dataclass, field


class Status(StrEnum):
    """How something is. `exit_status` is what monitoring systems expect; `severity` orders from fine to bad."""

    OK = "OK"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"
    UNKNOWN = "UNKNOWN"

    @property
    def exit_status(self) -> int:
        return _EXIT[self]

    @property
    def severity(self) -> int:
        return _SEVERITY[self]


_EXIT = {Status.OK: 0, Status.WARNING: 1, Status.CRITICAL: 2, Status.UNKNOWN: 3}
# What is not known hides no alarm that is.
_SEVERITY = {Status.OK: 0, Status.UNKNOWN: 1, Status.WARNING: 2, Status.CRITICAL: 3}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with its unit ("s", "B"; "" for counts and fractions) and the limits it is held against, if any."""

    value: int | float
    unit: str = ""
    warn: int | float | None = None
    crit: int | float | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """One check: of a service, or of the host where `service` is None. `hint` says what to do when it is not OK."""

    name: str
    service: str | None
    status: Status
    message: str
    hint: str | None = None
    figures: Mapping[str, Figure] = field(default_factory=lambda: MappingProxyType({}))


def overall(results: Iterable[Result]) -> Status:
    """The worst status; UNKNOWN when nothing was checked."""
    return max((result.status for result in results), key=lambda status: status.severity, default=Status.UNKNOWN)
