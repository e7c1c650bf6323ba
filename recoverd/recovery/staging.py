"""Staging: what is to be restored is written beside its target first, complete and synced, where it can be judged."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from types import TracebackType

from recoverd.errors import StateError
from recoverd.recovery.apart import apart
from recoverd.recovery.early_sync import EarlySync
from recoverd.recovery.extraction import Extraction, Source
from recoverd.recovery.intents import encode
from recoverd.recovery.places import PLACE_PREFIX, Place, create_at, opened, remove_place, same_file_system
from recoverd.recovery.promised import NoRoom, promised
from recoverd.recovery.replacement import Replacement
from recoverd.recovery.written import WrittenDirectory
from recoverd.repository.trees import Entry
from recoverd.system.durable import make_directories, syncfs, temporary_name, write_file
from recoverd.system.mounts import free_bytes
from recoverd.system.processes import own_identity
from recoverd.system.walk import behind_links, lstat_at, open_declared_directory, open_directory_at, open_parent
from recoverd.values import dataclass, field, replace

RECORD = "staging.json"
ENTRY_BYTES = 4096  # what a name and an inode cost, roughly
_SPARE_BYTES = 64 << 20


@dataclass(slots=True)
class Staged:
    """A replacement and where it waits: the number of its place, the name in it."""

    replacement: Replacement
    place: int
    slot: str
    assembled: bool = False  # it lies in a missing directory that was made for it


@dataclass(slots=True)
class Staging:
    """All that one restore staged; places[0] is its home in the state directory. Closed by `discard` or `apply`."""

    id: str
    service: str
    state_dir: str
    places: list[Place]
    staged: list[Staged] = field(default_factory=list)
    groups: dict[tuple[str, str], str] = field(default_factory=dict)  # missing directories (target, path) -> slot
    notes: list[str] = field(default_factory=list)  # what could not be brought back in full, and does no harm
    written: dict[str, Mapping[str, WrittenDirectory]] = field(default_factory=dict)  # by item, those staged whole
    closed: bool = False

    def files(self, wanted: Callable[[Replacement], bool] | None = None) -> Iterator[tuple[Replacement, str, int]]:
        """Every staged regular file of the wanted replacements: (replacement, document name below the item, open
        descriptor).

        The name is "" for a file item. The descriptor is closed when the iteration goes on.
        """
        for one in self.staged:
            if one.replacement.entry is not None and (wanted is None or wanted(one.replacement)):
                yield from _files(self.places[one.place].fd, one.slot, one.replacement, one.replacement.named)

    def discard(self) -> None:
        """Remove all that was staged; live state was not touched. Harmless when done twice. Raises OSError."""
        if not self.closed:
            for place in self.places[:0:-1]:
                remove_place(place)
            remove_place(self.places[0], last=RECORD)
            self.close()

    def close(self) -> None:
        """Close the descriptors and leave everything where it is."""
        if not self.closed:
            self.closed = True
            for place in self.places:
                place.close()

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def stage(
    source: Source,
    service: str,
    replacements: Sequence[Replacement],
    *,
    state_dir: str,
    at_most_bytes: int | None = None,
) -> Staging:
    """Write what is to be restored into private directories on the targets' own file systems, and sync it.

    `at_most_bytes`: what all files and their entries take at most, if that is known: where there is far more room,
    it is not summed up. Live state is not touched. Raises StateError (no room; a path that can't be reached),
    DamagedObject and RepositoryError; nothing is left behind then.
    """
    replacements = apart(replacements, source.tree)
    staging = _begin(service, state_dir)
    try:
        replacements = _where_they_lie(replacements)
        for number, replacement in enumerate(replacements, 1):
            staging.staged.append(Staged(replacement, _place_for(staging, replacement), f"{number:05d}"))
        with promised(_needed(source, staging, at_most_bytes), partial(_free, staging)):
            _write(source, staging)
    except NoRoom as error:
        staging.discard()
        raise _no_room(staging, error) from None
    except OSError as error:
        staging.discard()
        where = f" at {error.filename}" if error.filename else ""
        raise StateError(f"{service}: can't stage what is to be restored{where}: {error.strerror or error}") from error
    except BaseException:
        staging.discard()
        raise
    return staging


def _where_they_lie(replacements: Sequence[Replacement]) -> list[Replacement]:
    """The same, with directory items where they really lie: a link that leads there (as systemd's DynamicUser= makes
    one) is no state, and stays. Raises OSError."""
    found: dict[str, str] = {}
    for one in replacements:
        if one.target not in found and (one.relative or (one.entry is not None and one.entry.type == "dir")):
            try:
                found[one.target] = behind_links(one.target)
            except (FileNotFoundError, NotADirectoryError):
                found[one.target] = one.target  # what is missing on the way is made, or told of
    return [replace(one, target=found.get(one.target, one.target)) for one in replacements]


def _write(source: Source, staging: Staging) -> None:
    """Write all that is to be restored, and sync it."""
    extractions: dict[int, Extraction] = {}
    with ExitStack() as early:
        for one in staging.staged:
            if one.replacement.entry is not None:
                fd = staging.places[one.place].fd
                if one.place not in extractions:
                    extractions[one.place] = Extraction(source, fd, early.enter_context(EarlySync(fd)).wrote)
                wrote = extractions[one.place].write(one.replacement.entry, one.slot, group=one.replacement.target)
                if not one.replacement.relative:
                    staging.written[one.replacement.item] = wrote
        staging.notes += [note for extraction in extractions.values() for note in extraction.notes]
        for number in {staging.places[number].device: number for number in (*extractions, 0)}.values():
            syncfs(staging.places[number].fd)


def _begin(service: str, state_dir: str) -> Staging:
    """The home of a transaction: its record comes with it, so that it can be told from a leftover at any time."""
    base_path = os.path.join(state_dir, "staging")
    make_directories(base_path)
    base = os.open(base_path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        transaction, temporary = os.urandom(6).hex(), temporary_name()
        fd = create_at(base, temporary)
        staging = Staging(transaction, service, state_dir, [opened(os.path.join(base_path, transaction), fd)])
        _record(staging, [])
        os.rename(temporary, transaction, src_dir_fd=base, dst_dir_fd=base)
    finally:
        os.close(base)
    return staging


def _record(staging: Staging, planned: Sequence[str]) -> None:
    """Write down whose staging this is, and all its places; `planned` ones may or may not exist yet."""
    foreign = [{"path": place.path, "inode": str(place.inode)} for place in staging.places[1:]]
    foreign += [{"path": path, "inode": ""} for path in planned]
    record = {"id": staging.id, "service": staging.service, "process": own_identity().to_json(), "places": foreign}
    write_file(staging.places[0].fd, RECORD, encode(record))


def read_record(home_fd: int) -> dict[str, object] | None:
    """The record of a staging, None when it is absent or damaged."""
    try:
        fd = os.open(RECORD, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=home_fd)
        with open(fd, "rb") as file:
            value = json.loads(file.read())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def nearest_directory(replacement: Replacement) -> int:
    """The deepest existing directory on the way to where a replacement goes, opened; the item's own at the top.

    Raises StateError when even the directory above the declared path is out of reach, OSError.
    """
    try:
        if not replacement.relative and not _by_file(replacement):
            return open_parent(replacement.target, create=True)[0]
        try:
            here = open_declared_directory(replacement.target)
        except (FileNotFoundError, NotADirectoryError):
            return open_parent(replacement.target, create=True)[0]
    except NotADirectoryError as error:
        raise StateError(f"{replacement.target}: something that is not a directory lies on the way") from error
    for part in replacement.relative.split("/")[:-1]:
        try:
            below = open_directory_at(here, part)
        except (FileNotFoundError, NotADirectoryError):
            break
        os.close(here)
        here = below
    return here


def _by_file(replacement: Replacement) -> bool:
    """Whether files inside the live directory are swapped, so that its own file system counts."""
    if replacement.entry is None or replacement.entry.type != "dir" or replacement.relative:
        return False
    return not replacement.whole or is_mount_root(replacement.target)


def is_mount_root(path: str) -> bool:
    """Whether a declared directory is the root of a mount or of a btrfs subvolume: such a one can't be renamed."""
    try:
        inside = open_declared_directory(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        parent, _ = open_parent(path)
        try:
            return not same_file_system(inside, parent)
        finally:
            os.close(parent)
    finally:
        os.close(inside)


def _place_for(staging: Staging, replacement: Replacement) -> int:
    """The place on the replacement's file system; made beside the item if there is none yet."""
    where = nearest_directory(replacement)
    try:
        for number, place in enumerate(staging.places):
            if same_file_system(place.fd, where):
                return number
        beside, _ = open_parent(replacement.target)
        try:
            staging.places.append(_make_beside(staging, replacement, beside, where))
        finally:
            os.close(beside)
    finally:
        os.close(where)
    _record(staging, [])
    return len(staging.places) - 1


def _make_beside(staging: Staging, replacement: Replacement, beside: int, where: int) -> Place:
    name = PLACE_PREFIX + staging.id + (f"-{len(staging.places)}" if len(staging.places) > 1 else "")
    refused: OSError | None = None
    for directory, path in (
        (beside, os.path.dirname(replacement.target)),
        (where, os.readlink(f"/proc/self/fd/{where}")),
    ):
        if same_file_system(directory, where):
            full = os.path.join(path, name)
            _record(staging, [full])
            try:
                return opened(full, create_at(directory, name))
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS}:
                    raise
                error.filename = full
                refused = error
    raise refused or OSError(errno.EXDEV, os.strerror(errno.EXDEV), replacement.target)


def _needed(source: Source, staging: Staging, at_most_bytes: int | None) -> dict[int, int]:
    """Bytes that will be written to each device; no more than roughly where there is far more room than that."""
    if at_most_bytes is not None:
        ample = 2 * at_most_bytes  # as directories are not in the sum
        if all(free_bytes(place.fd)[0] >= ample + _SPARE_BYTES for place in staging.places):
            written = {one.place for one in staging.staged if one.replacement.entry is not None}
            return {staging.places[number].device: ample for number in written}
    needed: dict[int, int] = {}
    linked: set[tuple[str, str]] = set()
    for one in staging.staged:
        if one.replacement.entry is not None:
            device = staging.places[one.place].device
            size = _size(source, one.replacement.entry, one.replacement.target, linked)
            needed[device] = needed.get(device, 0) + size
    return needed


def _free(staging: Staging, device: int) -> int:
    return free_bytes(next(place.fd for place in staging.places if place.device == device))[0]


def _no_room(staging: Staging, error: NoRoom) -> StateError:
    on_it = (one.replacement for one in staging.staged if staging.places[one.place].device == error.device)
    target = next(one.target for one in on_it if one.entry is not None)
    wanted_kib, free_kib = (error.needed_bytes + 1023) >> 10, error.free_bytes >> 10
    return StateError(
        f"{staging.service}: there is no room to restore {target}: {wanted_kib - free_kib} KiB "
        f"more are needed on its file system ({wanted_kib} KiB to write, {free_kib} KiB free)",
        hint="make room there and restore again; nothing was changed",
    )


def _size(source: Source, entry: Entry, item: str, linked: set[tuple[str, str]]) -> int:
    if entry.type == "dir":
        return ENTRY_BYTES + sum(_size(source, below, item, linked) for below in source.tree(entry.hash or ""))
    if entry.hard_link is not None:
        if (item, entry.hard_link) in linked:
            return ENTRY_BYTES
        linked.add((item, entry.hard_link))
    # how much of a sparse file is data is only known once it is read; too little room ends the staging cleanly then
    return ENTRY_BYTES + (0 if entry.sparse else entry.size)


def _files(dir_fd: int, name: str, replacement: Replacement, relative: str) -> Iterator[tuple[Replacement, str, int]]:
    status = lstat_at(dir_fd, name)
    if stat.S_ISREG(status.st_mode):
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            yield replacement, relative, fd
        finally:
            os.close(fd)
    elif stat.S_ISDIR(status.st_mode):
        below = open_directory_at(dir_fd, name)
        try:
            for child in sorted(os.listdir(below)):
                yield from _files(below, child, replacement, f"{relative}/{child}" if relative else child)
        finally:
            os.close(below)
