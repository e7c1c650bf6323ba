"""What of a snapshot is of an older version than the service writes today.

Told by whatever hands it out as it was saved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recoverd.errors import StateError
from recoverd.operations.context import Context
from recoverd.operations.pending_migrations import clause
from recoverd.recovery.extraction import Source
from recoverd.repository.records import Snapshot
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.state.judging import Judge

Versions = Mapping[str, str]
"""Document ("" for a file item) -> the older version that it has."""


def older_documents(context: Context, reader: Source, snapshot: Snapshot) -> dict[str, Versions]:
    """Item -> its documents that a restore to their place would migrate; only items that have any.

    Items that are not declared any more, or as another kind, are not known. Raises DamagedObject.
    """
    service = context.config.services.get(snapshot.service)
    found: dict[str, Versions] = {}
    for name, item in service.state.items() if service is not None else ():
        record = snapshot.items.get(name)
        if service is None or not item.migrate or record is None or record.good is None:
            continue
        if record.kind != item.kind.value:
            continue
        entries = reader.tree(record.good)
        try:
            judge = context.judges(service)[name]
            older = {
                path: version
                for path, entry in _files(reader, "", entries[0] if entries else None)
                if (version := _older_version(reader, judge, path, entry)) is not None
            }
        except StateError:  # its schema can't be used: a restore says so
            continue
        if older:
            found[name] = older
    return found


def sentences(context: Context, service: str, older: Mapping[str, Versions]) -> list[str]:
    """The same for people."""
    declared, found = context.config.services.get(service), []
    for name, versions in older.items():
        rule = declared.state[name].version if declared is not None else None
        current = rule.current if rule is not None else ""
        was, it = ("it was", "it") if len(versions) == 1 else ("they were", "them")
        found.append(
            f"{clause(name, versions)}, as when {was} saved: a restore in place would migrate {it} to {current}"
        )
    return found


def _files(reader: Source, path: str, entry: Entry | None) -> Iterator[tuple[str, Entry]]:
    if entry is not None and entry.type == "file":
        yield path, entry
    elif entry is not None and entry.type == "dir":
        for one in reader.tree(entry.hash or EMPTY_TREE):
            yield from _files(reader, f"{path}/{one.name}" if path else one.name, one)


def _older_version(reader: Source, judge: Judge, path: str, entry: Entry) -> str | None:
    if entry.size > judge.most_bytes:
        return None
    data = b"".join(bytes(one) for one in reader.file_chunks(entry))  # a hole is as many zero bytes as its number
    judgement = judge.judge(path, data)
    return judgement.version if judge.is_older(judgement) else None
