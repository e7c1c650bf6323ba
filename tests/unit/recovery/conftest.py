"""Entries to restore, and live directories to restore into."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from recoverd.errors import DamagedObject
from recoverd.recovery.board import Board
from recoverd.recovery.replacement import Replacement
from recoverd.recovery.staging import Staging, stage
from recoverd.recovery.swapping import Applied, apply
from recoverd.repository.trees import Entry

MTIME = 1_700_000_000_123_456_789


class Memory:
    """A source that survives a fork; the crash tests restore out of a real repository."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.trees: dict[str, tuple[Entry, ...]] = {}
        self.lists: dict[str, tuple[Sequence[str | None], int]] = {}

    def put(self, data: bytes) -> str:
        content = blake3(data).hexdigest()
        self.objects[content] = data
        return content

    def put_tree(self, entries: Sequence[Entry]) -> str:
        tree = blake3(repr(entries).encode()).hexdigest()
        self.trees[tree] = tuple(entries)
        return tree

    def put_blocks(self, hashes: Sequence[str | None], block_size: int, size: int) -> str:
        blocks = blake3(repr((hashes, size)).encode()).hexdigest()
        self.lists[blocks] = (hashes, block_size)
        return blocks

    def tree(self, tree_hash: str) -> tuple[Entry, ...]:
        return self.trees[tree_hash]

    def contents(self, entries: Sequence[Entry]) -> list[bytes]:
        return [b"".join(map(bytes, self.file_chunks(entry))) for entry in entries]

    def file_chunks(self, entry: Entry) -> Iterator[bytes | int]:
        if entry.blocks is None:
            if entry.hash not in self.objects:
                raise DamagedObject(entry.hash or "", "gone")
            yield self.objects[entry.hash]
            return
        hashes, block_size = self.lists[entry.blocks]
        left = entry.size
        for content in hashes:
            yield min(block_size, left) if content is None else self.objects[content]
            left -= block_size


class Bench:
    """`entry` makes what a snapshot holds, `restore` brings it back."""

    def __init__(self, place: Path) -> None:
        self.live = place / "live"
        self.live.mkdir()
        self.state_dir = str(place / "recoverd")
        self.source = Memory()

    def entry(self, name: str, value: bytes | dict[str, Any] | Entry, **facts: Any) -> Entry:
        """A file of these bytes, or a directory of these entries."""
        if isinstance(value, Entry):
            return value
        common: dict[str, Any] = {"uid": os.geteuid(), "gid": os.getegid(), "user": "", "group": "", "mtime_ns": MTIME}
        common |= facts
        own: dict[str, Any]
        if isinstance(value, bytes):
            own = {"type": "file", "mode": 0o640, "size": len(value), "hash": self.source.put(value)}
        else:
            tree = self.source.put_tree([self.entry(child, below) for child, below in value.items()])
            own = {"type": "dir", "mode": 0o750, "size": 0, "hash": tree}
        return Entry(name, **(own | common))

    def of(self, name: str, value: bytes | dict[str, Any] | None, relative: str = "", **more: Any) -> Replacement:
        """A replacement at live/NAME[/RELATIVE]."""
        entry = None if value is None else self.entry((relative or name).rpartition("/")[2], value)
        return Replacement(name, str(self.live / name), relative, entry, **more)

    def stage(self, *replacements: Replacement, **more: Any) -> Staging:
        return stage(self.source, "svc", replacements, state_dir=self.state_dir, **more)

    def restore(self, *replacements: Replacement) -> Applied:
        return self.apply(self.stage(*replacements))

    def apply(self, staging: Staging) -> Applied:
        return apply(staging, state_dir=self.state_dir, evidence={"why": "corrupt"})

    def interrupt(self, *replacements: Replacement, after: str = "forward", times: int = 1) -> None:
        """A restore whose process died after so many calls of a method of Board."""
        pid = os.fork()
        if pid == 0:
            real: Callable[..., Any] = getattr(Board, after)
            left = [times]

            def dying(*args: Any) -> Any:
                if left[0] == 0:
                    os._exit(9)
                left[0] -= 1
                return real(*args)

            setattr(Board, after, dying)
            try:
                self.restore(*replacements)
            finally:
                os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9

    def live_state(self, path: Path | None = None) -> dict[str, bytes | None]:
        """What lies below live/ or another directory, without what restores leave beside it; None for directories."""
        return {
            str(one.relative_to(path or self.live)): None if one.is_dir() else one.read_bytes()
            for one in sorted((path or self.live).rglob("*"))
            if ".recoverd-" not in str(one)
        }

    def left(self) -> Sequence[str]:
        """What is left in staging and of intents: nothing, after anything that ended."""
        found: list[str] = []
        for name in ("staging", "intents"):
            directory = os.path.join(self.state_dir, name)
            found += os.listdir(directory) if os.path.isdir(directory) else []
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)
