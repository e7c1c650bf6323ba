"""What a restore tells: why, from where, how old. Pure renderings of looks and choices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recoverd.operations.restore_results import ItemOutcome
from recoverd.recovery.choices import Choice
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.plan import Action, Damage, Origin


def sentence(damage: Damage) -> str:
    """One damaged document: what it is, why, and what its policy says."""
    where = f"{damage.item}: {damage.document}" if damage.document else damage.item
    why = f": {damage.problems[0].problem}" if damage.problems else ""
    return f"{where} is {damage.verdict}{why}; {damage.reason}"


def left_alone(found: Sequence[Damage], choice: Choice) -> tuple[str, ...]:
    """What stays as it is beside what is restored: it was accepted, its policy says so, or there is nothing better."""
    alone = (sentence(one) for one in found if one.action is Action.LEAVE)
    return (*alone, *choice.without, *choice.left)


def evidence(survey: ServiceSurvey, choice: Choice) -> dict[str, Any]:
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
            for part in choice.parts
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
            age_s=None if part.origin is Origin.EMPTY else max(0.0, (now_ns - part.time_ns) / 1e9),
            quarantine=quarantine,
            reason=part.reason,
        )
        for part in choice.parts
    ]
    restored = {part.item for part in choice.parts}
    return (*found, *(one for one in live(survey) if one.item not in restored))


def live(survey: ServiceSurvey) -> tuple[ItemOutcome, ...]:
    """All items, left as they are."""
    return tuple(
        ItemOutcome(item=name, document="", verdict_before=item.verdict.value, source="live")
        for name, item in survey.items.items()
    )
