"""The plan as a property: which version replaces what, whatever the history."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import ItemKind, Place, Restore, Service, StateItem
from recoverd.recovery.item_survey import ItemSurvey, ServiceSurvey
from recoverd.recovery.plan import Action, Damage, Target, Version, damages, plans
from recoverd.recovery.stat_rows import Finding
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.state.verdicts import Problem, Verdict

TARGETS: list[Target] = [("main", ""), ("tasks", "a.json"), ("tasks", "b.json")]


def version(sequence: int, content: str) -> Version:
    entry = Entry("x", "file", 0o600, 0, 0, "", "", 1, 0, hash=content * 64)
    return Version(sequence, sequence * 10**9, entry)


def damage(target: Target, action: Action = Action.RESTORE) -> Damage:
    return Damage(*target, Verdict.CORRUPT, (Problem("", "is broken"),), action, "corrupt state is restored")


@st.composite
def histories(draw: st.DrawFn) -> dict[Target, list[Version]]:
    """For each target distinct contents, newest first."""
    found = {}
    for target in draw(st.lists(st.sampled_from(TARGETS), unique=True, min_size=1)):
        sequences = sorted(draw(st.sets(st.integers(1, 20), max_size=6)), reverse=True)
        contents = draw(st.permutations("abcdef"))
        found[target] = [version(number, content) for number, content in zip(sequences, contents, strict=False)]
    return found


@given(histories(), st.sets(st.tuples(st.sampled_from(TARGETS), st.sampled_from("abcdef"))))
def test_the_invariants_of_plans(versions: dict[Target, list[Version]], bad: set[tuple[Target, str]]) -> None:
    """Each document once; newest first and never newer again; nothing unusable; no plan twice; all versions tried."""
    unusable = frozenset((*target, content * 64) for target, content in bad)
    found = plans("app", [damage(target) for target in versions], versions, unusable=unusable)
    usable = {
        target: [one for one in choices if (*target, one.content) not in unusable]
        for target, choices in versions.items()
    }
    if not all(usable.values()):
        assert [one.action for one in found] == [Action.BLOCK]
        assert len(found[0].reasons) == sum(not choices for choices in usable.values())
        return
    assert {one.action for one in found} == {Action.RESTORE}
    assert len({one.key for one in found}) == len(found)
    tried: dict[Target, list[Version]] = {target: [] for target in versions}
    for one in found:
        assert sorted((step.item, step.document) for step in one.steps) == sorted(versions)
        for step in one.steps:
            tried[step.item, step.document].append(step.version)
    for target, steps in tried.items():
        assert steps[0] is usable[target][0]
        assert [one.sequence for one in steps] == sorted((one.sequence for one in steps), reverse=True)
        assert {one.content for one in steps} == {one.content for one in usable[target]}
    assert found == plans("app", [damage(target) for target in versions], versions, unusable=unusable)


@given(histories())
def test_one_document_that_blocks_blocks_all(versions: dict[Target, list[Version]]) -> None:
    """Nothing is written while something can't be read."""
    found = [damage(target) for target in versions]
    found.append(damage(("other", ""), Action.BLOCK))
    assert [one.action for one in plans("app", found, versions)] == [Action.BLOCK]
    assert plans("app", found, versions)[0].steps == ()


def test_what_is_left_alone_makes_no_step() -> None:
    """Also beside a document that is restored."""
    left = damage(TARGETS[0], Action.LEAVE)
    assert [one.action for one in plans("app", [left], {})] == [Action.LEAVE]
    found = plans("app", [left, damage(TARGETS[1])], {TARGETS[1]: [version(3, "a")]})
    assert [[step.document for step in one.steps] for one in found] == [["a.json"]]
    assert [step.version.sequence for step in found[0].steps] == [3]
    assert len(found[0].reasons) == 2


def survey(verdict: Verdict, content: str | None) -> ServiceSurvey:
    findings = (Finding("a.json", verdict, (Problem("a.json", "why"),), content),) if verdict is not Verdict.OK else ()
    item = ItemSurvey("tasks", ItemKind.DIRECTORY, "/x", verdict, (), findings, EMPTY_TREE, None, 1, 1, "")
    return ServiceSurvey("app", {"tasks": item})


def service(**verdicts: str) -> Service:
    item = StateItem("tasks", ItemKind.DIRECTORY, "/x")
    return Service("app", Place("f", 1, 1), state={"tasks": item}, restore=Restore(verdicts=verdicts))


@pytest.mark.parametrize(
    ("verdict", "policy", "action"),
    [
        (Verdict.CORRUPT, {}, Action.RESTORE),
        (Verdict.MISSING, {}, Action.RESTORE),
        (Verdict.UNREADABLE, {}, Action.BLOCK),
        (Verdict.RESET, {}, Action.LEAVE),
        (Verdict.NEWER, {}, Action.LEAVE),
        (Verdict.CORRUPT, {"corrupt": "alert"}, Action.LEAVE),
        (Verdict.CORRUPT, {"corrupt": "block"}, Action.BLOCK),
        (Verdict.RESET, {"reset": "restore"}, Action.RESTORE),
        (Verdict.UNREADABLE, {"unreadable": "restore"}, Action.LEAVE),
        (Verdict.NEWER, {"newer": "restore"}, Action.LEAVE),
    ],
)
def test_policies(verdict: Verdict, policy: dict[str, Any], action: Action) -> None:
    """The table of verdicts and policies; an I/O error and a newer version are never rolled back."""
    found = damages(service(**policy), survey(verdict, "c"), {})
    assert [one.action for one in found] == [action]


def test_what_its_operator_accepted_is_left_alone_while_it_stays_the_same() -> None:
    """Accepted is one content, not the document for ever."""
    accepted = {"tasks": {"a.json": "c"}}
    assert damages(service(), survey(Verdict.CORRUPT, "c"), accepted)[0].action is Action.LEAVE
    assert damages(service(), survey(Verdict.CORRUPT, "d"), accepted)[0].action is Action.RESTORE
    assert damages(service(), survey(Verdict.CORRUPT, None), accepted)[0].action is Action.RESTORE
    assert damages(service(), survey(Verdict.OK, None), accepted) == ()
