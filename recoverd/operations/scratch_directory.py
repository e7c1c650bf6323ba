"""A private directory for rehearsals, outside the state directory, so that the owner of the state can be let in.

It lies in another one that nobody else may enter: whoever is given a descriptor of what is in it can work there, as the
owners of databases do who judge them, and nobody comes there by its path.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType
from typing import Self

from recoverd.errors import StateError
from recoverd.events.text import size
from recoverd.recovery.extraction import extract_entry
from recoverd.recovery.places import remove_tree
from recoverd.recovery.private_copies import may_enter
from recoverd.repository.objects import Reader
from recoverd.repository.trees import Entry
from recoverd.system.durable import is_leftover, temporary_name
from recoverd.system.mounts import free_bytes
from recoverd.system.walk import open_directory_at

_PREFIX = "recoverd-drill"
_INNER = "state"
_USUAL = "/var/tmp"  # noqa: S108 - on a disk, unlike /tmp; what is made there is private
_SPARE_BYTES = 64 << 20  # of the file system, left to others


class ScratchDirectory:
    """Removed at the end of the block; what killed processes have left is removed at the beginning of the next."""

    def __init__(self) -> None:
        self._base = os.path.abspath(os.environ.get("TMPDIR") or _USUAL)
        self._name = _PREFIX + temporary_name()
        self._base_fd = self._outer_fd = self._fd = -1
        self._uid = os.geteuid()

    @property
    def path(self) -> str:
        return os.path.join(self._base, self._name, _INNER)

    def __enter__(self) -> Self:
        self._base_fd = os.open(self._base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name in os.listdir(self._base_fd):
                if name.startswith(_PREFIX) and is_leftover(name[len(_PREFIX) :]):
                    with suppress(OSError):  # others leave theirs here too, and anybody may plant one
                        remove_tree(self._base_fd, name)
            os.mkdir(self._name, 0o700, dir_fd=self._base_fd)
            self._outer_fd = open_directory_at(self._base_fd, self._name)
            os.mkdir(_INNER, dir_fd=self._outer_fd)
            self._fd = open_directory_at(self._outer_fd, _INNER)
            os.fchmod(self._fd, 0o755)
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            remove_tree(self._base_fd, self._name)
        finally:
            self._close()

    def _close(self) -> None:
        for fd in (self._fd, self._outer_fd, self._base_fd):
            if fd >= 0:
                os.close(fd)

    def expect_room(self, size_bytes: int) -> None:
        """Raises StateError when so much does not fit."""
        free, _ = free_bytes(self._fd)
        if size_bytes + _SPARE_BYTES > free:
            raise StateError(
                f"{self._base} has {size(free)} free, and a drill needs {size(size_bytes)} there",
                hint="set TMPDIR to a directory with more room",
            )

    def extract(self, reader: Reader, entry: Entry, relative: str) -> None:
        """Write an entry at a path below; directories above it that are missing are made.

        Raises DamagedObject, RepositoryError, OSError.
        """
        *above, name = relative.split("/")
        fd = os.dup(self._fd)
        try:
            for one in above:
                try:
                    os.mkdir(one, 0o755, dir_fd=fd)
                except FileExistsError:
                    pass
                below = open_directory_at(fd, one)
                os.close(fd)
                fd = below
            extract_entry(reader, entry, fd, name)
        finally:
            os.close(fd)
        if os.geteuid() == 0 and entry.uid != 0 and self._uid == 0:
            self._uid = entry.uid

    def hand_over(self) -> int:
        """Let the owner of what was written in, where recoverd is root; that owner's uid. Raises StateError where that
        one can't come here."""
        if os.geteuid() == 0:
            if not may_enter(self._base, self._uid):
                raise StateError(
                    f"{self._base} can't be entered by user {self._uid}, whose state it is",
                    hint="set TMPDIR to a directory that everybody may enter, or unset it",
                )
            for fd in (self._outer_fd, self._fd):
                os.fchown(fd, self._uid, -1)
        return self._uid
