"""What a dry run says of dumps: which one would be loaded, checked and judged as before a load. No server is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recoverd.config.model import Service
from recoverd.errors import DamagedObject
from recoverd.events.text import duration, size
from recoverd.health.facts import DumpFacts
from recoverd.operations import pending_loads
from recoverd.operations import restore_results as results
from recoverd.operations.context import Context
from recoverd.operations.dump_facts import dump_facts
from recoverd.operations.dump_looking import candidates, stage, version_in, why_invalid
from recoverd.operations.restore_results import Attempt, ItemOutcome, ServiceRestore
from recoverd.recovery.aside import Aside
from recoverd.recovery.item_survey import newest_records
from recoverd.recovery.plan import Version, accepting_resets
from recoverd.repository.records import ItemRecord, Snapshot
from recoverd.state.verdicts import Verdict
from recoverd.system import clock
from recoverd.values import dataclass, field, replace

_FINE = frozenset({Verdict.OK, Verdict.NEW})


def told(
    context: Context, service: Service, before: ServiceRestore, names: Sequence[str], explicit: Snapshot | None
) -> ServiceRestore:
    """The result of a dry run, `before` that of the rest of the state. Raises RepositoryError, StateError."""
    repository = context.repository_if_any()
    if repository is None:
        reasons = (f"{name} is asked for once the service runs" for name in names)
        return replace(before, reasons=(*before.reasons, *reasons))
    snapshots = [one for one in repository.snapshots(service.name) if not one.imported]
    facts = {one.item: one for one in dump_facts(service, repository, snapshots)}
    if before.outcome in {results.BLOCKED, results.FAILED}:
        return before
    planned = {one.item: one for one in before.items if one.item in names and one.source == "snapshot"}
    telling = _Telling(context, service, newest_records(service, snapshots), facts)
    pending = pending_loads.load(repository, service.name)
    for name in names:
        wanted, why = explicit, f"asked for {explicit.id}" if explicit is not None else ""
        if wanted is None:
            sequence = pending[name].sequence if name in pending else None
            why = "asked for before" if name in pending else "the service is restored as a whole"
            if sequence is None and name in planned:
                sequence = int((planned[name].candidate or "0").rpartition("/")[2])
            wanted = next((one for one in repository.snapshots(service.name) if one.sequence == sequence), None)
        if wanted is not None:
            telling.asked_for(name, wanted, why, is_judged=name in planned)
        else:
            telling.unasked(name)
    return telling.result(before)


@dataclass(slots=True)
class _Telling:
    context: Context
    service: Service
    records: Mapping[str, ItemRecord]  # the newest of each item
    facts: Mapping[str, DumpFacts]
    items: list[ItemOutcome] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    loads: bool = False
    failed: bool = False

    def asked_for(self, name: str, snapshot: Snapshot, why: str, *, is_judged: bool) -> None:
        """One version is wanted, whatever is there."""
        try:
            version = version_in(self.context, name, snapshot)
        except DamagedObject as error:
            self._unusable(name, snapshot.id, "damaged", error.message)
            return
        if version is None:
            self._left(name, f"{name} would be left alone: {snapshot.id} holds no good dump of it")
            return
        if not is_judged and not self._is_usable(name, version, asked=True):
            self.failed = True
            self.items.append(ItemOutcome(name, "", self._verdict(name).value, "live"))
            return
        if self._newest_content(name) == version.content:
            when = self._when(name)
            self._left(
                name,
                f"{name} was what {snapshot.id} holds when it was dumped last{when}; it would be loaded only if it has "
                "changed since",
            )
            return
        self._would_load(name, version, why)

    def unasked(self, name: str) -> None:
        """What would happen depends on what the server says then; here is what it said last."""
        facts, verdict, when = self.facts[name], self._verdict(name), self._when(name)
        found = candidates(self.context, self.service, name)
        best = next((one for one in found if self._is_usable(name, one, asked=False)), None)
        then = "no snapshot holds a good version of it" if best is None else f"{self._id(best)} would be loaded"
        if verdict not in _FINE and verdict is not Verdict.UNREADABLE:
            if best is not None:
                self._would_load(name, best, f"{name} was {verdict} when it was dumped last{when}")
                return
            self.failed = True
            self._left(name, f"{name} was {verdict} when it was dumped last{when}, and {then}")
            return
        if facts.failures:
            self._left(
                name,
                f"{name} could not be dumped last: {facts.last_error}; nothing is loaded over what can't be dumped",
            )
            return
        self._left(name, f"{name} was {verdict} when it was dumped last{when}; if it is damaged now, {then}")

    def result(self, before: ServiceRestore) -> ServiceRestore:
        outcome = before.outcome
        if self.failed:
            outcome = results.FAILED
        elif self.loads and outcome == results.UNTOUCHED:
            outcome = results.RESTORED
        mine = {one.item for one in self.items}
        return replace(
            before,
            outcome=outcome,
            items=(*(one for one in before.items if one.item not in mine), *self.items),
            attempts=(*before.attempts, *self.attempts),
            reasons=(*before.reasons, *self.reasons),
            exit_status=1 if self.failed else before.exit_status,
        )

    def _would_load(self, name: str, version: Version, why: str) -> None:
        age_s = max(0.0, (clock.now_ns() - version.time_ns) / 1e9)
        verdict = self._verdict(name).value
        self.items.append(ItemOutcome(name, "", verdict, "snapshot", self._id(version), age_s, None, why))
        amount = size(version.entry.size) if version.entry is not None else "nothing"
        self.reasons.append(
            f"{name}: the dump is whole and valid ({amount}), and would be loaded once the service runs and a dump of "
            "what is there is in quarantine"
        )
        self.loads = True

    def _left(self, name: str, reason: str) -> None:
        self.items.append(ItemOutcome(name, "", self._verdict(name).value, "live"))
        self.reasons.append(reason)

    def _is_usable(self, name: str, version: Version, *, asked: bool) -> bool:
        """Whether it is whole, and passes the rules of today: read and judged in a private place that goes again."""
        service = accepting_resets(self.service) if asked else self.service
        try:
            with Aside(self.context.state_dir, self.service.name) as place:
                invalid = why_invalid(self.context, service, name, stage(self.context, name, version, place))
        except DamagedObject as error:
            self._unusable(name, self._id(version), "damaged", error.message)
            return False
        if invalid is not None:
            self._unusable(name, self._id(version), "invalid", invalid)
        return invalid is None

    def _newest_content(self, name: str) -> str:
        """What tells the newest dump from others; "" where it is not known."""
        record = self.records.get(name)
        if record is None or record.root is None:
            return ""
        try:
            with self.context.state_changes, self.context.repository().reader() as reader:
                entry = reader.item_entry(record.root)
        except DamagedObject:
            return ""
        return "" if entry is None else entry.hash or entry.blocks or ""

    def _unusable(self, name: str, candidate: str, how: str, why: str) -> None:
        self.attempts.append(Attempt(candidate, how, why))
        self.reasons.append(f"{name} can't be loaded from {candidate}: {why}")

    def _id(self, version: Version) -> str:
        return f"{self.service.name}/{version.sequence}"

    def _verdict(self, name: str) -> Verdict:
        return Verdict(self.records[name].verdict) if name in self.records else Verdict.NEW

    def _when(self, name: str) -> str:
        good_ns = self.facts[name].good_ns
        return "" if good_ns is None else f", {duration(max(0.0, (clock.now_ns() - good_ns) / 1e9))} ago"
