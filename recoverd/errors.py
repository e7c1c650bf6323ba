"""The error tree: every error that a user can cause has an exit status and, where one exists, a hint.

Exit statuses are those of recoverd(8): 1 failed, 64 usage, 75 another recoverd is at work, 78 configuration.
"""

from __future__ import annotations

import errno

from recoverd.values import dataclass

# The hint where nothing is declared, whoever finds that.
NOTHING_DECLARED = "`recoverd init` writes a configuration to begin with, `recoverd config paths` shows where it is"


class RecoverdError(Exception):
    """Something that recoverd can explain. `hint` says what to do about it."""

    exit_status: int = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RecoverdError):
    """The command line asks for something that does not exist or does not fit together."""

    exit_status = 64


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One problem of the configuration, with the place where it stands (line and column count from 1)."""

    file: str
    line: int
    column: int
    place: str
    sentence: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}:{self.column}: " if self.line else f"{self.file}: "
        return where + (f"{self.place}: " if self.place else "") + self.sentence


class ConfigError(RecoverdError):
    """The configuration can't be used; carries every problem that was found, not only the first."""

    exit_status = 78

    def __init__(self, problems: tuple[ConfigProblem, ...], *, hint: str | None = None) -> None:
        count = len(problems)
        super().__init__(f"the configuration has {count} problem{'' if count == 1 else 's'}", hint=hint)
        self.problems = problems


class RepositoryError(RecoverdError):
    """The repository can't be read or written."""


class DamagedObject(RepositoryError):
    """Bytes in the repository do not have the hash they are stored under, or are gone."""

    def __init__(self, object_hash: str, message: str, *, pack: str | None = None) -> None:
        super().__init__(message, hint="a restore passes it over and takes the next older version")
        self.object_hash = object_hash
        self.pack = pack


class StateError(RecoverdError):
    """Live state can't be read or written as asked."""


class ServiceError(RecoverdError):
    """A service can't be started, stopped or asked for its status."""


class StartError(ServiceError):
    """recoverd itself can't do what a start needs, such as opening the log: that tells nothing about the service."""


class LockHeld(RecoverdError):
    """Another process holds a lock that is needed; `pid` is None where the kernel does not tell."""

    exit_status = 75

    def __init__(self, what: str, *, pid: int | None, command: str | None) -> None:
        holder = f"process {pid} ({command})" if pid is not None else "another process"
        super().__init__(
            f"{what} is in use by {holder}", hint="wait for it to finish, or give it longer with --wait TIME"
        )
        self.what = what
        self.pid = pid
        self.command = command


_OS_HINTS = {
    errno.ENOSPC: "free some space on its file system, or let `recoverd prune` keep less",
    errno.EDQUOT: "the quota of its owner is used up: free some space, or let `recoverd prune` keep less",
    errno.EROFS: "its file system is mounted read-only: the kernel log tells if that is because of errors of the disk",
    errno.EIO: "the disk reports errors: look at the kernel log and at the disk",
    errno.EACCES: "run recoverd as the user who owns it, or as root",
    errno.EPERM: "run recoverd as the user who owns it, or as root",
}


def os_hint(error: OSError) -> str | None:
    """What helps against an error of the operating system; None where that can't be told in general."""
    return _OS_HINTS.get(error.errno or 0)
