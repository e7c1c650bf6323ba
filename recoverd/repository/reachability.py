"""What the remaining snapshots need: every object that can be reached from their roots.

It is computed anew for each prune, from the records. What is remembered (in the catalog) is only what a tree refers
to, which its hash fixes for ever: moving objects, deleting packs, a crash or an older catalog can't make it wrong, and
each row carries a checksum. So an unchanged tree is never read twice, and nothing that is remembered is ever stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.repository.blocks import BLOCKS_HEAD, decode_blocks
from recoverd.repository.reach_memory import MARK_BYTES, Needed, References
from recoverd.repository.tree_reading import decode_parts, decode_tree
from recoverd.repository.trees import EMPTY_TREE

if TYPE_CHECKING:
    from recoverd.repository.objects import Reader
    from recoverd.repository.store import Repository

_EMPTY = bytes.fromhex(EMPTY_TREE)


class Unknowable(Exception):
    """What is needed can't be told, so no data may be deleted. Says why."""


def needed_by_all(repository: Repository, reader: Reader, without: Mapping[str, Iterable[int]]) -> Needed:
    """What all snapshots need, but those in `without` (sequences by service). Raises Unknowable, RepositoryError.

    Leaves out nothing that a tree refers to, also if it is not stored.
    """
    walk = _Walk(repository, reader)
    try:
        _walk_all(repository, walk, without)
    except Unknowable:
        walk.finish(forget=False)
        raise
    walk.finish(forget=True)
    return walk.needed


def _walk_all(repository: Repository, walk: _Walk, without: Mapping[str, Iterable[int]]) -> None:
    for service in repository.services():
        skipped = set(without.get(service, ()))
        for snapshot in repository.snapshots(service):
            if snapshot.sequence in skipped:
                continue
            for item in snapshot.items.values():
                for root in {item.root, item.good or item.root}:
                    try:
                        walk.add(bytes.fromhex(root))
                    except DamagedObject as error:
                        raise Unknowable(f"what snapshot {snapshot.id} needs can't be told: {error.message}") from None
        unreadable = sorted(repository.unreadable_records(service).keys() - skipped)
        if unreadable:
            raise Unknowable(f"what snapshot {service}/{unreadable[0]} needs can't be told: its record can't be read")


class _Walk:
    def __init__(self, repository: Repository, reader: Reader) -> None:
        self.needed = Needed()
        self._memory = repository.catalog.reach
        self._reader = reader
        self._seen: set[bytes] = {_EMPTY}
        self._fresh: dict[bytes, References] = {}

    def add(self, root: bytes) -> None:
        """Add a tree and all below it. Raises DamagedObject when one can't be read."""
        level = {root} - self._seen
        while level:  # of which the empty tree is none: it need not be stored
            self._seen |= level
            self.needed.add(b"".join(node[:MARK_BYTES] for node in level))
            remembered = self._memory.references(level)
            below: set[bytes] = set()
            for node in level:
                found = remembered.get(node)
                if found is None:
                    found = self._fresh[node] = self._look(node)
                self.needed.add(found.leaves)
                below.update(found.below)
            level = below - self._seen

    def finish(self, *, forget: bool) -> None:
        """Remember what was found out, and with `forget` nothing else."""
        self._memory.remember(self._fresh, keep=self._seen if forget else None)

    def _look(self, node: bytes) -> References:
        name = node.hex()
        data = self._reader.read(name)
        try:
            return references_in(data)
        except RepositoryError as error:
            raise DamagedObject(name, f"object {name}: {error.message}") from None


def references_in(data: bytes) -> References:
    """What a tree, a list of parts or a block list refers to. Raises RepositoryError for anything else."""
    if data.startswith(BLOCKS_HEAD):
        listed = decode_blocks(data)
        return _references(listed.hashes, ()) if listed.of_parts else _references((), listed.hashes)
    parts = decode_parts(data)
    if parts is not None:
        return _references(parts, ())
    nodes: list[str] = []
    leaves: list[str] = []
    for entry in decode_tree(data):
        if entry.blocks is not None:
            nodes.append(entry.blocks)
        elif entry.hash is not None:
            (nodes if entry.type == "dir" else leaves).append(entry.hash)
    return _references(nodes, leaves)


def _references(nodes: Iterable[str], leaves: Iterable[str]) -> References:
    digits = 2 * MARK_BYTES
    return References(
        bytes.fromhex("".join(dict.fromkeys(nodes))),
        bytes.fromhex("".join(dict.fromkeys(leaf[:digits] for leaf in leaves))),
    )
