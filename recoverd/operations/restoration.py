"""One restore of one service: decide, stage, validate, stop, look again, swap, start, prove.

The caller holds the service's lock, from here to proof. What decides is pure and stands in recovery.plan;
this carries it out, one choice after the other.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence

from recoverd.config.model import EMPTY, Service
from recoverd.errors import DamagedObject, RecoverdError, ServiceError, StateError
from recoverd.operations import rejecting, resuming
from recoverd.operations import restore_records as records
from recoverd.operations import restore_results as results
from recoverd.operations import restore_words as told
from recoverd.operations import staged_judging as judging
from recoverd.operations.assess import look
from recoverd.operations.choosing import Chooser, Look
from recoverd.operations.context import Context
from recoverd.operations.processes import Up, bring_up, driver_of
from recoverd.operations.rejecting import Taken
from recoverd.operations.restore_results import Attempt, ItemOutcome, RestoreRequest, ServiceRestore
from recoverd.operations.room import at_most_bytes
from recoverd.recovery import quarantine, staging, swapping
from recoverd.recovery.choices import Choice, damaged_targets
from recoverd.recovery.gathered import Nothing
from recoverd.recovery.plan import Action, Origin, Target, accepting_resets, damages
from recoverd.recovery.resume import ResumeReport
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot
from recoverd.state.verdicts import worst
from recoverd.system import clock
from recoverd.values import dataclass, field, replace

_MOST_LOOKS = 3  # how often live state may change under a restore before it gives up


@dataclass(slots=True)
class Restoration:
    """Carries one restore through; `run` gives its result. Raises RecoverdError and OSError for what stops it."""

    context: Context
    service: Service
    request: RestoreRequest
    explicit: Snapshot | None = None
    attempts: list[Attempt] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rejected: list[Taken] = field(default_factory=list)  # by this run
    applied: list[swapping.Applied] = field(default_factory=list)
    was_running: bool = False
    after: Look | None = None  # live state once it was written
    found: Action | None = None  # what the first look said; None: it is not over yet
    left_running: bool = False
    resume: ResumeReport | None = None
    damaged: bool = True  # live state, by itself: nothing was only asked for
    _chooser: Chooser | None = None

    @property
    def chooser(self) -> Chooser:
        if self._chooser is None:
            self._chooser = Chooser(self.context, self.service, self.explicit, self.request.origin, self.notes)
        return self._chooser

    def run(self) -> ServiceRestore:
        with self.chooser.gathered:
            return self._run()

    def _run(self) -> ServiceRestore:
        repository, started = self.context.repository_if_any(), time.monotonic()
        if repository is None:  # a dry run creates none
            first = self.chooser.asked_for(self._look(None))
            return self._dry_run(first, self.chooser.next(Nothing(), first))
        with self.context.state_changes:
            if not self.request.dry_run:
                self._finish_before()
            with repository.reader() as reader:
                plain = self._look(reader)
                self.damaged = plain.action is not Action.LEAVE
                first = self.chooser.asked_for(plain)
                if self.request.dry_run:
                    return self._dry_run(first, self.chooser.next(reader, first))
        self.found = first.action
        items = first.survey.items.values()
        self.context.events.emit(
            "state.loaded",
            service=self.service.name,
            message=f"its state is {first.survey.verdict.value}",
            files=sum(item.files for item in items),
            size_bytes=sum(item.size_bytes for item in items),
            seconds=round(time.monotonic() - started, 3),
        )
        if first.action is Action.BLOCK:
            return self._blocked(first, tuple(told.sentence(one) for one in first.damage if one.action is Action.BLOCK))
        if first.action is Action.LEAVE and self.explicit is None:
            return self._untouched(first)
        return self._restore(first)

    def _restore(self, first: Look) -> ServiceRestore:
        """One choice after the other, until the service is healthy on one."""
        most = 1 if self.explicit is not None else self.service.restore.attempts
        current = first
        for _ in range(most):
            try:
                with self.context.state_changes, self.context.repository().reader() as reader:
                    written = self._write_next(reader, current)
            except (RecoverdError, OSError) as error:
                if not self.applied:
                    raise
                # a candidate that does not work must not stay only because the next one can't be tried
                self.notes.append(f"the next candidate could not be tried: {error}")
                break
            if not isinstance(written, tuple):
                if written is not None:
                    return written
                break
            current, choice = written
            up = self._bring_up(results.RESTORED, self._items(current, choice, clock.now_ns()), written=True)
            if up.healthy is not False:
                return self._restored(current, choice, up)
            with self.context.state_changes:
                self._reject(choice, up)
        return self._put_back(current) if self.applied else self._nothing_left(current)

    # -- deciding -----------------------------------------------------------------------------------------

    def _finish_before(self) -> None:
        """A restore that was interrupted is finished or taken back before anything else."""
        finished = swapping.finish_intent(self.service.name, self.context.state_dir)
        if finished is not None:
            done = "finished" if finished.outcome == "forward" else "taken back"
            self.notes.append(f"a restore that was interrupted before has been {done}")

    def _look(
        self,
        reader: Reader | None,
        rows: Mapping[str, Mapping[str, bytes]] = EMPTY,
        *,
        service: Service | None = None,
    ) -> Look:
        service = service or self.service
        survey, trees = look(self.context, service, reader, rows=rows)
        accepted = self.context.repository().record(service.name).accepted if reader is not None else EMPTY
        return Look(survey, trees, damages(service, survey, accepted))

    def _meant(self, choice: Choice) -> Service:
        """The service, as what this choice brings is to be judged: smaller than before is what was asked for."""
        begins_anew = any(part.origin is Origin.INITIAL for part in choice.parts)
        return accepting_resets(self.service) if self.chooser.is_asked or begins_anew else self.service

    # -- writing ------------------------------------------------------------------------------------------

    def _write_next(self, reader: Reader, current: Look) -> tuple[Look, Choice] | ServiceRestore | None:
        """Bring the next choice onto the disk, validated. None: there is none left; a result ends the restore."""
        driver = driver_of(self.context, self.service)
        for _ in range(_MOST_LOOKS):
            if self.applied:  # the last choice lies there now: what was wrong before is what is to be replaced
                now = self._look(reader)
                current = replace(now, damage=current.damage)
            while (choice := self.chooser.next(reader, current)) is not None:
                staged = self._stage(reader, choice)
                if staged is not None:
                    break
            else:
                return None
            if not choice.replacements:
                staged.discard()
                self.notes += (f"live state is what {choice.candidate} holds", *choice.left)
                return self._untouched(current)
            try:
                if driver is not None and self.request.boot:
                    if driver.status().running:
                        staged.discard()
                        return self._left_running(current)
                elif driver is not None:
                    stopped = driver.stop()  # also what would start it, where it does not run
                    self.was_running = self.was_running or (stopped.was_running and not self.applied)
                again = self.chooser.asked_for(self._look(reader))
                if not self.applied and self.explicit is None and again.wrong != current.wrong:
                    staged.discard()
                    if again.action is not Action.RESTORE:
                        return self._became(again)
                    current = again
                    continue
                self.context.events.emit(
                    "restore.started", service=self.service.name, message=f"from {choice.candidate}"
                )
                evidence = told.evidence(current.survey, choice)
                rows = judging.rows(self.context, self.service, staged, clock.now_ns())
                applied = swapping.apply(staged, state_dir=self.context.state_dir, evidence=evidence)
            except ServiceError as error:
                staged.discard()
                return self._blocked(current, (f"{self.service.name} could not be stopped: {error.message}",))
            except BaseException:
                staged.discard()
                raise
            self.applied.append(applied)
            self.chooser.tried.add(choice.key)
            after = self._look(reader, rows, service=self._meant(choice))
            written = {part.target for part in choice.parts if part.origin is not Origin.EMPTY}
            bad = sorted(one for one in after.wrong if one in written or (one[0], "") in written)
            if not bad:
                self.after = after
                self.notes += [note for note in staged.notes if note not in self.notes]
                return current, choice
            self.attempts.append(Attempt(choice.candidate, "invalid", f"{bad[0][0]} is not ok after it was written"))
        raise StateError(
            f"the state of {self.service.name} keeps changing while it is restored",
            hint=f"stop whatever writes to it, then run `recoverd restore {self.service.name}` again",
        )

    def _stage(self, reader: Reader, choice: Choice) -> staging.Staging | None:
        """Stage and judge; None when the choice turned out to be damaged, or not to be valid today."""
        try:
            staged = staging.stage(
                self.chooser.source(reader),
                self.service.name,
                choice.replacements,
                state_dir=self.context.state_dir,
                at_most_bytes=at_most_bytes(choice, self.context.repository().snapshots(self.service.name)),
            )
        except DamagedObject as error:
            self._pass_over(choice, "damaged", damaged_targets(self.chooser.source(reader), choice), error.message)
            return None
        try:
            problems = judging.problems(self.context, self._meant(choice), staged, choice)
        except BaseException:
            staged.discard()
            raise
        if not problems:
            return staged
        staged.discard()
        why = "; ".join(
            f"{item}{'/' if document else ''}{document} {text}" for (item, document), text in problems.items()
        )
        self._pass_over(choice, "invalid", list(problems), why)
        return None

    def _pass_over(self, choice: Choice, result: str, targets: Sequence[Target], why: str) -> None:
        self.chooser.pass_over(choice, targets)
        self.attempts.append(Attempt(choice.candidate, result, why))
        self.context.events.emit("restore.rejected", service=self.service.name, message=f"{choice.candidate}: {why}")

    def _bring_up(self, outcome: str, items: Sequence[ItemOutcome], *, written: bool = False) -> Up:
        """Start the service and prove it, once it has been told how it comes back."""
        self.resume = resuming.announce(self.context, self.service, self.request, outcome, items, written=written)
        return bring_up(self.context, self.service, start=self.request.start)

    # -- rejecting ----------------------------------------------------------------------------------------

    def _reject(self, choice: Choice, up: Up) -> None:
        """The service was not healthy on this choice: remember that durably, and take the next older one."""
        why = up.why or "the service was not healthy on it"
        self.attempts.append(Attempt(choice.candidate, "rejected", why))
        self.context.events.emit("restore.rejected", service=self.service.name, message=f"{choice.candidate}: {why}")
        if self.explicit is not None:
            return  # asked for by name: nothing is concluded from it
        parts = rejecting.taken(choice)
        rejecting.reject(self.context, self.service.name, parts, why)
        self.rejected += parts

    def _put_back(self, current: Look) -> ServiceRestore:
        """Healthy on none: the cause is elsewhere. The original state comes back, rejections are withdrawn."""
        driver = driver_of(self.context, self.service)
        with self.context.state_changes:
            if driver is not None:
                driver.stop()
            for applied in reversed(self.applied):
                quarantine.undo(
                    self.service.name, os.path.basename(applied.quarantine), state_dir=self.context.state_dir
                )
            rejecting.withdraw(self.context, self.service.name, dict.fromkeys(self.rejected))
        if self.was_running and driver is not None:
            try:
                driver.start()
            except ServiceError as error:
                self.notes.append(error.message)
        last = self.attempts[-1].why if self.attempts else ""
        reasons = (
            f"not healthy on any of {len(self.attempts)} candidate{'s' if len(self.attempts) != 1 else ''}: {last}",
            "the original state was put back",
        )
        self._remember_blocked(None if self.was_running else reasons[0])
        return self._result(current, results.FAILED, healthy=False, reasons=reasons, exit_status=1)

    # -- results ------------------------------------------------------------------------------------------

    def _restored(self, current: Look, choice: Choice, up: Up) -> ServiceRestore:
        now_ns = clock.now_ns()
        try:
            with self.context.state_changes:
                if self.request.boot:
                    records.keep_unproven(self.context, self.service.name, choice, self.applied[-1])
                else:
                    seen = self.after.survey if self.after is not None else None
                    kept = self.service
                    if self.chooser.is_asked and seen is not None:
                        kept = accepting_resets(kept)
                        records.remember_emptied(self.context, kept.name, seen)
                    records.keep(self.context, kept, choice.sequences, up, now_ns, seen=seen)
        except (RecoverdError, OSError) as error:  # the state is back and proven: that stands, also on a full disk
            self.notes.append(f"it could not be recorded: {error}")
        self.attempts.append(Attempt(choice.candidate, "restored"))
        items = self._items(current, choice, now_ns)
        self.context.events.emit(
            "restore.finished", service=self.service.name, message=f"from {choice.candidate}", items=len(choice.parts)
        )
        reasons = (*told.left_alone(current.damage, choice), *((up.why,) if up.why else ()))
        outcome = results.DEGRADED if choice.is_partial else results.RESTORED
        return self._result(current, outcome, up=up, items=items, reasons=reasons)

    def _untouched(self, current: Look) -> ServiceRestore:
        """Live state is left alone, whatever a probe says; the service is brought up."""
        up = self._bring_up(results.UNTOUCHED, told.live(current.survey))
        self._remember_blocked(None)
        left = tuple(told.sentence(one) for one in current.damage)
        reasons = (*left, up.why) if up.why else left
        return self._result(current, results.UNTOUCHED, up=up, reasons=reasons)

    def _left_running(self, current: Look) -> ServiceRestore:
        """Before services start, nothing is stopped: this one has been started already."""
        self.left_running = True
        reasons = ("it runs already, so its state was left as it is", *map(told.sentence, current.damage))
        return self._result(current, results.FAILED, reasons=reasons, exit_status=1)

    def _became(self, again: Look) -> ServiceRestore:
        """The service's stop changed its state: a flush at exit, or a torn read before."""
        if again.action is Action.BLOCK:
            return self._blocked(again, tuple(told.sentence(one) for one in again.damage if one.action is Action.BLOCK))
        self.notes.append("the state was ok once the service had stopped")
        return self._untouched(again)

    def _nothing_left(self, current: Look) -> ServiceRestore:
        """No candidate, or none that is valid: what `restore.exhausted` says; state that is fit to run on stays so."""
        if not self.damaged:
            return self._result(current, results.FAILED, reasons=self.chooser.reasons, exit_status=1)
        if not self.chooser.given_up:
            return self._blocked(current, self.chooser.reasons)
        up = self._bring_up(results.DEGRADED, told.live(current.survey))
        self._remember_blocked(None)
        reasons = (*self.chooser.reasons, up.why) if up.why else self.chooser.reasons
        return self._result(current, results.DEGRADED, up=up, reasons=reasons)

    def _blocked(self, current: Look, reasons: tuple[str, ...]) -> ServiceRestore:
        self._remember_blocked("; ".join(reasons))
        return self._result(current, results.BLOCKED, reasons=reasons, exit_status=1)

    def _remember_blocked(self, why: str | None) -> None:
        records.remember_blocked(self.context, self.service.name, why)

    def _dry_run(self, current: Look, choice: Choice | None) -> ServiceRestore:
        if choice is None and self.chooser.given_up:
            return self._result(current, results.DEGRADED, reasons=self.chooser.reasons)
        if current.action is Action.BLOCK or (choice is None and current.wrong):
            reasons = self.chooser.reasons or tuple(told.sentence(one) for one in current.damage)
            return self._result(current, results.BLOCKED, reasons=reasons, exit_status=1)
        if choice is None or not choice.replacements:
            return self._result(current, results.UNTOUCHED, reasons=tuple(told.sentence(one) for one in current.damage))
        items = self._items(current, choice, clock.now_ns())
        outcome = results.DEGRADED if choice.is_partial else results.RESTORED
        return self._result(current, outcome, items=items, reasons=told.left_alone(current.damage, choice))

    def _items(self, current: Look, choice: Choice, now_ns: int) -> tuple[ItemOutcome, ...]:
        where = self.applied[-1].quarantine if self.applied else None
        return told.outcomes(current.survey, current.damage, choice, now_ns=now_ns, quarantine=where)

    def _result(
        self,
        current: Look,
        outcome: str,
        *,
        up: Up | None = None,
        healthy: bool | None = None,
        items: tuple[ItemOutcome, ...] | None = None,
        reasons: tuple[str, ...] = (),
        exit_status: int | None = None,
    ) -> ServiceRestore:
        if up is not None:
            healthy = up.healthy
        if exit_status is None:
            exit_status = 1 if healthy is False else 3 if outcome == results.DEGRADED else 0
        return ServiceRestore(
            service=self.service.name,
            outcome=outcome,
            healthy=healthy,
            verdict=worst(item.verdict for item in current.survey.items.values()).value,
            attempts=tuple(self.attempts),
            items=items if items is not None else told.live(current.survey),
            reasons=(*reasons, *self.notes),
            pid=up.pid if up is not None else None,
            started=up.started if up is not None else False,
            exit_status=exit_status,
            resume=self.resume,
        )
