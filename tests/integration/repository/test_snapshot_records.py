"""Records around the objects: sequences, lost and unreadable ones, and what is remembered of a service."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.errors import RepositoryError
from recoverd.repository.history import History, history_of
from recoverd.repository.records import Marks, ServiceRecord


def test_a_sequence_is_never_used_twice(bench: Any) -> None:
    """Also when the newest snapshot was deleted, and when the service record is lost."""
    for number in range(3):
        bench.capture({"a": b"%d" % number})
    bench.repository.delete_records("svc", [2, 3])
    assert bench.repository.next_sequence("svc") == 4
    assert bench.capture({"a": b"x"}).sequence == 4
    shutil.rmtree(bench.state_dir / "services")
    assert bench.capture({"a": b"y"}).sequence == 5
    bench.repository.update_record("svc", lambda record: replace(record, next_sequence=100))
    assert bench.capture({"a": b"z"}).sequence == 100
    assert bench.repository.sequences("svc") == [1, 4, 5, 100]


def test_a_lost_snapshot_and_a_record_nobody_can_read_stop_no_listing(bench: Any) -> None:
    """Another recoverd wrote it, a newer one. What can't be noted is not noted: whoever looks is told what there is."""
    first = bench.capture({"a": b"1"})
    newest = bench.capture({"a": b"2"})
    bench.repository.snapshots("svc")
    Path(bench.repository.record_path("svc", newest.sequence)).unlink()
    (bench.state_dir / "services").mkdir(exist_ok=True)
    bench.repository.update_record("svc", lambda record: ServiceRecord(next_sequence=1, paused=True))
    record = bench.state_dir / "services" / "svc.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"service_record": 99}))
    assert [one.sequence for one in bench.reopen().snapshots("svc")] == [first.sequence]


@pytest.mark.parametrize("known_by", ["the catalog", "its marks"])
def test_the_number_of_a_lost_snapshot_is_not_used_again(bench: Any, known_by: str) -> None:
    """Somebody, or the disk, took the newest record: a new snapshot must not be taken for it, nor get its marks."""
    bench.capture({"a": b"1"})
    newest = bench.capture({"a": b"2"})
    bench.repository.snapshots("svc")  # a listing, as every command makes one
    if known_by == "its marks":
        bench.repository.set_marks("svc", newest.sequence, lambda _: Marks(pinned=True))
    Path(bench.repository.record_path("svc", newest.sequence)).unlink()
    if known_by == "its marks":
        bench.repository.close()
        (bench.state_dir / "catalog.sqlite").unlink()
    bench.reopen().snapshots("svc")  # as a capture does, to compare
    assert bench.capture({"a": b"3"}).sequence == newest.sequence + 1


def test_unreadable_records_are_told_never_skipped_in_silence(bench: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged record takes neither the others with it nor its sequence."""
    good = bench.capture({"a": b"1"})
    bench.capture({"a": b"2"})
    path = bench.path / "snapshots/svc/000000000002.json"
    path.write_bytes(path.read_bytes().replace(b'"files":1', b'"files":2', 1))
    for _ in range(2):
        assert bench.repository.snapshots("svc") == [good]
        assert "checksum" in bench.repository.unreadable_records("svc")[2]
        assert bench.repository.newest("svc") == good
        with pytest.raises(RepositoryError, match="checksum"):
            bench.repository.snapshot("svc", 2)
        bench.reopen()
    assert "svc/2" in caplog.text
    assert bench.capture({"a": b"3"}).sequence == 3


def test_the_history_is_that_of_a_listing(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happened to the files, and whether the catalog has them; a second look decodes no more than it needs."""

    def look() -> History:
        found: History = bench.reopen().history("svc")
        listed = bench.reopen().snapshots("svc")
        assert found == history_of(listed, len(bench.repository.unreadable_records("svc")))
        assert found == bench.reopen().history("svc")
        return found

    assert look() == History()
    first = bench.capture({"a": b"1"})
    bench.capture({"a": b"2"})
    third = bench.capture({"a": b"3"})
    bench.capture({"a": b"4"}, imported=True)
    assert look() == History(third, third, 3, 3, sum(one.new_bytes for one in bench.repository.snapshots("svc")[:3]))
    with monkeypatch.context() as only_what_matters:
        only_what_matters.setattr("recoverd.repository.store.decode_snapshot", None)
        assert bench.reopen().history("svc").newest == third
    path = Path(bench.repository.record_path("svc", 2))
    path.write_bytes(path.read_bytes()[:-1])
    assert (look().snapshots, look().unreadable) == (2, 1)
    path.unlink()
    Path(bench.repository.record_path("svc", 3)).unlink()
    assert look() == History(first, first, 1, 1, first.new_bytes)
    assert bench.capture({"a": b"5"}).sequence == 5
    (bench.state_dir / "catalog.sqlite").unlink()
    assert look().snapshots == 2


def test_imports_are_never_the_newest(bench: Any) -> None:
    """An import's time is not when it was captured."""
    assert bench.repository.newest("svc") is None
    own = bench.capture({"a": b"1"})
    imported = bench.capture({"a": b"0"}, imported=True)
    assert bench.repository.newest("svc") == own
    assert bench.repository.snapshots("svc") == [own, imported]


def test_records_that_come_and_go_are_seen_at_once(bench: Any) -> None:
    """The cache follows the files, also those that another process writes or deletes."""
    other = bench.open()
    first = bench.capture({"a": b"1"})
    assert other.snapshots("svc") == [first]
    second = bench.capture({"a": b"2"})
    assert other.snapshots("svc") == [first, second]
    bench.repository.delete_records("svc", [1])
    assert other.snapshots("svc") == bench.repository.snapshots("svc") == [second]
    other.close()


def test_marks_and_service_records_belong_to_a_snapshot_and_a_service(bench: Any) -> None:
    """They change under a lock, and names that are none are refused."""
    snapshot = bench.capture({"a": b"1"})
    repository = bench.repository
    assert repository.marks("svc", 1) == Marks()
    assert repository.set_marks("svc", 1, lambda found: replace(found, proven_ns=5)) == Marks(proven_ns=5)
    assert repository.all_marks("svc") == {1: Marks(proven_ns=5)}
    with pytest.raises(RepositoryError, match="no snapshot"):
        repository.set_marks("svc", 2, lambda found: found)
    assert repository.record("svc") == ServiceRecord()
    assert repository.update_record("svc", lambda found: replace(found, failures=1)).failures == 1
    for bad in ("", "..", "a/b", ".hidden", "Ä", "x" * 300):
        for attempt in (repository.record, repository.snapshots, repository.sequences):
            with pytest.raises(RepositoryError, match="no name"):
                attempt(bad)
    for missing in (0, 2, 10**12):
        with pytest.raises(RepositoryError, match="no snapshot"):
            repository.snapshot("svc", missing)
    repository.delete_records("svc", [snapshot.sequence])
    assert repository.all_marks("svc") == {}


def test_statistics_count_what_lies_there(bench: Any) -> None:
    """For `check`: from listing alone."""
    bench.capture({"a": b"1"})
    bench.capture({"a": b"2"}, service="other")
    found = bench.repository.statistics()
    files = [*bench.packs(), *bench.path.glob("snapshots/*/*.json")]
    assert found.size_bytes == sum(path.stat().st_size for path in files)
    assert (found.files, found.packs, found.snapshots) == (4, 2, 2)
    assert bench.repository.services() == ["other", "svc"]
