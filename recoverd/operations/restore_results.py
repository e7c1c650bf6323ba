"""What a restore was asked for and what became of it: values that text, JSON, exit status and events render."""

from __future__ import annotations

from typing import Any

from recoverd.recovery.resume import ResumeReport
from recoverd.values import dataclass

RESTORE = "restore"  # in the run history
UNTOUCHED, RESTORED, DEGRADED, BLOCKED, FAILED = "untouched", "restored", "degraded", "blocked", "failed"


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    services: tuple[str, ...] = ()  # empty: all enabled ones
    snapshot: str | None = None  # an explicit restore, also over good state
    at_ns: int | None = None  # the same, of each service's newest known-good snapshot at or before then
    origin: str | None = None  # the only one to restore from: siblings, snapshots, rebuild, initial
    only: str | None = None  # ITEM[/PATH]: this part of the state of one service, and nothing else
    dry_run: bool = False
    start: bool = True
    boot: bool = False  # before services start: nothing is started, stopped or proven
    why: str = "restore"  # boot | restore | failure | confirm: what the resume report calls it


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate that was tried: `result` is restored, rejected, damaged, invalid or failed."""

    candidate: str
    result: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of one item, or of one document of it."""

    item: str
    document: str  # "" is the item itself
    verdict_before: str
    source: str  # live | snapshot | sibling | rebuild | initial | salvage | empty
    candidate: str | None = None
    age_s: float | None = None  # how old the restored content is: what was written since is lost
    quarantine: str | None = None  # where the replaced state is
    reason: str = ""
    migrated: tuple[str, str] | None = None  # from this version to that one, as it was brought back

    def to_json(self) -> dict[str, Any]:
        return {
            "item": self.item,
            "document": self.document,
            "verdict_before": self.verdict_before,
            "source": self.source,
            "candidate": self.candidate,
            "age_seconds": None if self.age_s is None else round(self.age_s, 3),
            "quarantine": self.quarantine,
            "reason": self.reason,
            "migrated": None if self.migrated is None else {"from": self.migrated[0], "to": self.migrated[1]},
        }


@dataclass(frozen=True, slots=True)
class ServiceRestore:
    """One restore of one service."""

    service: str
    outcome: str  # untouched | restored | degraded | blocked | failed
    healthy: bool | None = None  # None: nothing to ask, or not asked
    verdict: str | None = None  # of live state, before; None: it came to no look at it
    attempts: tuple[Attempt, ...] = ()
    items: tuple[ItemOutcome, ...] = ()
    reasons: tuple[str, ...] = ()  # why it was blocked or failed, what its probes said, what was finished before
    hint: str | None = None
    pid: int | None = None
    started: bool = False
    seconds: float = 0.0
    exit_status: int = 0
    resume: ResumeReport | None = None  # what the service was told; None: it was not about to start

    def to_json(self) -> dict[str, Any]:
        return {
            "service": self.service,
            "outcome": self.outcome,
            "healthy": self.healthy,
            "verdict_before": self.verdict,
            "attempts": [{"candidate": a.candidate, "result": a.result, "why": a.why} for a in self.attempts],
            "resume": None if self.resume is None else self.resume.path,
            "restart_count": None if self.resume is None else self.resume.restart_count,
            "in_flight": None
            if self.resume is None or self.resume.in_flight is None
            else self.resume.in_flight.to_json(),
            "items": [one.to_json() for one in self.items],
            "reasons": list(self.reasons),
            "hint": self.hint,
            "pid": self.pid,
            "started": self.started,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class RestoreResult:
    services: tuple[ServiceRestore, ...]
    dry_run: bool = False

    @property
    def exit_status(self) -> int:
        """0: state validated after it was written and every probe passed. 3: up, but degraded. 75: busy. 1: not so."""
        statuses = {one.exit_status for one in self.services}
        if statuses == {75}:
            return 75
        if statuses & {1, 75}:
            return 1
        return 3 if 3 in statuses else 0

    def to_json(self) -> dict[str, Any]:
        return {"services": [one.to_json() for one in self.services], "dry_run": self.dry_run}
