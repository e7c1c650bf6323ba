"""What is remembered of a watched service that was given up, and whether anything has changed since."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Any

from recoverd.config.model import ItemKind, Service, StateItem
from recoverd.config.selection import Selection
from recoverd.errors import StateError
from recoverd.repository.records import ServiceRecord
from recoverd.repository.store import Repository
from recoverd.system import clock
from recoverd.system.walk import open_declared_directory, open_directory_at, open_parent
from recoverd.values import replace

_MOST_NAMES = 10_000  # of one service: what lies beyond tells no change
_MOST_DEPTH = 50


def give_up(repository: Repository, service: Service, why: str, *, running: bool) -> None:
    """Remember durably that nobody brings the service back any more. Raises RepositoryError, OSError.

    One that is `running`, though not healthy, goes on writing: of it a change of its state tells nothing.
    """
    mark = None if running else state_mark(service)

    def change(record: ServiceRecord) -> ServiceRecord:
        noted = {"why": why, "time_ns": str(clock.now_ns()), "starts": _starts(record), "state": mark}
        return replace(record, given_up=noted)

    repository.update_record(service.name, change)


def forget(repository: Repository, service: str) -> None:
    """It is looked after again. Raises RepositoryError, OSError."""
    if repository.record(service).given_up:
        repository.update_record(service, lambda record: replace(record, given_up={}))


def why_given_up(record: ServiceRecord) -> str | None:
    """Why nobody brings the service back; None where somebody does, or has started it since."""
    noted = record.given_up
    return str(noted.get("why")) if noted and noted.get("starts") == _starts(record) else None


def is_anew(record: ServiceRecord, service: Service) -> bool:
    """Whether somebody has started the service since it was given up, or its state has changed."""
    mark = record.given_up.get("state")
    return why_given_up(record) is None or (mark is not None and mark != state_mark(service))


def _starts(record: ServiceRecord) -> Any:
    return record.process.get("starts", 0)


def state_mark(service: Service) -> str:
    """A hash of names, sizes and times of the state, without its content; equal marks mean: nobody wrote.

    Where there is no state, as with a process that a document lists, it is a hash of what is started and where.
    """
    import hashlib  # `check` does without it

    marks = [f"{name}\0{_mark(item)}" for name, item in sorted(service.state.items())]
    if not marks and service.run is not None:
        marks = [*service.run.command, f"in {service.run.cwd}"]
    return hashlib.sha256("\0".join(marks).encode("utf-8", "surrogateescape")).hexdigest()


def _mark(item: StateItem) -> str:
    lines: list[str] = []
    try:
        if item.kind is ItemKind.DIRECTORY:
            _list(open_declared_directory(item.path), "", Selection(item.include, item.exclude), lines, 0)
        elif item.path:
            directory, name = open_parent(item.path)
            try:
                lines.append(_line(name, os.stat(name, dir_fd=directory, follow_symlinks=False)))
                for beside in (name + ending for ending in item.companions if ending != "-shm"):
                    with suppress(FileNotFoundError):
                        lines.append(_line(beside, os.stat(beside, dir_fd=directory, follow_symlinks=False)))
            finally:
                os.close(directory)
    except (OSError, StateError) as error:
        lines.append(f"{type(error).__name__} {error}")
    return "\0".join(sorted(lines))


def _list(fd: int, below: str, selection: Selection, lines: list[str], depth: int) -> None:
    """Add a line for each name below a directory, which is closed; links are not followed."""
    try:
        with os.scandir(fd) as entries:
            names = sorted(entry.name for entry in entries)
        for name in names:
            if len(lines) >= _MOST_NAMES:
                return
            path = f"{below}{name}"
            found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                if depth < _MOST_DEPTH:
                    _list(open_directory_at(fd, name), f"{path}/", selection, lines, depth + 1)
            elif selection.covers(path):
                lines.append(_line(path, found))
    finally:
        os.close(fd)


def _line(path: str, found: os.stat_result) -> str:
    return f"{path}\n{found.st_ino} {found.st_size} {found.st_mtime_ns}"
