"""What a file has besides its bytes: owner, attributes, mode and times, put on what has just been created."""

from __future__ import annotations

import errno
import functools
import os
import time

from recoverd.repository.trees import Entry
from recoverd.system.reading import attributes_of
from recoverd.system.walk import owner_names

_NOT_HERE = frozenset({errno.EOPNOTSUPP, errno.EPERM, errno.EACCES})


class Dresser:
    """Dresses what an extraction creates. `notes` tell what could not be brought back and does no harm."""

    def __init__(self) -> None:
        self.as_root = os.geteuid() == 0
        self.notes: list[str] = []

    def dress(self, entry: Entry, fd: int, label: str) -> None:
        """Make an open file or directory what its entry says. Raises OSError."""
        # chown clears setuid bits and capabilities, so it comes first; attributes need write permission, which
        # the mode may take away; ACLs hold their mask in the mode's group bits, so the mode agrees with them
        if self.as_root:
            owner, status = owner_here(entry), os.fstat(fd)
            if owner != (status.st_uid, status.st_gid):
                os.fchown(fd, *owner)
        for key, value in entry.xattrs:
            self._attribute(fd, key, value, label)
        os.fchmod(fd, entry.mode)
        os.utime(fd, ns=(time.time_ns(), entry.mtime_ns))

    def dress_link(self, entry: Entry, dir_fd: int, name: str, label: str) -> None:
        """The same for a symlink. Raises OSError."""
        if self.as_root:
            os.chown(name, *owner_here(entry), dir_fd=dir_fd, follow_symlinks=False)
        path = f"/proc/self/fd/{dir_fd}/{name}"
        for key, value in entry.xattrs:
            self._attribute(path, key, value, label)
        os.utime(name, ns=(time.time_ns(), entry.mtime_ns), dir_fd=dir_fd, follow_symlinks=False)

    def _attribute(self, where: int | str, key: str, value: bytes, label: str) -> None:
        try:
            os.setxattr(where, key, value, follow_symlinks=isinstance(where, int))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
            self.notes.append(f"{label}: the attribute {key} can't be set here: {error.strerror}")


def is_exact(entry: Entry, status: os.stat_result) -> bool:
    """Whether a stat is what the entry says, so that a capture would record this very entry; of its attributes
    `has_attributes` tells."""
    return (
        status.st_mtime_ns == entry.mtime_ns
        and (entry.type != "file" or (status.st_size == entry.size and status.st_nlink == 1))
        and status.st_mode & 0o7777 == entry.mode
        and status.st_uid == entry.uid
        and status.st_gid == entry.gid
        and owner_names(entry.uid, entry.gid) == (entry.user, entry.group)
    )


def has_attributes(entry: Entry, where: int | str) -> bool:
    """Whether the extended attributes of an open file or directory, or of a path, are those of the entry."""
    return dict(attributes_of(where)) == dict(entry.xattrs)


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
