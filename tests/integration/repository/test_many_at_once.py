"""Many objects put or read together are what they are one by one."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.errors import DamagedObject, RepositoryError
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
                assert reader.contents(names) == contents
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


def test_contents_come_from_the_copy_that_is_intact(tmp_path: Path) -> None:
    """Promise 7: where one of two copies of an object is damaged the other one is given; without another it is an
    error, and so is content of another length than the entry says."""
    for number in range(2):
        Repository.create(str(tmp_path / f"{number}"))
        repository = Repository.open(str(tmp_path / f"{number}"), state_dir=str(tmp_path / f"{number}"))
        with repository.writer(wait_s=1, what="a test") as writer:
            content, other = writer.put(b"content"), writer.put(f"{number}".encode())
            writer.commit([draft(writer.put_tree([entry("a", content, 7), entry("b", other, 1)]))])
        repository.close()
    shutil.copytree(tmp_path / "1" / "packs", tmp_path / "0" / "packs", dirs_exist_ok=True)
    packs = sorted((tmp_path / "0" / "packs").glob("*/*.tar.zst"))
    repository = Repository.open(str(tmp_path / "0"), state_dir=str(tmp_path / "fresh"))
    with repository.reader() as reader:
        assert reader.contents([entry("a", content, 7)]) == [b"content"]
        with pytest.raises(DamagedObject, match="are expected"):
            reader.contents([entry("a", content, 8)])
    copies = len(repository.catalog.locations(content))
    for pack in packs:
        damaged = bytearray(pack.read_bytes())
        damaged[20] ^= 0xFF
        pack.write_bytes(damaged)
        copies -= 1
        with repository.reader() as reader:
            if copies:
                assert reader.contents([entry("a", content, 7)]) == [b"content"]
            else:
                with pytest.raises(DamagedObject):
                    reader.contents([entry("a", content, 7)])
    repository.close()
    assert len(packs) == 2
