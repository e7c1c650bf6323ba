"""Writing tree entries out of a repository, below an open directory, with everything that belongs to them.

Nothing is ever followed or overwritten: each name is created (O_EXCL, O_NOFOLLOW) in a directory that is held
open. Contents are verified by the reader on the way out; a damaged object ends the extraction.
"""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Iterator
from typing import Protocol

from recoverd.errors import RepositoryError, StateError
from recoverd.repository.trees import Entry
from recoverd.system.durable import write_all
from recoverd.system.walk import open_directory_at

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_DEPTH = 400  # one descriptor is held per level


class Source(Protocol):
    """What extraction needs of a repository's reader."""

    def tree(self, tree_hash: str) -> tuple[Entry, ...]: ...
    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]: ...


def extract_tree(source: Source, tree_hash: str, dir_fd: int) -> list[str]:
    """Write all entries of a tree into an open, empty directory.

    Returns notes: what could not be brought back and does no harm (extended attributes that the file system or
    the user can't have). Raises DamagedObject, RepositoryError, FileExistsError, OSError.
    """
    extraction = Extraction(source, dir_fd)
    for entry in source.tree(tree_hash):
        extraction.write(entry, entry.name)
    return extraction.notes


def extract_entry(source: Source, entry: Entry, dir_fd: int, name: str) -> list[str]:
    """Write one entry, whatever its type, as `name` into an open directory. Returns and raises as `extract_tree`."""
    extraction = Extraction(source, dir_fd)
    extraction.write(entry, name)
    return extraction.notes


class Extraction:
    """Several entries written below one directory; hard links are kept among those of the same `group`."""

    def __init__(self, source: Source, root_fd: int) -> None:
        self._source = source
        self._root_fd = root_fd
        self._links: dict[tuple[str, str], tuple[str, ...]] = {}  # (group, hard link id) -> the first one's place
        self._as_root = os.geteuid() == 0
        self.notes: list[str] = []

    def write(self, entry: Entry, name: str, *, group: str = "") -> None:
        """Write an entry as `name` below the root directory.

        `group` tells items apart: hard links are kept within one.
        """
        self._write(entry, self._root_fd, (_safe(name),), group)

    def _write(self, entry: Entry, dir_fd: int, place: tuple[str, ...], group: str) -> None:
        if entry.type == "file":
            self._file(entry, dir_fd, place, group)
        elif entry.type == "symlink":
            self._symlink(entry, dir_fd, place)
        elif entry.type == "dir":
            self._directory(entry, dir_fd, place, group)
        else:
            raise RepositoryError(
                f"{entry.name!r} is of an unknown type {entry.type!r}", hint="is this recoverd too old?"
            )

    def _file(self, entry: Entry, dir_fd: int, place: tuple[str, ...], group: str) -> None:
        if entry.hard_link is not None:
            first = self._links.setdefault((group, entry.hard_link), place)
            if first != place:
                self._link(first, dir_fd, place[-1])
                return
        fd = os.open(place[-1], _CREATE, 0o600, dir_fd=dir_fd)
        try:
            length = 0
            chunk: bytes | int = b""
            for chunk in self._source.file_chunks(entry):
                if isinstance(chunk, int):
                    length += chunk
                    os.lseek(fd, length, os.SEEK_SET)
                else:
                    write_all(fd, chunk)
                    length += len(chunk)
            if length != entry.size:
                raise RepositoryError(
                    f"{entry.name!r} has {length} bytes in the repository where its record says {entry.size}"
                )
            if isinstance(chunk, int):
                os.ftruncate(fd, length)  # a hole at the end leaves the file short
            self._dress(entry, fd, place)
        finally:
            os.close(fd)

    def _link(self, first: tuple[str, ...], dir_fd: int, name: str) -> None:
        here = os.dup(self._root_fd)
        try:
            for part in first[:-1]:
                below = open_directory_at(here, part)
                os.close(here)
                here = below
            os.link(first[-1], name, src_dir_fd=here, dst_dir_fd=dir_fd, follow_symlinks=False)
        finally:
            os.close(here)

    def _symlink(self, entry: Entry, dir_fd: int, place: tuple[str, ...]) -> None:
        name = place[-1]
        os.symlink(entry.target or "", name, dir_fd=dir_fd)
        if self._as_root:
            os.chown(name, *owner_here(entry), dir_fd=dir_fd, follow_symlinks=False)
        path = f"/proc/self/fd/{dir_fd}/{name}"
        for key, value in entry.xattrs:
            self._attribute(path, key, value, place)
        os.utime(name, ns=(time.time_ns(), entry.mtime_ns), dir_fd=dir_fd, follow_symlinks=False)

    def _directory(self, entry: Entry, dir_fd: int, place: tuple[str, ...], group: str) -> None:
        if len(place) > _MAX_DEPTH:
            raise StateError(f"directories are nested deeper than {_MAX_DEPTH} levels: {'/'.join(place[:4])}/…")
        os.mkdir(place[-1], 0o700, dir_fd=dir_fd)
        fd = open_directory_at(dir_fd, place[-1])
        try:
            for below in self._source.tree(entry.hash or ""):
                self._write(below, fd, (*place, _safe(below.name)), group)
            self._dress(entry, fd, place)  # last: writing into it moves its times
        finally:
            os.close(fd)

    def _dress(self, entry: Entry, fd: int, place: tuple[str, ...]) -> None:
        # chown clears setuid bits and capabilities, so it comes first; attributes need write permission, which
        # the mode may take away; ACLs hold their mask in the mode's group bits, so the mode agrees with them
        if self._as_root:
            owner, status = owner_here(entry), os.fstat(fd)
            if owner != (status.st_uid, status.st_gid):
                os.fchown(fd, *owner)
        for key, value in entry.xattrs:
            self._attribute(fd, key, value, place)
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(time.time_ns(), entry.mtime_ns))

    def _attribute(self, where: int | str, key: str, value: bytes, place: tuple[str, ...]) -> None:
        try:
            os.setxattr(where, key, value, follow_symlinks=isinstance(where, int))
        except OSError as error:
            if error.errno not in {errno.EOPNOTSUPP, errno.EPERM, errno.EACCES}:
                raise
            self.notes.append(
                f"{'/'.join(place[1:]) or place[0]}: the attribute {key} can't be set here: {error.strerror}"
            )


def owner_here(entry: Entry) -> tuple[int, int]:
    """Who owns an entry on this machine: by name where the name exists here, else by number."""
    return _user_id(entry.user, entry.uid), _group_id(entry.group, entry.gid)


@functools.lru_cache(maxsize=1024)
def _user_id(name: str, number: int) -> int:
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if name else number
    except KeyError:
        return number


@functools.lru_cache(maxsize=1024)
def _group_id(name: str, number: int) -> int:
    import grp

    try:
        return grp.getgrnam(name).gr_gid if name else number
    except KeyError:
        return number


def _safe(name: str) -> str:
    """A tree is data from elsewhere: a name in it must be a name, not a path."""
    if name in {"", ".", ".."} or "/" in name or "\0" in name:
        raise RepositoryError(
            f"{name!r} in a tree is no file name", hint="run `recoverd verify` to check the repository"
        )
    return name
