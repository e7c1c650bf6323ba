"""Pruning deletes what nothing needs, and nothing else, whatever is damaged."""

from __future__ import annotations

import os
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.pruning import Pruned, foresee, prune
from recoverd.repository.records import SnapshotVerdict
from recoverd.repository.trees import Entry
from recoverd.system.durable import temporary_name


def pruned(bench: Any, doomed: dict[str, list[int]], **options: Any) -> Pruned:
    with bench.repository.writer(wait_s=0, what="a prune") as writer:
        return prune(bench.repository, writer, doomed, **options)


def test_only_what_nothing_needs_goes(bench: Any) -> None:
    """Promise 3: data shared with a remaining snapshot stays; freed bytes are those of the files deleted."""
    first = bench.capture({"a": b"old" * 100, "shared": b"s" * 100})
    second = bench.capture({"a": b"new" * 100, "shared": b"s" * 100})
    third = bench.capture({"a": b"newer" * 100, "shared": b"s" * 100})
    before = bench.repository.statistics()
    done = pruned(bench, {"svc": [2]})
    assert (done.removed, done.packs.removed, done.kept_data) == (("svc/2",), 1, None)
    assert before.size_bytes - bench.repository.statistics().size_bytes == done.freed_bytes
    assert bench.files(first)["a"] == b"old" * 100
    assert bench.files(third)["shared"] == b"s" * 100
    assert bench.repository.snapshots("svc") == [first, third]
    assert bench.capture({"a": b"new" * 100, "shared": b"s" * 100}).new_bytes > 0
    assert bench.files(bench.repository.newest("svc"))["a"] == b"new" * 100
    assert second.sequence not in bench.repository.sequences("svc")


def test_a_dry_run_tells_and_touches_nothing(bench: Any) -> None:
    """What it says is what the real one does."""
    for number in range(4):
        bench.capture({"a": b"%d" % number})
    files = sorted(bench.path.rglob("*"))
    with bench.repository.reader() as reader:
        told = foresee(bench.repository, reader, {"svc": [1, 2, 99]})
    assert sorted(bench.path.rglob("*")) == files
    assert told == pruned(bench, {"svc": [1, 2, 99]})
    assert told.removed == ("svc/1", "svc/2")
    assert told.packs.removed == 2
    assert pruned(bench, {"svc": [1], "unknown": [1]}) == Pruned((), 0)


def test_known_good_versions_are_kept_alive_by_good(bench: Any) -> None:
    """Promise 3: what only a snapshot's `good` tree needs is needed."""
    first = bench.capture({"a": b"good"})
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        bad = bench.put(writer, {"a": b"bad"})
        (second,) = writer.commit([bench.draft(bad, good=first.items["main"].root)])
    assert pruned(bench, {"svc": [1]}).packs.removed == 0
    with bench.repository.reader() as reader:
        entry = reader.item_entry(second.items["main"].good)
        assert entry is not None
        assert reader.read(reader.tree(entry.hash)[0].hash) == b"good"


def test_blocks_holes_parts_and_links_are_followed(bench: Any) -> None:
    """Everything that a tree can lead to is seen: block lists, parts of large directories, subdirectories."""
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        block = writer.put(b"b" * 1000)
        writer.commit(
            [bench.draft(writer.put_tree([Entry("x", "file", 0, 0, 0, "", "", 1000, 0, block)]), service="other")]
        )
    many = {f"{number:05}": b"%d" % (number % 5) for number in range(5000)}
    bench.capture(many)
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        blocks = writer.put_blocks([None, block], 1000, 2000)
        tree = writer.put_tree(
            [
                Entry("db", "file", 0, 0, 0, "", "", 2000, 0, blocks=blocks, block_size=1000),
                Entry("link", "symlink", 0o777, 0, 0, "", "", 0, 0, target="db"),
                Entry("many", "dir", 0, 0, 0, "", "", 0, 0, bench.repository.newest("svc").items["main"].root),
            ]
        )
        writer.commit([bench.draft(tree, service="third")])
    assert pruned(bench, {"svc": [1], "other": [1]}).packs.removed == 0
    with bench.repository.reader() as reader:
        db, _, below = reader.tree(tree)
        assert list(reader.file_chunks(db)) == [1000, b"b" * 1000]
        state = reader.item_entry(below.hash)
        assert len(reader.tree(state.hash)) == 5000
    assert pruned(bench, {"third": [1]}).packs.removed == 3
    assert bench.packs() == []


def test_an_unreadable_record_stops_deletion_of_data(bench: Any) -> None:
    """Never the reverse: what it needs can't be told, so everything stays, and the result says why."""
    for number in range(3):
        bench.capture({"a": b"%d" % number})
    record = bench.path / "snapshots/svc/000000000002.json"
    good = record.read_bytes()
    record.write_bytes(good[:-5])
    done = pruned(bench, {"svc": [1]})
    assert done.removed == ("svc/1",)
    assert done.packs.removed == 0
    assert "svc/2" in (done.kept_data or "")
    assert len(bench.packs()) == 3
    record.write_bytes(good)
    assert pruned(bench, {}).packs.removed == 1  # the next one finishes
    assert bench.files(bench.repository.snapshot("svc", 2)) == {"a": b"1"}


def test_an_unreadable_record_that_is_doomed_itself_stops_nothing(bench: Any) -> None:
    """It can be deleted like any other."""
    for number in range(2):
        bench.capture({"a": b"%d" % number})
    (bench.path / "snapshots/svc/000000000001.json").write_bytes(b"")
    done = pruned(bench, {"svc": [1]})
    assert (done.removed, done.packs.removed, done.kept_data) == (("svc/1",), 1, None)


def test_a_damaged_tree_stops_deletion_of_data(bench: Any) -> None:
    """What lies below it can't be told."""
    for number in range(3):
        bench.capture({"a": b"%d" % number})
    pack = max(bench.packs(), key=lambda path: path.stat().st_mtime_ns)
    data = bytearray(pack.read_bytes())
    data[40] ^= 0xFF
    pack.write_bytes(data)
    done = pruned(bench, {"svc": [1]})
    assert done.packs.removed == 0
    assert "svc/3" in (done.kept_data or "")
    assert len(bench.packs()) == 3


def test_packs_wait_while_somebody_reads(bench: Any) -> None:
    """A restore in progress keeps its data; the record goes, the packs go next time. The reason names the reader."""
    first = bench.capture({"a": b"1"})
    bench.capture({"a": b"2"})
    with bench.repository.reader() as reader:
        done = pruned(bench, {"svc": [1]})
        assert (done.removed, done.packs.removed) == (("svc/1",), 0)
        assert str(os.getpid()) in (done.kept_data or "")
        assert reader.item_entry(first.items["main"].root) is not None
    assert pruned(bench, {}).packs.removed == 1


def test_pruning_between_put_and_commit_is_refused(bench: Any) -> None:
    """Promise 6: an object that was found to be stored could be deleted before the snapshot that needs it is there."""
    bench.capture({"a": b"1"})
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        bench.put(writer, {"a": b"1"})
        with pytest.raises(RepositoryError, match="between"):
            prune(bench.repository, writer, {"svc": [1]})
        writer.discard()
        assert prune(bench.repository, writer, {"svc": [1]}).packs.removed == 1


def test_an_unreferenced_pack_of_a_failed_commit_goes(bench: Any) -> None:
    """A crash between pack and record leaves a pack that nothing needs."""
    bench.capture({"a": b"1"})
    snapshot = bench.capture({"a": b"2"})
    os.unlink(bench.repository.record_path("svc", 1))
    size = sum(path.stat().st_size for path in bench.packs())
    done = pruned(bench, {})
    assert (done.removed, done.packs.removed) == ((), 1)
    assert done.freed_bytes == size - bench.packs()[0].stat().st_size
    assert bench.files(snapshot) == {"a": b"2"}


@given(st.integers(0, 2**32))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_order_of_captures_and_prunes_keeps_what_remains(bench: Any, seed: int) -> None:
    """Promises 3 and 6: after each prune every remaining snapshot reads back bit for bit, and no dead pack stays.

    Contents come and go and come back, so that trees outlive the packs of what they name; the catalog is lost now
    and then.
    """
    chance = random.Random(seed)
    kept = {snapshot.sequence: bench.files(snapshot) for snapshot in bench.repository.snapshots("svc")}
    for _ in range(14):
        action = chance.random()
        if action < 0.6 or not kept:
            files = {f"{name}": b"%d" % chance.randrange(4) * 50 for name in range(chance.randrange(1, 4))}
            kept[bench.capture(files).sequence] = files
        elif action < 0.9:
            doomed = chance.sample(sorted(kept), chance.randrange(1, len(kept) + 1))
            done = pruned(bench, {"svc": doomed})
            assert done.kept_data is None
            kept = {sequence: files for sequence, files in kept.items() if sequence not in doomed}
            assert pruned(bench, {}).packs.removed == 0
            assert bool(bench.packs()) == bool(kept)
        elif action < 0.95:
            bench.reopen()
        else:
            bench.repository.close()
            (bench.state_dir / "catalog.sqlite").unlink()
            bench.repository = bench.open()
        found = {snapshot.sequence: bench.files(snapshot) for snapshot in bench.repository.snapshots("svc")}
        assert found == kept
        assert all(snapshot.verdict is SnapshotVerdict.OK for snapshot in bench.repository.snapshots("svc"))


def test_the_cost_of_a_prune_follows_what_changed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 11: with hundreds of snapshots, removing one reads no tree that was looked into before."""
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        for number in range(300):
            writer.commit([bench.draft(bench.put(writer, {"a": b"%d" % number, "b": b"same"}))])
    assert pruned(bench, {"svc": [1]}).packs.written > 0
    new = bench.capture({"a": b"new", "b": b"same"})
    bench.reopen()
    reads: list[str] = []
    with bench.repository.writer(wait_s=0, what="a test") as writer:
        read = writer.read

        def noted(object_hash: str) -> bytes:
            reads.append(object_hash)
            return bytes(read(object_hash))

        monkeypatch.setattr(writer, "read", noted)
        started = time.monotonic()
        assert prune(bench.repository, writer, {"svc": [150]}).kept_data is None
        assert time.monotonic() - started < 1.0
    assert len(reads) == 2
    assert reads[0] == new.items["main"].root


def test_what_dead_processes_left_half_written_goes(bench: Any) -> None:
    """Wherever recoverd writes: of another boot, never what a living process has in hand."""
    bench.capture({"a": b"1"})
    dead = f".tmp-{'0' * 8}-0000-0000-0000-{'0' * 12}-1-1-ab"
    alive = temporary_name()
    (bench.path / "marks" / "svc").mkdir()
    (bench.state_dir / "services").mkdir(exist_ok=True)
    places = [bench.path, bench.path / "marks/svc", bench.path / "snapshots/svc", bench.state_dir / "services"]
    for place in places:
        (place / dead).write_bytes(b"half")
        (place / alive).write_bytes(b"in hand")
    with bench.repository.reader() as reader:
        assert foresee(bench.repository, reader, {}).removed == ()
    assert len(list(bench.state_dir.rglob(dead))) == 4
    pruned(bench, {})
    assert list(bench.state_dir.rglob(dead)) == []
    assert len(list(bench.state_dir.rglob(alive))) == 4
