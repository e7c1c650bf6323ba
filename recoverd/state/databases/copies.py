"""What a copy of a database is, once it is made."""

from __future__ import annotations

import os
import sqlite3

from recoverd.state.databases.files import Changed, fill, opened, writable
from recoverd.state.databases.header import HEADER_BYTES, Header, How, what_it_is
from recoverd.values import dataclass

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Copied:
    """What the copy holds: `damage` is a sentence when it is no whole database but mere bytes."""

    how: How
    damage: str | None = None


def settled(how: How, target: str) -> Copied:
    """The copy, with what only counts changes set to what it is in every copy: the same content is the same bytes."""
    with writable(target) as out:
        head, size = os.pread(out, HEADER_BYTES, 0), os.fstat(out).st_size
        header = Header.parse(head)
        damage = what_it_is(head, size, blank=False) if header is None else header.truncated(size)
        if header is not None and damage is None:
            pages = header.pages or size // header.page_size
            os.ftruncate(out, pages * header.page_size)
            os.pwrite(out, header.settled(head, pages, sqlite3.sqlite_version_info), 0)
    return Copied(how, damage)


def code_of(error: sqlite3.Error) -> int:
    """SQLite's primary result code."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def raw(name: str, target: str, damage: str | None = None) -> Copied:
    """Its bytes, as evidence. `damage`: what is wrong with it, where that is known. Raises Changed where nothing is."""
    with opened(name) as source:
        fill(source, target)
        damage = damage or judged_bytes(source).damage
    if damage is None:
        raise Changed
    return Copied(How.RAW, damage)


def judged_bytes(source: int) -> Copied:
    head, size = os.pread(source, HEADER_BYTES, 0), os.fstat(source).st_size
    header = Header.parse(head)
    if header is None:
        return Copied(How.RAW, what_it_is(head, size, blank=_is_blank(source)))
    return Copied(How.RAW, header.truncated(size))


def _is_blank(source: int) -> bool:
    at = 0
    while piece := os.pread(source, _PIECE, at):
        if piece.count(0) != len(piece):
            return False
        at += len(piece)
    return True
