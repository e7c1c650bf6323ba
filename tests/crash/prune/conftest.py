"""A repository that lives through captures, prunes, deaths and losses of its catalog."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from recoverd.repository.packs import SUFFIX, read_index
from recoverd.repository.records import ItemRecord, Snapshot, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.trees import EMPTY_TREE, Entry
from recoverd.repository.writer import Writer

TIME_NS = 1_700_000_000_000_000_000


class Bench:
    """A state directory with a repository in it."""

    def __init__(self, base: Path) -> None:
        self.state_dir = base / "state"
        self.path = self.state_dir / "repository"
        Repository.create(str(self.path))
        self.repository = self.open()

    def open(self) -> Repository:
        return Repository.open(str(self.path), state_dir=str(self.state_dir))

    def reopen(self) -> Repository:
        self.repository.close()
        self.repository = self.open()
        return self.repository

    def put(self, writer: Writer, files: Mapping[str, bytes]) -> Entry:
        """Store files; returns the entry of the directory that holds them."""
        tree = writer.put_tree([self.file(name, writer.put(data), len(data)) for name, data in files.items()])
        return self.directory("state", tree)

    def file(self, name: str, content: str, size: int) -> Entry:
        return Entry(name, "file", 0o600, 0, 0, "root", "root", size, TIME_NS, content)

    def directory(self, name: str, tree: str) -> Entry:
        return Entry(name, "dir", 0o700, 0, 0, "root", "root", 0, TIME_NS, tree)

    def commit(self, writer: Writer, root: str, good: str | None = None, time_ns: int = TIME_NS) -> Snapshot:
        item = ItemRecord("directory", "/srv/state", root, good or root, 1, 1, "ok")
        draft = SnapshotDraft("svc", time_ns, "boot", "host", SnapshotVerdict.OK, {"main": item})
        (snapshot,) = writer.commit([draft])
        return snapshot

    def files(self, root: str) -> dict[str, bytes]:
        """All files below a tree, read back and checked, by path."""
        found: dict[str, bytes] = {}
        with self.repository.reader() as reader:
            waiting = [("", root)]
            while waiting:
                above, tree = waiting.pop()
                for entry in reader.tree(tree):
                    if entry.type == "dir":
                        waiting.append((f"{above}{entry.name}/", entry.hash or ""))
                    else:
                        chunks = reader.file_chunks(entry)
                        found[above + entry.name] = b"".join(
                            bytes(chunk) if isinstance(chunk, int) else chunk for chunk in chunks
                        )
        return found

    def packs(self) -> list[Path]:
        return sorted(self.path.glob("packs/??/*.tar.zst"))

    def objects(self) -> dict[str, list[str]]:
        """Which packs hold each object, by their own indexes."""
        found: dict[str, list[str]] = {}
        for path in self.packs():
            with path.open("rb") as file:
                name = path.name.removesuffix(SUFFIX)
                for key in read_index(file.fileno(), name):
                    found.setdefault(key, []).append(name)
        return found

    def reachable(self) -> set[str]:
        """Every object that a snapshot needs: computed from nothing, by another walk than that of prune."""
        found: set[str] = set()
        waiting = [
            root
            for snapshot in self.repository.snapshots("svc")
            for item in snapshot.items.values()
            for root in (item.root, item.good or item.root)
        ]
        with self.repository.reader() as reader:
            while waiting:
                tree = waiting.pop()
                if tree in found or tree == EMPTY_TREE:
                    continue
                found.add(tree)
                for entry in reader.tree(tree):
                    if entry.type == "dir":
                        waiting.append(entry.hash or "")
                    elif entry.blocks is not None:
                        lists = [entry.blocks]
                        while lists:
                            listed = reader.block_list(lists.pop())
                            lists += listed.hashes if listed.of_parts else ()
                            found |= {entry.blocks, *listed.hashes}
                    elif entry.hash is not None:
                        found.add(entry.hash)
        return found

    def dies(self, at: int, work: Callable[[], object]) -> None:
        """Do `work` in a child that is killed before its call number `at` that changes the disk, if it gets there."""
        self.repository.close()
        pid = os.fork()
        if pid == 0:
            try:
                count = iter(range(at))
                for name in ("write", "fsync", "rename", "unlink", "mkdir"):
                    setattr(os, name, _deadly(getattr(os, name), count))
                work()
                os._exit(0)
            except BaseException as error:  # the parent must hear of it, pytest must not
                print(f"child failed: {error!r}", file=sys.__stderr__, flush=True)
                os._exit(70)
        _, status = os.waitpid(pid, 0)
        assert status in {0, signal.SIGKILL}, status


def _deadly(real: Callable[..., Any], count: Iterator[int]) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if next(count, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    return call


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[[], Bench]]:
    """Makes benches, one beside the other."""
    made: list[Bench] = []

    def another() -> Bench:
        made.append(Bench(tmp_path / f"{len(made)}"))
        return made[-1]

    yield another
    for bench in made:
        bench.repository.close()
