"""Bringing documents of older versions to the current one where they are staged, before anything is swapped.

The staged file keeps its inode, owner, mode and attributes; only its content is another one. Nothing here touches
live state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from recoverd.config.migration_model import MigrationStep
from recoverd.config.model import Service, StateItem
from recoverd.errors import StateError
from recoverd.recovery.command_output import output_of
from recoverd.recovery.plan import Target
from recoverd.recovery.staging import Staging
from recoverd.state.json_patch import Operation, changes
from recoverd.state.judging import Judge
from recoverd.state.migrating import Run, migrate_document, migrations_of, value_of
from recoverd.state.signs import shrunk
from recoverd.state.verdicts import Judgement, Verdict
from recoverd.system.clock import monotonic_s
from recoverd.system.durable import syncfs, write_all
from recoverd.system.reading import open_regular, read_stable
from recoverd.system.walk import open_declared_directory, open_directory_at, open_parent
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Migrated:
    """One document that was brought from one version to another."""

    item: str
    document: str  # "" for a file item
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a migration makes of one document: `data` is good, and of the current version."""

    before: str
    after: str
    data: bytes


class Commands:
    """Runs the commands of steps. One that did not end in time is not run again: the next document would wait too."""

    def __init__(self) -> None:
        self._hung: dict[tuple[str, ...], StateError] = {}

    def run_as(self, uid: int) -> Run:
        """What runs them as the user `uid`."""

        def run(step: MigrationStep, document: bytes) -> bytes:
            key = (step.source, step.target, *step.command)
            if key in self._hung:
                raise self._hung[key]
            began_s = monotonic_s()
            try:
                return output_of(step.command, timeout_s=step.timeout_s, uid=uid, given=document)
            except StateError as error:
                if monotonic_s() - began_s >= step.timeout_s:
                    self._hung[key] = error
                raise

        return run


def change_of(
    item: StateItem, judge: Judge, document: str, data: bytes, *, uid: int, commands: Commands
) -> Change | None:
    """What becomes of a document; None for one that needs no migration, or is not good by itself.

    `uid`: whose file it is, as whom commands run. Raises StateError with what failed.
    """
    migrations = migrations_of(item)
    found = judge.judge(document, data)
    if migrations is None or not judge.is_older(found):
        return None
    made = migrate_document(data, item, migrations.of(found.version), commands.run_as(uid))
    judgement = judge.named(document, judge.judge(document, made))
    sentence = _why_not_good(judgement)
    if sentence is None and item.guards is not None:
        sentence = shrunk(item.guards, len(data), len(made))
    if sentence is None and judge.is_older(judgement):
        sentence = f"has version {judgement.version} still"
    if sentence is not None:
        raise StateError(f"what it gives is not valid: {sentence}")
    return Change(found.version or "", migrations.rule.current, made)


def _why_not_good(judgement: Judgement) -> str | None:
    if judgement.verdict is Verdict.OK:
        return None
    return str(judgement.problems[0]) if judgement.problems else f"it is {judgement.verdict}"


def migrate_staged(
    staged: Staging, service: Service, judges: Mapping[str, Judge]
) -> tuple[list[Migrated], dict[Target, str]]:
    """Migrate every staged document of an older version; durable on return.

    Returns what was migrated, and for each replacement that holds a document which could not be, a sentence: then it
    is not to be swapped in. Raises StateError when a staged file can't be written.
    """
    done, commands = list[Migrated](), Commands()
    failed: dict[Target, str] = {}
    declaring = {name for name, item in service.state.items() if migrations_of(item) is not None}
    if not declaring:
        return done, failed
    for replacement, document, fd in staged.files(lambda one: one.item in declaring):
        item = service.state[replacement.item]
        status = os.fstat(fd)
        if status.st_size > judges[item.name].most_bytes:
            continue
        try:
            change = change_of(item, judges[item.name], document, _content(fd), uid=status.st_uid, commands=commands)
            if change is not None:
                _rewrite(fd, change.data, status.st_mode & 0o7777)
                done.append(Migrated(item.name, document, change.before, change.after))
        except StateError as error:
            failed.setdefault((item.name, replacement.relative), f"can't be migrated: {error.message}")
        except OSError as error:
            where = f"{item.name}/{document}" if document else item.name
            raise StateError(f"{service.name}: {where} can't be migrated: {error.strerror or error}") from error
    for item_name in {one.item for one in done}:
        staged.written.pop(item_name, None)  # what was written before is not what lies there now
    if done:
        for place in staged.places:
            syncfs(place.fd)
    return done, failed


def _content(fd: int) -> bytes:
    pieces, at = [], 0
    while piece := os.pread(fd, 1 << 20, at):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def _rewrite(fd: int, data: bytes, mode: int) -> None:
    """Another content for the open file, in a directory that nobody else can enter. Raises OSError."""
    if not mode & 0o200:
        os.fchmod(fd, mode | 0o200)
    try:
        writable = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            write_all(writable, data)
        finally:
            os.close(writable)
    finally:
        with suppress(OSError):
            os.fchmod(fd, mode)  # a write takes set-user-ID away


def preview(
    item: StateItem, judge: Judge, document: str, commands: Commands
) -> tuple[Change, list[tuple[Operation, Any]]] | None:
    """What becomes of a live document, and the JSON Patch from what it says to that, each operation with the value that
    it takes away. Raises StateError, OSError."""
    directory, name = _directory(item, document)
    try:
        found = read_stable(directory, name, most_bytes=judge.most_bytes)
    finally:
        os.close(directory)
    change = change_of(item, judge, document, found.data, uid=found.stat.st_uid, commands=commands)
    if change is None:
        return None
    before, after = (value_of(data, item) for data in (found.data, change.data))
    return change, changes(before, after)


def migrate_scratch(service: Service, judges: Mapping[str, Judge], older: Iterable[Target]) -> None:
    """Migrate documents of a service whose state lies in a directory of our own. Raises StateError, OSError."""
    commands = Commands()
    for name, document in older:
        item = service.state[name]
        directory, last = _directory(item, document)
        try:
            fd = open_regular(directory, last)
        finally:
            os.close(directory)
        try:
            status = os.fstat(fd)
            change = change_of(item, judges[name], document, _content(fd), uid=status.st_uid, commands=commands)
            if change is not None:
                _rewrite(fd, change.data, status.st_mode & 0o7777)
        finally:
            os.close(fd)


def _directory(item: StateItem, document: str) -> tuple[int, str]:
    """The open directory that holds a document, and its name there. Raises OSError."""
    if not document:
        return open_parent(item.path)
    here = open_declared_directory(item.path)
    *above, name = document.split("/")
    for part in above:
        below = open_directory_at(here, part)
        os.close(here)
        here = below
    return here, name
