"""Where an assessment puts what it finds: nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from blake3 import blake3

from recoverd.errors import StateError
from recoverd.repository.blocks import hash_blocks
from recoverd.repository.objects import Reader
from recoverd.repository.trees import EMPTY_TREE, Entry, hash_tree


class Scratch:
    """A store that keeps trees in memory and forgets bytes; trees of the repository are read through."""

    def __init__(self, below: Reader | None) -> None:
        self._below = below
        self._trees: dict[str, tuple[Entry, ...]] = {EMPTY_TREE: ()}

    def put(self, data: bytes) -> str:
        return blake3(data).hexdigest()

    def put_all(self, contents: Sequence[bytes]) -> list[str]:
        return [blake3(data).hexdigest() for data in contents]

    def put_tree(self, entries: Sequence[Entry]) -> str:
        tree_hash = hash_tree(entries)
        self._trees[tree_hash] = tuple(entries)
        return tree_hash

    def put_blocks(self, hashes: Iterable[str | None], block_size: int, size: int) -> str:
        return hash_blocks(hashes, block_size, size)

    def read(self, object_hash: str) -> bytes:
        if self._below is None:
            raise StateError(f"there is no object {object_hash}")
        return self._below.read(object_hash)

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        found = self._trees.get(tree_hash)
        if found is not None:
            return found
        if self._below is None:
            raise StateError(f"there is no tree {tree_hash}")
        return self._below.tree(tree_hash)
