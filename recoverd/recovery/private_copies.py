"""Private directories for copies that are judged as the user whose state they are."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from types import TracebackType
from typing import Self

from recoverd.system.durable import is_leftover, temporary_name
from recoverd.system.mounts import free_bytes
from recoverd.system.walk import open_directory_at

_PREFIX = "recoverd-copy"
_NAME = "copy"
_MOST_FILES = 20  # a copy, one of what lies beside it, and what SQLite makes of each
_USUAL = ("/var/tmp", "/dev/shm", "/tmp")  # noqa: S108 - disks before memory; what is made there is private
_IN_MEMORY = "/dev/shm"  # noqa: S108 - what is small spares the disk its writes
_SMALL_BYTES = 32 << 20
_SPARE_BYTES = 16 << 20  # of the file system, left to others


class PrivateCopy:
    """An empty file in a directory that only its user (and root) can enter: `path`, open at `fd`.

    Both are gone at the end of the block; what killed processes have left is removed at the beginning of the next.
    """

    def __init__(self, uid: int, gid: int, size_bytes: int) -> None:
        """`size_bytes`: what will be written there at most. Raises OSError: ENOSPC where there is no room anywhere."""
        self._base = _with_room(size_bytes, uid)
        self._name = _PREFIX + temporary_name()
        self._owner = (uid, gid) if os.geteuid() == 0 else None
        self._base_fd = self.fd = -1

    @property
    def path(self) -> str:
        return os.path.join(self._base, self._name, _NAME)

    def __enter__(self) -> Self:
        self._base_fd = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sweep(self._base_fd, lambda name: name.startswith(_PREFIX) and is_leftover(name[len(_PREFIX) :]))
            os.mkdir(self._name, 0o700, dir_fd=self._base_fd)
            below = open_directory_at(self._base_fd, self._name)
            try:
                # held from before its owner can do anything there: what is read later is what SQLite wrote into this
                flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                self.fd = os.open(_NAME, flags, 0o600, dir_fd=below)
                if self._owner is not None:
                    os.fchown(self.fd, *self._owner)
                    os.fchown(below, *self._owner)
            finally:
                os.close(below)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        try:
            if self.fd >= 0:
                os.close(self.fd)
            _remove(self._base_fd, self._name)
        finally:
            os.close(self._base_fd)


def sweep(base_fd: int, is_left: Callable[[str], bool]) -> None:
    """Remove what killed processes have left in a directory under such names, as far as that can be done."""
    for name in os.listdir(base_fd):
        if is_left(name):
            _remove(base_fd, name)


def _remove(base_fd: int, name: str) -> None:
    """A directory with a few files. What else somebody has put into one of his own stays his: here anybody may plant
    one, and nobody waits until it is emptied."""
    with suppress(OSError):
        below = open_directory_at(base_fd, name)
        try:
            with os.scandir(below) as found:
                names = [one.name for one in islice(found, _MOST_FILES)]
            for one in names:
                with suppress(OSError):
                    os.unlink(one, dir_fd=below)
        finally:
            os.close(below)
        os.rmdir(name, dir_fd=base_fd)


def may_enter(directory: str, uid: int) -> bool:
    """Whether a user comes to a directory by its path, whatever groups there are: who can't reach a copy can't judge
    it, and nobody would know why."""
    if uid in {0, os.geteuid()}:
        return True
    here = os.path.realpath(directory)
    while True:
        try:
            found = os.stat(here)
        except OSError:
            return False
        if not found.st_mode & (0o100 if found.st_uid == uid else 0o001):
            return False
        if here == "/":
            return True
        here = os.path.dirname(here)


def may_enter_at(directory_fd: int, uid: int, gid: int) -> bool:
    """Whether who becomes that user, with that one group, may enter an open directory."""
    found = os.fstat(directory_fd)
    if os.geteuid() != 0 or uid == 0:
        return True
    return bool(found.st_mode & (0o100 if found.st_uid == uid else 0o010 if found.st_gid == gid else 0o001))


def _with_room(size_bytes: int, uid: int) -> str:
    """The directory for it: TMPDIR if that is set, else the first of the usual ones that has room.

    Where recoverd is root, TMPDIR may be for root alone.
    """
    asked = os.environ.get("TMPDIR")
    if asked and os.geteuid() == 0 and not may_enter(asked, uid):
        asked = None
    usual = (_IN_MEMORY, *_USUAL) if size_bytes <= _SMALL_BYTES else _USUAL
    for base in (os.path.abspath(asked),) if asked else usual:
        try:
            fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.access(base, os.W_OK) and free_bytes(fd)[0] >= size_bytes + _SPARE_BYTES:
                return base
        finally:
            os.close(fd)
    where = asked or ", ".join(_USUAL)
    raise OSError(errno.ENOSPC, f"there is no room for a private copy of {size_bytes} bytes in {where}")
