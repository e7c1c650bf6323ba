"""`recoverd export`: the known-good files of a snapshot as a plain tar archive.

The same snapshot always gives the same bytes. Members are named SERVICE/ITEM/NAME, as `recoverd restore --to` lays
files out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from typing import Any, BinaryIO

from blake3 import blake3

from recoverd.errors import RepositoryError, UsageError
from recoverd.operations.context import Context
from recoverd.operations.naming import find_snapshot
from recoverd.repository.objects import Reader
from recoverd.repository.records import Snapshot
from recoverd.repository.tar import Piece, TarStream
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.system.durable import fsync_directory, temporary_name
from recoverd.system.swap import move
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class ExportRequest:
    snapshot: str
    file: str | None = None  # None: to the stream that is given


@dataclass(frozen=True, slots=True)
class ExportResult:
    snapshot: str
    file: str | None
    files: int
    size_bytes: int  # of the archive
    blake3: str  # of the archive: what `b3sum` says
    without: tuple[str, ...] = ()  # items of which no version was ever good

    @property
    def exit_status(self) -> int:
        """3 when an item is missing from the archive."""
        return 3 if self.without else 0

    def to_json(self) -> dict[str, Any]:
        """`{"snapshot", "file", "files", "bytes", "blake3", "without": []}`."""
        return {
            "snapshot": self.snapshot,
            "file": self.file,
            "files": self.files,
            "bytes": self.size_bytes,
            "blake3": self.blake3,
            "without": list(self.without),
        }


def export(context: Context, request: ExportRequest, out: BinaryIO | None = None) -> ExportResult:
    """Write the archive to a new file, or to `out`. Every byte is verified before it is written.

    A file appears only when it is complete. Raises UsageError (also when the file exists), RepositoryError
    (DamagedObject among them: what was written to `out` by then has no end), OSError.
    """
    snapshot = find_snapshot(context, request.snapshot)
    if not any(item.good not in {None, EMPTY_TREE} for item in snapshot.items.values()):
        raise RepositoryError(
            f"{snapshot.id} holds no known-good state", hint=f"`recoverd list {snapshot.service}` shows what does"
        )
    with context.repository().reader() as reader:
        if request.file is None:
            assert out is not None, "an export goes to a file or to a stream"
            result = _write(reader, snapshot, out, None)
            out.flush()
            return result
        return _to_file(reader, snapshot, request.file)


def _to_file(reader: Reader, snapshot: Snapshot, path: str) -> ExportResult:
    path = os.path.abspath(path)
    if os.path.lexists(path):
        raise UsageError(f"{path} exists already", hint="`recoverd export` overwrites nothing: name another file")
    directory, name = os.path.split(path)
    dir_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    temporary = temporary_name()
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temporary, flags, 0o600, dir_fd=dir_fd), "wb", buffering=1 << 20) as out:
            try:
                result = _write(reader, snapshot, out, path)
                out.flush()
                os.fsync(out.fileno())
                move(dir_fd, temporary, dir_fd, name)
            except BaseException:
                os.unlink(temporary, dir_fd=dir_fd)
                raise
        fsync_directory(dir_fd)
    except FileExistsError:
        raise UsageError(f"{path} exists already", hint="somebody made it meanwhile; name another file") from None
    finally:
        os.close(dir_fd)
    return result


def _write(reader: Reader, snapshot: Snapshot, out: BinaryIO, path: str | None) -> ExportResult:
    hasher = blake3()

    def write(data: bytes) -> None:
        hasher.update(data)
        out.write(data)

    stream, files, without = TarStream(write), 0, []
    for name, item in snapshot.items.items():
        if item.good is None:
            without.append(name)
            continue
        entry = reader.item_entry(item.good)
        for below, one in _entries(reader, entry.name, entry) if entry is not None else ():
            member = f"{snapshot.service}/{name}/{below}"
            if one.type == "file":
                files += 1
                stream.add(one, member, reader.file_chunks(one), group=name, data=_data(reader, one))
            else:
                stream.add(one, member)
    stream.finish()
    return ExportResult(snapshot.id, path, files, stream.size_bytes, hasher.hexdigest(), tuple(without))


def _entries(reader: Reader, path: str, entry: Entry) -> Iterator[tuple[str, Entry]]:
    """An entry and all below it, directories before what they hold, sorted by the bytes of names."""
    yield path, entry
    if entry.type == "dir":
        for one in reader.tree(entry.hash or EMPTY_TREE):
            yield from _entries(reader, f"{path}/{one.name}", one)


def _data(reader: Reader, entry: Entry) -> list[Piece] | None:
    """Where the bytes of a sparse file are; None for one without holes."""
    if not entry.sparse or entry.blocks is None:
        return None
    pieces = list(reader.blocks(entry))
    if all(content is not None for content, _ in pieces):
        return None
    joined: list[Piece] = []
    ends = accumulate(length for _, length in pieces)
    for (content, length), end in zip(pieces, ends, strict=True):
        if content is None:
            continue
        if joined and sum(joined[-1]) == end - length:
            joined[-1] = joined[-1][0], joined[-1][1] + length
        else:
            joined.append((end - length, length))
    aligned = all(start % 512 == 0 and (start + length) % 512 in {0, entry.size % 512} for start, length in joined)
    return joined if aligned else None  # blocks of an odd size: no reader of archives would find the right places
