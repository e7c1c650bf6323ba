"""Where restored state can come from: the good versions that snapshots carry, newest first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recoverd.errors import DamagedObject
from recoverd.recovery.plan import Target, Version
from recoverd.recovery.walk import Trees
from recoverd.repository.records import Marks, Snapshot
from recoverd.repository.trees import Entry


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
    most: int,
) -> tuple[dict[Target, list[Version]], list[str]]:
    """For each damaged document its distinct good versions, newest first, at most `most` of each.

    `snapshots` newest first. A version that a rejected snapshot carried is rejected with it, wherever else it
    stands: an older snapshot often carries the very same. Trees that can't be read are passed over; their
    sentences come second.
    """
    versions: dict[Target, list[Version]] = {target: [] for target in targets}
    rejected: dict[Target, set[str]] = {target: set() for target in targets}
    damage: list[str] = []
    for snapshot in snapshots:
        if all(len(found) >= most and not any(one.carried for one in found) for found in versions.values()):
            break
        for target in targets:
            item = snapshot.items.get(target[0])
            if item is None or item.good is None:
                continue
            try:
                entry, parents = find(trees, item.good, target[1])
            except DamagedObject as error:
                damage.append(f"{snapshot.id}: {error.message}")
                continue
            if entry is None:
                continue
            live = target[1] not in item.damaged and "" not in item.damaged
            version = Version(snapshot.sequence, snapshot.time_ns, entry, item.good, parents, carried=not live)
            mark = marks.get(snapshot.sequence)
            if mark is not None and target[0] in mark.rejected:
                rejected[target].add(version.content)
            elif version.content not in rejected[target]:
                _add(versions[target], version, most)
    return versions, damage


def _add(found: list[Version], version: Version, most: int) -> None:
    """Each content stands once, as of the newest snapshot in which it was live: that tells its age.

    Newer snapshots may carry it forward while the live document was damaged.
    """
    for index, one in enumerate(found):
        if one.content == version.content:
            if one.carried and not version.carried:
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
