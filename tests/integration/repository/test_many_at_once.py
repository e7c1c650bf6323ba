"""Many objects put or read together are what they are one by one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.records import ItemRecord, SnapshotDraft, SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.repository.trees import EMPTY_TREE, Entry


def entry(name: str, content: str, size: int) -> Entry:
    return Entry(name, "file", 0o600, 0, 0, "", "", size, 0, content)


def draft(root: str) -> SnapshotDraft:
    item = ItemRecord("directory", "/x", root, root, 1, 1, "ok")
    return SnapshotDraft("app", 1, "boot", "host", SnapshotVerdict.OK, {"x": item})


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=6), max_size=30), st.lists(st.binary(max_size=6), max_size=30))
def test_put_all_is_put(tmp_path_factory: pytest.TempPathFactory, first: list[bytes], second: list[bytes]) -> None:
    """The same hashes in the same order; repeated, stored and new contents mixed; all can be read afterwards."""
    base: Path = tmp_path_factory.mktemp("repository")
    Repository.create(str(base / "r"))
    repository = Repository.open(str(base / "r"), state_dir=str(base))
    try:
        for contents in (first, second):
            with repository.writer(wait_s=1, what="a test") as writer:
                hashes = writer.put_all(contents)
                assert hashes == [writer.put(data) for data in contents]
                assert writer.put_all(contents) == hashes
                names = [entry(f"{n:03}", x, len(d)) for n, (x, d) in enumerate(zip(hashes, contents, strict=True))]
                writer.commit([draft(writer.put_tree(names))])
            with repository.reader() as reader:
                root = repository.snapshots("app")[-1].items["x"].root
                found = {one.name: b"".join(map(bytes, reader.file_chunks(one))) for one in reader.tree(root)}
                assert list(found.values()) == contents
    finally:
        repository.close()


def test_a_snapshot_of_what_was_never_put_is_refused(tmp_path: Path) -> None:
    """All that it names is asked about at once, and one that is missing is one too many."""
    Repository.create(str(tmp_path / "r"))
    repository = Repository.open(str(tmp_path / "r"), state_dir=str(tmp_path))
    with repository.writer(wait_s=1, what="a test") as writer:
        there = writer.put(b"there")
        tree = writer.put_tree([entry("a", there, 5), entry("b", "0" * 64, 1)])
        with pytest.raises(RepositoryError, match="0000, which is not stored"):
            writer.commit([draft(tree)])
    assert repository.snapshots("app") == []
    with repository.writer(wait_s=1, what="a test") as writer:
        writer.commit([draft(EMPTY_TREE)])
    repository.close()
