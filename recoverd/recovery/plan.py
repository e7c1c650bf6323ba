"""What a restore will do and why: pure functions from findings, versions and policies to steps.

`restore --dry-run` prints exactly this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from recoverd.config.model import Service
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.repository.records import ABSENT
from recoverd.repository.trees import Entry
from recoverd.state.verdicts import Problem, Verdict
from recoverd.values import dataclass, replace

Target = tuple[str, str]  # state item, document below it ("" is the item itself)

DEFAULT_POLICIES: Mapping[Verdict, str] = {
    Verdict.OK: "alert",
    Verdict.NEW: "alert",
    Verdict.MISSING: "restore",
    Verdict.CORRUPT: "restore",
    Verdict.RESET: "alert",
    Verdict.NEWER: "alert",
    Verdict.UNREADABLE: "block",
}
NEVER_RESTORED = frozenset({Verdict.OK, Verdict.NEW, Verdict.NEWER, Verdict.UNREADABLE})


class Action(StrEnum):
    LEAVE = "leave"  # live state stays as it is
    RESTORE = "restore"
    BLOCK = "block"  # the service must not be started


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged document, and what its policy says."""

    item: str
    document: str
    verdict: Verdict
    problems: tuple[Problem, ...]
    action: Action
    reason: str

    @property
    def target(self) -> Target:
        return self.item, self.document


class Origin(StrEnum):
    """Where a version comes from."""

    LIVE = "live"  # what lies there, migrated
    SNAPSHOT = "snapshot"
    SIBLING = "sibling"
    REBUILD = "rebuild"
    INITIAL = "initial"
    SALVAGE = "salvage"
    EMPTY = "empty"  # nothing is brought back: the damaged document goes to quarantine


ORIGINS = ("siblings", "snapshots", "rebuild", "initial")
"""What `restore.fallback` may list, and `restore --from` names."""
PARTIAL = frozenset({Origin.REBUILD, Origin.INITIAL, Origin.SALVAGE, Origin.EMPTY})
"""A service that starts on these is up, and degraded."""


@dataclass(frozen=True, slots=True)
class Version:
    """One good version of a document: what a snapshot carries for it, or what another origin gives."""

    sequence: int  # of the snapshot; 0 for other origins
    time_ns: int
    entry: Entry | None  # None: the document is to be removed
    root: str = ""  # the item's good tree in that snapshot
    parents: tuple[Entry, ...] = ()  # the directories from the item down to the one that holds it
    carried: bool = False  # the snapshot only carries it forward: the live document was damaged then
    origin: Origin = Origin.SNAPSHOT
    label: str = ""  # of other origins: which file
    order: int | None = None  # of other origins: where it stands among the sequences of snapshots

    @property
    def content(self) -> str:
        """What tells versions apart."""
        if self.entry is None:
            return ABSENT
        return self.entry.hash or self.entry.blocks or self.entry.target or ""

    @property
    def rank(self) -> int:
        """Versions with a higher one are tried first."""
        return self.sequence if self.order is None else self.order


@dataclass(frozen=True, slots=True)
class Step:
    """One document that will be replaced by one version."""

    item: str
    document: str
    version: Version
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One restore of one service. Without steps nothing is written."""

    service: str
    action: Action
    steps: tuple[Step, ...] = ()
    reasons: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # a sentence for each damaged document of which no good version was found

    @property
    def key(self) -> tuple[tuple[str, str, str], ...]:
        """What tells two plans apart."""
        return tuple((step.item, step.document, step.version.content) for step in self.steps)


def damages(service: Service, survey: ServiceSurvey, accepted: Mapping[str, Mapping[str, str]]) -> tuple[Damage, ...]:
    """Every document that is not ok, with the action of its policy.

    `accepted`: item -> document -> content hash (or ABSENT) that its operator called good; it is left alone
    while its content stays the same.
    """
    found = []
    for name, item in survey.items.items():
        for finding in item.findings:
            action, reason = _action(service, finding.verdict)
            content = ABSENT if finding.verdict is Verdict.MISSING else finding.content
            if content is not None and accepted.get(name, {}).get(finding.document) == content:
                action, reason = Action.LEAVE, "accepted by its operator"
            found.append(Damage(name, finding.document, finding.verdict, finding.problems, action, reason))
    return tuple(found)


def accepting_resets(service: Service) -> Service:
    """The service with state that was emptied on purpose: by a restore that somebody asked for."""
    return replace(service, restore=replace(service.restore, verdicts={**service.restore.verdicts, "reset": "accept"}))


def _action(service: Service, verdict: Verdict) -> tuple[Action, str]:
    policy = service.restore.verdicts.get(verdict.value, DEFAULT_POLICIES[verdict])
    if policy == "restore" and verdict not in NEVER_RESTORED:
        return Action.RESTORE, f"{verdict} state is restored"
    if policy == "block":
        return Action.BLOCK, f"{verdict} state blocks the service"
    return Action.LEAVE, f"{verdict} state is left alone"


def plans(
    service: str,
    found: Sequence[Damage],
    versions: Mapping[Target, Sequence[Version]],
    *,
    unusable: frozenset[tuple[str, str, str]] = frozenset(),
    exhausted: str = "block",
) -> list[Plan]:
    """Every plan worth trying, best first: the newest known-good of each document, then walking back.

    `versions`: for each damaged document its good versions, best first by rank. `unusable`: (item, document, content)
    that turned out to be damaged, or not to pass the schema of today. Documents of which none is left make the service
    `exhausted`: block it, leave them as they are, or take them away (`empty`), where the others are still restored.

    Invariants: each plan names every document to be restored exactly once; no two plans are equal; the first
    takes the best usable version of each; going down the list no document gets a better one.
    """
    blocking = [damage for damage in found if damage.action is Action.BLOCK]
    if blocking:
        return [Plan(service, Action.BLOCK, reasons=tuple(_sentence(damage) for damage in blocking))]
    wanted = [damage for damage in found if damage.action is Action.RESTORE]
    if not wanted:
        return [Plan(service, Action.LEAVE, reasons=tuple(_sentence(damage) for damage in found))]
    usable = {
        damage.target: [v for v in versions.get(damage.target, ()) if (*damage.target, v.content) not in unusable]
        for damage in wanted
    }
    without = [damage for damage in wanted if not usable[damage.target]]
    if without and exhausted == "block":
        return [Plan(service, Action.BLOCK, reasons=tuple(_nothing_left(damage) for damage in without))]
    told = tuple(_sentence(damage) for damage in found if damage not in without)
    given_up = tuple(f"{_nothing_left(damage)}; {_GIVEN_UP[exhausted]}" for damage in without)
    wanted = [damage for damage in wanted if usable[damage.target] or exhausted == "empty"]
    for damage in without:
        usable[damage.target] = [NOTHING_LEFT]
    if not wanted:
        return [Plan(service, Action.LEAVE, reasons=(*told, *given_up), without=given_up)]
    cutoffs = sorted({v.rank for choices in usable.values() for v in choices}, reverse=True)
    result: list[Plan] = []
    for cutoff in cutoffs:
        steps = tuple(_step(damage, usable[damage.target], cutoff) for damage in wanted)
        plan = Plan(service, Action.RESTORE, steps, told, given_up)
        if all(plan.key != earlier.key for earlier in result):
            result.append(plan)
    return result


_GIVEN_UP = {"leave": "it is left as it is", "empty": "it is taken away"}
NOTHING_LEFT = Version(0, 0, None, origin=Origin.EMPTY, label="empty", order=-(1 << 62))


def _step(damage: Damage, choices: Sequence[Version], cutoff: int) -> Step:
    """The newest version not newer than the cutoff; the oldest there is where all are newer."""
    version = next((v for v in choices if v.rank <= cutoff), choices[-1])
    return Step(damage.item, damage.document, version, damage.verdict, _sentence(damage))


def _sentence(damage: Damage) -> str:
    where = f"{damage.item}: {damage.document}" if damage.document else damage.item
    why = f": {damage.problems[0].problem}" if damage.problems else ""
    return f"{where} is {damage.verdict}{why}; {damage.reason}"


def _nothing_left(damage: Damage) -> str:
    where = f"{damage.item}: {damage.document}" if damage.document else damage.item
    return f"{where} is {damage.verdict}, and no snapshot holds a good version of it"
