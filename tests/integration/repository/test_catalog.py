"""The catalog is never the truth: lost, damaged, behind or of another recoverd, it comes back by itself."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import DamagedObject
from recoverd.repository import catalog as catalog_module
from recoverd.repository import database
from recoverd.repository.database import SCHEMA_VERSION
from recoverd.repository.packs import read_index

HASHES = [f"{number:02x}" * 32 for number in range(8)]


def objects(path: Path) -> list[Any]:
    """Every place of every object, with the pack's name instead of its number."""
    with sqlite3.connect(path) as db:
        rows = db.execute(
            "SELECT hash, name, frame_offset, frame_length, frame_size, offset, objects.size"
            " FROM objects JOIN packs ON packs.id = pack ORDER BY 1, 2"
        ).fetchall()
    db.close()
    return rows


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path: Path) -> None:
    data = bytearray(path.read_bytes())
    for start in range(4096, len(data), 4096):
        data[start : start + 200] = os.urandom(200)
    path.write_bytes(data)


def of_the_future(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()


def of_another_repository(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE about SET repository = 'x'")
    db.close()


DAMAGES: list[Callable[[Path], object]] = [
    Path.unlink,
    truncate,
    overwrite,
    of_the_future,
    of_another_repository,
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"\0" * 10_000),
    lambda path: path.write_bytes(b"not a database, but long enough to look like one" * 100),
]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("start", ["read", "write", "list"])
def test_any_damage_is_repaired_from_the_packs(damage: Callable[[Path], object], start: str, bench: Any) -> None:
    """Promise 6: the rebuilt object tables equal the lost ones, whatever is done first; nothing is stored twice."""
    snapshots = [bench.capture({"a": b"%d" % number, "same": b"x" * 3000}) for number in range(5)]
    bench.repository.close()
    path = bench.state_dir / "catalog.sqlite"
    before = objects(path)
    assert len(before) == 5 * 3 + 1
    for companion in bench.state_dir.glob("catalog.sqlite-*"):
        companion.unlink()
    damage(path)
    bench.repository = bench.open()
    if start == "read":
        assert bench.files(snapshots[2])["a"] == b"2"
    elif start == "list":
        assert bench.repository.snapshots("svc") == snapshots
    assert bench.capture({"a": b"3", "same": b"x" * 3000}).new_bytes == 0
    assert [bench.files(snapshot)["a"] for snapshot in snapshots] == [b"0", b"1", b"2", b"3", b"4"]
    assert bench.repository.snapshots("svc")[:5] == snapshots
    bench.repository.close()
    assert objects(path) == before


@pytest.mark.parametrize("count", [3, 99, 100, 101, 200, 250])
def test_every_object_of_a_pack_is_in_it_where_it_lies(count: int, bench: Any) -> None:
    """They are put in many at a time, so one too few or too many would be at the edges of that."""
    snapshot = bench.capture({f"{number}": b"%d" % number for number in range(count - 2)})  # and two trees
    (pack,) = bench.packs()
    assert snapshot.new_bytes == pack.stat().st_size
    with pack.open("rb") as file:
        index = read_index(file.fileno(), pack.name.partition(".")[0])
    assert len(index) == count
    bench.repository.close()
    found = objects(bench.state_dir / "catalog.sqlite")
    assert {row[0].hex(): row[2:] for row in found} == {key: tuple(place) for key, place in index.items()}
    assert len(found) == count


def test_damage_under_an_open_catalog_is_survived(bench: Any) -> None:
    """`run` keeps the catalog open for weeks: it starts anew without being restarted."""
    snapshot = bench.capture({"a": b"1"})
    bench.reopen()  # so that everything is in the file, and nothing in its journal
    assert bench.files(snapshot) == {"a": b"1"}
    path = bench.state_dir / "catalog.sqlite"
    with path.open("r+b") as file:
        file.write(os.urandom(path.stat().st_size))
    assert bench.files(snapshot) == {"a": b"1"}
    bench.capture({"a": b"2"})
    bench.reopen()
    assert bench.files(snapshot) == {"a": b"1"}
    assert bench.files(bench.repository.newest("svc")) == {"a": b"2"}


def test_a_catalog_that_is_behind_catches_up(bench: Any, tmp_path: Path) -> None:
    """After a power loss it may be an older one: new packs are found, and those that are gone forgotten."""
    first = bench.capture({"a": b"1"})
    bench.repository.close()
    path = bench.state_dir / "catalog.sqlite"
    (tmp_path / "old").write_bytes(path.read_bytes())
    bench.repository = bench.open()
    second = bench.capture({"a": b"2"})
    bench.repository.close()
    after = objects(path)
    path.write_bytes((tmp_path / "old").read_bytes())
    bench.repository = bench.open()
    assert bench.files(second) == {"a": b"2"}
    assert bench.files(first) == {"a": b"1"}
    bench.repository.close()
    assert objects(path) == after
    bench.packs()[0].unlink()
    bench.repository = bench.open()
    bench.repository.catalog.catch_up()
    bench.repository.close()
    assert len({row[1] for row in objects(path)}) == 1


def test_a_catalog_that_lies_loses_nothing(bench: Any) -> None:
    """What it says of an object is checked by hash; of a wrong place the packs themselves are asked."""
    snapshot = bench.capture({"a": b"1" * 100, "b": b"2" * 100})
    bench.repository.close()
    path = bench.state_dir / "catalog.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("UPDATE objects SET offset = offset + 1")
    db.close()
    wanted = {"a": b"1" * 100, "b": b"2" * 100}
    bench.repository = bench.open()
    assert bench.files(snapshot) == wanted
    for lie in ("UPDATE objects SET frame_offset = 1000000, frame_length = 1 << 40", "DELETE FROM objects"):
        with sqlite3.connect(path) as db:
            db.execute(lie)
        db.close()
        assert bench.files(snapshot) == wanted


def test_a_pack_without_index_is_told_and_the_others_work(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 7: a rebuild over damaged packs takes what can be had: also what no index leads to any more."""
    first = bench.capture({"a": b"1"})
    pack = bench.packs()[0]
    second = bench.capture({"a": b"2"})
    third_pack = set(bench.packs())
    third = bench.capture({"a": b"3"})
    (whole,) = set(bench.packs()) - third_pack
    pack.write_bytes(pack.read_bytes()[:10])
    whole.write_bytes(whole.read_bytes()[:-1])
    bench.repository.close()
    (bench.state_dir / "catalog.sqlite").unlink()
    bench.repository = bench.open()
    assert bench.files(second) == {"a": b"2"}
    assert bench.files(third) == {"a": b"3"}
    with pytest.raises(DamagedObject):
        bench.files(first)
    told = [record for record in caplog.records if pack.name[:64] in record.getMessage()]
    assert len(told) == 1


def test_listing_works_while_somebody_writes(bench: Any) -> None:
    """`list` in one process while `run` writes in another: neither waits, neither fails."""
    bench.capture({"a": b"0"})
    other = bench.open()
    writing = sqlite3.connect(bench.state_dir / "catalog.sqlite", isolation_level=None)
    writing.execute("BEGIN IMMEDIATE")
    writing.execute("DELETE FROM objects")
    started = time.monotonic()
    (snapshot,) = other.snapshots("svc")
    assert other.catalog.knows(snapshot.items["main"].root)
    assert time.monotonic() - started < 2.0
    writing.execute("ROLLBACK")
    writing.close()
    other.close()


def test_a_catalog_that_stays_locked_is_done_without(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody holds it for ever: captures go on, and it catches up afterwards."""
    bench.capture({"a": b"0"})
    writing = sqlite3.connect(bench.state_dir / "catalog.sqlite", isolation_level=None)
    monkeypatch.setattr(database, "PATIENCE_MS", 50)
    writing.execute("BEGIN IMMEDIATE")
    snapshot = bench.capture({"a": b"1"})
    bench.repository.catalog.remember("judge", {HASHES[0]: b"{}"})
    assert bench.repository.snapshots("svc")[-1] == snapshot
    writing.execute("ROLLBACK")
    writing.close()
    assert bench.files(snapshot) == {"a": b"1"}
    assert bench.repository.catalog.memo("judge", HASHES) == {}


def test_a_directory_that_can_not_be_written_gets_a_catalog_in_memory(bench: Any) -> None:
    """A state directory that is no directory at all: reading still works."""
    snapshot = bench.capture({"a": b"1"})
    from recoverd.repository.store import Repository

    repository = Repository.open(str(bench.path), state_dir="/proc/self/nowhere")
    bench.repository.close()
    bench.repository = repository
    assert bench.files(snapshot) == {"a": b"1"}
    assert repository.snapshots("svc") == [snapshot]


def test_threads_share_a_catalog(bench: Any) -> None:
    """The scheduler's jobs run in threads."""
    catalog = bench.repository.catalog
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(20):
                catalog.record_run(f"s{number}", "snapshot", step, 0.1, "saved", "")
                catalog.remember(f"judge{number}", {HASHES[step % 8]: b"%d" % step})
                assert catalog.runs(f"s{number}", "snapshot", 1)[0].time_ns == step
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_memo_and_stat_cache_give_back_what_they_took(bench: Any) -> None:
    """Verdicts by content and judge, stat rows by directory, also with odd names."""
    catalog = bench.repository.catalog
    catalog.remember("one", {HASHES[0]: b"a", HASHES[1]: b"b"})
    catalog.remember("two", {HASHES[0]: b"c"})
    catalog.remember("two", {})
    assert catalog.memo("one", HASHES) == {HASHES[0]: b"a", HASHES[1]: b"b"}
    assert catalog.memo("two", HASHES * 300) == {HASHES[0]: b"c"}
    assert catalog.memo("one", []) == {}
    rows = {"": b"\0\1", "sub/dir": b"2", "odd\udcff": b"3"}
    catalog.save_stat_cache("svc/main", rows)
    catalog.save_stat_cache("svc/other", {"": b"x"})
    assert catalog.stat_cache("svc/main") == rows
    catalog.save_stat_cache("svc/main", {"sub/dir": None, "": b"new"})
    catalog.save_stat_cache("svc/main", {})
    assert catalog.stat_cache("svc/main") == {"": b"new", "odd\udcff": b"3"}
    bench.reopen()
    assert bench.repository.catalog.stat_cache("svc/other") == {"": b"x"}


def test_memory_is_bounded(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that changes each second must not fill the disk with verdicts and runs."""
    monkeypatch.setattr(catalog_module, "MOST_RUNS", 5)
    monkeypatch.setattr(catalog_module, "MOST_VERDICTS", 3)
    catalog = bench.repository.catalog
    for number in range(12):
        catalog.record_run("svc", "snapshot", number, 0.5, "saved", "detail")
        catalog.remember("judge", {f"{number:064x}": b"x"})
    catalog.record_run("svc", "prune", 99, 0.5, "done", "")
    assert [run.time_ns for run in catalog.runs("svc", "snapshot", 100)] == [11, 10, 9, 8, 7]
    assert [run.time_ns for run in catalog.runs("svc", "snapshot", 2)] == [11, 10]
    assert len(catalog.runs("svc", "prune", 5)) == 1
    assert sorted(catalog.memo("judge", [f"{number:064x}" for number in range(12)])) == [
        f"{number:064x}" for number in (9, 10, 11)
    ]


def test_a_run_may_tell_of_names_that_are_not_utf_8(bench: Any) -> None:
    """Promise 12: a file name that somebody planted keeps no capture and no restore from being noted."""
    catalog = bench.repository.catalog
    catalog.record_run("svc", "restore", 1, 0.5, "restored", "tasks: a\udcff.json is empty")
    assert [run.detail for run in catalog.runs("svc", "restore", 5)] == ["tasks: a\\udcff.json is empty"]
