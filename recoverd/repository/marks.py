"""Marks: the few mutable facts of a snapshot, in a small file each, replaced atomically.

Damaged marks count as "pinned": what can't be read must not let a snapshot be deleted.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from recoverd.errors import RepositoryError
from recoverd.repository.fields import as_text, canonical, check_version, parse
from recoverd.repository.layout import remove_leftovers
from recoverd.repository.records import Marks
from recoverd.repository.snapshots import record_name, sequence_of
from recoverd.system import durable, locks

MARKS_VERSION = 1
_NONE = Marks()
_log = logging.getLogger("recoverd.repository")


def encode_marks(marks: Marks) -> bytes:
    """Only what differs from the defaults is written."""
    document: dict[str, Any] = {"marks": MARKS_VERSION}
    if marks.pinned:
        document["pinned"] = True
    if marks.proven_ns is not None:
        document["proven_ns"] = str(marks.proven_ns)
    if marks.drilled_ns is not None:
        document["drilled_ns"] = str(marks.drilled_ns)
    if marks.unhealthy:
        document["unhealthy"] = True
    if marks.rejected:
        document["rejected"] = dict(marks.rejected)
    if marks.tries_left is not None:
        document["tries_left"] = marks.tries_left
    if marks.migrated:
        document["migrated"] = list(marks.migrated)
    return canonical(document).encode("ascii") + b"\n"


def decode_marks(data: bytes) -> Marks:
    """Raises ValueError when the bytes are no marks, RepositoryError when they are of a newer version."""
    fields = parse(data)
    check_version(fields, "marks", MARKS_VERSION, "the marks of a snapshot")
    marks = Marks(
        pinned=fields.flag("pinned", False),
        proven_ns=fields.long_or_none("proven_ns"),
        drilled_ns=fields.long_or_none("drilled_ns"),
        unhealthy=fields.flag("unhealthy", False),
        rejected=fields.texts("rejected", {}),
        tries_left=fields.whole_or_none("tries_left"),
        migrated=fields.list_of("migrated", as_text, []),
    )
    fields.nothing_else()
    return marks


class MarksDirectory:
    """The marks of one service. `path` need not exist while no snapshot has any."""

    def __init__(self, path: str) -> None:
        self._path = path

    def get(self, sequence: int) -> Marks:
        """The marks of one snapshot; `pinned` when they can't be read."""
        path = f"{self._path}/{record_name(sequence)}"
        try:
            with durable.open_own(path) as file:
                return decode_marks(file.read())
        except FileNotFoundError:
            return _NONE
        except (OSError, ValueError, RepositoryError) as error:
            _log.warning("the marks %s can't be read, so the snapshot counts as pinned: %s", path, error)
            return Marks(pinned=True)

    def highest(self) -> int:
        """The highest sequence that has marks, also one that has no snapshot any more; 0 where there is none."""
        try:
            return max((sequence_of(name) or 0 for name in os.listdir(self._path)), default=0)
        except OSError:
            return 0

    def all(self) -> dict[int, Marks]:
        """The marks of every snapshot that has any, by sequence. Raises OSError when the directory can't be read."""
        try:
            names = os.listdir(self._path)
        except FileNotFoundError:
            return {}
        return {sequence: self.get(sequence) for name in sorted(names) if (sequence := sequence_of(name)) is not None}

    def change(self, sequence: int, change: Callable[[Marks], Marks], *, always: bool = False) -> Marks:
        """Replace the marks of one snapshot durably; concurrent changes wait for each other. Raises OSError.

        With `always` there is a file also for marks that say nothing: it stands before that of another place.
        """
        durable.make_directories(self._path)
        with locks.acquire(f"{self._path}/.lock", wait_s=30.0, what="the marks of a snapshot"):
            remove_leftovers(self._path)
            before = self.get(sequence)
            after = change(before)
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                if after != _NONE or always:
                    durable.write_file(directory, record_name(sequence), encode_marks(after))
                elif before != _NONE:
                    os.unlink(record_name(sequence), dir_fd=directory)
                    durable.fsync_directory(directory)
                else:
                    durable.settle_directory(self._path)
            finally:
                os.close(directory)
        return after

    def forget(self, sequences: list[int]) -> None:
        """Delete the marks of snapshots that are gone. Raises OSError."""
        try:
            directory = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            for sequence in sequences:
                try:
                    os.unlink(record_name(sequence), dir_fd=directory)
                except FileNotFoundError:
                    pass  # most snapshots have no marks
        finally:
            os.close(directory)
