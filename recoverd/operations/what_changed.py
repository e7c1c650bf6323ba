"""Whether live state, as a capture found it, is worth a snapshot."""

from __future__ import annotations

from collections.abc import Mapping

from recoverd.recovery.differences import differ
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.stores import Trees
from recoverd.repository.records import ItemRecord, Snapshot
from recoverd.repository.trees import EMPTY_TREE
from recoverd.repository.writer import Writer


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


def _holds_documents(trees: Trees, root: str | None) -> bool:
    return any(
        entry.type == "file" or (entry.type == "dir" and _holds_documents(trees, entry.hash))
        for entry in trees.tree(root or EMPTY_TREE)
    )
