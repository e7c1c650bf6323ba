"""The dumps of a service that is restored as a whole: loaded of the very snapshot that its files came from.

Files are swapped in by the transaction; the dumps follow once the service runs on them, all or none: where one can't be
loaded, or the service is not healthy on the whole, what was there is loaded back, and whoever called takes the files
back too, and goes on with the next older whole.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from recoverd.config.model import Service
from recoverd.errors import DamagedObject
from recoverd.operations import pending_loads, unproven
from recoverd.operations import restore_records as records
from recoverd.operations.context import Context
from recoverd.operations.dump_loader import Loader, loader
from recoverd.operations.dump_looking import There, look_at, stage, version_in, why_invalid
from recoverd.operations.pending_loads import PendingLoad
from recoverd.operations.processes import Up, bring_up
from recoverd.operations.restore_results import ItemOutcome
from recoverd.recovery.aside import Aside, Kept, dumps_in
from recoverd.recovery.evidence import list_quarantine
from recoverd.recovery.item_survey import newest_records
from recoverd.recovery.plan import Action, Version, accepting_resets
from recoverd.state.verdicts import Verdict
from recoverd.system import clock
from recoverd.values import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at all dumps has found. `damage`: what is to be repaired, in sentences; `refused`: why nothing is
    loaded over what is there; `told`: what is only told."""

    items: tuple[ItemOutcome, ...] = ()
    damage: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    told: tuple[str, ...] = ()


@dataclass(slots=True)
class _One:
    """One item on its way. `before`: what is loaded back where it does not work out; `earlier`: that is from before a
    load that was interrupted, and lies in a quarantine already."""

    load: Loader
    here: There
    aside: Aside
    version: Version
    staged: Kept
    before: Kept | None
    begun: PendingLoad | None
    has_begun: bool = False  # by this run

    @property
    def name(self) -> str:
        return self.load.item


@dataclass(slots=True)
class DumpsTogether:
    """The caller holds the service's lock, and none of the repository's."""

    context: Context
    service: Service  # with its dumps
    notes: list[str]
    loaded: list[ItemOutcome] = field(default_factory=list)
    is_unhealthy: bool = False  # the last load worked, and the service was not healthy on the whole
    same: list[ItemOutcome] = field(default_factory=list)  # what was there already
    group: str = field(default_factory=lambda: os.urandom(6).hex())  # joins the quarantines of one restore

    @property
    def name(self) -> str:
        return self.service.name

    def waiting(self) -> dict[str, PendingLoad]:
        """What is to be loaded, because the service did not run then, or the load did not come to its end."""
        found = pending_loads.load(self.context.repository(), self.name)
        return {name: one for name, one in found.items() if name in self.service.dumps}

    def wait(self, sequences: Mapping[str, int], *, asked: bool, files: Sequence[str]) -> None:
        """Whoever brings the service up next is to load these; durable on return. `files` as in `load`."""
        for name, sequence in sequences.items():
            pending = PendingLoad(sequence, asked=asked, files=tuple(map(os.path.basename, files)))
            pending_loads.save(self.context.repository(), self.name, name, pending)

    def forget_waiting(self) -> None:
        """The files that these go with lie there no more. What has begun stays noted."""
        for name, one in self.waiting().items():
            if not one.has_begun:
                pending_loads.save(self.context.repository(), self.name, name, None)

    def known_verdict(self, name: str) -> str:
        """As the newest snapshot has it."""
        one = replace(self.service, state={name: self.service.state[name]})
        found = newest_records(one, self.context.repository().snapshots(self.name))
        return found[name].verdict if name in found else Verdict.NEW.value

    def look(self) -> Found:
        """Ask for all dumps, and judge them. Raises LockHeld, StateError, RepositoryError, OSError."""
        found = Found()
        for name in self.service.dumps:
            with loader(self.context, self.service, name), Aside(self.context.state_dir, self.name) as aside:
                here = look_at(self.context, self.service, name, aside)
            verdict = here.item.verdict
            what = f"{name} is {verdict}: {problem(here)}"
            found = replace(found, items=(*found.items, ItemOutcome(name, "", verdict.value, "live")))
            if here.action is Action.LEAVE:
                reasons = (f"{what}; {one.reason}" for one in here.damage if one.action is Action.LEAVE)
                found = replace(found, told=(*found.told, *reasons))
            elif verdict is Verdict.UNREADABLE:
                why = f"{name} {problem(here)}; nothing is loaded over what can't be looked at"
                found = replace(found, refused=(*found.refused, why))
            elif here.action is Action.BLOCK:
                found = replace(found, refused=(*found.refused, f"{what}; it is left as it is"))
            else:
                found = replace(found, damage=(*found.damage, what))
        return found

    def unusable(self, sequences: Mapping[str, int], *, asked: bool) -> tuple[str, str, str] | None:
        """The first of these dumps that can't be loaded, as (item, damaged or invalid, why): every byte is read and
        judged by the rules of today. Raises StateError for what keeps it from being looked at."""
        service = accepting_resets(self.service) if asked else self.service
        for name, sequence in sequences.items():
            try:
                version = self._version(name, sequence)
                if version is None:
                    return name, "invalid", f"{self.name}/{sequence} holds no good {name}"
                with Aside(self.context.state_dir, self.name) as place:
                    invalid = why_invalid(self.context, service, name, stage(self.context, name, version, place))
            except DamagedObject as error:
                return name, "damaged", error.message
            if invalid is not None:
                return name, "invalid", invalid
        return None

    def load(self, sequences: Mapping[str, int], up: Up, *, asked: bool, files: Sequence[str] = ()) -> Up:
        """Load these, by item, of the snapshots with these sequences; `up` where all of them lie there already.

        Unhealthy, with the reason, where they could not be loaded all, or the service was not healthy on the whole:
        then what was there was loaded back. `files`: quarantines of what was replaced with them, as how they end or are
        called. Raises LockHeld (a loader that outlived its recoverd is still at it), StateError, RepositoryError,
        OSError: then what was begun is noted.
        """
        self.loaded, self.same, self.is_unhealthy = [], [], False
        with ExitStack() as stack:
            # each first removes what one that was killed has staged: so all of them before anything is staged here
            loads = [stack.enter_context(loader(self.context, self.service, name)) for name in sequences]
            ones: list[_One] = []
            for load, sequence in zip(loads, sequences.values(), strict=True):
                name, one = load.item, self._prepared(stack, load, sequence, asked=asked)
                if isinstance(one, str):
                    return replace(up, healthy=False, why=one)
                if one is None:
                    self.notes.append(f"{name} is what {self.name}/{sequence} holds")
                    self.same.append(ItemOutcome(name, "", Verdict.OK.value, "live"))
                    pending_loads.save(self.context.repository(), self.name, name, None)
                else:
                    ones.append(one)
            if not ones:
                return up
            ends = [os.path.basename(path) for path in files]
            found = unproven.quarantines(self.context.state_dir, self.name, ends)
            replaced = [path for path in found if path is not None]
            for one in ones:
                self._put_aside(one, replaced, asked=asked)
            why = self._load_all(ones, replaced, asked=asked)
            if why is None:
                now, why = self._proven(asked=asked)
                self.is_unhealthy = now is not None and why is not None
                up = up if now is None else now
            if why is not None:
                return replace(up, healthy=False, why="; ".join([why, *self._back(ones)]))
            for one in ones:
                pending_loads.save(self.context.repository(), self.name, one.name, None)
                self.loaded.append(self._outcome(one, asked=asked))
            return up

    def take_back(self) -> tuple[bool, str | None]:
        """Load back what could not be before: whether anything was, and why something still can't be."""
        done = False
        for name, one in self.waiting().items():
            if one.sequence:
                continue
            with loader(self.context, self.service, name) as load:
                before = self._before(name, one)
                why = "it is not in quarantine any more" if before is None else load(before)
            if why is not None and before is not None:
                return done, f"what was in {name} before could not be loaded back: {why}; it lies in {before.path}"
            pending_loads.save(self.context.repository(), self.name, name, None)
            self.notes.append(f"what was in {name} before was loaded back" if why is None else f"{name}: {why}")
            done = True
        return done, None

    # -- one by one --------------------------------------------------------------------------------------------------

    def _version(self, name: str, sequence: int) -> Version | None:
        snapshots = [one for one in self.context.repository().snapshots(self.name) if one.sequence == sequence]
        return version_in(self.context, name, snapshots[0]) if snapshots else None

    def _prepared(self, stack: ExitStack, load: Loader, sequence: int, *, asked: bool) -> _One | str | None:
        """All that is needed to load it; None where it is there already; why it can't be loaded. Nothing is changed."""
        name = load.item
        aside = stack.enter_context(Aside(self.context.state_dir, self.name))
        here = look_at(self.context, self.service, name, aside)
        pending = self.waiting().get(name)
        begun = pending if pending is not None and pending.has_begun else None
        candidate = f"{self.name}/{sequence}"
        try:
            version = self._version(name, sequence)
            if version is None:
                return f"{candidate} holds no good {name}"
            if version.content == here.content and begun is None:
                if here.action is Action.RESTORE and not asked:
                    return f"{name} {problem(here)}: that is what {candidate} holds"
                return None
            place = stack.enter_context(Aside(self.context.state_dir, self.name))
            staged = stage(self.context, name, version, place)
            service = accepting_resets(self.service) if asked else self.service
            invalid = why_invalid(self.context, service, name, staged)
        except DamagedObject as error:
            return error.message
        if invalid is not None:
            return invalid
        if here.kept is None and begun is None:
            return f"{name} {problem(here)}, and what is there must go to quarantine first"
        before = here.kept if begun is None else self._before(name, begun) or here.kept
        return _One(load, here, aside, version, staged, before, begun)

    def _before(self, name: str, begun: PendingLoad) -> Kept | None:
        """What was there before a load that was interrupted."""
        for one in list_quarantine(self.context.state_dir, self.name):
            if one.id == begun.quarantine:
                return next((dump for dump in dumps_in(one) if dump.item == name), None)
        return None

    def _put_aside(self, one: _One, files: Sequence[str], *, asked: bool) -> None:
        """What is there goes to quarantine, durably, and that a load begins is noted."""
        kept, sequence = one.here.kept, one.version.sequence
        candidate = f"{self.name}/{sequence}"
        if kept is not None:
            evidence = {
                "service": self.name,
                "candidate": candidate,
                "verdict": one.here.item.verdict.value,
                "problems": [
                    {"item": one.name, "place": each.place, "problem": each.problem} for each in one.here.item.problems
                ],
                "plan": [{"item": one.name, "document": "", "from": candidate, "asked": asked}],
                "group": self.group,
                "files": sorted(os.path.basename(path) for path in files),
            }
            one.aside.commit([kept], evidence)
            if one.before is kept:
                one.before = replace(kept, path=os.path.join(one.aside.path, one.name))

    def _load_all(self, ones: Sequence[_One], files: Sequence[str], *, asked: bool) -> str | None:
        """Why not all of them could be loaded."""
        for one in ones:
            where = one.begun.quarantine if one.begun is not None else os.path.basename(one.aside.quarantine or "")
            noted = PendingLoad(one.version.sequence, where, asked, tuple(map(os.path.basename, files)))
            pending_loads.save(self.context.repository(), self.name, one.name, noted)
            one.has_begun = True
            self.context.events.emit(
                "restore.started", service=self.name, message=f"{one.name} from {self.name}/{one.version.sequence}"
            )
            why = one.load(one.staged)
            if why is not None:
                return f"{one.name} could not be loaded: {why}"
        return None

    def _proven(self, *, asked: bool) -> tuple[Up | None, str | None]:
        """How the service is on the whole, and what is wrong with it."""
        service = accepting_resets(self.service) if asked else self.service
        for name in self.service.dumps:
            with Aside(self.context.state_dir, self.name) as aside:
                now = look_at(self.context, service, name, aside)
            if now.kept is None or now.action is not Action.LEAVE:
                return None, f"{name} is {now.item.verdict} after it was loaded: {problem(now)}"
            if asked:
                records.remember_emptied(self.context, self.name, now.survey)
        up = bring_up(self.context, self.service, start=True)
        if up.healthy is False:
            return up, up.why or "the service was not healthy on it"
        return up, None

    def _back(self, ones: Sequence[_One]) -> list[str]:
        """Load back what was there, the last first; what became of that."""
        told = []
        for one in reversed(ones):
            if not one.has_begun:
                if one.begun is None:
                    pending_loads.save(self.context.repository(), self.name, one.name, None)
                continue
            if one.before is None:
                told.append(f"what was in {one.name} before is not there any more")
                continue
            why = one.load(one.before)
            if why is not None:
                where = os.path.basename(os.path.dirname(one.before.path))
                pending_loads.save(self.context.repository(), self.name, one.name, PendingLoad(0, where))
                told.append(f"nor could what was in {one.name} before: {why}; it lies in {one.before.path}")
                continue
            pending_loads.save(self.context.repository(), self.name, one.name, None)
            told.append(f"what was in {one.name} was loaded back")
        return told

    def _outcome(self, one: _One, *, asked: bool) -> ItemOutcome:
        candidate = f"{self.name}/{one.version.sequence}"
        reason = f"asked for {candidate}" if asked else "the service is restored as a whole"
        age_s = max(0.0, (clock.now_ns() - one.version.time_ns) / 1e9)
        verdict = one.here.item.verdict.value
        return ItemOutcome(one.name, "", verdict, "snapshot", candidate, age_s, one.aside.quarantine, reason)


def problem(there: There) -> str:
    """What is wrong with a dump, in words."""
    return next((one.problem for one in there.item.problems), f"is {there.item.verdict}")
