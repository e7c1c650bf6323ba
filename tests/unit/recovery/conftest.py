"""A real repository to restore from, and live directories to restore into."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from recoverd.recovery.staging import Replacement, Staging, stage
from recoverd.recovery.swapping import Applied, apply
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry
from recoverd.repository.writer import Writer

MTIME = 1_700_000_000_123_456_789


class Bench:
    """`entry` makes what a snapshot holds, `restore` brings it back."""

    def __init__(self, place: Path, writer: Writer) -> None:
        self.live = place / "live"
        self.live.mkdir()
        self.state_dir = str(place / "recoverd")
        self.source = writer

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

    def stage(self, *replacements: Replacement) -> Staging:
        return stage(self.source, "svc", replacements, state_dir=self.state_dir)

    def restore(self, *replacements: Replacement) -> Applied:
        return self.apply(self.stage(*replacements))

    def apply(self, staging: Staging) -> Applied:
        return apply(staging, state_dir=self.state_dir, evidence={"why": "corrupt"})

    def left(self) -> Sequence[str]:
        """What is left in staging and of intents: nothing, after anything that ended."""
        found: list[str] = []
        for name in ("staging", "intents"):
            directory = os.path.join(self.state_dir, name)
            found += os.listdir(directory) if os.path.isdir(directory) else []
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    path = str(tmp_path / "repository")
    (tmp_path / "catalog").mkdir()
    Repository.create(path)
    repository = Repository.open(path, state_dir=str(tmp_path / "catalog"))
    with repository.writer(wait_s=0, what="test") as writer:
        yield Bench(tmp_path, writer)
    repository.close()
