"""Which snapshots and files need which objects: a walk over all trees that names what damage hurts.

Every tree is read once, whatever number of snapshots share it. What is whole leaves nothing behind but its hash, in a
temporary database that spills to disk; what leads to damage is kept with its names, so that each lost object can be
followed up to the snapshots it is missing from.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from types import TracebackType
from typing import Self

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.repository.blocks import BLOCKS_HEAD, decode_blocks
from recoverd.repository.objects import Reader
from recoverd.repository.tree_reading import decode_parts, decode_tree
from recoverd.repository.trees import EMPTY_TREE
from recoverd.values import dataclass, replace

MOST_NAMED = 100  # snapshots and files that are named for one object
_STEPS = 2_000_000  # of following lost objects upwards, in all
_FEWEST_STEPS = 20  # for each of them; and as many as lead to the first snapshot


@dataclass(frozen=True, slots=True)
class Root:
    """A tree that a snapshot refers to itself."""

    snapshot: str
    path: str  # of the state item
    tree: str


class Kind(Enum):
    TREE = auto()
    LIST = auto()  # the block list of a large file, or a part of it
    BLOCK = auto()
    FILE = auto()  # all of a small one


@dataclass(frozen=True, slots=True)
class Shape:
    """What an object is of: files of `sizes` (bytes), in blocks of `block_size`, where it is of files."""

    kind: Kind
    sizes: tuple[int, ...] = ()
    block_size: int = 0


@dataclass(frozen=True, slots=True)
class Loss:
    """A lost object: why, and whom that hurts."""

    object: str
    problem: str
    snapshots: tuple[str, ...]
    files: tuple[str, ...]
    more: bool


@dataclass(frozen=True, slots=True)
class _Child:
    name: str  # "" for what has none: parts of a tree, blocks of a file and parts of its list
    object: str
    shape: Shape
    size: int | None = None  # bytes it should have, where that is known

    @property
    def leads_on(self) -> bool:
        return self.shape.kind is Kind.TREE or self.shape.kind is Kind.LIST


_TREE = Shape(Kind.TREE)


class References:
    """One walk. `stored` tells the sizes of those of some objects that are stored and intact."""

    def __init__(
        self, reader: Reader, stored: Callable[[Iterable[str]], Mapping[str, int]], wanted: Iterable[str] = ()
    ) -> None:
        import sqlite3

        self._reader = reader
        self._stored = stored
        self._wanted = frozenset(wanted)
        self._whole = sqlite3.connect("")  # nameless: on disk where it grows, gone with this process
        self._whole.execute("CREATE TABLE whole (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        self._above: dict[str, list[tuple[str, str]]] = {}  # what leads to damage: object -> (what refers to it, name)
        self._roots: dict[str, list[Root]] = {}
        self._why: dict[str, str] = {}  # of lost objects
        self._shapes: dict[str, Shape] = {}  # of lost objects
        self._sizes: dict[str, set[int]] = {}  # of the files whose block lists lead to damage
        self.needed: set[str] = set()  # those of `wanted` that something refers to

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._whole.close()

    def add(self, roots: Sequence[Root]) -> None:
        """Walk all trees below these. Raises RepositoryError when the repository can't be read at all."""
        for root in roots:
            if root.tree == EMPTY_TREE:
                continue
            self._note(root.tree)
            if not self._is_known(root.tree):
                if root.tree in self._stored([root.tree]):
                    self._walk(root.tree)
                else:
                    self._lose(root.tree, _TREE, "is not in the repository")
            if root.tree in self._above:
                self._roots.setdefault(root.tree, []).append(root)

    @property
    def lost(self) -> Mapping[str, str]:
        """Every lost object, and why."""
        return self._why

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """What every lost object is of; a block, or a part of a list, may be of files of many sizes."""
        known: dict[str, frozenset[int]] = {}
        return {
            node: replace(shape, sizes=tuple(sorted(self._sizes_of(node, known))))
            if shape.kind in {Kind.LIST, Kind.BLOCK}
            else shape
            for node, shape in self._shapes.items()
        }

    @property
    def hurt(self) -> tuple[str, ...]:
        """The snapshots that need something that is lost."""
        return tuple(dict.fromkeys(root.snapshot for roots in self._roots.values() for root in roots))

    def losses(self) -> Iterator[Loss]:
        """Each lost object with the snapshots and files that it is missing from."""
        steps = max(_FEWEST_STEPS, _STEPS // max(1, len(self._why)))
        for object_hash, why in self._why.items():
            snapshots: dict[str, None] = {}
            files: dict[str, None] = {}
            waiting = [(object_hash, "")]
            seen = set(waiting)
            more = False
            while waiting:
                if (len(seen) > steps and snapshots) or (len(snapshots) > MOST_NAMED and len(files) > MOST_NAMED):
                    more = True
                    break
                node, below = waiting.pop()
                for root in self._roots.get(node, ()):
                    snapshots[root.snapshot] = None
                    files[os.path.join(os.path.dirname(root.path), below) if below else root.path] = None
                for upper, name in self._above.get(node, ()):
                    step = upper, (f"{name}/{below}" if below else name) if name else below
                    if step not in seen:
                        seen.add(step)
                        waiting.append(step)
            more = more or len(snapshots) > MOST_NAMED or len(files) > MOST_NAMED
            yield Loss(object_hash, why, tuple(sorted(snapshots)[:MOST_NAMED]), tuple(sorted(files)[:MOST_NAMED]), more)

    def _sizes_of(self, node: str, known: dict[str, frozenset[int]]) -> frozenset[int]:
        """The sizes of all files that a block, or a list, is of."""
        if node not in known:
            lists = [upper for upper, name in self._above.get(node, ()) if not name]
            known[node] = frozenset(self._sizes.get(node, ())).union(*(self._sizes_of(x, known) for x in lists))
        return known[node]

    def _walk(self, top: str) -> None:
        """Look into a tree and all below it, the lowest first."""
        waiting = [(top, _TREE)]
        open_nodes: dict[str, list[_Child]] = {}
        while waiting:
            node, shape = waiting[-1]
            if node in open_nodes:
                for child in open_nodes.pop(node):
                    if child.object in self._above:
                        self._above[child.object].append((node, child.name))
                        self._above.setdefault(node, [])
                        if child.name and child.shape.kind is Kind.LIST:
                            self._sizes.setdefault(child.object, set()).update(child.shape.sizes)
                if node not in self._above:
                    self._whole.execute("INSERT OR IGNORE INTO whole VALUES (?)", (bytes.fromhex(node),))
                waiting.pop()
            elif self._is_known(node):
                waiting.pop()
            else:
                open_nodes[node] = children = self._look_into(node, shape)
                waiting.extend((x.object, x.shape) for x in children if x.leads_on and not self._is_known(x.object))

    def _look_into(self, node: str, shape: Shape) -> list[_Child]:
        """The children that have to be looked into, and those that are lost."""
        try:
            children = self._children(node)
        except DamagedObject as error:
            self._lose(node, shape, error.message.removeprefix(f"object {node}").lstrip(": "))
            return []
        sizes = self._stored({child.object for child in children})
        kept = []
        for child in children:
            self._note(child.object)
            size = sizes.get(child.object)
            if size is None:
                self._lose(child.object, child.shape, "is not in the repository")
            elif child.size is not None and child.size != size:
                self._lose(child.object, child.shape, f"has {size} bytes where {child.size} are expected")
            if child.leads_on or child.object in self._above:
                kept.append(child)
        return kept

    def _children(self, node: str) -> list[_Child]:
        data = self._reader.read(node)
        try:
            if data.startswith(BLOCKS_HEAD):
                listed = decode_blocks(data)
                shape = Shape(Kind.LIST if listed.of_parts else Kind.BLOCK, block_size=listed.block_size)
                return [
                    _Child("", content, shape, None if listed.of_parts else length)
                    for content, length in listed.pieces()
                    if content is not None
                ]
            parts = decode_parts(data)
            if parts is not None:
                return [_Child("", part, _TREE) for part in parts]
            found = []
            for entry in decode_tree(data):
                if entry.blocks is not None:
                    found.append(_Child(entry.name, entry.blocks, Shape(Kind.LIST, (entry.size,), entry.block_size)))
                elif entry.type == "dir" and entry.hash is not None and entry.hash != EMPTY_TREE:
                    found.append(_Child(entry.name, entry.hash, _TREE))
                elif entry.type == "file" and entry.hash is not None:
                    found.append(_Child(entry.name, entry.hash, Shape(Kind.FILE, (entry.size,)), entry.size))
            return found
        except DamagedObject:
            raise
        except RepositoryError as error:
            raise DamagedObject(node, f"object {node}: {error.message}") from None

    def _is_known(self, node: str) -> bool:
        if node in self._above:
            return True
        found = self._whole.execute("SELECT 1 FROM whole WHERE hash = ?", (bytes.fromhex(node),)).fetchone()
        return found is not None

    def _lose(self, node: str, shape: Shape, why: str) -> None:
        self._shapes.setdefault(node, shape)
        self._why.setdefault(node, why)
        self._above.setdefault(node, [])

    def _note(self, node: str) -> None:
        if node in self._wanted:
            self.needed.add(node)
