"""Writing: objects into packs, packs to the disk, then records. The rename of a record is its commit point."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError, os_hint
from recoverd.repository.blocks import list_objects
from recoverd.repository.catalog import Catalog
from recoverd.repository.new_packs import NewPack
from recoverd.repository.objects import Reader
from recoverd.repository.packs import PACK_BYTES, Index, Location, read_frame
from recoverd.repository.records import Snapshot, SnapshotDraft
from recoverd.repository.reserve import is_full
from recoverd.repository.tree_reading import decode_tree
from recoverd.repository.trees import EMPTY_TREE, Entry, tree_objects
from recoverd.system import clock, durable
from recoverd.system.locks import FileLock

if TYPE_CHECKING:
    from recoverd.repository.compression import CompressionProcess

_CHILD = re.compile(r'"(?:hash|blocks)":"([0-9a-f]{64})"')  # can't stand in a JSON string: quotes are escaped there
_TEXT_HASH = re.compile(r'"([0-9a-f]{64})"')
_LISTS_TOGETHER = 500  # block lists that are held until the catalog is asked about them
_MOST_STORED = 500_000  # objects that are known to be stored without asking again
_log = logging.getLogger("recoverd.repository")


class Writer(Reader):
    """Puts objects and commits snapshots; the only one of a repository, because it holds its lock.

    What is put and not committed when the writer closes is forgotten. `record` writes a snapshot record
    durably, `sequence` tells the next one of a service.
    """

    def __init__(
        self,
        packs_path: str,
        catalog: Catalog,
        lock: FileLock,
        *,
        compression: int,
        sequence: Callable[[str], int],
        record: Callable[[SnapshotDraft, int, int], Snapshot],
    ) -> None:
        super().__init__(packs_path, catalog, lock)
        self._compression = compression
        self._sequence = sequence
        self._record = record
        self._packs: list[NewPack] = []
        self._process: CompressionProcess | None = None  # for them
        self._new: dict[str, NewPack] = {}
        self._stored: set[str] = set()  # known to the catalog, asked in this session
        self._children: dict[str, tuple[str, ...]] = {}  # of the trees and block lists put in this session
        with explained("prepared for writing"):
            self._directory = os.open(packs_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with explained("prepared for writing"):
                _remove_leftovers(self._directory)
                catalog.catch_up()
        except BaseException:
            os.close(self._directory)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._directory >= 0:
            self.discard()
            os.close(self._directory)
            self._directory = -1
        super().close()

    @property
    def busy(self) -> bool:
        """Whether something was put that is not committed yet."""
        return bool(self._new or self._stored or self._children)

    def has(self, object_hash: str) -> bool:
        """Whether an object is stored, or will be at the next commit."""
        if object_hash in self._new or object_hash in self._stored:
            return True
        if self._catalog.knows(object_hash):
            self._stored.add(object_hash)
            return True
        return False

    def _expect(self, entries: tuple[Entry, ...]) -> None:
        """Nothing: who writes reads trees, and hardly ever a file."""

    def put(self, data: bytes) -> str:
        """Store an object unless it is stored already; returns its BLAKE3 in hex. Raises RepositoryError."""
        object_hash = blake3(data).hexdigest()
        if not self.has(object_hash):
            with explained("written"):
                self._add({object_hash: data})
        return object_hash

    def put_all(self, contents: Sequence[bytes]) -> list[str]:
        """Store many objects, asking the catalog about all of them at once; returns the hash of each, in order.

        Raises RepositoryError.
        """
        hashes = [blake3(data).hexdigest() for data in contents]
        # not by operators: those walk through all that was put before
        unknown = set(hashes).difference(self._new).difference(self._stored)
        stored = self._catalog.known(unknown)
        if len(self._stored) > _MOST_STORED:  # what is forgotten is asked once more
            self._stored.clear()
        self._stored |= stored
        unknown -= stored
        with explained("written"):
            self._add({key: data for key, data in zip(hashes, contents, strict=True) if key in unknown})
        return hashes

    def put_tree(self, entries: Sequence[Entry]) -> str:
        """Store a directory, in parts if it is large; returns the hash of its tree.

        Raises RepositoryError, and ValueError for entries that no directory can hold.
        """
        tree_hash = EMPTY_TREE
        objects = tree_objects(entries)
        for data in objects:
            tree_hash = self.put(data)
            if tree_hash not in self._children:
                split = len(objects) > 1 and data is objects[-1]
                self._children[tree_hash] = tuple((_TEXT_HASH if split else _CHILD).findall(data.decode("ascii")))
        if len(entries) == 1 and tree_hash in self._new and tree_hash not in self._trees:
            self._keep(tree_hash, decode_tree(objects[-1]))  # looked at again, from an open frame
        return tree_hash

    def put_blocks(self, hashes: Iterable[str | None], block_size: int, size: int) -> str:
        """Store the block list of a large file, of which each block was put when its hash is taken; None is a hole.

        Raises RepositoryError, and ValueError when the number of hashes does not fit the sizes.
        """
        waiting: list[bytes] = []
        for data in list_objects(hashes, block_size, size):
            if len(waiting) >= _LISTS_TOGETHER:
                self._put_lists(waiting)
                waiting.clear()
            waiting.append(data)
        return self._put_lists(waiting)

    def _put_lists(self, lists: Sequence[bytes]) -> str:
        """Store block lists, parts first; returns the hash of the last."""
        hashes = self.put_all(lists)
        for list_hash, data in zip(hashes, lists, strict=True):
            children = _TEXT_HASH.findall(data.decode("ascii"))
            # what is known to be stored need not be looked at again: a list of a database names mostly such blocks
            self._children[list_hash] = tuple(
                child for child in children if child in self._children or child not in self._stored
            )
        return hashes[-1]

    def read(self, object_hash: str) -> bytes:
        pack = self._new.get(object_hash)
        if pack is None:
            try:
                return super().read(object_hash)
            except DamagedObject:
                self._stored.discard(object_hash)  # who puts it now stores it anew
                raise
        with explained("read back"):
            location = pack.writer.locate(object_hash) if pack.writer else (pack.index or {})[object_hash]
            if pack.writer:
                return _object(pack.fd, location)
            fd = os.open(pack.temporary, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._directory)
            try:
                return _object(fd, location)
            finally:
                os.close(fd)

    def complete(self, service: str, roots: Mapping[str, tuple[str, str | None]]) -> None:
        """Nothing: all that a snapshot needs is in this place. Who writes to one of two places copies what is not."""

    def commit(self, drafts: Sequence[SnapshotDraft]) -> list[Snapshot]:
        """Make snapshots durable: packs first, then each record, then the catalog. Without drafts nothing is kept,
        unless something was put that had been damaged or missing.

        After an error no snapshot is there by half: those whose record was written are there, the others are not.
        Raises RepositoryError, also when a draft names an object that was never put.
        """
        if not drafts and (not self._new or self._new.keys().isdisjoint(self._catalog.trust.known_damage())):
            self.discard()
            return []
        try:
            shares = self._account(drafts)
            with explained("written"):
                self._seal()
                snapshots = [
                    self._record(draft, self._sequence(draft.service), new_bytes)
                    for draft, new_bytes in zip(drafts, self._bytes_of(shares), strict=True)
                ]
            self._catalog.add_packs({pack.name: (pack.size, pack.index or {}) for pack in self._packs})
            self._packs.clear()
        finally:
            self.discard()
        return snapshots

    def discard(self) -> None:
        """Forget what was put since the last commit."""
        for pack in self._packs:
            pack.discard()
        if self._process is not None:
            self._process.close()
            self._process = None
        for known in (self._packs, self._new, self._stored, self._children):
            known.clear()

    def new_pack(self) -> NewPack:
        """An empty pack that is none of this session's. Raises OSError."""
        return NewPack.begin(self._directory, compression=self._compression)

    def _add(self, objects: Mapping[str, bytes]) -> None:
        """Put objects, none of which is stored, into the open pack and, as those fill up, into new ones."""
        hashes, waiting, taken = list(objects), iter(objects.items()), 0
        while taken < len(hashes):
            pack = self._packs[-1] if self._packs else None
            if pack is None or not pack.is_open:
                pack = self._begin_pack()
            assert pack.writer is not None
            count = pack.writer.add_all(waiting, PACK_BYTES)
            self._new.update(dict.fromkeys(hashes[taken : taken + count], pack))
            taken += count
            if pack.writer.is_full:
                pack.end()

    def _begin_pack(self) -> NewPack:
        if self._process is None:
            from recoverd.repository.compression import CompressionProcess

            self._process = CompressionProcess(self._compression)
        pack = NewPack.begin(self._directory, compression=self._compression, process=self._process)
        self._packs.append(pack)
        return pack

    def _seal(self) -> None:
        """Give the packs of this session their names, durably."""
        for pack in self._packs:
            pack.finish()
        for pack in self._packs:
            pack.place()

    def _bytes_of(self, shares: Sequence[Sequence[str]]) -> list[int]:
        """What so many new objects take in the packs, in bytes."""
        if len(shares) == 1 and len(shares[0]) == len(self._new):
            return [sum(pack.size for pack in self._packs)]
        taken: dict[str, float] = dict.fromkeys(self._new, 0.0)
        for pack in self._packs:
            taken.update(_taken(pack.index or {}, pack.size))
        return [round(sum(taken[x] for x in share)) for share in shares]

    def _account(self, drafts: Sequence[SnapshotDraft]) -> list[list[str]]:
        """For each draft the new objects that it alone, or it first, needs. Raises RepositoryError for missing ones."""
        seen: set[str] = {EMPTY_TREE}
        shares = []
        for draft in drafts:
            share = []
            older = set()
            waiting = [root for item in draft.items.values() for root in (item.root, item.good) if root is not None]
            while waiting:
                object_hash = waiting.pop()
                if object_hash in seen:
                    continue
                seen.add(object_hash)
                if object_hash in self._new:
                    share.append(object_hash)
                elif object_hash not in self._stored:
                    older.add(object_hash)
                waiting.extend(self._children.get(object_hash, ()))
            missing = older - self._catalog.known(older)
            if missing and (missing := missing - self._catalog.trust.distrusted().keys()):
                self._catalog.trust.miss(missing, clock.now_ns())  # the next capture reads everything
                raise RepositoryError(f"a snapshot of {draft.service} needs {min(missing)}, which is not stored")
            shares.append(share)
        return shares


def _taken(index: Index, pack_bytes: int) -> dict[str, float]:
    """What each object takes of a pack: its part of the frame, and as much more as index and footer take of all."""
    used: dict[int, int] = {}
    lengths: dict[int, int] = {}
    for frame, length, _, _, size in index.values():
        used[frame] = used.get(frame, 0) + size + 512  # tar header
        lengths[frame] = length
    whole = pack_bytes / sum(lengths.values())
    rates = {frame: whole * length / used[frame] for frame, length in lengths.items()}
    return {key: rates[frame] * (size + 512) for key, (frame, _, _, _, size) in index.items()}


def _object(fd: int, location: Location) -> bytes:
    return read_frame(fd, location)[location.offset : location.offset + location.size]


def _remove_leftovers(directory: int) -> None:
    """Delete what writers that are gone have left. The lock says that no other one is at work, so all of it is left."""
    for name in os.listdir(directory):
        if name.startswith(durable.TEMPORARY_PREFIX):
            os.unlink(name, dir_fd=directory)


@contextmanager
def explained(verb: str) -> Iterator[None]:
    """Errors of the operating system as a sentence with a hint."""
    try:
        yield
    except OSError as error:
        done = "written" if is_full(error) else verb  # what is read back may have to be written first
        sentence = f"the repository can't be {done}: {error.strerror or error}"
        raise RepositoryError(sentence, hint=os_hint(error)) from error
