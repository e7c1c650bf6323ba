"""The space reserve: a file that holds room on a disk, so that a full one can still be pruned.

Deleting snapshots needs a few blocks itself: a service's record is replaced, and SQLite writes its journal. So
`reserve` lies in the state directory, and one more in the repository where that is on another file system. A prune
that finds the disk full takes it away, and sets it up again when there is room. Nothing is ever written to it, its
content means nothing, and whoever lists or verifies the repository passes it over.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from recoverd.errors import RecoverdError
from recoverd.system import mounts
from recoverd.values import dataclass

T = TypeVar("T")

NAME = "reserve"
RESERVE_BYTES = 2 * 1024**2
"""A record takes 8 KiB, SQLite's shared memory 32 KiB, and its journal about 1 MiB for a pack of 10,000 objects."""
_SMALLEST_ROOM_BYTES = 8 * RESERVE_BYTES  # a reserve on a disk with less would itself be what fills it
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def is_full(error: BaseException | None) -> bool:
    """Whether the cause of an error is a disk, or a quota, that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


@dataclass(frozen=True, slots=True)
class Reserve:
    """The reserves of one repository; all of their methods leave be what can't be helped."""

    directories: tuple[str, ...]

    @staticmethod
    def of(state_dir: str, repository_path: str) -> Reserve:
        """One on each file system that a prune writes to; none yet while the state directory does not exist."""
        found: dict[int, str] = {}
        try:
            for directory in (state_dir, repository_path):
                found.setdefault(os.stat(directory).st_dev, directory)
        except OSError:
            pass  # the first, and so the second, is of use once both exist
        return Reserve(tuple(found.values()))

    def missing(self) -> tuple[str, ...]:
        """The directories that should hold a reserve and do not."""
        return tuple(directory for directory in self.directories if not _is_held(directory))

    def release_if_full(self) -> bool:
        """Take away the reserve of each file system that has less room than that left. Whether any was."""
        full = [directory for directory in self.directories if _free_bytes(directory) < RESERVE_BYTES]
        return Reserve(tuple(full)).release()

    def release(self) -> bool:
        """Take all of it away; whether there was any."""
        released = False
        for directory in self.directories:
            try:
                os.unlink(f"{directory}/{NAME}")
                released = True
            except OSError:
                pass  # absent, or not ours to delete: then nothing is won
        return released

    def spend(self, work: Callable[[], T]) -> T:
        """Do `work`; where the disk is full, again with the room of the reserves. They are set up again after it."""
        try:
            try:
                return work()
            except (RecoverdError, OSError) as error:
                if not is_full(error) or not self.release():
                    raise
                return work()
        finally:
            self.set_up()

    def missing_bytes(self, directory: str) -> int:
        """What setting up reserves will take of the file system of `directory`. Raises OSError."""
        device = os.stat(directory).st_dev
        return RESERVE_BYTES * sum(os.stat(one).st_dev == device for one in self.missing())

    def set_up(self) -> None:
        """Allocate what is missing, unless its disk is nearly full."""
        for directory in self.missing():
            if _free_bytes(directory) >= _SMALLEST_ROOM_BYTES:
                _allocate(f"{directory}/{NAME}")


def _is_held(directory: str) -> bool:
    try:
        status = os.stat(f"{directory}/{NAME}", follow_symlinks=False)
    except OSError:
        return False
    return min(status.st_size, status.st_blocks * 512) >= RESERVE_BYTES


def _free_bytes(directory: str) -> int:
    try:
        return mounts.writable_bytes(directory)
    except OSError:
        return 0


def _allocate(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        os.posix_fallocate(fd, 0, RESERVE_BYTES)
    except OSError:
        os.unlink(path)
    finally:
        os.close(fd)


def free_and_total(state_dir: str, path: str) -> tuple[int, int]:
    """Of the file system of the repository at `path`, in bytes. A reserve yet to be set up there is not free.

    Raises OSError.
    """
    room = os.statvfs(path)
    free_bytes = mounts.writable_bytes(path) if room.f_blocks else 0
    return max(0, free_bytes - Reserve.of(state_dir, path).missing_bytes(path)), room.f_blocks * room.f_frsize
