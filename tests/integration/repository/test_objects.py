"""Objects: what is put comes back, what is stored already costs nothing, and damage is named."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3

from recoverd.errors import DamagedObject, RepositoryError
from recoverd.repository import packs, writer
from recoverd.repository.trees import EMPTY_TREE, Entry

FILES = {"state.json": b'{"a": 1}', "empty": b"", "big": os.urandom(300_000)}


def entry(name: str, **changes: Any) -> Entry:
    return replace(Entry(name, "file", 0o600, 0, 0, "", "", 0, 0), **changes)


def test_what_is_captured_comes_back(bench: Any) -> None:
    """Promise 6, without any accident: also for another process, and with the newest known."""
    first = bench.capture(FILES)
    second = bench.capture({**FILES, "state.json": b'{"a": 2}'})
    assert (first.id, second.id) == ("svc/1", "svc/2")
    bench.reopen()
    assert bench.repository.snapshots("svc") == [first, second]
    assert bench.repository.newest("svc") == second == bench.repository.snapshot("svc", 2)
    assert bench.repository.services() == ["svc"]
    assert bench.files(first) == FILES
    assert bench.files(second)["state.json"] == b'{"a": 2}'
    assert not bench.temporaries()


def test_what_is_stored_already_costs_nothing(bench: Any) -> None:
    """Promise 11: the same content adds no pack, and one changed file adds a small one."""
    first = bench.capture(FILES)
    assert 300_000 < first.new_bytes < 310_000
    assert first.new_bytes == sum(path.stat().st_size for path in bench.packs())
    again = bench.capture(FILES)
    assert again.new_bytes == 0
    assert len(bench.packs()) == 1
    third = bench.capture({**FILES, "state.json": b"changed"})
    assert 0 < third.new_bytes < 2000


def test_one_pack_for_all_that_is_captured_together(bench: Any) -> None:
    """One pack for each tick: flash memory is thankful. What is new is counted once, where it came first."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        roots = [bench.put(session, {**FILES, "own": b"%d" % number}) for number in range(3)]
        found = session.commit([bench.draft(root, service=f"s{number}") for number, root in enumerate(roots)])
    (pack,) = bench.packs()
    assert abs(sum(snapshot.new_bytes for snapshot in found) - pack.stat().st_size) <= 3
    assert found[0].new_bytes > 300_000
    assert 0 < found[1].new_bytes < 5_000
    assert [bench.files(snapshot)["own"] for snapshot in found] == [b"0", b"1", b"2"]


def test_a_session_without_drafts_leaves_nothing(bench: Any) -> None:
    """Nothing changed: no snapshot, no pack, no file. Also when the session ends with an error, or without commit."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        bench.put(session, FILES)
        assert session.busy
        assert session.commit([]) == []
        assert not session.busy
        bench.put(session, FILES)
    with pytest.raises(KeyError), bench.repository.writer(wait_s=0, what="a test") as session:
        bench.put(session, FILES)
        raise KeyError
    assert not bench.packs()
    assert not bench.temporaries()
    assert bench.repository.snapshots("svc") == []


def test_a_snapshot_of_what_was_never_put_is_refused(bench: Any) -> None:
    """Promise 6: no record is written that could not be read back, however the tree came to name the object."""
    missing = blake3(b"never put").hexdigest()
    with bench.repository.writer(wait_s=0, what="a test") as session:
        with pytest.raises(RepositoryError, match="not stored"):
            session.commit([bench.draft(missing)])
        tree = session.put_tree([entry("x", hash=missing)])
        with pytest.raises(RepositoryError, match="not stored"):
            session.commit([bench.draft(tree)])
        blocks = session.put_blocks([missing], 4, 4)
        tree = session.put_tree([entry("x", blocks=blocks, block_size=4, size=4)])
        with pytest.raises(RepositoryError, match="not stored"):
            session.commit([bench.draft(tree)])
    assert bench.repository.snapshots("svc") == []
    assert not bench.packs()


def test_a_writer_reads_back_what_it_has_put(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A capture looks into trees it has just stored, also in a pack that is closed already."""
    monkeypatch.setattr(writer, "PACK_BYTES", 400_000)
    blobs = [os.urandom(200_000) for _ in range(6)]
    with bench.repository.writer(wait_s=0, what="a test") as session:
        hashes = [session.put(blob) for blob in blobs]
        tree = session.put_tree([entry(f"{n}", hash=value, size=200_000) for n, value in enumerate(hashes)])
        assert [session.read(value) for value in hashes] == blobs
        assert [found.hash for found in session.tree(tree)] == hashes
        assert session.has(tree)
        assert not session.has("00" * 32)
        session.commit([bench.draft(tree)])
        assert [session.read(value) for value in hashes] == blobs
    assert len(bench.packs()) > 1
    assert all(path.stat().st_size < 800_000 for path in bench.packs())


def test_the_tree_of_one_file_is_the_same_from_memory_and_from_a_pack(bench: Any) -> None:
    """Which has all the attributes that a name can have; one found damaged is not taken from memory."""
    data = os.urandom(1000)
    with bench.repository.writer(wait_s=0, what="a test") as session:
        one = entry("a\udcff", hash=session.put(data), size=1000, xattrs=(("user.b", b"2"), ("user.a", b"\0\xff")))
        tree = session.put_tree([one])
        of_memory = session.tree(tree)
        session.commit([bench.draft(tree)])
    with bench.repository.reader() as reader:
        assert reader.tree(tree) == of_memory
        assert reader.read(one.hash) == data
    (pack,) = bench.packs()
    pack.write_bytes(bytes(pack.stat().st_size))
    with bench.repository.writer(wait_s=0, what="a test") as session:
        assert session.put_tree([one]) == tree
        with pytest.raises(DamagedObject):
            session.tree(tree)


def test_large_and_sparse_files_come_back_block_by_block(bench: Any) -> None:
    """Holes stay holes, the last block may be short, and blocks are shared with the version before."""
    size = packs.FRAME_BYTES
    blobs = [os.urandom(size), os.urandom(size), b"tail"]
    with bench.repository.writer(wait_s=0, what="a test") as session:
        one, two, tail = (session.put(blob) for blob in blobs)
        blocks = session.put_blocks([one, None, None, two, tail], size, 4 * size + 4)
        large = entry("db", blocks=blocks, block_size=size, size=4 * size + 4, sparse=True)
        session.commit([bench.draft(session.put_tree([large]))])
    with bench.repository.reader() as reader:
        assert list(reader.file_chunks(large)) == [blobs[0], 2 * size, blobs[1], b"tail"]
        with pytest.raises(DamagedObject, match="another file"):
            list(reader.file_chunks(replace(large, size=5)))
        with pytest.raises(DamagedObject, match="are expected"):
            list(reader.file_chunks(entry("x", hash=tail, size=5)))
        with pytest.raises(DamagedObject, match="block list"):
            list(reader.file_chunks(replace(large, blocks=tail)))


def test_a_large_directory_is_split_and_read_as_one(bench: Any) -> None:
    """Readers see one directory; a change in it stores little (promise 11)."""
    files = {f"task_{number:05}.json": b"%d" % (number % 7) for number in range(9000)}
    first = bench.capture(files)
    second = bench.capture({**files, "task_04321.json": b"new"})
    assert bench.files(second) == {**files, "task_04321.json": b"new"}
    assert second.new_bytes < first.new_bytes / 3


def test_the_empty_tree_needs_no_object(bench: Any) -> None:
    """An item whose path was absent."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        (snapshot,) = session.commit([bench.draft(EMPTY_TREE)])
    assert not bench.packs()
    with bench.repository.reader() as reader:
        assert reader.item_entry(snapshot.items["main"].root) is None


def test_an_item_with_two_names_is_damage(bench: Any) -> None:
    """The root of an item holds one entry, or a restore would write a name that nobody declared."""
    with bench.repository.writer(wait_s=0, what="a test") as session:
        content = session.put(b"x")
        tree = session.put_tree([entry("a", hash=content, size=1), entry("b", hash=content, size=1)])
        session.commit([bench.draft(tree)])
        with pytest.raises(DamagedObject, match="should hold one"):
            session.item_entry(tree)
        with pytest.raises(DamagedObject, match="a tree was expected"):
            session.tree(content)


def test_damage_names_object_and_pack_and_spares_the_rest(bench: Any) -> None:
    """Promise 7: every flipped byte of a pack leads to the right bytes or to DamagedObject, never to other bytes."""
    snapshot = bench.capture({"a": b'{"a": 1}', "b": b"2" * 50})
    (pack,) = bench.packs()
    good = pack.read_bytes()
    hashes = [blake3(data).hexdigest() for data in (b'{"a": 1}', b"2" * 50)]
    damaged = 0
    for position in range(0, len(good), 3):
        pack.write_bytes(good[:position] + bytes([good[position] ^ 0x10]) + good[position + 1 :])
        with bench.repository.reader() as reader:
            for object_hash in hashes:
                try:
                    assert blake3(reader.read(object_hash)).hexdigest() == object_hash
                except DamagedObject as error:
                    damaged += 1
                    assert error.object_hash == object_hash
                    assert error.pack == pack.name.split(".")[0]
                    assert object_hash in error.message
    assert damaged
    pack.write_bytes(good)
    assert bench.files(snapshot) == {"a": b'{"a": 1}', "b": b"2" * 50}


def test_a_lost_pack_is_damage_of_its_objects_only(bench: Any) -> None:
    """The older snapshot still works."""
    first = bench.capture({"a": b"1"})
    second = bench.capture({"a": b"2"})
    new = max(bench.packs(), key=lambda path: path.stat().st_mtime_ns)
    new.unlink()
    assert bench.files(first) == {"a": b"1"}
    with pytest.raises(DamagedObject):
        bench.files(second)
    repaired = bench.capture({"a": b"2"})  # the writer has noticed, and stores it again
    assert bench.files(second) == bench.files(repaired) == {"a": b"2"}


def test_restoring_many_small_files_opens_each_frame_once(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: 2,000 small files share some frames, and each is decompressed once."""
    files = {f"{number:04}": b'{"number": %d}' % number for number in range(2000)}
    snapshot = bench.capture(files)
    reads: list[int] = []

    def counted(fd: int, where: packs.Location) -> bytes:
        reads.append(where.frame_offset)
        return packs.read_frame(fd, where)

    monkeypatch.setattr("recoverd.repository.objects.read_frame", counted)
    assert bench.files(snapshot) == files
    assert len(reads) == len(set(reads)) < 20
