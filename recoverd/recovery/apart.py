"""Replacements that would meet, taken apart: a directory, and a file in it that is another item. Pure but for trees."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from recoverd.recovery.replacement import Replacement
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.values import replace

Tree = Callable[[str], Iterable[Entry]]


def apart(replacements: Sequence[Replacement], tree: Tree) -> list[Replacement]:
    """The same, where no path lies in another.

    A directory that comes back and has another item's file in it is replaced by what is in it, as far down as that
    file, which then counts from the same directory: what is missing above them is made once, as the directory's own
    tree has it. `tree` gives the entries of a directory; it may raise DamagedObject. Raises ValueError where two of
    one item meet, or two have one path.
    """
    paths = sorted(f"{one.path}/" for one in replacements)
    if not any(below.startswith(above) for above, below in pairwise(paths)):
        return list(replacements)
    found: list[Replacement] = []
    met: set[str] = set()
    for one in replacements:
        inner = [other for other in replacements if f"{other.path}/".startswith(f"{one.path}/") and other is not one]
        if any(other.item == one.item or other.path == one.path for other in inner):
            raise ValueError(f"replacements overlap: {one.path} and {', '.join(other.path for other in inner)}")
        if one.path in met or not inner:
            continue
        met |= {other.path for other in inner} | {one.path}
        found += _split(one, [other.path for other in inner], tree)
        found += (_within(other, one, tree) for other in inner)
    return [one for one in replacements if one.path not in met] + found


def _split(one: Replacement, inner: Sequence[str], tree: Tree) -> Iterator[Replacement]:
    if one.entry is None or one.entry.type != "dir":
        yield one
        return
    for entry in tree(one.entry.hash or EMPTY_TREE):
        child = replace(
            one,
            relative=_below(one.relative, entry.name),
            entry=entry,
            whole=entry.type == "dir",
            parents=(*one.parents, one.entry),
        )
        if any(path.startswith(f"{child.path}/") for path in inner):
            yield from _split(child, inner, tree)
        else:
            yield child


def _within(inner: Replacement, outer: Replacement, tree: Tree) -> Replacement:
    """`inner`, counted from the target of `outer`, with the directories that lie between."""
    names = inner.path[len(outer.path) + 1 :].split("/")
    parents: list[Entry] = [*outer.parents]
    entry = outer.entry
    for name in names:
        if entry is None or entry.type != "dir":
            break
        parents.append(entry)
        entry = next((one for one in tree(entry.hash or EMPTY_TREE) if one.name == name), None)
    relative = _below(outer.relative, "/".join(names))
    return replace(inner, target=outer.target, relative=relative, document=inner.named, parents=tuple(parents))


def _below(relative: str, name: str) -> str:
    return f"{relative}/{name}" if relative else name
