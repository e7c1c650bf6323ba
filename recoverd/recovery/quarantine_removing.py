"""Removing a quarantine for good, and counting what one takes: by descriptors, never through a link.

First it gets a name under which no undo finds it: an undo of half a quarantine would take away what is live. Its
evidence, which names the places beside targets, goes last; what is interrupted is finished by the next removal.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from typing import Any

from recoverd.recovery.evidence import EVIDENCE, GOING_PREFIX, Quarantined, read_evidence
from recoverd.recovery.places import Place, remove_place, reopen
from recoverd.system.walk import lstat_at, open_directory_at

_DEEPEST = 300  # one descriptor is held per level


def size_of(found: Quarantined) -> int:
    """Bytes of all that it keeps, in all of its places. Raises OSError."""
    total = 0
    for place in _places(found.path, found.evidence):
        try:
            total += _size_below(place.fd)
        finally:
            place.close()
    return total


def remove(found: Quarantined) -> None:
    """Delete it. The caller holds the service's lock, and the service has no open intent. Raises OSError."""
    directory, name = os.path.split(found.path)
    going = os.path.join(directory, GOING_PREFIX + name)
    os.rename(found.path, going)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
    _remove(going, found.evidence)


def finish_removals(state_dir: str, service: str) -> None:
    """Go on with what an interrupted `remove` left; the same conditions. Raises OSError."""
    directory = os.path.join(state_dir, "quarantine", service)
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        if name.startswith(GOING_PREFIX):
            path = os.path.join(directory, name)
            _remove(path, read_evidence(path) or {})


def _remove(path: str, evidence: Mapping[str, Any]) -> None:
    for place in reversed(_places(path, evidence)):
        try:
            remove_place(place, last=EVIDENCE)
        finally:
            place.close()


def _places(path: str, evidence: Mapping[str, Any]) -> list[Place]:
    """The quarantine's own directory first, then those beside targets that still are what the evidence says."""
    records = evidence.get("places")
    beside = records[1:] if isinstance(records, list) else []
    found = [reopen(path, None)]
    found += [reopen(str(one["path"]), int(one["inode"])) for one in beside]
    return [place for place in found if place is not None]


def _size_below(fd: int, depth: int = 0) -> int:
    total = 0
    if depth > _DEEPEST:
        return total  # who nests directories without end makes them count for nothing
    for name in os.listdir(fd):
        try:
            status = lstat_at(fd, name)
            if not stat.S_ISDIR(status.st_mode):
                total += status.st_size
                continue
            below = open_directory_at(fd, name)
        except FileNotFoundError:
            continue
        try:
            total += _size_below(below, depth + 1)
        finally:
            os.close(below)
    return total
