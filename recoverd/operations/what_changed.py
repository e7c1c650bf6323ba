"""Whether live state, as a capture found it, is worth a snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.config.model import ItemKind, Service
from recoverd.recovery.differences import differ
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.partial import Hints, ServiceHints, unlike
from recoverd.recovery.stores import Trees
from recoverd.repository.records import ItemRecord, Snapshot, SnapshotVerdict
from recoverd.repository.trees import EMPTY_TREE
from recoverd.repository.writer import Writer
from recoverd.state.verdicts import Verdict
from recoverd.values import replace


def is_nothing(survey: ServiceSurvey, parent: Snapshot | None) -> bool:
    """A service that has not written any state yet has nothing to capture."""
    return parent is None and not any(item.files or item.findings for item in survey.items.values())


def is_changed(writer: Writer, survey: ServiceSurvey, parent: Snapshot | None) -> bool:
    """Whether live state is other than the parent has it, or declared otherwise."""
    if parent is None or survey.items.keys() != parent.items.keys():
        return True
    return any(
        (before.kind, before.path, before.verdict) != (item.kind.value, item.path, item.verdict.value)
        or differ(writer, before.root, item.root)
        for item, before in ((item, parent.items[name]) for name, item in survey.items.items())
    )


def is_good_changed(writer: Writer, survey: ServiceSurvey, before: Mapping[str, ItemRecord]) -> bool:
    """Whether anything good is new."""
    return any(
        differ(writer, before[name].good, item.good) if name in before else _holds_documents(writer, item.good)
        for name, item in survey.items.items()
    )


def snapshot_verdict(survey: ServiceSurvey, *, good_changed: bool) -> SnapshotVerdict:
    """`ok` when everything is; else `partial` when something good is new, `invalid` when nothing is."""
    if survey.verdict in {Verdict.OK, Verdict.NEW}:
        return SnapshotVerdict.OK
    return SnapshotVerdict.PARTIAL if good_changed else SnapshotVerdict.INVALID


def _holds_documents(trees: Trees, root: str | None) -> bool:
    return any(
        entry.type == "file" or (entry.type == "dir" and _holds_documents(trees, entry.hash))
        for entry in trees.tree(root or EMPTY_TREE)
    )


def without_failed(survey: ServiceSurvey, before: Mapping[str, ItemRecord]) -> ServiceSurvey:
    """The same with dumps that could not be taken as the newest snapshot has them: that they failed is no change."""
    if all(item.failure is None for item in survey.items.values()):
        return survey
    items = dict(survey.items)
    for name, item in survey.items.items():
        known = before.get(name)
        if item.failure is not None and known is None:
            items[name] = replace(item, verdict=Verdict.NEW, findings=())
        elif item.failure is not None and known is not None:
            items[name] = replace(item, verdict=Verdict(known.verdict), root=known.root, good=known.good, findings=())
    return replace(survey, items=items)


def usable(
    hints: ServiceHints | None, parent: Snapshot | None, before: Mapping[str, ItemRecord]
) -> Mapping[str, Hints] | None:
    """The hints, if they tell all that happened since `parent`; an older one does not stand for what was seen."""
    if hints is None or parent is None or parent.sequence < hints.since:
        return None
    return hints.items if all(parent.items.get(name) is record for name, record in before.items()) else None


def touched_only(
    writer: Writer, service: Service, survey: ServiceSurvey, before: Mapping[str, ItemRecord]
) -> dict[str, Hints]:
    """What differs from the newest snapshot without being worth another one, by directory item."""
    found = {}
    for name, item in survey.items.items():
        if service.state[name].kind is ItemKind.DIRECTORY and name in before and item.root != before[name].root:
            found[name] = unlike(writer, before[name].root, item.root)
    return found
