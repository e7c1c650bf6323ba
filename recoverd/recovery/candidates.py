"""Where restored state can come from: the good versions that snapshots carry, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recoverd.config.model import StateItem
from recoverd.errors import DamagedObject
from recoverd.recovery.item_survey import same_item
from recoverd.recovery.plan import Target, Version
from recoverd.recovery.stores import Trees
from recoverd.repository.records import ItemRecord, Marks, Snapshot
from recoverd.repository.trees import Entry
from recoverd.values import replace

_BEHIND = -(1 << 61)  # added to a rank: after all others


def eligible(snapshots: Iterable[Snapshot]) -> list[Snapshot]:
    """Snapshots that a restore may take from, newest first: by sequence, imports after all others.

    Every snapshot with a `good` tree qualifies, also one that is evidence only: its `good` is carried forward.
    """
    return sorted(snapshots, key=lambda snapshot: (not snapshot.imported, snapshot.sequence), reverse=True)


def good_versions(
    trees: Trees,
    snapshots: Sequence[Snapshot],
    marks: Mapping[int, Marks],
    targets: Sequence[Target],
    *,
    items: Mapping[str, StateItem],
    most: int,
) -> tuple[dict[Target, list[Version]], list[str]]:
    """For each damaged document its distinct good versions, newest first, at most `most` of each.

    `snapshots` newest first; `items`: what is declared today, records of other paths or kinds are passed over. A
    version that a rejected snapshot carried is rejected with it, wherever else it stands: older snapshots often
    carry the very same, and newer ones carry it forward. Only where the service itself wrote it again since is it
    another chance. What was only captured while the service was not healthy is tried once, in its place; the other
    such versions come after all others, or a service that keeps failing on state that is valid would use up all
    attempts on that. Trees that can't be read are passed over; their sentences come second.
    """
    versions: dict[Target, list[Version]] = {target: [] for target in targets}
    rejected: dict[Target, set[str]] = {target: set() for target in targets}
    behind: dict[Target, list[Version]] = {target: [] for target in targets}
    had_ill: set[Target] = set()
    damage: list[str] = []
    for snapshot in snapshots:
        if all(len(found) >= most and not any(one.carried for one in found) for found in versions.values()):
            break
        mark = marks.get(snapshot.sequence, Marks())
        for target in targets:
            name, document = target
            record = snapshot.items.get(name)
            if record is None or record.good is None or not same_item(items[name], record):
                continue
            try:
                entry, parents = find(trees, record.good, document)
            except DamagedObject as error:
                damage.append(f"{snapshot.id}: {error.message}")
                continue
            if entry is None:
                continue
            version = Version(
                snapshot.sequence, snapshot.time_ns, entry, record.good, parents, carried=_is_carried(record, document)
            )
            is_ill = mark.unhealthy and not version.carried
            if name in mark.rejected:
                had_ill |= {target} if is_ill else set()
                rejected[target].add(version.content)
                versions[target] = [
                    one for one in versions[target] if not (one.carried and one.content == version.content)
                ]
            elif version.content in rejected[target]:
                continue
            elif is_ill and target in had_ill:
                if all(one.content != version.content for one in (*versions[target], *behind[target])):
                    behind[target].append(replace(version, order=version.sequence + _BEHIND))
            else:
                had_ill |= {target} if is_ill else set()
                behind[target] = [one for one in behind[target] if one.content != version.content]
                _add(versions[target], version, most)
    return {target: [*versions[target], *behind[target][:most]] for target in targets}, damage


def _is_carried(record: ItemRecord, document: str) -> bool:
    """Whether the document, or a directory above it, was damaged when the snapshot was made."""
    parts = document.split("/") if document else []
    return any("/".join(parts[:count]) in record.damaged for count in range(len(parts) + 1))


def _add(found: list[Version], version: Version, most: int) -> None:
    """Each content stands once, as of the newest snapshot in which it was live: that tells its age.

    Newer snapshots may carry it forward while the live document was damaged. Where that snapshot is gone and
    another content was live in between, the place among the others says more than the age.
    """
    for index, one in enumerate(found):
        if one.content == version.content:
            if one.carried and not version.carried and index == len(found) - 1:
                found[index] = version
            return
    if len(found) < most:
        found.append(version)


def find(trees: Trees, root: str, document: str) -> tuple[Entry | None, tuple[Entry, ...]]:
    """The entry of one document in an item's root tree ("" is the item itself), and the directories above it.

    Raises DamagedObject.
    """
    entry = next(iter(trees.tree(root)), None)
    parents: list[Entry] = []
    for name in document.split("/") if document else ():
        if entry is None or entry.type != "dir" or entry.hash is None:
            return None, ()
        parents.append(entry)
        entry = next((one for one in trees.tree(entry.hash) if one.name == name), None)
    return entry, tuple(parents)
