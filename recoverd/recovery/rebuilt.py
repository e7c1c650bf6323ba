"""Rebuilding a document: the documents of other state items are read, and a pure rule or a command makes a new one.

What is read are known-good versions: of each document that is ok what lies there now, of a damaged one the version
that a snapshot holds; where there is none, the rest has to do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from blake3 import blake3

from recoverd.config.model import Format, ItemKind, Service, StateItem
from recoverd.errors import StateError
from recoverd.recovery.command_output import output_of
from recoverd.recovery.extraction import Source
from recoverd.recovery.item_survey import ServiceSurvey
from recoverd.recovery.stores import Trees
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.state.formats import detection, reading
from recoverd.state.formats.encoding import Encoding, encode
from recoverd.state.judging import Judge
from recoverd.state.rebuilding import rebuild
from recoverd.system.reading import open_regular
from recoverd.system.walk import open_declared_directory, open_directory_at, open_parent

_COMMAND_TIMEOUT_S = 60.0


class Rebuilder:
    """Rebuilds documents of one service, out of what one look at its live state has found."""

    def __init__(
        self, service: Service, survey: ServiceSurvey, trees: Trees, source: Source, judges: Mapping[str, Judge]
    ) -> None:
        self._service = service
        self._survey = survey
        self._trees = trees
        self._source = source
        self._judges = judges

    def rebuild(self, item: StateItem, encoding: Encoding, uid: int, *, now_ns: int) -> bytes:
        """The bytes of the rebuilt document of a file item; `uid` is whose file it will be.

        Raises StateError, ValueError, OSError, DamagedObject; a document that its schema refuses is for the caller.
        """
        rule = item.rebuild
        if rule is None:
            raise StateError(f"no rebuild is declared for {item.name}")
        if rule.command:
            return output_of(rule.command, timeout_s=_COMMAND_TIMEOUT_S, uid=uid)
        documents = {name: self._values(self._service.state[name]) for name in rule.items}
        if documents and not any(documents.values()):
            raise StateError(f"there is no document in {' or '.join(documents)} to rebuild it from")
        return encode(rebuild(rule, documents, now_ns=now_ns), encoding)

    def _values(self, item: StateItem) -> list[Any]:
        """The parsed known-good documents of an item, in the order of their names."""
        found: list[Any] = []
        for path, entry in self._files(self._survey.items[item.name].good or EMPTY_TREE, item):
            data = self._content(item, path, entry)
            kind = item.format
            if kind is Format.AUTO:
                kind = detection.format_of(data, path or item.path, structured=item.schema is not None)
            if kind is Format.OPAQUE:
                continue
            read = reading.read(data, kind, allow=item.allow)
            if not read.problems:
                found += read.values
        return found

    def _files(self, root: str, item: StateItem) -> Iterator[tuple[str, Entry]]:
        for entry in self._trees.tree(root):
            if item.kind is ItemKind.FILE:
                yield "", entry
            elif entry.hash is not None:
                yield from self._below(entry.hash, "")

    def _below(self, tree: str, above: str) -> Iterator[tuple[str, Entry]]:
        for entry in self._trees.tree(tree):
            path = f"{above}/{entry.name}" if above else entry.name
            if entry.type == "dir" and entry.hash is not None:
                yield from self._below(entry.hash, path)
            elif entry.type == "file":
                yield path, entry

    def _content(self, item: StateItem, path: str, entry: Entry) -> bytes:
        """What lies there, if it is the known-good version, else that version. Raises DamagedObject."""
        try:
            data = _live(item, path, entry.size)
        except OSError:
            data = b""
        if entry.hash is not None and blake3(data).hexdigest() == entry.hash:
            return data
        pieces = self._source.file_chunks(entry)
        return b"".join(piece if isinstance(piece, bytes) else b"\0" * piece for piece in pieces)


def _live(item: StateItem, path: str, size: int) -> bytes:
    """The first bytes of a live document, as many as its known-good version has. Raises OSError."""
    if path:
        directory = open_declared_directory(item.path)
        *above, name = path.split("/")
        for part in above:
            below = open_directory_at(directory, part)
            os.close(directory)
            directory = below
    else:
        directory, name = open_parent(item.path)
    try:
        fd = open_regular(directory, name)
    finally:
        os.close(directory)
    with open(fd, "rb") as file:
        return file.read(size + 1)
