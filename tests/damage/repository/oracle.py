"""A second reader of repositories, written from docs/repository-format.md and nothing else of recoverd.

It says which objects can still be read, which records, and what each snapshot needs: so it decides what a damage hurts.
"""

from __future__ import annotations

import base64
import json
import os
import re
import stat
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from blake3 import blake3

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

EMPTY_TREE = blake3(b'{"tree":1,"entries":[]}').hexdigest()
RECORD_KEYS = {
    *("snapshot", "id", "service", "sequence", "time", "time_ns", "boot_id", "host", "verdict", "reason", "label"),
    *("tags", "parent", "files", "bytes", "new_bytes", "imported", "items", "checksum"),
}
_PACK = re.compile(r"([0-9a-f]{64})\.tar\.zst")
_RECORD = re.compile(r"[0-9]{12}\.json")
_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\n\Z')

Frames = list[dict[str, Any]]


class Unreadable(Exception):
    """What stands there is not what the page says."""


def b3(data: bytes) -> str:
    return blake3(data).hexdigest()


def regular(path: Path) -> bytes | None:
    """The bytes of a regular file that may be read; None for anything else. Nothing is followed, nothing waits."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    mode = os.fstat(fd).st_mode
    if not stat.S_ISREG(mode) or not mode & 0o400:  # what its owner may not read, root is not to read either
        os.close(fd)
        return None
    with open(fd, "rb") as file:
        return file.read()


# --- packs


def index_of(pack: bytes) -> Frames:
    """The frames of a pack, by its footer and its index."""
    if len(pack) < 80:
        raise Unreadable("too short")
    magic, following, what, offset, length, size, digest = struct.unpack("<II16sQQQ32s", pack[-80:])
    if (magic, following, what) != (0x184D2A5E, 72, b"recoverd pack 1\n") or offset + length != len(pack) - 80:
        raise Unreadable("no footer")
    document = frame_of(pack, offset, length, 512 + size + -size % 512 + 1024)[512 : 512 + size]
    if blake3(document).digest() != digest:
        raise Unreadable("another index")
    index = json.loads(document)
    if index["pack"] != 1:
        raise Unreadable("another version")
    frames: Frames = index["frames"]
    return frames


def frame_of(pack: bytes, offset: int, length: int, size: int) -> bytes:
    decoder = zstd.ZstdDecompressor()
    if size >= sys.maxsize:
        raise Unreadable("no such size")
    try:
        data = decoder.decompress(pack[offset : offset + length], max_length=size + 1)
    except zstd.ZstdError as error:
        raise Unreadable(str(error)) from None
    if not decoder.eof or len(data) != size:
        raise Unreadable("cut off")
    return data


def objects_of(pack: bytes, frames: Frames) -> dict[str, bytes]:
    """The objects of these frames that have the hash they should have."""
    found = {}
    for frame in frames:
        try:
            data = frame_of(pack, frame["offset"], frame["length"], frame["size"])
        except Unreadable:
            continue
        for one in frame["objects"]:
            content = data[one["offset"] : one["offset"] + one["size"]]
            if b3(content) == one["hash"]:
                found[one["hash"]] = content
    return found


@dataclass
class Pack:
    size: int
    frames: Frames | None  # as its own index says
    objects: dict[str, bytes]
    elsewhere: set[str] = field(default_factory=set)  # intact, but only who knew where they lie finds them


# --- the rest


def record_of(data: bytes, service: str, name: str) -> dict[str, Any]:
    """A snapshot record. Raises Unreadable."""
    match = _CHECKSUM.search(data)
    if match is None or b3(data[: match.start()] + b"}\n") != match[1].decode():
        raise Unreadable("its checksum is wrong")
    record: dict[str, Any] = json.loads(data)
    if record["snapshot"] != 1 or record.keys() != RECORD_KEYS:
        raise Unreadable("another version")
    sequence = record["sequence"]
    if record["service"] != service or f"{sequence:012d}.json" != name or record["id"] != f"{service}/{sequence}":
        raise Unreadable("another's record")
    return record


@dataclass
class Repository:
    """What lies at a path now. `known` are the frames of packs as they were when all was well."""

    path: Path
    known: dict[str, Frames] = field(default_factory=dict)
    packs: dict[str, Pack] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    _seen: dict[str, tuple[tuple[int, ...], Pack]] = field(default_factory=dict)

    def look(self) -> Repository:
        """Read all of it, but for packs that were read before and are the very same file."""
        self.packs, self.records, self.unreadable = {}, {}, set()
        for path in self.path.glob("packs/*/*.tar.zst"):
            match = _PACK.fullmatch(path.name)
            if match is None or path.parent.name != path.name[:2] or not self._entered(path):
                continue
            status = path.lstat()
            stamp = status.st_ino, status.st_ctime_ns, status.st_size
            seen = self._seen.get(match[1])
            if seen is None or seen[0] != stamp:
                pack = self._pack(path, match[1])
                if pack is None:
                    continue
                seen = self._seen[match[1]] = stamp, pack
            self.packs[match[1]] = seen[1]
        for path in self.path.glob("snapshots/*/*.json"):
            if _RECORD.fullmatch(path.name) and self._entered(path):
                service, name = path.parent.name, f"{path.parent.name}/{int(path.stem)}"
                data = regular(path)
                try:
                    self.records[name] = record_of(data or b"", service, path.name)
                except (Unreadable, ValueError, KeyError, TypeError):
                    self.unreadable.add(name)
        return self

    def _entered(self, path: Path) -> bool:
        """Whether the directories on the way may be listed and entered by their owner."""
        above = [one for one in path.parents if one.is_relative_to(self.path.parent)]
        return all(one.lstat().st_mode & 0o500 == 0o500 for one in above)

    def _pack(self, path: Path, name: str) -> Pack | None:
        data = regular(path)
        if data is None:
            return None
        try:
            frames = index_of(data)
        except (Unreadable, ValueError, KeyError, TypeError):
            frames = None
        pack = Pack(len(data), frames, objects_of(data, frames) if frames is not None else {})
        known = objects_of(data, self.known.get(name, []))
        pack.elsewhere = known.keys() - pack.objects.keys()
        pack.objects |= known
        return pack

    def surely(self, sizes: dict[str, int]) -> set[str]:
        """Objects that any reader must find: by an index, or where they lay in a pack that still has its size."""
        return {
            one
            for name, pack in self.packs.items()
            for one in pack.objects
            if one not in pack.elsewhere or pack.size == sizes.get(name)
        } | {EMPTY_TREE}

    def perhaps(self) -> set[str]:
        """Objects of which an intact copy lies somewhere."""
        return {one for pack in self.packs.values() for one in pack.objects} | {EMPTY_TREE}

    def object(self, name: str) -> bytes:
        if name == EMPTY_TREE:
            return b'{"tree":1,"entries":[]}'
        for pack in self.packs.values():
            if name in pack.objects:
                return pack.objects[name]
        raise Unreadable(name)

    # --- trees

    def entries(self, tree: str) -> list[dict[str, Any]]:
        document = json.loads(self.object(tree))
        if document.keys() == {"tree", "parts"}:
            return [one for part in document["parts"] for one in self.entries(part)]
        found: list[dict[str, Any]] = document["entries"]
        return found

    def needs(self, tree: str) -> set[str]:
        """Every object that must be read to write out a tree."""
        found = {tree}
        if tree != EMPTY_TREE:
            found.update(json.loads(self.object(tree)).get("parts", ()))
        for entry in self.entries(tree):
            found |= self.needs_of(entry)
        return found

    def needs_of(self, entry: dict[str, Any]) -> set[str]:
        if entry["type"] == "dir":
            return self.needs(entry["hash"])
        if "blocks" in entry:
            return self.needs_of_list(entry["blocks"])
        return {entry["hash"]} if "hash" in entry else set()

    def needs_of_list(self, name: str) -> set[str]:
        """A block list, its parts, and their blocks."""
        document = json.loads(self.object(name))
        found = {name, *(one for one in document.get("list", ()) if isinstance(one, str))}
        for part in document.get("parts", ()):
            if isinstance(part, str):
                found |= self.needs_of_list(part)
        return found

    def content(self, entry: dict[str, Any]) -> bytes:
        if "blocks" not in entry:
            return self.object(entry["hash"])
        return self._listed(entry["blocks"])

    def _listed(self, name: str) -> bytes:
        document = json.loads(self.object(name))
        size, block, parts = int(document["size"]), document["block_size"], "parts" in document
        step = next(step for step in (block * 32**n for n in range(99)) if step * 32 >= size) if parts else block
        read = self._listed if parts else self.object
        runs = document["parts" if parts else "list"]
        return b"".join(bytes(step * one) if isinstance(one, int) else read(one) for one in runs)[:size]

    def files(self, tree: str, below: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        """(path, entry) of all that a tree holds, directories before what is in them."""
        for entry in self.entries(tree):
            path = below + name_of(entry)
            yield path, entry
            if entry["type"] == "dir":
                yield from self.files(entry["hash"], path + "/")

    def find(self, tree: str, path: Iterable[str]) -> tuple[dict[str, Any] | None, set[str]]:
        """The entry at a path below a tree, and the trees that lead to it."""
        entry: dict[str, Any] | None = None
        trees = set()
        for name in path:
            trees.add(tree)
            entry = next((one for one in self.entries(tree) if name_of(one) == name), None)
            if entry is None:
                return None, trees
            tree = entry.get("hash", "")
        return entry, trees


def name_of(entry: dict[str, Any]) -> str:
    return entry["name"] if "name" in entry else os.fsdecode(base64.b64decode(entry["name64"]))
