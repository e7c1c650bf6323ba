"""Looking for lost objects among files: live state, and what restores moved to quarantine.

Files are reached by descriptors only, as captures reach them. Of those that are large or small as a lost object's
file was, the bytes are offered; whether they are the right ones, their hash says. Trees are found by walking state
items as a capture does, which reads all of them, so only where a tree is lost.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from recoverd.config.database_model import DatabaseRules
from recoverd.config.model import Format, ItemKind, Service, StateItem
from recoverd.errors import StateError
from recoverd.recovery.scratch import Scratch
from recoverd.recovery.survey import survey_service
from recoverd.recovery.walk import MAX_DEPTH
from recoverd.repository.blocks import list_objects
from recoverd.repository.references import Kind, Shape
from recoverd.repository.trees import BLOCK_THRESHOLD, Entry, tree_objects
from recoverd.state.judging import build_judge
from recoverd.system.answering import silent
from recoverd.system.reading import open_regular
from recoverd.system.walk import open_declared_directory, open_directory_at, open_parent
from recoverd.values import replace

Offer = Callable[[bytes, str], str]
_MOST_AT_ONCE = 64 * BLOCK_THRESHOLD  # of a block; what asks for more is nothing that recoverd made


def offer_files(paths: Mapping[str, bool], lost: Mapping[str, Shape], offer: Offer, *, io_timeout_s: float) -> None:
    """Offer what lies at some absolute paths and may be lost. `paths`: whether each is a directory, to be searched.

    What can't be read is passed over. Raises what `offer` raises but OSError.
    """
    wanted = _Wanted(lost)
    if not wanted or not paths:
        return
    dead = silent(list(paths), within_s=io_timeout_s)
    for path, is_directory in paths.items():
        if path in dead:
            continue
        try:
            if is_directory:
                fd = open_declared_directory(path)
                try:
                    for directory, name, where in _regular_files(fd, path):
                        wanted.look(directory, name, where, offer)
                finally:
                    os.close(fd)
            else:
                fd, name = open_parent(path)
                try:
                    wanted.look(fd, name, path, offer)
                finally:
                    os.close(fd)
        except (OSError, StateError):
            continue  # it is gone, or nobody may go there


class _Wanted:
    """Which files may hold something that is lost."""

    def __init__(self, lost: Mapping[str, Shape]) -> None:
        self._whole = {size for one in lost.values() if one.kind is Kind.FILE for size in one.sizes}
        self._blocks: dict[int, set[int]] = {}
        for one in lost.values():
            if one.kind in {Kind.BLOCK, Kind.LIST} and 0 < one.block_size <= _MOST_AT_ONCE:
                for size in one.sizes:
                    self._blocks.setdefault(size, set()).add(one.block_size)

    def __bool__(self) -> bool:
        return bool(self._whole or self._blocks)

    def look(self, directory: int, name: str, where: str, offer: Offer) -> None:
        """Offer a file if its size is one of those looked for."""
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode) or (size not in self._whole and size not in self._blocks):
                return
            fd = open_regular(directory, name)
        except OSError:
            return
        try:
            if size in self._whole:
                data = _read(fd, 0, size)
                if data is not None:
                    offer(data, where)
            for block_size in self._blocks.get(size, ()):
                self._offer_blocks(fd, size, block_size, where, offer)
        finally:
            os.close(fd)

    def _offer_blocks(self, fd: int, size: int, block_size: int, where: str, offer: Offer) -> None:
        hashes: list[str | None] = []
        for offset in range(0, size, block_size):
            block = _read(fd, offset, min(block_size, size - offset))
            if block is None:
                return
            hashes.append(offer(block, where) if block.count(0) != len(block) else None)
        for listed in list_objects(hashes, block_size, size):
            offer(listed, where)


def _read(fd: int, offset: int, length: int) -> bytes | None:
    """Exactly so many bytes; None when they can't be had."""
    parts = []
    done = 0
    try:
        while done < length and (data := os.pread(fd, length - done, offset + done)):
            parts.append(data)
            done += len(data)
    except OSError:
        return None
    return b"".join(parts) if done == length else None


def _regular_files(fd: int, path: str, depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """(directory, name, path to tell) of all that may be regular files below an open directory."""
    if depth > MAX_DEPTH:
        return
    for name in sorted(os.listdir(fd)):
        try:
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                below = open_directory_at(fd, name)
            elif stat.S_ISREG(status.st_mode):
                yield fd, name, f"{path}/{name}"
                continue
            else:
                continue
        except OSError:
            continue
        try:
            yield from _regular_files(below, f"{path}/{name}", depth + 1)
        finally:
            os.close(below)


def offer_trees(service: Service, offer: Offer, *, now_ns: int, io_timeout_s: float) -> None:
    """Offer all objects that a capture of a service would store. Nothing is judged."""
    plain = replace(service, state={name: _unjudged(item) for name, item in service.state.items()})
    survey_service(
        plain,
        {name: build_judge(item) for name, item in plain.state.items()},
        store=_Offered(offer, f"live state of {service.name}"),
        before={},
        memo=None,
        now_ns=now_ns,
        full_read=True,
        io_timeout_s=io_timeout_s,
    )


def _unjudged(item: StateItem) -> StateItem:
    return replace(
        item,
        format=Format.OPAQUE,
        schema=None,
        guards=None,
        version=None,
        name_field=None,
        magic="",
        validate=None,
        database=None if item.database is None else DatabaseRules(check="none"),
    )


class _Offered(Scratch):
    """Offers all that a survey finds; keeps only its trees."""

    def __init__(self, offer: Offer, origin: str) -> None:
        super().__init__(None)
        self._offer, self._origin = offer, origin

    def put(self, data: bytes) -> str:
        return self._offer(data, self._origin)

    def put_all(self, contents: Sequence[bytes]) -> list[str]:
        return [self.put(data) for data in contents]

    def put_tree(self, entries: Sequence[Entry]) -> str:
        for data in tree_objects(entries):
            self.put(data)
        return super().put_tree(entries)

    def put_blocks(self, hashes: Iterable[str | None], block_size: int, size: int) -> str:
        return [self.put(listed) for listed in list_objects(hashes, block_size, size)][-1]


def live_paths(services: Sequence[Service]) -> dict[str, bool]:
    """Where live state lies: path -> whether it is a directory item."""
    return {item.path: item.kind is ItemKind.DIRECTORY for one in services for item in one.state.values() if item.path}
