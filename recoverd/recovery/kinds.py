"""Which kind of state item is looked at how: the one place that knows them all."""

from __future__ import annotations

from recoverd.config.model import ItemKind
from recoverd.recovery.file_kinds import Files
from recoverd.recovery.looking import Kind

_FILES = Files()


def kind_of(kind: ItemKind) -> Kind:
    """What looks at state items of this kind; kinds that few services have are imported late."""
    if kind in {ItemKind.FILE, ItemKind.DIRECTORY}:
        return _FILES
    if kind is ItemKind.SQLITE:
        from recoverd.recovery.databases import Databases

        return Databases()
    if kind is ItemKind.DUMP:
        from recoverd.recovery.dumps import Dumps

        return Dumps()
    raise AssertionError(f"state items of kind {kind} are refused when the configuration is read")
