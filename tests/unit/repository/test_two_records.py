"""What is remembered of a service in two places: no change is lost, whichever of them can be written."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.records import ServiceRecord
from recoverd.repository.two_records import TwoServiceRecords, newest
from recoverd.values import replace


def no_spare() -> str:
    raise RepositoryError("there is no spare")


@settings(max_examples=25)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=8))
def test_the_last_change_that_was_written_is_the_one_that_is_read(steps: list[tuple[bool, bool, bool]]) -> None:
    """Each step: whether the first place can be written, the spare, and whether a new process looks."""
    with tempfile.TemporaryDirectory() as name:
        first, spare = Path(name) / "first", Path(name) / "spare"
        wanted = ServiceRecord()
        records = TwoServiceRecords(str(first), str(spare), no_spare)
        for number, (first_works, spare_works, anew) in enumerate(steps, start=1):
            for place, works in ((first, first_works), (spare, spare_works)):
                _switch(place, works=works)
            if anew:
                records = TwoServiceRecords(str(first), str(spare), no_spare)

            def change(record: ServiceRecord, number: int = number) -> ServiceRecord:
                return replace(record, failures=record.failures + 1, last_error=str(number), next_sequence=number)

            if first_works or spare_works:
                records.update("svc", change)
                wanted = replace(wanted, failures=wanted.failures + 1, last_error=str(number), next_sequence=number)
            else:
                with pytest.raises(OSError):
                    records.update("svc", change)
        found = TwoServiceRecords(str(first), str(spare), no_spare).get("svc")
        assert replace(found, revision=0) == wanted


def _switch(place: Path, *, works: bool) -> None:
    """What can be read and, also by root, not be written: its lock can't be opened."""
    lock = place / ".lock"
    place.mkdir(exist_ok=True)
    if lock.is_dir():
        lock.rmdir()
    if not works:
        lock.unlink(missing_ok=True)
        lock.mkdir()


def test_a_sequence_is_never_taken_back() -> None:
    """The newer record counts, but the highest next sequence of all: none is used twice."""
    old, new = ServiceRecord(next_sequence=9, revision=1), ServiceRecord(next_sequence=4, revision=2, paused=True)
    assert newest(old, new) == ServiceRecord(next_sequence=9, revision=2, paused=True)
    assert newest() == ServiceRecord()


def test_without_any_place_the_first_one_s_error_is_told(tmp_path: Path) -> None:
    """What the operator must mend first."""
    (tmp_path / "first").write_bytes(b"")
    records = TwoServiceRecords(str(tmp_path / "first"), None, no_spare)
    with pytest.raises(OSError, match="first"):
        records.update("svc", lambda record: replace(record, paused=True))
    with pytest.raises(RepositoryError, match="no spare"):
        TwoServiceRecords(None, None, no_spare).update("svc", lambda record: replace(record, paused=True))
