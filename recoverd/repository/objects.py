"""Reading objects: every byte that leaves the repository has been checked against the hash it is stored under."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Self

from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.repository.blocks import BlockList, decode_blocks, decode_part
from recoverd.repository.catalog import Catalog
from recoverd.repository.packs import FRAME_BYTES, SUFFIX, Location, read_frame
from recoverd.repository.tree_reading import decode_parts, decode_tree, join_parts
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.repository.zstandard import ZstdError
from recoverd.system import clock
from recoverd.system.durable import open_own_fd
from recoverd.system.locks import FileLock

_CACHED_FRAMES = 64  # of about FRAME_BYTES; larger ones hold one object and are not kept
_OPEN_PACKS = 16
_TOGETHER = 500  # objects whose places are asked for at once
_MOST_NEIGHBOURS = 200_000
_MOST_LOCATED = 2_000
_KEPT_ENTRIES = 50_000  # of trees read last: a restore looks at each twice


class Reader:
    """Reads objects by hash. Holds a lock (if it is given one) from `with` to the end of the block.

    Not for use by several threads at once.
    """

    def __init__(self, packs_path: str, catalog: Catalog, lock: FileLock | None) -> None:
        self._packs_path = packs_path
        self._catalog = catalog
        self._lock = lock
        self._frames: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._neighbours: dict[str, tuple[str, ...]] = {}  # of files in the trees read: some that stand beside each
        self._located: dict[str, list[tuple[str, Location]]] = {}  # where the neighbours lie that were asked for
        self._trees: OrderedDict[str, tuple[Entry, ...]] = OrderedDict()
        self._tree_entries = 0  # in all of `_trees`
        self._asked: set[str] = set()  # packs whose own index was compared with the catalog

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close files and release the lock; harmless when done twice."""
        self._frames.clear()
        while self._files:
            os.close(self._files.popitem()[1])
        if self._lock is not None:
            self._lock.release()

    def read(self, object_hash: str) -> bytes:
        """The bytes of an object. Raises DamagedObject when no intact copy is stored, RepositoryError."""
        tried: list[tuple[str, Location]] = []
        problem: DamagedObject | None = None
        for again in (False, True):
            if again:  # the catalog may be behind, or wrong
                self.forget_files()
                self._look_again(object_hash, tried)
            tried = self._locations(object_hash)
            for pack, location in tried:
                try:
                    return self._read_at(object_hash, pack, location)
                except DamagedObject as error:
                    problem = error
        self._catalog.trust.distrust([(object_hash, pack) for pack, _ in tried], clock.now_ns())
        raise problem or DamagedObject(object_hash, f"object {object_hash} is not in the repository")

    def is_intact(self, object_hash: str, pack: str, location: Location) -> bool:
        """Whether this copy of an object can be read and has the right hash."""
        try:
            self._read_at(object_hash, pack, location)
        except DamagedObject:
            return False
        return True

    def _locations(self, object_hash: str) -> list[tuple[str, Location]]:
        """Where an object lies. Who reads one file of a directory mostly reads all: they are asked for together."""
        neighbours = self._neighbours.get(object_hash)
        if neighbours is None:
            return self._catalog.locations(object_hash)
        if object_hash not in self._located:
            if len(self._located) > _MOST_LOCATED:
                self._located.clear()
            self._located.update(self._catalog.all_locations(neighbours))
        return self._located.get(object_hash, [])

    def _expect(self, entries: tuple[Entry, ...]) -> None:
        """The files of this directory may be read next."""
        self._expect_together([entry.hash for entry in entries if entry.type == "file" and entry.hash is not None])

    def _expect_together(self, hashes: Sequence[str]) -> None:
        if len(self._neighbours) + len(hashes) > _MOST_NEIGHBOURS:
            self._neighbours.clear()
        for start in range(0, len(hashes), _TOGETHER):
            group = tuple(hashes[start : start + _TOGETHER])
            self._neighbours.update(dict.fromkeys(group, group))

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        """The entries of a directory, sorted by the bytes of their names; parts are joined. Raises DamagedObject."""
        if tree_hash == EMPTY_TREE:
            return ()
        kept = self._trees.get(tree_hash)
        if kept is not None:
            self._trees.move_to_end(tree_hash)
            return kept
        data = self.read(tree_hash)
        try:
            parts = decode_parts(data)
            entries = decode_tree(data) if parts is None else join_parts([decode_tree(self.read(x)) for x in parts])
        except DamagedObject:
            raise
        except RepositoryError as error:
            raise DamagedObject(tree_hash, f"object {tree_hash}: {error.message}") from None
        self._expect(entries)
        self._keep(tree_hash, entries)
        return entries

    def _keep(self, tree_hash: str, entries: tuple[Entry, ...]) -> None:
        self._trees[tree_hash] = entries
        self._tree_entries += len(entries)
        while self._tree_entries > _KEPT_ENTRIES:
            self._tree_entries -= len(self._trees.popitem(last=False)[1])

    def block_list(self, blocks_hash: str) -> BlockList:
        """One block list, of a large file or of a piece of it. Raises DamagedObject."""
        data = self.read(blocks_hash)
        try:
            return decode_blocks(data)
        except RepositoryError as error:
            raise DamagedObject(blocks_hash, f"object {blocks_hash}: {error.message}") from None

    def blocks(self, entry: Entry) -> Iterator[tuple[str | None, int]]:
        """The blocks of a large file in order: (hash, length in bytes), hash None for a hole, of one block or more.

        No more of its lists is held than leads to a block. Raises DamagedObject.
        """
        assert entry.blocks is not None
        top = self.block_list(entry.blocks)
        if (top.size, top.block_size) != (entry.size, entry.block_size):
            raise DamagedObject(entry.blocks, f"the block list of {entry.name!r} is that of another file")
        yield from self._blocks_below(top)

    def _blocks_below(self, above: BlockList) -> Iterator[tuple[str | None, int]]:
        hashes = above.hashes
        self._expect_together(hashes)
        for content, length in above.pieces():
            if content is None or not above.of_parts:
                yield content, length
                continue
            data = self.read(content)
            try:
                part = decode_part(data, above.block_size, length)
            except RepositoryError as error:
                raise DamagedObject(content, f"object {content}: {error.message}") from None
            yield from self._blocks_below(part)
        for one in hashes:  # a large file has more of them than need to be held
            self._neighbours.pop(one, None)

    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]:
        """The content of a file entry in order: bytes, or a number: the length of a hole. Raises DamagedObject."""
        if entry.hash is not None:
            yield self._sized(entry.hash, entry.size)
        elif entry.blocks is not None:
            for content, length in self.blocks(entry):
                yield length if content is None else self._sized(content, length)

    def contents(self, entries: Sequence[Entry]) -> list[bytes]:
        """The bytes of files whose content is one object, in the order asked for. Raises DamagedObject."""
        hashes = [entry.hash or "" for entry in entries]
        located = self._catalog.all_locations(hashes)
        found = []
        for entry, object_hash in zip(entries, hashes, strict=True):
            data = None
            if object_hash in located:
                with suppress(DamagedObject):  # there may be another copy
                    data = self._read_at(object_hash, *located[object_hash][0])
            if data is None or len(data) != entry.size:
                data = self._sized(object_hash, entry.size)
            found.append(data)
        return found

    def item_entry(self, root: str) -> Entry | None:
        """The single entry of an item's root tree; None when the item's path was absent. Raises DamagedObject."""
        entries = self.tree(root)
        if len(entries) > 1:
            raise DamagedObject(root, f"tree {root} should hold one item and holds {len(entries)} names")
        return entries[0] if entries else None

    def _sized(self, object_hash: str, size: int) -> bytes:
        data = self.read(object_hash)
        if len(data) != size:
            raise DamagedObject(object_hash, f"object {object_hash} has {len(data)} bytes where {size} are expected")
        return data

    def _read_at(self, object_hash: str, pack: str, location: Location) -> bytes:
        key = pack, location.frame_offset
        frame = self._frames.get(key)
        if frame is None or len(frame) != location.frame_size:
            try:
                frame = read_frame(self._file(pack), location)
            except FileNotFoundError:
                raise DamagedObject(object_hash, f"object {object_hash}: pack {pack} is gone", pack=pack) from None
            except (OSError, ZstdError, ValueError, OverflowError, MemoryError) as error:
                raise DamagedObject(
                    object_hash, f"object {object_hash} can't be read from pack {pack}: {error}", pack=pack
                ) from None
            if len(frame) <= 2 * FRAME_BYTES:
                self._frames[key] = frame
                if len(self._frames) > _CACHED_FRAMES:
                    self._frames.popitem(last=False)
        else:
            self._frames.move_to_end(key)
        data = frame[location.offset : location.offset + location.size]
        if blake3(data).hexdigest() != object_hash:
            raise DamagedObject(object_hash, f"object {object_hash} in pack {pack} has other bytes", pack=pack)
        return data

    def _file(self, pack: str) -> int:
        fd = self._files.get(pack)
        if fd is None:
            fd = open_own_fd(self._pack_path(pack))
            self._files[pack] = fd
            if len(self._files) > _OPEN_PACKS:
                os.close(self._files.popitem(last=False)[1])
        else:
            self._files.move_to_end(pack)
        return fd

    def _pack_path(self, pack: str) -> str:
        return f"{self._packs_path}/{pack[:2]}/{pack}{SUFFIX}"

    def forget_files(self) -> None:
        """Packs may have been replaced (healed) under their names, or deleted: what is open takes room until closed."""
        self._neighbours.clear()
        self._located.clear()
        self._frames.clear()
        while self._files:
            os.close(self._files.popitem()[1])

    def _look_again(self, object_hash: str, tried: Sequence[tuple[str, Location]]) -> None:
        """Ask the packs themselves where an object is that was not where the catalog says."""
        try:
            self._catalog.catch_up()
            if tried:
                self._catalog.correct([pack for pack, _ in tried if pack not in self._asked])
                self._asked.update(pack for pack, _ in tried)
            elif not self._catalog.locations(object_hash) and object_hash not in self._catalog.trust.known_damage():
                packs = self._catalog.listed().keys() - self._asked
                self._catalog.correct(packs)
                self._asked |= packs
                if not self._catalog.locations(object_hash):
                    self._catalog.trust.miss([object_hash], clock.now_ns())  # all packs need not be asked again
        except OSError as error:
            raise RepositoryError(f"the packs can't be listed: {error}") from None
