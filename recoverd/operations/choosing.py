"""What a restore tries next: live state and its policies on one side, candidates of every origin on the other.

What decides is pure and stands in recovery.plan; here is remembered what was tried, and what can't be used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from recoverd.config.model import EMPTY, Service, StateItem
from recoverd.errors import StateError
from recoverd.operations.context import Context
from recoverd.operations.restore_only import Only
from recoverd.recovery.candidates import eligible, good_versions
from recoverd.recovery.choices import Choice, item_choice, part_choice, service_choices, snapshot_choice
from recoverd.recovery.extraction import Source
from recoverd.recovery.gathered import Gathered
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.plan import Action, Damage, Target, plans
from recoverd.recovery.scratch import Scratch
from recoverd.repository.records import Marks, ServiceRecord, Snapshot
from recoverd.state.verdicts import Verdict
from recoverd.system import clock
from recoverd.system.mounts import mounts_below
from recoverd.system.walk import UntrustedLink, open_declared_directory
from recoverd.values import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Look:
    """Live state at one moment, and what its policies say."""

    survey: ServiceSurvey
    trees: Scratch
    damage: tuple[Damage, ...]

    @property
    def wrong(self) -> frozenset[Target]:
        return frozenset(one.target for one in self.damage if one.action is Action.RESTORE)

    @property
    def action(self) -> Action:
        if any(one.action is Action.BLOCK for one in self.damage):
            return Action.BLOCK
        return Action.RESTORE if self.wrong else Action.LEAVE


@dataclass(slots=True)
class Chooser:
    """The choices of one restore, best first, each once."""

    context: Context
    service: Service
    explicit: Snapshot | None = None
    origin: str | None = None  # the only one to be asked
    notes: list[str] = field(default_factory=list)
    reasons: tuple[str, ...] = ()  # why nothing can be restored, or what stays as it is
    given_up: bool = False  # nothing is left for what is damaged, and that is to keep the service from nothing
    unusable: set[tuple[str, str, str]] = field(default_factory=set)  # (item, document, content)
    tried: set[frozenset[tuple[str, str, str]]] = field(default_factory=set)
    gathered: Gathered = field(default_factory=Gathered)
    only: Only | None = None  # all that is asked for of a snapshot
    falls_back: bool = False  # from state that is ok to older proven state
    dumps: Mapping[str, StateItem] = field(default_factory=lambda: EMPTY)  # items that go with the service as a whole
    dumps_damaged: bool = False  # so the whole is wanted, although its files are ok

    @property
    def is_asked(self) -> bool:
        """Whether somebody asked for this very state, or declared it better, whatever is there now."""
        return self.explicit is not None or self.origin in {"rebuild", "initial"} or self.falls_back

    def source(self, reader: Source) -> Source:
        """Where the content of choices is read from."""
        return self.gathered.over(reader)

    def asked_for(self, found: Look) -> Look:
        """`--from` an origin that makes documents is also for state that is ok: items that declare it are wanted."""
        if self.origin not in {"rebuild", "initial"}:
            return found
        declared = [name for name, item in self.service.state.items() if getattr(item, self.origin) is not None]
        if not declared:
            raise StateError(
                f"{self.service.name} declares no `{self.origin}` for any of its state items",
                hint="recoverd.yaml(5) tells how it is declared",
            )
        damaged = {one.target for one in found.damage}
        wanted = [
            Damage(name, "", found.survey.items[name].verdict, (), Action.RESTORE, f"asked for --from {self.origin}")
            for name in declared
            if (name, "") not in damaged
        ]
        forced = tuple(
            replace(one, action=Action.RESTORE)
            if one.item in declared and one.verdict is not Verdict.UNREADABLE  # over a failing disk nothing is written
            else one
            for one in found.damage
        )
        return replace(found, damage=(*forced, *wanted))

    def next(self, reader: Source, current: Look) -> Choice | None:
        """The best choice that was not tried yet; None, with `reasons`, when there is none."""
        repository = self.context.repository_if_any()
        name = self.service.name
        if self.explicit is not None:
            reason = f"asked for {self.explicit.id}"
            known = self.service, current.survey, current.trees, self.explicit, reason
            mounts = {one.name: _mounts_in(one) for one in self.service.state.values()}
            if self.only is None:
                choice = snapshot_choice(*known, asked=True, mounts=mounts, dumps=self.dumps)
            else:
                choice = part_choice(*known, self.only.item, self.only.document, mounts=mounts)
            if not choice.parts and not choice.dumps:
                what = "nothing that is declared for" if self.only is None else f"no good {self.only.item} of"
                raise StateError(
                    f"snapshot {self.explicit.id} holds {what} {name} today",
                    hint=f"`recoverd show {self.explicit.id}` lists it; --to DIRECTORY writes it elsewhere",
                )
            return self._untried([choice])
        marks = repository.all_marks(name) if repository is not None else {}
        snapshots = eligible(repository.snapshots(name)) if repository is not None else []
        if self.falls_back:
            proven = [one for one in snapshots if marks.get(one.sequence, Marks()).is_proven]
            older = service_choices(self.service, current.survey, current.trees, proven, marks, self.dumps)
            return self._untried(choice for choice in older if choice.replacements)
        whole = self.origin is None and self.only is None
        is_wanted = current.action is Action.RESTORE or self.dumps_damaged
        if is_wanted and whole and self.service.restore.scope == "service":
            choices = service_choices(self.service, current.survey, current.trees, snapshots, marks, self.dumps)
            self.reasons = ("no snapshot holds a good version of the whole service",)
            return self._untried(choices)
        return self._untried(self._item_choices(reader, current, snapshots, marks))

    def pass_over(self, choice: Choice, targets: Sequence[Target]) -> None:
        """These parts of a choice turned out not to be usable; without any, the choice as a whole."""
        bad = {key for key in choice.key if key[:2] in targets}
        self.unusable |= bad
        if not bad:
            self.tried.add(choice.key)

    def _item_choices(
        self, reader: Source, current: Look, snapshots: Sequence[Snapshot], marks: Mapping[int, Marks]
    ) -> list[Choice]:
        from recoverd.recovery.origins import Ground, other_versions

        most = self.service.restore.attempts + len(self.unusable) + len(self.tried)
        wanted = sorted(current.wrong)
        versions, unreadable = good_versions(reader, snapshots, marks, wanted, items=self.service.state, most=most)
        repository = self.context.repository_if_any()
        record = repository.record(self.service.name) if repository is not None else ServiceRecord()
        notes: list[str] = []
        everything = other_versions(
            Ground(
                self.service,
                current.survey,
                current.trees,
                self.source(reader),
                self.context.judges(self.service),
                clock.now_ns(),
            ),
            wanted,
            versions,
            self.gathered,
            fallback=(self.origin,) if self.origin is not None else self.service.restore.fallback,
            confirmed_ns=record.confirmed_ns,
            rejected=record.rejected if self.origin is None else {},
            notes=notes,
        )
        self.notes += [sentence for sentence in (*unreadable, *notes) if sentence not in self.notes]
        # where one origin was asked for, that it has nothing does not mean that nothing is left
        exhausted = self.service.restore.exhausted if self.origin is None else "block"
        found = plans(
            self.service.name, current.damage, everything, unusable=frozenset(self.unusable), exhausted=exhausted
        )
        self.reasons = found[0].reasons if found else ()
        self.given_up = bool(found) and found[0].action is Action.LEAVE and bool(found[0].without)
        return [item_choice(self.service, plan) for plan in found if plan.action is Action.RESTORE]

    def _untried(self, choices: Iterable[Choice]) -> Choice | None:
        return next((one for one in choices if one.key not in self.tried and not one.key & self.unusable), None)


def _mounts_in(item: StateItem) -> list[str]:
    """What is mounted below a state item, as paths relative to it."""
    try:
        fd = open_declared_directory(item.path)
    except (OSError, UntrustedLink):
        return []  # no directory, or none that can be entered: then it is not replaced as a whole either
    try:
        return mounts_below(fd)
    finally:
        os.close(fd)
