"""What a file has besides its bytes: owner, attributes, mode and times, put on what has just been created."""

from __future__ import annotations

import errno
import functools
import os
import stat
import time
from collections.abc import Callable

from recoverd.repository.trees import Entry
from recoverd.system.mounts import free_bytes
from recoverd.system.reading import attributes_of
from recoverd.system.walk import lstat_at, owner_names

# of attributes that this user may not set, that the file system has not, or that are too large for it
_NOT_HERE = frozenset({errno.EOPNOTSUPP, errno.EPERM, errno.EACCES, errno.EINVAL, errno.E2BIG, errno.ERANGE})
_ROOM_BYTES = 1 << 20
_REFUSED = frozenset({errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP})
_SPECIAL = stat.S_ISUID | stat.S_ISGID


class Dresser:
    """Dresses what an extraction creates. `notes` tell what could not be brought back and does no harm.

    `lenient`: so it is with owners that root can't give here, on a file system that has none. Else that is an error.
    """

    def __init__(self, *, lenient: bool = False) -> None:
        self.as_root = os.geteuid() == 0
        self._lenient = lenient
        self._told: dict[str, tuple[str, int]] = {}  # sentence -> the first that it was told of, of how many

    @property
    def notes(self) -> list[str]:
        """One sentence for each thing that is missing, however many files it is missing from."""
        return [
            f"{first}: {sentence}" if count == 1 else f"{first} and {count - 1} more: {sentence}"
            for sentence, (first, count) in self._told.items()
        ]

    def dress(self, entry: Entry, fd: int, label: str) -> None:
        """Make an open file or directory what its entry says. Raises OSError."""
        # chown clears setuid bits and capabilities, so it comes first; attributes need write permission, which
        # the mode may take away; ACLs hold their mask in the mode's group bits, so the mode agrees with them
        self._own(entry, os.fstat(fd), lambda uid, gid: os.fchown(fd, uid, gid), label)
        for key, value in entry.xattrs:
            self._attribute(fd, key, value, label)
        mode = entry.mode
        if mode & _SPECIAL:
            mode = self._without_strangers(entry, os.fstat(fd), label)
        os.fchmod(fd, mode)
        os.utime(fd, ns=(time.time_ns(), entry.mtime_ns))

    def dress_link(self, entry: Entry, dir_fd: int, name: str, label: str) -> None:
        """The same for a symlink. Raises OSError."""

        def change(uid: int, gid: int) -> None:
            os.chown(name, uid, gid, dir_fd=dir_fd, follow_symlinks=False)

        self._own(entry, lstat_at(dir_fd, name), change, label)
        path = f"/proc/self/fd/{dir_fd}/{name}"
        for key, value in entry.xattrs:
            self._attribute(path, key, value, label)
        os.utime(name, ns=(time.time_ns(), entry.mtime_ns), dir_fd=dir_fd, follow_symlinks=False)

    def _own(self, entry: Entry, status: os.stat_result, change: Callable[[int, int], None], label: str) -> None:
        """Owner and group; who is not root can give only groups that are his own."""
        uid, gid = owner_here(entry)
        try:
            if self.as_root and (uid, gid) != (status.st_uid, status.st_gid):
                change(uid, gid)
                return
            if gid != status.st_gid:
                change(-1, gid)
        except OSError as error:
            if error.errno not in _REFUSED or (self.as_root and not self._lenient):
                raise
            self._tell(label, f"can't be given to the group {entry.group or gid} here: {error.strerror}")
        if uid != status.st_uid:
            self._tell(label, f"can't be given to the user {entry.user or uid} here")

    def _without_strangers(self, entry: Entry, status: os.stat_result, label: str) -> int:
        """The mode without setuid and setgid bits that would act for somebody else than they did.

        So it is where the owner could not be given, and where only the number is known here, and is another's.
        """
        mode, names = entry.mode, owner_names(status.st_uid, status.st_gid)
        uid, gid = owner_here(entry)
        if status.st_uid != uid or names[0] != entry.user:
            mode &= ~stat.S_ISUID
        if entry.type == "file" and (status.st_gid != gid or names[1] != entry.group):
            mode &= ~stat.S_ISGID
        if mode != entry.mode:
            self._tell(label, "its setuid or setgid bit is left out: its owner is not the one that it was")
        return mode

    def _attribute(self, where: int | str, key: str, value: bytes, label: str) -> None:
        try:
            os.setxattr(where, key, value, follow_symlinks=isinstance(where, int))
        except OSError as error:
            if error.errno not in _NOT_HERE and not _is_too_large(error, where):
                raise
            self._tell(label, f"the attribute {key} can't be set here: {error.strerror}")

    def _tell(self, label: str, sentence: str) -> None:
        first, count = self._told.get(sentence, (label, 0))
        self._told[sentence] = first, count + 1


def _is_too_large(error: OSError, where: int | str) -> bool:
    """Whether it is the attribute for which there is no room, and not the disk that is full."""
    return error.errno == errno.ENOSPC and isinstance(where, int) and free_bytes(where)[0] > _ROOM_BYTES


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
