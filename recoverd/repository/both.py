"""Reading and writing where objects may lie in either of two places: the repository and its spare.

A snapshot is always complete in the place that holds its record, so that each place is a repository by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from recoverd.errors import DamagedObject
from recoverd.repository.blocks import BlockList
from recoverd.repository.catalog import Catalog
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot, SnapshotDraft
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.repository.writer import Writer
from recoverd.system.locks import FileLock

Roots = Mapping[str, tuple[str, str | None]]  # state item -> its tree as found, and its known-good one

_TOGETHER = 500  # objects whose presence is asked for at once
_MOST_BYTES = 64 << 20  # of the content of small files that is held at once


class BothReader(Reader):
    """Reads from the one place, and what is not there, or damaged there, from the other. Both stay locked."""

    def __init__(self, one: Reader, other: Reader) -> None:
        super().__init__(one._packs_path, one._catalog, one._lock)
        self._other = other

    def close(self) -> None:
        self._other.close()
        super().close()

    def read(self, object_hash: str) -> bytes:
        return _from_either(self._catalog, super().read, self._other, object_hash)

    def _expect(self, entries: tuple[Entry, ...]) -> None:
        super()._expect(entries)
        self._other._expect(entries)


class BothWriter(Writer):
    """Writes to one place and reads from both. What a snapshot needs of the other place is copied on `complete`."""

    def __init__(
        self,
        packs_path: str,
        catalog: Catalog,
        lock: FileLock,
        *,
        compression: int,
        sequence: Callable[[str], int],
        record: Callable[[SnapshotDraft, int, int], Snapshot],
        other: Reader,
        here: Callable[[str], Roots],
    ) -> None:
        """`here`: the trees of a service's newest snapshot in the place that is written to."""
        super().__init__(packs_path, catalog, lock, compression=compression, sequence=sequence, record=record)
        self._other = other
        self._here = here
        self._done: set[str] = {EMPTY_TREE}  # trees and block lists of which all is in this place

    def close(self) -> None:
        self._other.close()
        super().close()

    def read(self, object_hash: str) -> bytes:
        if object_hash in self._new:
            return super().read(object_hash)
        return _from_either(self._catalog, super().read, self._other, object_hash)

    def discard(self) -> None:
        super().discard()
        self._done = {EMPTY_TREE}

    def complete(self, service: str, roots: Roots) -> None:
        """Bring here all that these trees need and that lies only in the other place, checked by hash.

        Subtrees that the newest snapshot of this place has as well are here already: what this costs follows what
        changed. Raises DamagedObject when the other place can't give it, RepositoryError when this one can't take it.
        """
        here = self._here(service)
        for name, (root, good) in roots.items():
            known = here.get(name, (EMPTY_TREE, None))
            self._complete_tree(root, known[0])
            if good is not None:
                self._complete_tree(good, known[1])

    def commit(self, drafts: Sequence[SnapshotDraft]) -> list[Snapshot]:
        for draft in drafts:
            self.complete(draft.service, {name: (item.root, item.good) for name, item in draft.items.items()})
        return super().commit(drafts)

    @contextmanager
    def numbered(self, sequence: int) -> Iterator[None]:
        """Within the block snapshots get this sequence: they were made in the other place, and keep their names."""
        usual, self._sequence = self._sequence, lambda _: sequence
        try:
            yield
        finally:
            self._sequence = usual

    def _complete_tree(self, root: str, known: str | None) -> None:
        waiting = [(root, known)]  # a tree, and the one in its place in the newest snapshot that is here
        while waiting:
            tree, before = waiting.pop()
            if tree in self._done or tree == before:
                continue
            self._done.add(tree)
            entries = self.tree(tree)
            stored = {entry.name: entry for entry in self.tree(before)} if before is not None else {}
            self.put_tree(entries)
            fresh = []
            for entry in entries:
                same = stored.get(entry.name)
                if same is not None and same.type != entry.type:
                    same = None
                if entry.type == "dir" and entry.hash is not None:
                    waiting.append((entry.hash, same.hash if same is not None else None))
                elif entry.blocks is not None:
                    self._complete_list(entry.blocks, same.blocks if same is not None else None)
                elif same is None or same.hash != entry.hash:
                    fresh.append(entry)
            self._bring_files(fresh)

    def _complete_list(self, blocks_hash: str, known: str | None) -> None:
        """Bring a block list here, with what it names and the list `known`, which is here, does not."""
        if blocks_hash in self._done or blocks_hash == known:
            return
        self._done.add(blocks_hash)
        found = self.block_list(blocks_hash)
        before: BlockList | None = None
        if known is not None:
            with suppress(DamagedObject):
                before = self.block_list(known)
        here = {known, *(before.hashes if before is not None else ())}
        if found.of_parts:
            places = _places(known, before, found.step)
            for at, part in _offsets(found):
                if part not in here:
                    self._complete_list(part, places.get(at))
        else:
            for missing in self._missing([one for one in found.hashes if one not in here]):
                self.put(self._other.read(missing))
        self._put_lists([self.read(blocks_hash)])

    def _bring_files(self, entries: Sequence[Entry]) -> None:
        small = {entry.hash: entry.size for entry in entries if entry.type == "file" and entry.hash is not None}
        group: list[str] = []
        size_bytes = 0
        for content in self._missing(list(small)):
            group.append(content)
            size_bytes += small[content]
            if size_bytes >= _MOST_BYTES or len(group) >= _TOGETHER:
                self.put_all([self._other.read(one) for one in group])
                group, size_bytes = [], 0
        self.put_all([self._other.read(one) for one in group])

    def _missing(self, hashes: Sequence[str]) -> list[str]:
        """Those that are neither stored here nor about to be, each once and in order."""
        unknown = [one for one in dict.fromkeys(hashes) if one not in self._new and one not in self._stored]
        stored = self._catalog.known(unknown)
        self._stored |= stored
        return [one for one in unknown if one not in stored]


def _offsets(listed: BlockList) -> Iterator[tuple[int, str]]:
    """What a list names, and where in its file each begins, in bytes."""
    at = 0
    for content, length in listed.pieces():
        if content is not None:
            yield at, content
        at += length


def _places(known: str | None, before: BlockList | None, step: int) -> dict[int, str]:
    """Which lists stood where a list has parts of `step` bytes each, as far as the list `before`, or `known`, tells."""
    if known is None or before is None or before.step > step:
        return {}
    return dict(_offsets(before)) if before.step == step else {0: known}  # else the file has grown since


def _from_either(catalog: Catalog, read: Callable[[str], bytes], other: Reader, object_hash: str) -> bytes:
    """An object from the place that knows it; each copy is checked by its hash, and an intact one will do."""
    if not catalog.knows(object_hash):
        try:
            return other.read(object_hash)
        except DamagedObject:
            return read(object_hash)
    try:
        return read(object_hash)
    except DamagedObject:
        try:
            return other.read(object_hash)
        except DamagedObject:
            pass  # what is wrong here says more
        raise
