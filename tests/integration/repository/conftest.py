"""A repository to work on, with helpers to capture and to read back what was captured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from recoverd.repository.records import ItemRecord, Snapshot, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.trees import Entry
from recoverd.repository.writer import Writer


def _file(name: str, content: str, size: int) -> Entry:
    return Entry(name, "file", 0o600, 0, 0, "root", "root", size, 1_700_000_000_000_000_000, content)


class Bench:
    """A state directory with a repository in it. `open` acts as another process would."""

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

    def draft(
        self, root: str, *, service: str = "svc", good: str | None = None, imported: bool = False
    ) -> SnapshotDraft:
        item = ItemRecord("directory", "/srv/state", root, good or root, 1, 1, "ok")
        return SnapshotDraft(
            service, 1_700_000_000_000_000_000, "boot", "host", SnapshotVerdict.OK, {"main": item}, imported=imported
        )

    def put(self, writer: Writer, files: Mapping[str, bytes]) -> str:
        """Store a directory item with these files; returns its root."""
        tree = writer.put_tree([_file(name, writer.put(data), len(data)) for name, data in files.items()])
        entry = Entry("state", "dir", 0o700, 0, 0, "root", "root", 0, 1_700_000_000_000_000_000, tree)
        return writer.put_tree([entry])

    def capture(self, files: Mapping[str, bytes], *, service: str = "svc", imported: bool = False) -> Snapshot:
        with self.repository.writer(wait_s=0, what="a test") as writer:
            (snapshot,) = writer.commit([self.draft(self.put(writer, files), service=service, imported=imported)])
        return snapshot

    def files(self, snapshot: Snapshot) -> dict[str, bytes]:
        """All files of a snapshot, read back and checked."""
        with self.repository.reader() as reader:
            found: dict[str, bytes] = {}
            entry = reader.item_entry(snapshot.items["main"].root)
            assert entry is not None
            assert entry.hash is not None
            for file in reader.tree(entry.hash):
                chunks = list(reader.file_chunks(file))
                found[file.name] = b"".join(bytes(chunk) for chunk in chunks)
            return found

    def packs(self) -> list[Path]:
        return sorted(self.path.glob("packs/??/*.tar.zst"))

    def temporaries(self) -> list[Path]:
        return list(self.state_dir.rglob(".tmp-*"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.repository.close()
