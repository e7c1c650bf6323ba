"""Writing tree entries out of a repository, below an open directory, with everything that belongs to them.

Nothing is ever followed or overwritten: each name is created (O_EXCL, O_NOFOLLOW) in a directory that is held
open. Contents are verified by the reader on the way out, and read back once they are written; a damaged object
ends the extraction.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from recoverd.errors import RepositoryError, StateError
from recoverd.recovery.dressing import Dresser, has_attributes, is_exact, owner_here
from recoverd.recovery.stat_rows import pack_stat
from recoverd.recovery.written import WrittenDirectory
from recoverd.repository.blocks import data_runs
from recoverd.repository.trees import Entry
from recoverd.system.durable import write_all
from recoverd.system.walk import lstat_at, open_directory_at

_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 400  # one descriptor is held per level
_TOGETHER = 250  # files whose contents are asked for at once, and
_TOGETHER_BYTES = 1 << 20  # the bytes of them at which a group ends


class Source(Protocol):
    """What extraction needs of a repository's reader."""

    def tree(self, tree_hash: str) -> tuple[Entry, ...]: ...
    def contents(self, entries: Sequence[Entry]) -> Sequence[bytes]: ...
    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]: ...


def extract_tree(source: Source, tree_hash: str, dir_fd: int) -> list[str]:
    """Write all entries of a tree into an open, empty directory.

    Returns notes: what could not be brought back and does no harm (extended attributes that the file system or
    the user can't have). Raises DamagedObject, RepositoryError, FileExistsError, OSError.
    """
    extraction = Extraction(source, dir_fd, lenient=True)
    for entry in source.tree(tree_hash):
        extraction.write(entry, entry.name)
    return extraction.notes


def extract_entry(source: Source, entry: Entry, dir_fd: int, name: str) -> list[str]:
    """Write one entry, whatever its type, as `name` into an open directory. Returns and raises as `extract_tree`."""
    extraction = Extraction(source, dir_fd, lenient=True)
    extraction.write(entry, name)
    return extraction.notes


class _Directory:
    """A directory that is being written: where it is, and what was written into it."""

    def __init__(self, fd: int, place: tuple[str, ...], group: str, tree: str) -> None:
        self.fd = fd
        self.place = place  # from the root directory of the extraction down
        self.group = group
        self.written = WrittenDirectory(tree)
        self.looked = False  # whether a file made here was seen to have no attributes of its own accord

    def label(self, name: str) -> str:
        """How notes name an entry here: by its path below what is written."""
        return "/".join((*self.place[1:], name))


class Extraction:
    """Several entries written below one directory; hard links are kept among those of the same `group`.

    `wrote` hears how many bytes have been written, now and then. `lenient`: see `Dresser`.
    """

    def __init__(
        self, source: Source, root_fd: int, wrote: Callable[[int], None] | None = None, *, lenient: bool = False
    ) -> None:
        self._source = source
        self._root_fd = root_fd
        self._wrote = wrote or (lambda _: None)
        self._links: dict[tuple[str, str, str], tuple[str, ...]] = {}  # (group, link id, content) -> the first's place
        self._dresser = Dresser(lenient=lenient)
        self._own = os.geteuid(), os.getegid()  # who owns what is created, as a rule
        self._as_asked = True  # whether created files get owner and mode that way (no umask, no setgid directory)

    @property
    def notes(self) -> list[str]:
        """What could not be brought back and does no harm."""
        return self._dresser.notes

    def write(self, entry: Entry, name: str, *, group: str = "") -> dict[str, WrittenDirectory]:
        """Write an entry as `name` below the root directory.

        `group` tells items apart: hard links are kept within one. Returns, by path below the entry, what was written
        into each directory ("" is the entry itself).
        """
        found: dict[str, WrittenDirectory] = {}
        self._entries([entry], [_safe(name)], _Directory(self._root_fd, (), group, ""), found)
        return found

    def _entries(
        self,
        entries: Sequence[Entry],
        names: Sequence[str],
        where: _Directory,
        found: dict[str, WrittenDirectory],
    ) -> None:
        """Write what one directory holds: small files first, in groups."""
        group: list[tuple[Entry, str]] = []
        group_bytes = 0
        rest: list[tuple[Entry, str]] = []
        for entry, name in zip(entries, names, strict=True):
            if entry.type != "file" or entry.hash is None:
                rest.append((entry, name))
                continue
            group.append((entry, name))
            group_bytes += entry.size
            if len(group) >= _TOGETHER or group_bytes >= _TOGETHER_BYTES:
                self._files(group, where)
                group, group_bytes = [], 0
        if group:
            self._files(group, where)
        for entry, name in rest:
            if entry.type == "file":
                self._large(entry, name, where)
            elif entry.type == "symlink":
                self._symlink(entry, name, where)
            elif entry.type == "dir":
                self._directory(entry, name, where, found)
            else:
                raise RepositoryError(
                    f"{entry.name!r} is of an unknown type {entry.type!r}", hint="is this recoverd too old?"
                )

    # -- files --------------------------------------------------------------------------------------------

    def _files(self, group: Sequence[tuple[Entry, str]], where: _Directory) -> None:
        contents = self._source.contents([entry for entry, _ in group])
        now_ns = time.time_ns()
        for (entry, name), data in zip(group, contents, strict=True):
            if len(data) != entry.size:
                raise _other_length(entry, len(data))
            if entry.hard_link is not None and self._linked(entry, name, where):
                continue
            # few system calls a file: mostly it gets its owner and mode as it is created
            plain = self._as_asked and not entry.xattrs and entry.mode < 0o1000 and self._will_own(entry)
            fd = os.open(name, _CREATE, entry.mode if plain else 0o600, dir_fd=where.fd)
            try:
                if entry.sparse:
                    _write_sparse(fd, data, 0)
                else:
                    write_all(fd, data)
                _read_back(fd, data, 0, entry)
                if plain:
                    os.utime(fd, ns=(now_ns, entry.mtime_ns))
                    status = os.fstat(fd)
                    plain = self._as_asked = status.st_mode & 0o7777 == entry.mode and self._owns(status)
                if not plain:
                    self._dresser.dress(entry, fd, where.label(name))
                    status = os.fstat(fd)
                self._note(entry, name, fd, status, where)
            finally:
                os.close(fd)
        self._wrote(sum([entry.size for entry, _ in group]))

    def _will_own(self, entry: Entry) -> bool:
        return owner_here(entry) == self._own

    def _owns(self, status: os.stat_result) -> bool:
        return (status.st_uid, status.st_gid) == self._own

    def _large(self, entry: Entry, name: str, where: _Directory) -> None:
        if entry.hard_link is not None and self._linked(entry, name, where):
            return
        fd = os.open(name, _CREATE, 0o600, dir_fd=where.fd)
        try:
            length = 0
            for chunk in self._source.file_chunks(entry):
                if isinstance(chunk, int):
                    if length + chunk > entry.size:
                        raise _other_length(entry, length + chunk)
                    if not entry.sparse:
                        _allocate(fd, length, chunk)
                    length += chunk
                    os.ftruncate(fd, length)
                    os.lseek(fd, length, os.SEEK_SET)
                    continue
                if entry.sparse:
                    _write_sparse(fd, chunk, length)
                else:
                    write_all(fd, chunk)
                _read_back(fd, chunk, length, entry)
                length += len(chunk)
                self._wrote(len(chunk))
            if length != entry.size:
                raise _other_length(entry, length)
            self._dresser.dress(entry, fd, where.label(name))
            self._note(entry, name, fd, os.fstat(fd), where)
        finally:
            os.close(fd)

    def _note(self, entry: Entry, name: str, fd: int, status: os.stat_result, where: _Directory) -> None:
        """Remember what a file is like, now that it is finished."""
        written = where.written
        written.files[name] = pack_stat(status)
        written.documents += 1
        written.size_bytes += entry.size
        written.newest_ctime_ns = max(written.newest_ctime_ns, status.st_ctime_ns)
        if not is_exact(entry, status) or entry.sparse or entry.hard_link is not None:
            written.exact = False
        if (entry.xattrs or not where.looked) and written.exact:
            where.looked = True  # a default ACL gives all files here some
            written.exact = has_attributes(entry, fd)

    def _linked(self, entry: Entry, name: str, where: _Directory) -> bool:
        """Whether it is another name of a file that lies here already; it got that name then.

        Of two versions of one group, which may come from two snapshots or from a file that was written to while it was
        captured, each is a file of its own.
        """
        where.written.exact = False
        place = (*where.place, name)
        content = entry.hash or entry.blocks or f"{entry.type} {entry.target}"
        first = self._links.setdefault((where.group, entry.hard_link or "", content), place)
        if first == place:
            return False
        here = os.dup(self._root_fd)
        try:
            for part in first[:-1]:
                below = open_directory_at(here, part)
                os.close(here)
                here = below
            os.link(first[-1], name, src_dir_fd=here, dst_dir_fd=where.fd, follow_symlinks=False)
        finally:
            os.close(here)
        return True

    # -- links and directories ----------------------------------------------------------------------------

    def _symlink(self, entry: Entry, name: str, where: _Directory) -> None:
        if entry.hard_link is not None and self._linked(entry, name, where):
            return
        os.symlink(entry.target or "", name, dir_fd=where.fd)
        self._dresser.dress_link(entry, where.fd, name, where.label(name))
        status, written = lstat_at(where.fd, name), where.written
        written.files[name] = pack_stat(status)
        written.newest_ctime_ns = max(written.newest_ctime_ns, status.st_ctime_ns)
        if not is_exact(entry, status) or not has_attributes(entry, f"/proc/self/fd/{where.fd}/{name}"):
            written.exact = False

    def _directory(self, entry: Entry, name: str, where: _Directory, found: dict[str, WrittenDirectory]) -> None:
        place = (*where.place, name)
        if len(place) > _MAX_DEPTH:
            raise StateError(f"directories are nested deeper than {_MAX_DEPTH} levels: {'/'.join(place[:4])}/…")
        os.mkdir(name, 0o700, dir_fd=where.fd)
        fd = open_directory_at(where.fd, name)
        try:
            below = _Directory(fd, place, where.group, entry.hash or "")
            entries = self._source.tree(entry.hash or "")
            self._entries(entries, [_safe(one.name) for one in entries], below, found)
            self._dresser.dress(entry, fd, "/".join(place[1:]) or name)  # last: writing into it moves its times
            status, above = os.fstat(fd), where.written
            above.directories[name] = pack_stat(status)
            above.trees[name] = entry.hash or ""
            above.newest_ctime_ns = max(above.newest_ctime_ns, status.st_ctime_ns)
            if not is_exact(entry, status) or not has_attributes(entry, fd):
                above.exact = False
        finally:
            os.close(fd)
        found["/".join(place[1:])] = below.written


def _write_sparse(fd: int, data: bytes, at: int) -> None:
    """Write what follows `at` in a file that has holes: aligned zeros are among them."""
    for start, end in data_runs(data):
        os.lseek(fd, at + start, os.SEEK_SET)
        write_all(fd, data[start:end])
    os.ftruncate(fd, at + len(data))
    os.lseek(fd, at + len(data), os.SEEK_SET)


def _allocate(fd: int, at: int, length: int) -> None:
    """Zeros that take room on the disk: a file without holes keeps the room that it had, as databases count on it."""
    try:
        os.posix_fallocate(fd, at, length)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:  # a file system that can't promise room
            raise


def _read_back(fd: int, data: bytes, at: int, entry: Entry) -> None:
    """What was written is what is there: the state that is judged and brought in is the one on the file system."""
    back = os.pread(fd, len(data) + (at == 0), at)
    while len(back) < len(data):
        more = os.pread(fd, len(data) - len(back), at + len(back))
        if not more:
            break
        back += more
    if back != data:
        raise StateError(f"{entry.name!r} does not hold what was just written to it")


def _other_length(entry: Entry, length: int) -> RepositoryError:
    return RepositoryError(f"{entry.name!r} has {length} bytes in the repository where its record says {entry.size}")


def _safe(name: str) -> str:
    """A tree is data from elsewhere: a name in it must be a name, not a path."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise RepositoryError(
            f"{name!r} in a tree is no file name", hint="run `recoverd verify` to check the repository"
        )
    return name
