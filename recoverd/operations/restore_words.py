"""What a restore tells: why, from where, how old. Pure renderings of looks and choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from recoverd.operations.restore_results import ItemOutcome
from recoverd.recovery.choices import Choice
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.plan import Action, Damage, Origin
from recoverd.values import replace

if TYPE_CHECKING:
    from recoverd.recovery.migrating import Migrated


def sentence(damage: Damage) -> str:
    """One damaged document: what it is, why, and what its policy says."""
    where = f"{damage.item}: {damage.document}" if damage.document else damage.item
    why = f": {damage.problems[0].problem}" if damage.problems else ""
    return f"{where} is {damage.verdict}{why}; {damage.reason}"


def left_alone(found: Sequence[Damage], choice: Choice) -> tuple[str, ...]:
    """What stays as it is beside what is restored: it was accepted, its policy says so, or there is nothing better."""
    alone = (sentence(one) for one in found if one.action is Action.LEAVE)
    return (*alone, *choice.without, *choice.left)


def evidence(survey: ServiceSurvey, choice: Choice, migrated: Sequence[Migrated] = ()) -> dict[str, Any]:
    """What goes to quarantine beside the replaced state: why it was replaced, and by what."""
    return {
        "service": survey.service,
        "candidate": choice.candidate,
        "verdict": survey.verdict.value,
        "problems": [
            {"item": name, "place": problem.place, "problem": problem.problem}
            for name, item in survey.items.items()
            for problem in item.problems
        ],
        "replaced": [
            {"item": name, "document": finding.document, "verdict": finding.verdict.value, "hash": finding.content}
            for name, item in survey.items.items()
            for finding in item.findings
        ],
        "plan": [
            {"item": part.item, "document": part.document, "from": choice.named(part), "reason": part.reason}
            for part in (*choice.parts, *choice.dumps)
        ],
        "migrated": [
            {"item": one.item, "document": one.document, "from": one.before, "to": one.after} for one in migrated
        ],
    }


def outcomes(
    survey: ServiceSurvey, damage: Sequence[Damage], choice: Choice, *, now_ns: int, quarantine: str | None
) -> tuple[ItemOutcome, ...]:
    """What became of each part of the choice, and of the items that it left alone. `survey` is from before."""
    verdicts = {one.target: one.verdict.value for one in damage}
    found = [
        ItemOutcome(
            item=part.item,
            document=part.document,
            verdict_before=verdicts.get(part.target, survey.items[part.item].verdict.value),
            source=part.origin.value,
            candidate=choice.named(part),
            age_s=None if part.origin in {Origin.EMPTY, Origin.LIVE} else max(0.0, (now_ns - part.time_ns) / 1e9),
            quarantine=quarantine,
            reason=part.reason,
        )
        for part in choice.parts
    ]
    restored = {part.item for part in choice.parts}
    return (*found, *(one for one in live(survey) if one.item not in restored))


def with_versions(found: Sequence[ItemOutcome], migrated: Sequence[Migrated]) -> tuple[ItemOutcome, ...]:
    """The same, with what was migrated: of an item that came back as a whole, the first of its documents tells."""
    versions: dict[tuple[str, str], tuple[str, str]] = {}
    for one in migrated:
        for document in (one.document, ""):
            versions.setdefault((one.item, document), (one.before, one.after))
    changed = {(one.item, one.document) for one in found if one.candidate is not None}
    return tuple(
        replace(one, migrated=versions[one.item, one.document])
        if (one.item, one.document) in changed and (one.item, one.document) in versions
        else one
        for one in found
    )


def live(survey: ServiceSurvey) -> tuple[ItemOutcome, ...]:
    """All items, left as they are."""
    return tuple(
        ItemOutcome(item=name, document="", verdict_before=item.verdict.value, source="live")
        for name, item in survey.items.items()
    )
