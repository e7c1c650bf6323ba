"""One restore of one service: decide, stage, validate, stop, look again, swap, start, prove.

The caller holds the service's lock, from here to proof. What decides is pure and stands in recovery.plan;
this carries it out, one choice after the other.
"""

from __future__ import annotations

import time

from recoverd.config.model import Service
from recoverd.errors import RecoverdError, StateError
from recoverd.operations import migrating, rejecting, unproven
from recoverd.operations import restore_endings as endings
from recoverd.operations import restore_results as results
from recoverd.operations import restore_words as told
from recoverd.operations.choosing import Look
from recoverd.operations.processes import Up, driver_of, up_again_if_it_fails
from recoverd.operations.restore_only import check_document
from recoverd.operations.restore_results import Attempt, ServiceRestore
from recoverd.operations.restore_run import RestoreRun
from recoverd.operations.restore_writing import write_next
from recoverd.operations.telling import tell_state
from recoverd.operations.unproven import Unproven
from recoverd.operations.whole_restoring import dumps_of_untouched, with_dumps, with_noted_dumps, would_take
from recoverd.recovery import quarantine, swapping
from recoverd.recovery.choices import Choice
from recoverd.recovery.gathered import Nothing
from recoverd.recovery.plan import Action
from recoverd.repository.objects import Reader
from recoverd.system import clock
from recoverd.values import dataclass, replace

_UNHEALTHY = "the service was not healthy on it"
CONFIRM = "confirm"  # why a restore happens: the second phase of a boot


@dataclass(slots=True)
class Restoration(RestoreRun):
    """Carries one restore through; `run` gives its result. Raises RecoverdError and OSError for what stops it."""

    def run(self) -> ServiceRestore:
        whole = self.service
        if not whole.dumps:
            return self._of_files()
        from recoverd.operations.dump_loading import load_dumps  # late: few services have dumps
        from recoverd.operations.dump_looking import without_dumps

        self.service = without_dumps(whole)
        if whole.restore.scope == "service" and self.only is None and self.request.origin is None:
            from recoverd.operations.dumps_together import DumpsTogether

            self.together = DumpsTogether(self.context, whole, self.notes)
            self.chooser.dumps = {name: whole.state[name] for name in whole.dumps}
            done = self._of_files()
            if self.request.dry_run:
                return load_dumps(self.context, whole, self.request, done, explicit=self.explicit)
            return done
        done = self._of_files() if self._has_files(whole) else self._up_only()
        return load_dumps(self.context, whole, self.request, done, explicit=self.explicit, only=self.only)

    def _has_files(self, whole: Service) -> bool:
        """Whether this is about any state that lies on the disk."""
        if self.only is not None:
            return self.only.item not in whole.dumps
        if self.explicit is None:
            return True
        records = self.explicit.items
        return any(name in records and records[name].good is not None for name in self.service.state)

    def _up_only(self) -> ServiceRestore:
        """Nothing but the service is brought up, so that it can be asked for its dumps."""
        name = self.service.name
        if self.request.dry_run:
            return ServiceRestore(name, results.UNTOUCHED)
        with self.context.state_changes:
            self._finish_before()
        up = self.bring_up(results.UNTOUCHED, ())
        return ServiceRestore(
            name,
            results.UNTOUCHED,
            healthy=up.healthy,
            reasons=(*self.notes, *((up.why,) if up.why else ())),
            pid=up.pid,
            started=up.started,
            exit_status=1 if up.healthy is False else 0,
            resume=self.resume,
        )

    def _of_files(self) -> ServiceRestore:
        with self.chooser.gathered:
            result = self._run()
        if result.exit_status == 1 and self.rejected and not self.others:
            # none of them helped: the cause is elsewhere
            rejecting.withdraw(self.context, self.service.name, dict.fromkeys(self.rejected))
        return result

    def _run(self) -> ServiceRestore:
        repository, started = self.context.repository_if_any(), time.monotonic()
        if repository is None:  # a dry run creates none
            first = self.asked_for(self.look(None))
            return endings.dry_run(self, first, self.chooser.next(Nothing(), first))
        with self.context.restores:
            if not self.request.dry_run:
                self._finish_before()
                if self.together is not None and self.explicit is not None:
                    self.together.forget_waiting()  # something else is asked for now
                if self._runs_too_early():
                    with repository.reader() as reader:
                        return endings.left_running(self, self.look(reader))
                self.note = self._noted()
            with repository.reader() as reader:
                first = self._first(reader)
                if self.request.dry_run:
                    migrating.would(self, first)
                    return endings.dry_run(self, first, would_take(self, reader, first))
        self.found = first.action
        items = first.survey.items.values()
        self.context.events.emit(
            "state.loaded",
            service=self.service.name,
            message=f"its state is {first.survey.verdict.value}",
            verdict=first.survey.verdict.value,
            items=len(items),
            files=sum(item.files for item in items),
            size_bytes=sum(item.size_bytes for item in items),
            seconds=round(time.monotonic() - started, 3),
        )
        tell_state(self.context, self.service, first.survey)
        if self.note is not None and self._concerns_note and first.action is Action.LEAVE:
            unhealthy = self._prove_noted(first, self.note)
            if isinstance(unhealthy, ServiceRestore):
                return unhealthy
            first = unhealthy
        if first.action is Action.BLOCK:
            return endings.blocked(self, first, endings.blocking(first))
        migrating.tell_if_it_fails(self, first.survey)
        if self.request.why == migrating.MIGRATE:
            return self._migrate(first)
        migrates = migrating.decide(self, first)
        if first.action is Action.LEAVE and self.explicit is None and not migrates:
            return self._leave(first)
        return self._restore(first)

    def _first(self, reader: Reader) -> Look:
        """Live state as it is at first, once a candidate whose tries are used up was taken back."""
        plain = self.look(reader)
        if self.note is not None and self._concerns_note and self._is_used_up(self.note):
            self._give_up(self.note, lies_there=plain.action is Action.LEAVE)
            plain = self.look(reader)
        self.damaged = plain.action is not Action.LEAVE
        if self.only is not None:
            live = plain.survey.items[self.only.item].root
            newest = self.explicit or self.context.repository().newest(self.service.name)
            record = newest.items.get(self.only.item) if newest is not None else None
            check_document(self.only, plain.trees, (live, record.good if record is not None else None))
        return self.asked_for(plain)

    def _migrate(self, first: Look) -> ServiceRestore:
        """Only what waits for a migration: damage is for a restore, which migrates as well."""
        if first.action is not Action.LEAVE:
            reasons = tuple(told.sentence(one) for one in first.damage)
            hint = f"`recoverd restore {self.service.name}` repairs it, and migrates it in the same transaction"
            return replace(endings.result(self, first, results.FAILED, reasons=reasons, exit_status=1), hint=hint)
        with self.context.state_changes:
            migrating.allow_again(self, first)
        if migrating.decide(self, first):
            return self._restore(first)
        left = tuple(told.sentence(one) for one in first.damage)
        waits = migrating.unfit(self.service, first.survey) is not None
        outcome = results.FAILED if waits else results.UNTOUCHED
        return endings.result(self, first, outcome, reasons=left, exit_status=1 if waits else 0)

    def _restore(self, first: Look, up: Up | None = None) -> ServiceRestore:
        """One choice after the other, until the service is healthy on one. `up`: how it was on state that is ok."""
        most = 1 if self.explicit is not None else self.service.restore.attempts
        current, by_hand = first, self.request.why == "restore" and self.explicit is None and up is None
        while most > 0:
            try:
                with self.context.restores, self.context.repository().reader() as reader:
                    written = write_next(self, reader, current)
                    if written is None and by_hand and not self.applied and not self.chooser.given_up:
                        by_hand = False
                        if rejecting.withdraw_used_up(self.context, self.service.name):
                            self.notes.append("candidates whose tries were used up are tried again")
                            continue
            except (RecoverdError, OSError) as error:
                if not self.applied and self.migrates:
                    migrating.give_up(self, error.message if isinstance(error, RecoverdError) else str(error))
                    if current.wrong or self.explicit is not None:
                        continue
                    return endings.not_migrated(self, current, self.unmigrated)
                if not self.applied:
                    # nothing was changed: one that was stopped for it, and is fit to run, goes on
                    goes_on = self.was_running and not self.damaged and self.request.start
                    with up_again_if_it_fails(self.context, self.service, stopped=goes_on):
                        raise
                # a candidate that does not work must not stay only because the next one can't be tried
                self.notes.append(f"the next candidate could not be tried: {error}")
                break
            if not isinstance(written, tuple):
                if written is not None:
                    return written
                break
            most -= 1
            current, choice = written
            tried = self.bring_up(results.RESTORED, self.items(current, choice, clock.now_ns()), written=True)
            if not tried.was_tried:
                return endings.not_started(self, current, choice, tried)
            if self.together is not None:
                tried = with_dumps(self, choice, tried)
                if tried.healthy is not False and not choice.replacements and not self.together.loaded:
                    return endings.untouched(self, current, tried)
            if tried.healthy is not False or self.others:
                return endings.restored(self, current, choice, tried)
            self._reject(choice, tried)
        if self.applied and self.before is not None and not self.damaged and not self.chooser.is_asked:
            return endings.migration_put_back(self, first)
        if self.applied:
            return endings.put_back(self, current)
        return endings.nothing_left(self, current) if up is None else endings.untouched(self, current, up)

    def _leave(self, first: Look) -> ServiceRestore:
        """State that is ok, or is to be left alone. Only `restore.unhealthy: fall-back` goes on where a probe fails."""
        up = self.bring_up(results.UNTOUCHED, told.live(first.survey))
        if self.together is not None:
            ended = dumps_of_untouched(self, first, up)
            if ended is not None:
                return ended
            if self.chooser.dumps_damaged:
                self.was_running = True  # it answered, and is to be up again if nothing helps
                return self._restore(first)
        asked = self.request.origin is not None or self.only is not None or self.request.boot
        falls_back = self.service.restore.unhealthy == "fall-back" and up.was_tried
        if up.healthy is not False or not falls_back or first.damage or asked:
            return endings.untouched(self, first, up)
        self.chooser.falls_back = True
        self.was_running = True  # it is up now, and so it is to be if nothing helps
        self.notes.append(f"its state is ok, but it was not healthy on it ({up.why}): older proven state is tried")
        return self._restore(first, up)

    def _reject(self, choice: Choice, up: Up) -> None:
        """The service was not healthy on this choice: remember that durably, and take the next older one."""
        why = up.why or _UNHEALTHY
        self._tell_rejected(choice.candidate, why)
        if self.explicit is not None:
            return  # asked for by name: nothing is concluded from it
        parts = rejecting.taken(choice)
        rejecting.reject(self.context, self.service.name, parts, why)
        self.rejected += parts

    def _tell_rejected(self, candidate: str, why: str) -> None:
        self.attempts.append(Attempt(candidate, "rejected", why))
        self.context.events.emit(
            "restore.rejected", service=self.service.name, message=f"{candidate}: {why}", candidate=candidate
        )

    # -- what an earlier restore left unfinished, or unproven ---------------------------------------------------------

    def _finish_before(self) -> None:
        """A restore that was interrupted is finished or taken back before anything else."""
        finished = swapping.finish_intent(self.service.name, self.context.state_dir)
        if finished is not None:
            done = "finished" if finished.outcome == "forward" else "taken back"
            if self.together is not None and finished.outcome != "forward":
                self.together.forget_waiting()
            self.notes.append(f"a restore that was interrupted before has been {done}")

    @property
    def _concerns_note(self) -> bool:
        """Whether this restore proves what an earlier one wrote, rather than to replace it by what is asked for."""
        return self.explicit is None and self.request.origin is None and self.only is None and not self.request.dry_run

    def _runs_too_early(self) -> bool:
        """Whether an earlier restore would have to be taken back under a service that runs, which nobody may stop."""
        note = unproven.load(self.context.repository(), self.service.name)
        if note is None or not self.request.boot:
            return False
        names = unproven.quarantines(self.context.state_dir, self.service.name, note.quarantines)
        driver = driver_of(self.context, self.service)
        if not any(names) or not (note.is_used_up or names[-1] is None) or driver is None:
            return False
        return driver.status().running

    def _noted(self) -> Unproven | None:
        """What an earlier restore wrote and nobody has proven; None too where it was never swapped in, or put back."""
        repository, name = self.context.repository(), self.service.name
        note = unproven.load(repository, name)
        if note is None:
            return None
        names = unproven.quarantines(self.context.state_dir, name, note.quarantines)
        self.rejected += note.rejected
        if names and names[-1] is not None:
            return note
        self.rejected += note.parts
        if any(names):  # what lies there is an older candidate, which was rejected
            self._take_back(note)
            self.notes.append("the original state was put back: a restore was interrupted between two candidates")
        unproven.save(repository, name, None)
        return None

    def _is_used_up(self, note: Unproven) -> bool:
        """Whether the next start on it would be one too many; where the service runs already, a proof tells more."""
        return note.is_used_up and not self._is_counted(note) and (self.request.boot or not self.runs())

    def _is_counted(self, note: Unproven) -> bool:
        """Whether this is the second phase of a boot, of which the first has counted the start."""
        return self.request.why == CONFIRM and note.boot_id == clock.boot_id()

    def _give_up(self, note: Unproven, *, lies_there: bool) -> None:
        """A candidate on which the machine went down again and again: rejected, and taken back where it still lies."""
        why = f"{note.starts} starts on it, and none came to a proof before everything went down"
        if not note.asked:
            rejecting.reject(self.context, self.service.name, note.parts, why, used_up=True)
        self._tell_rejected(note.candidate, why)
        if lies_there:
            try:
                self._take_back(note)
            except StateError as error:  # what was replaced is gone: then what was restored stays
                self.notes.append(error.message)
        self.note = None
        unproven.save(self.context.repository(), self.service.name, None)

    def _take_back(self, note: Unproven) -> None:
        """Undo what was written and not proven, the last first. Raises StateError, ServiceError."""
        name = self.service.name
        driver = driver_of(self.context, self.service)
        if driver is not None and not self.request.boot:
            self.was_running = driver.stop().was_running or self.was_running
        for one in reversed(unproven.quarantines(self.context.state_dir, name, note.quarantines)):
            if one is not None:
                quarantine.undo(name, one, state_dir=self.context.state_dir)

    def _prove_noted(self, first: Look, note: Unproven) -> ServiceRestore | Look:
        """Start the service on what an earlier restore wrote, and prove it; a look at what lay there before, where it
        is not healthy on that."""
        repository, name = self.context.repository(), self.service.name
        if not self._is_counted(note):
            self.notes.append(f"its state was restored from {note.candidate} before, and was not proven")
        if not self.request.start and not self.request.boot:
            return endings.untouched(self, first)
        if not self._is_counted(note) and not self.runs():
            unproven.save(repository, name, unproven.counted(note))
        up = self.bring_up(results.UNTOUCHED, told.live(first.survey))
        if not up.was_tried:
            unproven.save(repository, name, note)  # the start that was counted did not happen
        if self.request.boot or not up.was_tried:
            return endings.untouched(self, first, up)
        up = with_noted_dumps(self, note, up)
        if up.healthy is not False:
            return endings.proven(self, first, note, up)
        why = up.why or _UNHEALTHY
        self._tell_rejected(note.candidate, why)
        if not note.asked:
            rejecting.reject(self.context, name, note.parts, why)
            self.rejected += note.parts
        try:
            self._take_back(note)
        except StateError as error:  # what was replaced is gone: what was restored stays, and it goes on with that
            unproven.save(repository, name, None)
            again = self.bring_up(results.UNTOUCHED, told.live(first.survey))
            return endings.result(self, first, results.FAILED, up=again, reasons=(why, error.message), exit_status=1)
        unproven.save(repository, name, None)
        self.note = None
        with self.context.restores, repository.reader() as reader:
            before = self.look(reader)
        if migrating.is_rejected(self, before):
            migrating.tell_failed(self, f"not healthy on migrated state, which was taken back: {why}")
        self.damaged, self.found = before.action is not Action.LEAVE, before.action
        return before
