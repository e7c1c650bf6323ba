"""What differs between two trees: descends only where hashes differ, so its cost follows what changed."""

from __future__ import annotations

import os
from collections.abc import Iterator

from recoverd.recovery.stores import Trees
from recoverd.repository.trees import EMPTY_TREE, Entry, same_but_mtime
from recoverd.values import dataclass, replace


@dataclass(frozen=True, slots=True)
class Difference:
    """One path (below the item; "" is the item itself) that `before` and `after` have differently, or only one has."""

    path: str
    before: Entry | None
    after: Entry | None


def same_state(a: Entry, b: Entry) -> bool:
    """Whether two entries hold the same state: all but the time of modification and the trees below.

    A change of mtime alone makes no snapshot, and is nothing that a restore would have to repair.
    """
    if a.type == b.type == "dir":
        b = replace(b, hash=a.hash)
    return same_but_mtime(a, b)


def differences(trees: Trees, before: str | None, after: str | None) -> Iterator[Difference]:
    """Differences between two item roots (trees with one entry at most; None is the same as the empty tree).

    A directory that only one side has comes as one difference; its contents are not listed.
    Raises DamagedObject when a tree can't be read.
    """
    a = next(iter(trees.tree(before or EMPTY_TREE)), None)
    b = next(iter(trees.tree(after or EMPTY_TREE)), None)
    yield from _entries(trees, "", a, b)


def _entries(trees: Trees, path: str, a: Entry | None, b: Entry | None) -> Iterator[Difference]:
    if a is None or b is None or a.type != b.type:
        if a is not b:
            yield Difference(path, a, b)
        return
    if a is b:
        return
    if not same_state(a, b):
        yield Difference(path, a, b)
    if a.type == "dir" and a.hash != b.hash:
        left = {entry.name: entry for entry in trees.tree(a.hash or EMPTY_TREE)}
        right = {entry.name: entry for entry in trees.tree(b.hash or EMPTY_TREE)}
        for name in sorted(left.keys() | right.keys(), key=os.fsencode):
            below = f"{path}/{name}" if path else name
            yield from _entries(trees, below, left.get(name), right.get(name))


def differ(trees: Trees, before: str | None, after: str | None) -> bool:
    """Whether two item roots hold different state."""
    return (before or EMPTY_TREE) != (after or EMPTY_TREE) and any(differences(trees, before, after))
