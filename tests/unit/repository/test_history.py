"""The history of a service by records that are not decoded: what decoding all of them tells, or nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recoverd.repository.catalog import CachedRecord
from recoverd.repository.history import History, history_of, quick_history
from recoverd.repository.records import ItemRecord, Snapshot, SnapshotVerdict
from recoverd.repository.snapshots import encode_snapshot
from recoverd.values import replace

HASH = "ab" * 32
# what could be taken for something else: the keys of a record, and all that JSON escapes
texts = st.one_of(
    st.sampled_from(
        ["", '"', "\\", '\\"', "\n", "]", '","', "new_bytes", '"new_bytes":"7"', '"imported":true', '","verdict":"ok"']
    ),
    st.text(max_size=12),
)
names = st.one_of(st.sampled_from(["new_bytes", "imported", "verdict", "checksum", "items"]), texts)
items = st.builds(
    ItemRecord,
    kind=texts,
    path=texts,
    root=st.just(HASH),
    good=st.one_of(st.none(), st.just(HASH)),
    files=st.integers(0, 9),
    size_bytes=st.integers(0, 9),
    verdict=texts,
    problems=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
    damaged=st.dictionaries(names, texts, max_size=2),
)
snapshots = st.builds(
    Snapshot,
    service=st.just("svc"),
    sequence=st.just(1),
    time_ns=st.integers(-(10**18), 10**18),
    boot_id=texts,
    host=texts,
    verdict=st.sampled_from(SnapshotVerdict),
    items=st.dictionaries(names, items, max_size=2),
    reason=texts,
    label=st.one_of(st.none(), texts),
    tags=st.lists(texts, max_size=3).map(tuple),
    parent=st.one_of(st.none(), st.integers(1, 9)),
    files=st.integers(0, 9),
    size_bytes=st.integers(0, 2**62),
    new_bytes=st.integers(0, 2**62),
    imported=st.booleans(),
)


def numbered(found: list[Snapshot]) -> list[Snapshot]:
    return [replace(one, sequence=number) for number, one in enumerate(found, 1)]


def cached(found: list[Snapshot]) -> dict[int, CachedRecord]:
    return {one.sequence: CachedRecord(5, one.sequence, encode_snapshot(one)) for one in found}


def stamps(found: list[Snapshot]) -> dict[int, tuple[int, int]]:
    return {one.sequence: (5, one.sequence) for one in found}


@given(st.lists(snapshots, max_size=5).map(numbered))
def test_it_is_what_decoding_all_of_them_tells(found: list[Snapshot]) -> None:
    """And not None: no text that a record can hold makes it look more closely."""
    assert quick_history("svc", stamps(found), cached(found)) == history_of(found, 0)


@given(snapshots, st.data())
def test_a_changed_byte_is_never_believed(one: Snapshot, data: st.DataObject) -> None:
    (found,) = numbered([one])
    record = bytearray(encode_snapshot(found))
    record[data.draw(st.integers(0, len(record) - 1))] ^= data.draw(st.integers(1, 255))
    assert quick_history("svc", stamps([found]), {1: CachedRecord(5, 1, bytes(record))}) is None


@given(st.lists(snapshots, min_size=1, max_size=3).map(numbered), st.data())
def test_records_of_other_files_are_not_used(found: list[Snapshot], data: st.DataObject) -> None:
    known, there = cached(found), stamps(found)
    number = data.draw(st.sampled_from(sorted(known)))
    change = data.draw(st.sampled_from(["gone", "new", "size", "time"]))
    if change == "gone":
        del there[number]
    elif change == "new":
        del known[number]
    else:
        there[number] = (6, number) if change == "size" else (5, 99)
    assert quick_history("svc", there, known) is None


def test_a_record_of_another_version_or_name_is_looked_at_more_closely() -> None:
    """Whoever decodes it tells what is wrong with it."""
    one = Snapshot("svc", 1, 0, "boot", "host", SnapshotVerdict.OK, {})
    assert quick_history("svc", stamps([one]), cached([one])) == History(one, one, 1, 1)
    assert quick_history("other", stamps([one]), cached([one])) is None
    assert quick_history("svc", {2: (5, 2)}, {2: CachedRecord(5, 2, encode_snapshot(one))}) is None
    newer = encode_snapshot(one).replace(b'"snapshot":1', b'"snapshot":2')
    assert quick_history("svc", stamps([one]), {1: CachedRecord(5, 1, newer)}) is None
