"""One restore of one service under way: what was asked for, what was found, tried and written so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from recoverd.config.model import EMPTY, Service
from recoverd.operations import migrating, resuming
from recoverd.operations import restore_words as told
from recoverd.operations.assess import look
from recoverd.operations.choosing import Chooser, Look
from recoverd.operations.context import Context
from recoverd.operations.processes import Up, bring_up, driver_of
from recoverd.operations.rejecting import Taken
from recoverd.operations.restore_only import Only, narrowed
from recoverd.operations.restore_results import Attempt, ItemOutcome, RestoreRequest
from recoverd.operations.unproven import Unproven
from recoverd.recovery import swapping
from recoverd.recovery.choices import Choice
from recoverd.recovery.plan import Action, Damage, Origin, accepting_resets, damages
from recoverd.recovery.resume import ResumeReport
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot
from recoverd.system import clock
from recoverd.values import dataclass, field

if TYPE_CHECKING:
    from recoverd.operations.dumps_together import DumpsTogether
    from recoverd.recovery.migrating import Migrated


@dataclass(slots=True)
class RestoreRun:
    """What every step of a restore knows. The caller holds the service's lock."""

    context: Context
    service: Service
    request: RestoreRequest
    explicit: Snapshot | None = None
    only: Only | None = None
    attempts: list[Attempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejected: list[Taken] = field(default_factory=list)  # by this run, and by those before it that ended unproven
    applied: list[swapping.Applied] = field(default_factory=list)
    was_running: bool = False
    after: Look | None = None  # live state once it was written
    found: Action | None = None  # what the first look said; None: it is not over yet
    left_running: bool = False
    resume: ResumeReport | None = None
    damaged: bool = True  # live state, by itself: nothing was only asked for
    note: Unproven | None = None  # what was written and not proven yet
    began_s: float = field(default_factory=clock.monotonic_s)
    others: tuple[Damage, ...] = ()  # what stays damaged because only another part was asked for
    migrates: bool = False  # live documents of older versions are migrated too
    unmigrated: str = ""  # why they could not be
    before: Snapshot | None = None  # what live state was before it was migrated
    migrated: Sequence[Migrated] = ()  # documents of what was staged last
    together: DumpsTogether | None = None  # the dumps that belong to it, where the service is restored as a whole
    asked_dumps: tuple[ItemOutcome, ...] = ()  # what a look at these has found
    _chooser: Chooser | None = None

    @property
    def chooser(self) -> Chooser:
        if self._chooser is None:
            self._chooser = Chooser(
                self.context, self.service, self.explicit, self.request.origin, self.notes, only=self.only
            )
        return self._chooser

    def look(
        self,
        reader: Reader | None,
        rows: Mapping[str, Mapping[str, bytes]] = EMPTY,
        *,
        service: Service | None = None,
        at_rest: bool = False,
    ) -> Look:
        """Live state as it is now, and what its policies say. `at_rest`: this run has just brought it in."""
        service = service or self.service
        survey, trees = look(self.context, service, reader, rows=rows, at_rest=at_rest)
        accepted = self.context.repository().record(service.name).accepted if reader is not None else EMPTY
        return Look(survey, trees, damages(service, survey, accepted))

    def asked_for(self, found: Look) -> Look:
        """The same, as what was asked for makes it: more than is damaged, or less. Raises StateError."""
        wanted = self.chooser.asked_for(found)
        if self.only is None:
            return wanted
        here, self.others = narrowed(wanted.damage, self.only)
        return Look(wanted.survey, wanted.trees, here)

    def meant(self, choice: Choice) -> Service:
        """The service, as what this choice brings is to be judged: smaller than before is what was asked for."""
        begins_anew = any(part.origin is Origin.INITIAL for part in choice.parts)
        return accepting_resets(self.service) if self.chooser.is_asked or begins_anew else self.service

    @property
    def is_provable(self) -> bool:
        """Whether there is anything to ask about the service."""
        return self.service.enabled and (self.service.run is not None or bool(self.service.health.probes))

    def bring_up(self, outcome: str, items: Sequence[ItemOutcome], *, written: bool = False) -> Up:
        """Start the service and prove it, once it has been told how it comes back.

        While other state of it is damaged, only a service that ran on that is started again.
        """
        if self.others and not self.was_running and not self.runs():
            return Up(None, "it is not started, because other state of it is damaged")
        if self.request.why == migrating.MIGRATE and not self.was_running:
            return Up(None)  # nothing was stopped for it
        self.resume = resuming.announce(self.context, self.service, self.request, outcome, items, written=written)
        return bring_up(self.context, self.service, start=self.request.start)

    def runs(self) -> bool:
        """Whether the service's process runs now. Raises ServiceError."""
        driver = driver_of(self.context, self.service)
        return driver is not None and driver.status().running

    def items(self, current: Look, choice: Choice, now_ns: int) -> tuple[ItemOutcome, ...]:
        where = self.applied[-1].quarantine if self.applied else None
        found = told.outcomes(current.survey, current.damage, choice, now_ns=now_ns, quarantine=where)
        return (*told.with_versions(found, self.migrated), *self._dumps_of(choice, now_ns))

    @property
    def has_loaded(self) -> bool:
        """Whether dumps were loaded together with the rest."""
        return self.together is not None and bool(self.together.loaded)

    @property
    def dump_items(self) -> tuple[ItemOutcome, ...]:
        """What became of the dumps of a service that is restored as a whole."""
        done = (*self.together.same, *self.together.loaded) if self.together is not None else ()
        return tuple({one.item: one for one in (*self.asked_dumps, *done)}.values())

    def _dumps_of(self, choice: Choice, now_ns: int) -> tuple[ItemOutcome, ...]:
        """The same; in a dry run, what is to become of those of a choice."""
        if self.together is None:
            return ()
        loaded = {one.item: one for one in self.dump_items}
        for part in choice.dumps if self.request.dry_run else ():
            age_s = max(0.0, (now_ns - part.time_ns) / 1e9)
            verdict = self.together.known_verdict(part.item)
            loaded.setdefault(
                part.item, ItemOutcome(part.item, "", verdict, "snapshot", choice.named(part), age_s, None, part.reason)
            )
        return tuple(loaded.values())
