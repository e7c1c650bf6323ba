"""Pruning: records first, then the packs that nothing needs any more.

Interrupted anywhere, it leaves a valid repository, and the next one finishes. What a tree needs is remembered in the
catalog as a set of pack numbers, so that the cost follows what changed: an unchanged tree is never read twice.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

from recoverd.errors import DamagedObject, LockHeld, RepositoryError
from recoverd.repository.packs import SUFFIX
from recoverd.repository.store import Repository
from recoverd.repository.tree_reading import decode_parts, decode_tree
from recoverd.repository.trees import EMPTY_TREE
from recoverd.repository.writer import Writer
from recoverd.values import dataclass

_log = logging.getLogger("recoverd.repository")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did, or with `dry_run` would do. `kept_data` says why packs were left alone, if they were."""

    removed: tuple[str, ...]  # ids of snapshots: service/sequence
    freed_bytes: int
    packs_removed: int
    kept_data: str | None = None


def prune(
    repository: Repository, writer: Writer, doomed: Mapping[str, Sequence[int]], *, dry_run: bool = False
) -> Pruned:
    """Delete the records of the doomed snapshots, and every pack that no remaining snapshot needs.

    `doomed` holds sequences by service; one that is gone already is no error. Packs are deleted only when every
    remaining record and tree can be read and nobody reads: else they wait for the next prune.
    Raises RepositoryError.
    """
    if writer.busy:
        raise RepositoryError("a prune can't run between putting objects and committing them")
    going = {
        service: sorted(set(sequences) & set(repository.sequences(service))) for service, sequences in doomed.items()
    }
    removed = tuple(f"{service}/{sequence}" for service in sorted(going) for sequence in going[service])
    try:
        freed = sum(_record_size(repository, service, n) for service, numbers in going.items() for n in numbers)
        if not dry_run:
            for service, sequences in going.items():
                if sequences:
                    repository.delete_records(service, sequences)
        dead, why = _dead_packs(repository, writer, going)
        if dead and not dry_run:
            dead, why = _delete(repository, dead)
    except OSError as error:
        raise RepositoryError(f"the repository can't be pruned: {error.strerror or error}") from error
    return Pruned(removed, freed + sum(dead.values()), len(dead), why)


def _record_size(repository: Repository, service: str, sequence: int) -> int:
    return os.stat(repository.record_path(service, sequence)).st_size


def _dead_packs(
    repository: Repository, writer: Writer, going: Mapping[str, Sequence[int]]
) -> tuple[dict[str, int], str | None]:
    """The packs that nothing needs: bytes by name. And why none can be told, if so."""
    needed = 0
    before = repository.catalog.stamp()
    reach = _Reach(repository, writer)
    for service in repository.services():
        skipped = set(going.get(service, ()))
        for snapshot in repository.snapshots(service):
            if snapshot.sequence in skipped:
                continue
            for item in snapshot.items.values():
                for root in {item.root, item.good or item.root}:
                    try:
                        needed |= reach.of(root)
                    except DamagedObject as error:
                        return {}, f"what snapshot {snapshot.id} needs can't be told: {error.message}"
        unreadable = sorted(repository.unreadable_records(service).keys() - skipped)
        if unreadable:
            return {}, f"what snapshot {service}/{unreadable[0]} needs can't be told: its record can't be read"
    if repository.catalog.stamp() != before:  # numbers of packs mean something only within one and the same catalog
        return {}, "the catalog was replaced meanwhile; the next prune deletes what is not needed"
    reach.save()
    packs = before[1]
    return {name: size for number, (name, size) in packs.items() if not needed >> number & 1}, None


def _delete(repository: Repository, dead: Mapping[str, int]) -> tuple[dict[str, int], str | None]:
    """Delete packs unless somebody reads. Returns those that are gone, and why others are not."""
    try:
        lock = repository.exclusive_readers_lock()
    except LockHeld as error:
        return {}, f"the next prune deletes {len(dead)} packs, because {error.message}"
    gone: dict[str, int] = {}
    try:
        for name, size in dead.items():
            try:
                os.unlink(f"{repository.packs_path}/{name[:2]}/{name}{SUFFIX}")
            except FileNotFoundError:
                pass
            gone[name] = size
    finally:
        lock.release()
        repository.catalog.drop_packs(gone)
    return gone, None


class _Reach:
    """Which packs a tree needs, as a number with one bit for each."""

    def __init__(self, repository: Repository, writer: Writer) -> None:
        self._catalog = repository.catalog
        self._reader = writer
        self._known: dict[str, int] = {EMPTY_TREE: 0}
        self._fresh: dict[str, int] = {}
        self._incomplete: set[str] = set()  # something below is not stored

    def save(self) -> None:
        """Remember what was found out, for the next prune."""
        if self._fresh:
            self._catalog.remember_reached(self._fresh)

    def of(self, root: str) -> int:
        """The packs that the tree `root` and all below it lie in. Raises DamagedObject when a tree can't be read."""
        waiting = [root]
        children: dict[str, tuple[int, list[str], bool]] = {}  # (packs of itself and its files, trees, all found)
        while waiting:
            tree = waiting[-1]
            if tree in self._known:
                waiting.pop()
            elif tree in children:
                packs, below, complete = children[tree]
                for child in below:
                    packs |= self._known[child]
                self._known[tree] = packs
                if complete and self._incomplete.isdisjoint(below):
                    self._fresh[tree] = packs
                else:
                    self._incomplete.add(tree)
                waiting.pop()
            else:
                remembered = self._catalog.reached(tree)
                if remembered is not None:
                    self._known[tree] = remembered
                else:
                    children[tree] = self._look_into(tree)
                    waiting.extend(child for child in children[tree][1] if child not in self._known)
        return self._known[root]

    def _look_into(self, tree: str) -> tuple[int, list[str], bool]:
        data = self._reader.read(tree)
        try:
            parts = decode_parts(data)
            if parts is not None:
                return self._packs({tree}, list(parts))
            entries = decode_tree(data)
        except RepositoryError as error:
            raise DamagedObject(tree, f"object {tree}: {error.message}") from None
        objects = {tree}
        below = []
        for entry in entries:
            if entry.type == "dir" and entry.hash is not None:
                below.append(entry.hash)
            elif entry.blocks is not None:
                objects.add(entry.blocks)
                objects.update(x for x in self._reader.block_list(entry.blocks).runs if isinstance(x, str))
            elif entry.hash is not None:
                objects.add(entry.hash)
        return self._packs(objects, below)

    def _packs(self, objects: set[str], below: list[str]) -> tuple[int, list[str], bool]:
        found = self._catalog.packs_of(objects)
        packs = 0
        for numbers in found.values():
            for number in numbers:
                packs |= 1 << number
        # what is not stored may turn up in another pack later: nothing is concluded from it for good
        return packs, below, len(found) == len(objects)
