"""The documents that `in_flight` asks, read where they lie, just before their service comes back.

They may belong to anybody: they are reached from directory descriptors, never through a link, and how much is read, and
for how long, is bounded. What can't be read is a note; nothing here stops a restore.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from itertools import islice

from recoverd.config.model import Format, ItemKind, Service, StateItem
from recoverd.config.selection import Selection
from recoverd.errors import RecoverdError
from recoverd.events.text import printable
from recoverd.recovery.in_flight import Asked, Found
from recoverd.recovery.walk import MAX_DEPTH
from recoverd.state.formats import detection, reading
from recoverd.state.formats.text import Limits, Unjudgeable
from recoverd.system import clock
from recoverd.system.answering import silent
from recoverd.system.reading import read_stable
from recoverd.system.walk import open_declared_directory, open_directory_at, open_parent

MOST_DOCUMENTS = 10_000  # of one directory item
MOST_BYTES = 256 * 1024 * 1024  # of one service
WITHIN_S = 20.0
_LOG = logging.getLogger("recoverd.recovery")


def look(service: Service, *, now_ns: int, io_timeout_s: float) -> Found:
    """What the queries of a service find in its live documents. Never raises for what is wrong with these."""
    asked = Asked(service.in_flight, now_ns=now_ns)
    bounds = _Bounds()
    for name in dict.fromkeys(query.item for query in service.in_flight):
        item = service.state[name]
        try:
            if silent([item.path], within_s=io_timeout_s):
                asked.note(f"{name} does not answer, so what was in flight in it is not known")
                continue
            _ask(item, asked, bounds)
        except FileNotFoundError:
            continue  # absent: nothing was in flight
        except (RecoverdError, OSError, ValueError, RecursionError, MemoryError) as error:
            asked.note(f"what was in flight in {name} is not known: {_words(error)}")
    found = asked.found()
    _LOG.debug("%s: in flight: %s, %d notes", service.name, found.summary, len(found.notes))
    return found


class _Bounds:
    """How much may still be read of one service."""

    def __init__(self) -> None:
        self._left_bytes = MOST_BYTES
        self._until_s = clock.monotonic_s() + WITHIN_S

    def take(self, size_bytes: int) -> bool:
        """Whether a document of so many bytes may be read as well."""
        self._left_bytes -= size_bytes
        return self._left_bytes >= 0 and clock.monotonic_s() <= self._until_s


def _ask(item: StateItem, asked: Asked, bounds: _Bounds) -> None:
    """Raises FileNotFoundError where nothing is there, OSError, StateError."""
    if item.kind is ItemKind.FILE:
        directory, name = open_parent(item.path)
        try:
            _ask_one(item, directory, name, "", asked, bounds)
        finally:
            os.close(directory)
        return
    directory = open_declared_directory(item.path)
    try:
        names = _below(directory, "", Selection(item.include, item.exclude))
        for number, (fd, name, below) in enumerate(islice(names, MOST_DOCUMENTS + 1)):
            if number == MOST_DOCUMENTS:
                asked.note(f"{item.name} has more than {MOST_DOCUMENTS} documents: the others were not asked")
            elif not _ask_one(item, fd, name, below, asked, bounds):
                break
    finally:
        os.close(directory)


def _below(fd: int, above: str, selection: Selection, depth: int = 0) -> Iterator[tuple[int, str, str]]:
    """(directory, name, path below the item) of what the item covers, in the order of names."""
    for name in sorted(os.listdir(fd)):
        path = f"{above}/{name}" if above else name
        try:
            is_directory = stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode)
            if not is_directory:
                if selection.covers(path):
                    yield fd, name, path
                continue
            if depth >= MAX_DEPTH or not selection.may_descend(path):
                continue
            inside = open_directory_at(fd, name)
        except OSError:
            continue  # it vanished, or is nobody's to read: the assessment tells of that
        try:
            yield from _below(inside, path, selection, depth + 1)
        finally:
            os.close(inside)


def _ask_one(item: StateItem, directory: int, name: str, document: str, asked: Asked, bounds: _Bounds) -> bool:
    """Ask one document; False when no more may be read. What is wrong with it is noted and stops nothing.

    Raises FileNotFoundError for a file item that is absent.
    """
    where = f"{item.name}: {printable(document)}" if document else item.name
    try:
        if not bounds.take(os.stat(name, dir_fd=directory, follow_symlinks=False).st_size):
            asked.note(f"{where} and what follows was not asked: it is too much to be read before a start")
            return False
        read = read_stable(directory, name, most_bytes=Limits().size_bytes)
        if read.torn or read.stat.st_nlink > 1:
            why = "is being written" if read.torn else "has several names (hard links), so nobody knows whose it is"
            asked.note(f"{where} was not asked: it {why}")
            return True
        for value in _values(item, read.data, document or item.path):
            asked.add(item.name, document, value)
    except FileNotFoundError:
        if not document:
            raise
    except Unjudgeable as error:
        asked.note(f"{where} was not asked: it {error}")
    except (RecoverdError, OSError, ValueError, RecursionError, MemoryError) as error:
        asked.note(f"{where} was not asked: {_words(error)}")
    return True


def _values(item: StateItem, data: bytes, name: str) -> list[object]:
    """What is in a document: one value; of JSON lines the list of them. Raises ValueError for what is damaged."""
    kind = item.format
    if kind is Format.AUTO:
        kind = detection.format_of(data, name, structured=item.schema is not None)
    if kind is Format.OPAQUE:
        raise ValueError("nobody can tell its format")
    read = reading.read(data, kind, allow=item.allow)
    if read.problems:
        raise ValueError(str(read.problems[0]))
    return [list(read.values)] if kind is Format.JSON_LINES else list(read.values)


def _words(error: BaseException) -> str:
    if isinstance(error, RecoverdError):
        return error.message
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error) or type(error).__name__
