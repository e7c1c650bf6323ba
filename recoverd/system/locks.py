"""Locks of the kernel (flock(2)): they die with their process, so none is ever stale.

Lock files are never unlinked: two processes could then hold "the" lock on two different files.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from types import TracebackType

from recoverd.errors import LockHeld

_GRACE_S = 0.05  # outlasts the moment in which `is_held` of another process tries the lock
_MAX_PAUSE_S = 0.1


class FileLock:
    """A lock that is held until `release`, the end of the `with` block, or the end of the process."""

    def __init__(self, fd: int, path: str) -> None:
        self._fd = fd
        self.path = path

    def release(self) -> None:
        """Give the lock back; harmless when done twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            fcntl.flock(fd, fcntl.LOCK_UN)  # closing alone would not do where a forked child has a copy
            os.close(fd)

    @property
    def held(self) -> bool:
        return self._fd >= 0

    def fileno(self) -> int:
        """For a child that is to hold it too, for as long as it lives."""
        return self._fd

    def __enter__(self) -> FileLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def acquire(path: str, *, exclusive: bool = True, wait_s: float = 0.0, what: str = "") -> FileLock:
    """Take a lock, waiting up to `wait_s` seconds for those who hold it. The file is created if need be.

    `what` names the locked thing in the error. Raises LockHeld, which names one holder, and OSError.
    """
    operation = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
    deadline = time.monotonic() + max(wait_s, _GRACE_S)
    pause_s = 0.005
    while True:
        fd = _open(path)
        try:
            fcntl.flock(fd, operation)
            if _is_still(fd, path):
                lock, fd = FileLock(fd, path), -1
                return lock
        except OSError as error:
            if error.errno not in {errno.EAGAIN, errno.EACCES}:
                raise
            if time.monotonic() >= deadline:
                raise _held(path, what) from None
        finally:
            if fd >= 0:
                os.close(fd)
        time.sleep(max(0.0, min(pause_s, deadline - time.monotonic())))
        pause_s = min(pause_s * 2, _MAX_PAUSE_S)


def holders(path: str) -> list[tuple[int, str]]:
    """(pid, command) of every process that holds a flock on the file now, as the kernel tells.

    Processes of other pid namespaces are not to be seen. Raises nothing: empty when the file is absent.
    """
    try:
        stat = os.stat(path)
        with open("/proc/locks", encoding="ascii") as file:
            lines = file.readlines()
    except OSError:
        return []
    device = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}"
    found: dict[int, str] = {}
    for line in lines:
        fields = line.split()
        # "1: FLOCK ADVISORY WRITE 123 fd:01:456 0 EOF"; one that waits has "->" in second place
        if len(fields) < 6 or fields[1] != "FLOCK":
            continue
        where, _, inode = fields[5].rpartition(":")
        pid = int(fields[4])
        # btrfs and overlayfs show another device there than stat does: ask the process itself
        if pid > 0 and inode == str(stat.st_ino) and (where == device or _has_open(pid, stat)):
            command = _command(pid)
            if command is not None:
                found[pid] = command
    return sorted(found.items())


def is_held(path: str) -> bool:
    """Whether anybody, also this process, holds a lock on the file. Raises OSError other than absence."""
    if holders(path):
        return True
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)  # holders in other pid namespaces show only this way
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _open(path: str) -> int:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_CREAT, 0o600)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES}:
            raise
        try:
            return os.open(path, flags)  # a repository that can only be read can still be locked for reading
        except FileNotFoundError:
            raise error from None


def _is_still(fd: int, path: str) -> bool:
    """Whether the path names the file that was locked; somebody may have deleted the directory."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _held(path: str, what: str) -> LockHeld:
    others = [(pid, command) for pid, command in holders(path) if pid != os.getpid()] or holders(path)
    pid, command = others[0] if others else (None, None)
    return LockHeld(what or path, pid=pid, command=command)


def _command(pid: int) -> str | None:
    """The command line of a process, its short name for a kernel thread or zombie, None when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read(4096)
        if line:
            return " ".join(os.fsdecode(part) for part in line.rstrip(b"\0").split(b"\0"))
        with open(f"/proc/{pid}/comm", "rb") as file:
            return os.fsdecode(file.read().strip())
    except OSError:
        return None


def _has_open(pid: int, stat: os.stat_result) -> bool:
    try:
        return any(
            os.path.samestat(os.stat(f"/proc/{pid}/fd/{number}"), stat) for number in os.listdir(f"/proc/{pid}/fd")
        )
    except OSError:
        return False
