"""Values of a configuration file with their places, and how one file changes another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from recoverd.config.model import EMPTY, Place
from recoverd.config.units import one_line
from recoverd.values import dataclass, field

Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """One value and the place where it stands.

    `content` is None, bool, int, float, str, a dict (text → Node) or a tuple of Nodes; `keys` are the places of
    a dict's keys. Through aliases, several places of a document can share one node.
    """

    content: Any
    place: Place
    keys: Mapping[str, Place] = field(default_factory=lambda: EMPTY)

    def get(self, key: str) -> Node | None:
        """The value of a key; None where there is no such key or the node is no mapping."""
        return self.content.get(key) if isinstance(self.content, dict) else None

    def plain(self) -> Any:
        """The value without places: dicts, lists and scalars, all new."""
        if isinstance(self.content, dict):
            return {key: node.plain() for key, node in self.content.items()}
        if isinstance(self.content, tuple):
            return [node.plain() for node in self.content]
        return self.content


def empty_mapping(place: Place) -> Node:
    return Node({}, place)


def at(node: Node | None, *path: str | int) -> Node | None:
    """The node at a path; None where the path ends before."""
    for step in path:
        if node is None:
            return None
        if isinstance(step, str):
            node = node.get(step)
        else:
            node = node.content[step] if isinstance(node.content, tuple) and step < len(node.content) else None
    return node


def place_of(node: Node, path: Sequence[str | int], *, key: bool = False) -> Place:
    """Where the value at `path` stands (with `key`: its key); of what does not exist, its nearest parent's place."""
    place = node.place
    current = node
    for index, step in enumerate(path):
        below = at(current, step)
        if below is None:
            return place
        last = index == len(path) - 1
        place = current.keys[step] if key and last and isinstance(step, str) else below.place
        current = below
    return place


def merge(under: Node, over: Node, *, null_removes: bool = False) -> Node:
    """`over` laid over `under`, mapping by mapping; every value keeps its place.

    Lists and scalars are replaced whole. With `null_removes`, a null takes the key away.
    """
    if not (isinstance(under.content, dict) and isinstance(over.content, dict)):
        return over
    content = dict(under.content)
    keys = dict(under.keys)
    for key, node in over.content.items():
        if null_removes and node.content is None:
            content.pop(key, None)
            keys.pop(key, None)
            continue
        content[key] = merge(content[key], node, null_removes=null_removes) if key in content else node
        keys[key] = over.keys[key]
    return Node(content, over.place, keys)


def without(node: Node, path: Path) -> Node:
    """The node without the value at `path`; unchanged where there is none. The root itself becomes an empty mapping."""
    if not path:
        return empty_mapping(node.place)
    step, rest = path[0], path[1:]
    below = at(node, step)
    if below is None:
        return node
    if isinstance(step, str):
        content = dict(node.content)
        if rest:
            content[step] = without(below, rest)
        else:
            del content[step]
        return Node(content, node.place, node.keys)
    if rest:
        changed = (*node.content[:step], without(below, rest), *node.content[step + 1 :])
    else:  # other entries keep their index, so that further paths still fit
        changed = (*node.content[:step], Node(None, below.place), *node.content[step + 1 :])
    return Node(changed, node.place)


def leaves(node: Node, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Place]]:
    """The path and place of every value that is no mapping with keys; lists count as one value."""
    if isinstance(node.content, dict) and node.content:
        for key, below in node.content.items():
            yield from leaves(below, (*path, key))
    else:
        yield path, node.place


def describe(path: Sequence[str | int]) -> str:
    """A path as people write it, in one line: `services.web.health.probes[0]`."""
    words = ""
    for step in path:
        if isinstance(step, int):
            words += f"[{step}]"
        else:
            words += f".{one_line(step)}" if words else one_line(step)
    return words
