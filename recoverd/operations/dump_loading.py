"""The last part of a restore: dump items, loaded by the service's own tool while the service runs.

Nothing is loaded without need: what is there is dumped and judged first, and that dump goes to quarantine before
another one is loaded over it; where none can be taken, nothing is loaded. A candidate is whole, checked and judged
before its first byte is loaded. Whether a load is all or nothing is up to the loader; where it fails, what was there is
loaded back.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from recoverd.config.model import Service
from recoverd.errors import DamagedObject, RecoverdError, ServiceError
from recoverd.operations import pending_loads, rejecting, resuming
from recoverd.operations import restore_records as records
from recoverd.operations import restore_results as results
from recoverd.operations.context import Context
from recoverd.operations.dump_loader import Loader, loader
from recoverd.operations.dump_looking import There, candidates, look_at, stage, version_in, why_invalid
from recoverd.operations.pending_loads import PendingLoad
from recoverd.operations.processes import Up, bring_up, driver_of
from recoverd.operations.restore_only import Only
from recoverd.operations.restore_results import Attempt, ItemOutcome, RestoreRequest, ServiceRestore
from recoverd.recovery.aside import Aside, Kept, dumps_in
from recoverd.recovery.evidence import list_quarantine
from recoverd.recovery.plan import Action, Version, accepting_resets
from recoverd.repository.records import Snapshot
from recoverd.state.verdicts import Verdict, worst
from recoverd.system import clock
from recoverd.values import dataclass, field, replace

_NOT_FOR_DUMPS = frozenset({"siblings", "rebuild", "initial"})


def load_dumps(
    context: Context,
    service: Service,
    request: RestoreRequest,
    result: ServiceRestore,
    *,
    explicit: Snapshot | None = None,
    only: Only | None = None,
) -> ServiceRestore:
    """Go on with a restore once the rest of the state is in order and the service is up: `result` is how that ended.

    The caller holds the service's lock. Raises RepositoryError, StateError for what stops it; what can't be loaded is
    told in the result.
    """
    names = [name for name in service.dumps if only is None or only.item == name]
    if not names or request.boot or request.origin in _NOT_FOR_DUMPS:
        return result
    run = _Loading(context, service, request, result, explicit)
    if request.dry_run:
        from recoverd.operations.dump_telling import told

        return told(context, service, result, names, explicit)
    waiting = run.wait_for()
    if waiting:
        return run.put_off(names, waiting)
    for name in names:
        run.one(name)
    return run.result()


class _Refused(Exception):
    """Why a dump item is left as it is."""


@dataclass(slots=True)
class _Loading:
    """The dump items of one service under restore."""

    context: Context
    service: Service
    request: RestoreRequest
    before: ServiceRestore
    explicit: Snapshot | None
    group: str = field(default_factory=lambda: os.urandom(6).hex())  # joins the quarantines of one restore
    attempts: list[Attempt] = field(default_factory=list)
    items: list[ItemOutcome] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    sequences: set[int] = field(default_factory=set)  # of snapshots that were loaded from
    up: Up | None = None
    failed: bool = False

    @property
    def name(self) -> str:
        return self.service.name

    # -- whether it is time ----------------------------------------------------------------------------------------

    def wait_for(self) -> str | None:
        """Why dumps can't be asked for now; None when they can."""
        if self.before.outcome in {results.BLOCKED, results.FAILED}:
            return "the rest of its state is not in order"
        if not self.request.start:
            return "the service was not to be started"
        driver = driver_of(self.context, self.service)
        if driver is None:
            return None
        try:
            status = driver.status()
        except ServiceError as error:
            return error.message
        return None if status.running else f"the service does not run: {status.detail or 'it is down'}"

    def put_off(self, names: Sequence[str], why: str) -> ServiceRestore:
        """What was asked for is loaded by whoever brings the service up; the rest is nobody's loss."""
        if self.explicit is None:
            return self.before
        if self.before.outcome in {results.BLOCKED, results.FAILED}:
            return replace(self.before, reasons=(*self.before.reasons, f"no dump was loaded: {why}"))
        for name in names:
            if name in self.explicit.items and self.explicit.items[name].good is not None:
                pending = PendingLoad(self.explicit.sequence)
                pending_loads.save(self.context.repository(), self.name, name, pending)
                hint = f"`recoverd confirm {self.name}` loads it once the service runs"
                self.reasons.append(f"{name} is still to be loaded from {self.explicit.id}: {why}; {hint}")
        return replace(self.before, reasons=(*self.before.reasons, *self.reasons))

    # -- one item --------------------------------------------------------------------------------------------------

    def one(self, name: str) -> None:
        """Look at one item, and load it where that is asked for, or needed."""
        pending = self._pending().get(name)
        try:
            with loader(self.context, self.service, name) as load, Aside(self.context.state_dir, self.name) as aside:
                here = look_at(self.context, self.service, name, aside)
                wanted, asked = self._wanted(name, pending)
                if wanted is None and not asked:  # an interrupted load is brought to its end, whatever it has left
                    wanted = self._needed(name, here)
                if wanted is None:
                    if asked and pending is not None and not pending.has_begun:
                        pending_loads.save(self.context.repository(), self.name, name, None)  # asked for before
                    self.items.append(ItemOutcome(name, "", here.item.verdict.value, "live"))
                    return
                self._replace(load, here, wanted, aside, pending, asked=asked)
        except _Refused as why:
            self.failed = True
            self.reasons.append(str(why))
            self.items.append(ItemOutcome(name, "", Verdict.UNREADABLE.value, "live"))
        except (RecoverdError, OSError) as error:
            self.failed = True
            self.reasons.append(f"{name} was not loaded: {error}")

    def _pending(self) -> dict[str, PendingLoad]:
        repository = self.context.repository_if_any()
        return {} if repository is None else pending_loads.load(repository, self.name)

    def _wanted(self, name: str, pending: PendingLoad | None) -> tuple[list[Version] | None, bool]:
        """The one version that was asked for, by this restore or by one before it; and whether one was."""
        if self.explicit is not None:
            version = version_in(self.context, name, self.explicit)
            return (None if version is None else [version]), True
        if pending is None:
            return None, False
        snapshots = [one for one in self.context.repository().snapshots(self.name) if one.sequence == pending.sequence]
        version = version_in(self.context, name, snapshots[0]) if snapshots else None
        if version is None:
            pending_loads.save(self.context.repository(), self.name, name, None)
            raise _Refused(
                f"{name} was to be loaded from {self.name}/{pending.sequence}, which does not hold it any more"
            )
        return [version], pending.asked

    def _needed(self, name: str, here: There) -> list[Version] | None:
        """What to load where nobody asked for anything: the good versions, best first, of what is damaged."""
        for damage in here.damage:
            if damage.action is Action.LEAVE:
                why = f": {damage.problems[0].problem}" if damage.problems else ""
                self.reasons.append(f"{name} is {damage.verdict}{why}; {damage.reason}")
        if here.item.verdict is Verdict.UNREADABLE and here.action is not Action.LEAVE:
            raise _Refused(f"{name} {_problem(here)}; nothing is loaded over what can't be looked at")
        if here.action is Action.BLOCK:
            raise _Refused(f"{name} is {here.item.verdict}: {_problem(here)}; it is left as it is")
        if here.action is Action.LEAVE:
            return None
        found = candidates(self.context, self.service, name)
        if not found:
            raise _Refused(f"{name} is {here.item.verdict}: {_problem(here)}; no snapshot holds a good version of it")
        return found

    def _replace(
        self,
        load: Loader,
        here: There,
        versions: Sequence[Version],
        aside: Aside,
        pending: PendingLoad | None,
        *,
        asked: bool,
    ) -> None:
        """Load one version after the other until the service is healthy on one; put back what was there otherwise."""
        repository, name = self.context.repository(), load.item
        has_begun = pending is not None and pending.has_begun
        service = accepting_resets(self.service) if asked else self.service
        original = here.kept
        earlier = self._before_that(name, pending) if pending is not None and has_begun else None
        loaded = False
        for version in versions:
            candidate = f"{self.name}/{version.sequence}"
            if version.content == here.content and not loaded and here.action is Action.RESTORE and not asked:
                self.attempts.append(Attempt(candidate, "invalid", f"{name} {_problem(here)}: that is what is there"))
                continue
            if version.content == here.content and not loaded:
                self.reasons.append(f"{name} is what {candidate} holds")
                self.items.append(ItemOutcome(name, "", here.item.verdict.value, "live"))
                pending_loads.save(repository, self.name, name, None)
                return
            with Aside(self.context.state_dir, self.name) as place:
                try:
                    staged = stage(self.context, name, version, place)
                    invalid = why_invalid(self.context, service, name, staged)
                except DamagedObject as error:
                    self.attempts.append(Attempt(candidate, "damaged", error.message))
                    continue
                if invalid is not None:
                    self.attempts.append(Attempt(candidate, "invalid", invalid))
                    continue
                if original is None and not has_begun:
                    raise _Refused(
                        f"{name} was not loaded from {candidate}: {_problem(here)}, and what is there must go to "
                        "quarantine first"
                    )
                if aside.quarantine is None and original is not None:
                    original = self._put_aside(name, here, original, version, aside, asked=asked)
                where = pending.quarantine if pending is not None and has_begun else aside.quarantine or ""
                begun = PendingLoad(version.sequence, os.path.basename(where), asked)
                pending_loads.save(repository, self.name, name, begun)
                why = load(staged)
                loaded = True
            if why is None:
                why = self._proven(name, service)
            if why is None:
                self.attempts.append(Attempt(candidate, "restored"))
                self._came_back(name, here, version, aside.quarantine, asked=asked)
                return
            self.attempts.append(Attempt(candidate, "rejected", why))
            self.context.events.emit(
                "restore.rejected", service=self.name, item=name, message=f"{candidate}: {why}", candidate=candidate
            )
            if not asked and self.up is not None and self.up.healthy is False:
                rejecting.reject(self.context, self.name, [rejecting.Taken(version.sequence, name)], why)
        if not loaded and not has_begun:
            pending_loads.save(repository, self.name, name, None)  # nothing can come of it
        self._put_back(load, earlier or original, loaded=loaded)

    def _before_that(self, name: str, pending: PendingLoad) -> Kept | None:
        """What was there before a load that was interrupted."""
        for one in list_quarantine(self.context.state_dir, self.name):
            if one.id == pending.quarantine:
                return next((dump for dump in dumps_in(one) if dump.item == name), None)
        return None

    def _put_aside(
        self, name: str, here: There, original: Kept, version: Version, aside: Aside, *, asked: bool
    ) -> Kept:
        """What is there goes to quarantine, durably; it is known there from then on."""
        files = sorted({one.quarantine for one in self.before.items if one.quarantine is not None})
        evidence = {
            "service": self.name,
            "candidate": f"{self.name}/{version.sequence}",
            "verdict": here.item.verdict.value,
            "problems": [{"item": name, "place": p.place, "problem": p.problem} for p in here.item.problems],
            "plan": [{"item": name, "document": "", "from": f"{self.name}/{version.sequence}", "asked": asked}],
            "group": self.group,
            "files": [os.path.basename(path) for path in files],
        }
        aside.commit([original], evidence)
        source = f"{self.name}/{version.sequence}"
        self.context.events.emit(
            "restore.started", service=self.name, item=name, message=f"{name} from {source}", candidate=source, items=1
        )
        return replace(original, path=os.path.join(aside.path, name))

    def _proven(self, name: str, service: Service) -> str | None:
        """What is wrong with the state that was loaded, or with the service on it."""
        with Aside(self.context.state_dir, self.name) as aside:
            now = look_at(self.context, service, name, aside)
        if now.kept is None or now.action is not Action.LEAVE:
            return f"it is {now.item.verdict} after it was loaded: {_problem(now)}"
        self.up = bring_up(self.context, self.service, start=True)
        if self.up.healthy is False:
            return self.up.why or "the service was not healthy on it"
        if service is not self.service:
            records.remember_emptied(self.context, self.name, now.survey)
        return None

    def _came_back(self, name: str, here: There, version: Version, where: str | None, *, asked: bool) -> None:
        pending_loads.save(self.context.repository(), self.name, name, None)
        self.sequences.add(version.sequence)
        reason = f"asked for {self.name}/{version.sequence}" if asked else f"{name} is {here.item.verdict}"
        age_s = max(0.0, (clock.now_ns() - version.time_ns) / 1e9)
        self.items.append(
            ItemOutcome(
                name,
                "",
                here.item.verdict.value,
                "snapshot",
                f"{self.name}/{version.sequence}",
                age_s,
                where,
                reason,
            )
        )
        candidate = f"{self.name}/{version.sequence}"
        self.context.events.emit(
            "restore.finished",
            service=self.name,
            item=name,
            message=f"{name} from {candidate}",
            candidate=candidate,
            items=1,
            age_seconds=round(age_s, 3),
            attempts=len(self.attempts),
            healthy=None if self.up is None else self.up.healthy,
        )

    def _put_back(self, load: Loader, original: Kept | None, *, loaded: bool) -> None:
        """No version would do."""
        name, self.failed = load.item, True
        last = self.attempts[-1].why if self.attempts else "there is none"
        if not loaded:
            self.reasons.append(f"{name} was not loaded, and is as it was: {last}")
            return
        if original is None:  # an earlier load was interrupted, and what was there before that lies in its quarantine
            self.reasons.append(f"{name} could not be loaded: {last}; `recoverd undo` loads what was there before")
            return
        why = load(original)
        if why is not None:
            self.reasons.append(
                f"{name} could not be loaded: {last}; nor what was there before: {why}; it lies in {original.path}"
            )
            return
        pending_loads.save(self.context.repository(), self.name, name, None)
        self.reasons.append(f"{name} could not be loaded: {last}; what was there was loaded back")

    # -- how it ends -----------------------------------------------------------------------------------------------

    def result(self) -> ServiceRestore:
        """How the restore of the service ended, dumps included; what was loaded is captured, and proven."""
        before = self.before
        known = [one for one in before.items if one.item not in {item.item for item in self.items}]
        items = (*known, *self.items)
        resume = before.resume
        if self.sequences:
            self._record()
            resume = (
                resuming.announce(self.context, self.service, self.request, results.RESTORED, items, written=True)
                or resume
            )
        outcome = before.outcome
        if self.failed:
            outcome = results.FAILED
        elif self.sequences and outcome == results.UNTOUCHED:
            outcome = results.RESTORED
        verdicts = [Verdict(one.verdict_before) for one in self.items]
        if before.verdict:
            verdicts.append(Verdict(before.verdict))
        return replace(
            before,
            outcome=outcome,
            verdict=worst(verdicts).value if verdicts else before.verdict,
            healthy=self.up.healthy if self.up is not None else before.healthy,
            attempts=(*before.attempts, *self.attempts),
            items=items,
            reasons=(*before.reasons, *self.reasons),
            resume=resume,
            exit_status=self._exit_status(),
        )

    def _exit_status(self) -> int:
        if self.failed or (self.up is not None and self.up.healthy is False):
            return 1
        is_cured = self.up is not None and self.before.healthy is False  # the dump was what it was not healthy on
        return 0 if is_cured else self.before.exit_status

    def _record(self) -> None:
        """A snapshot of what is there now; proven, where the service was."""
        up = self.up or Up(self.before.healthy)
        try:
            with self.context.state_changes:
                records.keep_loaded(self.context, self.service, self.sequences, up, clock.now_ns())
        except (RecoverdError, OSError) as error:  # the state is back: that stands
            self.reasons.append(f"it could not be recorded: {error}")


def _problem(there: There) -> str:
    return next((one.problem for one in there.item.problems), f"is {there.item.verdict}")
