"""Moving what is needed of some packs into one new pack.

Everything is read and its hash checked before the first byte is written, and once more when it is copied. A pack with
damage in something that is needed and lies nowhere else is left as it is: half of it is never moved. The new pack is on
the disk, under its name, before anybody may delete the old ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.repository.packs import (
    FRAME_BYTES,
    SUFFIX,
    Location,
    PackWriter,
    padding,
    read_index,
    tar_header,
)
from recoverd.repository.zstandard import ZstdError, decompress
from recoverd.system import clock
from recoverd.system.durable import open_own_fd
from recoverd.system.reading import read_exactly
from recoverd.values import dataclass

if TYPE_CHECKING:
    from recoverd.repository.catalog import Catalog
    from recoverd.repository.reach_memory import Needed
    from recoverd.repository.writer import Writer

_FULL_FRAME = FRAME_BYTES // 2  # smaller ones are compressed anew, together


@dataclass(frozen=True, slots=True)
class Repacked:
    """`emptied` packs hold nothing that is needed and lies only there. `held` says of each other one why it stays."""

    emptied: tuple[str, ...]
    held: tuple[tuple[str, str], ...] = ()  # (pack, sentence)
    new_pack: str | None = None
    new_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is needed of one frame. `whole`: there is nothing else in it."""

    pack: str
    place: Location
    objects: tuple[tuple[str, int, int], ...]  # hash, offset in the frame, size
    whole: bool


def holds_needed(packs_path: str, name: str, needed: Needed) -> bool:
    """Whether a pack holds something that is needed, by its own index. Raises RepositoryError when that can't be read,
    OSError."""
    with _opened(packs_path, name) as fd:
        return any(bytes.fromhex(object_hash) in needed for object_hash in read_index(fd, name))


def repack(packs_path: str, catalog: Catalog, writer: Writer, sources: Sequence[str], needed: Needed) -> Repacked:
    """Copy what is needed of `sources` into one new pack, durably, and tell the catalog. Deletes nothing.

    What intact copies in other packs provide is not copied. Raises OSError (nothing is left behind then), and
    DamagedObject when something changed under its hands.
    """
    frames: dict[str, list[_Frame]] = {}
    held: dict[str, str] = {}
    for name in sources:
        try:
            with _opened(packs_path, name) as fd:
                frames[name] = _needed_frames(fd, name, needed)
        except (RepositoryError, OSError) as error:
            held[name] = f"pack {name} stays: its index can't be read ({_words(error)})"
    elsewhere = _elsewhere(catalog, writer, frames)
    moving, damaged = _checked(packs_path, frames, elsewhere)
    for name, lost in damaged.items():
        held[name] = f"pack {name} stays: {len(lost)} of the objects that snapshots need can't be read from it"
    catalog.trust.distrust([(key, name) for name, lost in damaged.items() for key in lost], clock.now_ns())
    emptied = tuple(name for name in frames if name not in held)
    moving = {key: name for key, name in moving.items() if name not in held}
    if not moving:
        return Repacked(emptied, tuple(held.items()))
    pack = writer.new_pack()
    try:
        assert pack.writer is not None
        for name in emptied:
            with _opened(packs_path, name) as fd:
                for frame in frames[name]:
                    _copy(fd, frame, [one for one in frame.objects if moving.get(one[0]) == name], pack.writer)
        pack.finish()
        pack.place()
    except BaseException:
        pack.discard()
        raise
    catalog.add_packs({pack.name: (pack.size, pack.index or {})})
    # what is written anew may be one of the old packs again, byte by byte
    return Repacked(tuple(name for name in emptied if name != pack.name), tuple(held.items()), pack.name, pack.size)


def _needed_frames(fd: int, name: str, needed: Needed) -> list[_Frame]:
    frames = []
    listed = sorted(read_index(fd, name).items(), key=itemgetter(1))
    for _, group in groupby(listed, key=lambda one: one[1].frame_offset):
        all_of_it = list(group)
        objects = tuple((key, at.offset, at.size) for key, at in all_of_it if bytes.fromhex(key) in needed)
        if objects:
            frames.append(_Frame(name, all_of_it[0][1], objects, len(objects) == len(all_of_it)))
    return frames


def _elsewhere(catalog: Catalog, writer: Writer, frames: Mapping[str, Sequence[_Frame]]) -> set[str]:
    """The objects in `frames` of which a pack that is none of these holds an intact copy."""
    hashes = {key for group in frames.values() for frame in group for key, _, _ in frame.objects}
    copies = sorted(
        (pack, location, key)
        for key, places in catalog.all_locations(list(hashes)).items()
        if len(places) > 1
        for pack, location in places
        if pack not in frames
    )
    return {key for pack, location, key in copies if writer.is_intact(key, pack, location)}


def _checked(
    packs_path: str, frames: Mapping[str, Sequence[_Frame]], elsewhere: set[str]
) -> tuple[dict[str, str], dict[str, set[str]]]:
    """From which pack each object is to be copied; and by pack the needed objects of which there is no intact copy."""
    origin: dict[str, str] = {}
    bad: dict[str, set[str]] = {}
    for name, group in frames.items():
        with _opened(packs_path, name) as fd:
            for frame in group:
                unsettled = [one for one in frame.objects if one[0] not in origin and one[0] not in elsewhere]
                if not unsettled:
                    continue
                data = _content(fd, frame)
                for key, offset, size in unsettled:
                    if data is not None and blake3(data[1][offset : offset + size]).hexdigest() == key:
                        origin[key] = name
                    else:
                        bad.setdefault(name, set()).add(key)
    lost = {name: keys - origin.keys() for name, keys in bad.items()}
    return origin, {name: keys for name, keys in lost.items() if keys}


def _copy(fd: int, frame: _Frame, objects: Sequence[tuple[str, int, int]], writer: PackWriter) -> None:
    """Append these objects of a frame; the frame as it is where it holds nothing else and is large enough."""
    if not objects:
        return
    content = _content(fd, frame)
    if content is None:
        raise DamagedObject(objects[0][0], f"a frame of pack {frame.pack} can't be read any more", pack=frame.pack)
    compressed, data = content
    found = [(key, data[offset : offset + size]) for key, offset, size in objects]
    for key, part in found:
        if blake3(part).hexdigest() != key:
            raise DamagedObject(key, f"object {key} in pack {frame.pack} has other bytes now", pack=frame.pack)
    whole = frame.whole and len(found) == len(frame.objects)
    if compressed and whole and len(data) >= _FULL_FRAME and _members(found) == data:
        writer.add_frame(compressed, len(data), objects)
        return
    for key, part in found:
        writer.add(key, part)


def _members(objects: Sequence[tuple[str, bytes]]) -> bytes:
    """The archive that holds exactly these objects, in this order: what a frame should decompress to."""
    return b"".join(
        part for key, data in objects for part in (tar_header(key.encode("ascii"), len(data)), data, padding(len(data)))
    )


def _content(fd: int, frame: _Frame) -> tuple[bytes, bytes] | None:
    """A frame, compressed (b"" where those bytes are not fit to be copied) and decompressed; None when it can't be
    read."""
    place = frame.place
    try:
        compressed = read_exactly(fd, place.frame_offset, place.frame_length)
        try:
            return compressed, decompress(compressed, place.frame_size)
        except ZstdError:
            return b"", decompress(compressed, place.frame_size, alone=False)
    except (OSError, ZstdError, ValueError, OverflowError, MemoryError):
        return None


@contextmanager
def _opened(packs_path: str, name: str) -> Iterator[int]:
    fd = open_own_fd(f"{packs_path}/{name[:2]}/{name}{SUFFIX}")
    try:
        yield fd
    finally:
        os.close(fd)


def _words(error: RepositoryError | OSError) -> str:
    return error.message if isinstance(error, RepositoryError) else error.strerror or str(error)
