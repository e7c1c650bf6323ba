"""The resume report: what a service, and who looks after it, is told of how it came back. Pure.

`/run/recoverd-resume/<service>.json` is the newest report; the copy in the state directory holds the last ones, and
how often the service was brought back in all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recoverd.repository.fields import canonical
from recoverd.system.clock import rfc3339
from recoverd.values import dataclass, field

if TYPE_CHECKING:
    from recoverd.recovery.in_flight import Found

MOST_REPORTS = 20  # kept of each service


@dataclass(frozen=True, slots=True)
class Shutdown:
    """How the run before ended: in order, or not; None: nobody can tell. `how`: a clause."""

    clean: bool | None
    how: str


@dataclass(frozen=True, slots=True)
class ResumeReport:
    """One return of a service. `items`: what became of each item or document, as in a restore's JSON."""

    service: str
    time_ns: int
    why: str  # boot | restore | failure | confirm
    boot_id: str
    restart_count: int  # 0: it was never there before
    shutdown: Shutdown
    outcome: str
    items: Sequence[Mapping[str, Any]] = ()
    healthy: bool | None = None  # known only once it runs: in the history
    path: str = ""  # where the service finds it
    in_flight: Found | None = None  # None: nothing is declared that could be
    again: bool = False  # of the return that the newest report in the history tells of: it takes that one's place

    @property
    def message(self) -> str:
        """ "restarted (#2), resuming 3 tasks and 1 conversation": what whoever looks after the service is told."""
        head = f"restarted (#{self.restart_count})" if self.restart_count else "started for the first time"
        return head if self.in_flight is None else f"{head}, {self.in_flight.summary}"

    def to_json(self) -> dict[str, Any]:
        """Times are RFC 3339 in UTC; ages are seconds before `time`, and what was written since is lost."""
        return {
            "resume": 1,
            "service": self.service,
            "time": rfc3339(self.time_ns),
            "why": self.why,
            "boot_id": self.boot_id,
            "restart_count": self.restart_count,
            "clean_shutdown": self.shutdown.clean,
            "shutdown": self.shutdown.how,
            "outcome": self.outcome,
            "healthy": self.healthy,
            "items": [dict(item) for item in self.items],
            "message": self.message,
            "in_flight": None if self.in_flight is None else self.in_flight.to_json(),
            "lost": [sentence for item in self.items if (sentence := _lost(item, self.time_ns)) is not None],
        }


@dataclass(frozen=True, slots=True)
class History:
    """The reports that are kept, oldest first, and how often the service came back in all."""

    restart_count: int = 0
    reports: tuple[Mapping[str, Any], ...] = field(default_factory=tuple)

    @property
    def is_empty(self) -> bool:
        return not self.reports

    @property
    def unclean(self) -> int:
        """How many of the runs that the kept reports tell of did not end in order."""
        return sum(report.get("clean_shutdown") is False for report in self.reports)


def _lost(item: Mapping[str, Any], time_ns: int) -> str | None:
    """The window whose writes did not come back, in a sentence; None where nothing was replaced by something older."""
    age_s = item.get("age_seconds")
    if item.get("source") == "live" or age_s is None:
        return None
    name = "/".join(str(part) for part in (item["item"], item.get("document")) if part)
    return f"{name}: what was written after {rfc3339(time_ns - round(float(age_s) * 1e9))}"


def followed(history: History, report: ResumeReport) -> History:
    """The history with one more report. What was in flight is listed in the newest only, and counted in all."""
    others = history.reports[:-1] if report.again else history.reports
    before = (_counted(each) for each in others[1 - MOST_REPORTS :])
    return History(report.restart_count, (*before, report.to_json()))


def _counted(report: Mapping[str, Any]) -> Mapping[str, Any]:
    found = report.get("in_flight")
    return {**report, "in_flight": {**found, "entries": []}} if isinstance(found, dict) else report


def encode_history(history: History) -> bytes:
    document = {"resumes": 1, "restart_count": history.restart_count, "reports": list(history.reports)}
    return f"{canonical(document)}\n".encode()


def decode_history(data: bytes) -> History:
    """The reverse; an empty one for what it did not write."""
    try:
        document = json.loads(data)
        reports = tuple(report for report in document["reports"] if isinstance(report, dict))
        return History(max(0, int(document["restart_count"])), reports)
    except (ValueError, KeyError, TypeError, RecursionError):
        return History()
