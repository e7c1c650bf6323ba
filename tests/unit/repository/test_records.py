"""Records: snapshots, marks and service records as JSON, strict on the way in."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoverd.errors import RepositoryError
from recoverd.repository.fields import Malformed, canonical, parse
from recoverd.repository.marks import MarksDirectory, decode_marks, encode_marks
from recoverd.repository.records import ItemRecord, Marks, ServiceRecord, Snapshot, SnapshotVerdict
from recoverd.repository.service_records import ServiceRecords, decode_service_record, encode_service_record
from recoverd.repository.snapshots import decode_snapshot, encode_snapshot, record_name, sequence_of

HASH = "ab" * 32
ITEM = ItemRecord(
    "directory",
    "/var/lib/x",
    HASH,
    None,
    3,
    2**60,
    "corrupt",
    (("a.json", 'is "empty"\n'),),
    {"ä.json": "corrupt"},
    HASH,
)
SNAPSHOT = Snapshot(
    "svc", 42, 1_700_000_000_123_456_789, "boot", "höst", SnapshotVerdict.PARTIAL, {"main": ITEM}, label="über",
    tags=("a", "b"), parent=41, files=3, size_bytes=2**60, new_bytes=7,
)  # fmt: skip

texts = st.text(max_size=8)
items = st.builds(
    ItemRecord,
    kind=texts,
    path=texts,
    root=st.binary(min_size=32, max_size=32).map(bytes.hex),
    good=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    files=st.integers(0, 2**53),
    size_bytes=st.integers(0, 2**63 - 1),
    verdict=texts,
    problems=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
    damaged=st.dictionaries(texts, texts, max_size=2),
    judge=texts,
    version=st.none() | texts,
)
snapshots = st.builds(
    Snapshot,
    service=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,9}", fullmatch=True),
    sequence=st.integers(1, 10**12 - 1),
    time_ns=st.integers(-(2**63), 2**63 - 1),
    boot_id=texts,
    host=texts,
    verdict=st.sampled_from(SnapshotVerdict),
    items=st.dictionaries(texts, items, max_size=2),
    reason=texts,
    label=st.none() | texts,
    tags=st.lists(texts, max_size=2).map(tuple),
    parent=st.none() | st.integers(0, 2**53),
    files=st.integers(0, 2**53),
    size_bytes=st.integers(0, 2**63 - 1),
    new_bytes=st.integers(0, 2**63 - 1),
    imported=st.booleans(),
)


@given(snapshots)
def test_every_snapshot_comes_back(snapshot: Snapshot) -> None:
    """Promise 6: what is recorded is what is read, for any texts and 64-bit numbers."""
    data = encode_snapshot(snapshot)
    assert data.isascii()
    assert data.endswith(b"\n")
    assert decode_snapshot(data, snapshot.service, snapshot.sequence) == snapshot


@pytest.mark.parametrize("mask", [0x01, 0x20, 0xFF])
def test_every_flipped_byte_of_a_record_is_noticed(mask: int) -> None:
    """Promise 7: a record carries a checksum of itself."""
    good = encode_snapshot(SNAPSHOT)
    for position in range(len(good)):
        bad = bytearray(good)
        bad[position] ^= mask
        with pytest.raises(RepositoryError):
            decode_snapshot(bytes(bad), "svc", 42)


def test_a_record_that_is_cut_anywhere_is_noticed() -> None:
    """Promise 6: a torn record is never seen as a snapshot."""
    good = encode_snapshot(SNAPSHOT)
    for length in range(len(good)):
        with pytest.raises(RepositoryError):
            decode_snapshot(good[:length], "svc", 42)
    with pytest.raises(RepositoryError):
        decode_snapshot(good + b"\n", "svc", 42)


def test_a_record_under_another_name_is_refused() -> None:
    """A copied record must not pose as another snapshot."""
    with pytest.raises(RepositoryError, match="that of svc/42"):
        decode_snapshot(encode_snapshot(SNAPSHOT), "svc", 43)
    with pytest.raises(RepositoryError, match="that of svc/42"):
        decode_snapshot(encode_snapshot(SNAPSHOT), "other", 42)


def forged(**changes: object) -> bytes:
    """A record with a right checksum and other fields; a field set to Ellipsis is left out."""
    document = json.loads(encode_snapshot(SNAPSHOT))
    document.update(changes)
    document = {key: value for key, value in document.items() if key != "checksum" and value is not ...}
    body = json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n"
    return f'{body[:-2]},"checksum":"{blake3(body.encode()).hexdigest()}"}}\n'.encode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"snapshot": 2}, "version 2"),
        ({"snapshot": ...}, "missing"),
        ({"replica": "x"}, "newer recoverd: replica"),
        ({"sequence": "42"}, "sequence"),
        ({"sequence": 42.0}, "sequence"),
        ({"sequence": True}, "sequence"),
        ({"time_ns": 5}, "time_ns"),
        ({"time_ns": "9223372036854775808"}, "time_ns"),
        ({"time": "2026-01-01T00:00:00.000Z"}, "contradict"),
        ({"id": "svc/41"}, "contradict"),
        ({"verdict": "fine"}, "fine"),
        ({"bytes": "-1"}, "negative"),
        ({"tags": "a"}, "no list"),
        ({"tags": [1]}, "text"),
        ({"imported": 0}, "imported"),
        ({"items": []}, "items"),
        ({"items": {"main": 5}}, "object"),
        ({"items": {"main": {**json.loads(encode_snapshot(SNAPSHOT))["items"]["main"], "root": "../x"}}}, "no hash"),
        ({"items": {"main": {**json.loads(encode_snapshot(SNAPSHOT))["items"]["main"], "good": "x"}}}, "no hash"),
        ({"items": {"main": {**json.loads(encode_snapshot(SNAPSHOT))["items"]["main"], "x": 1}}}, "newer"),
        (
            {"items": {"main": {**json.loads(encode_snapshot(SNAPSHOT))["items"]["main"], "damaged": {"a": 1}}}},
            "damaged",
        ),
    ],
)
def test_a_forged_record_is_refused_with_the_reason(changes: dict[str, object], message: str) -> None:
    """Strict decoding: what an older recoverd does not know may name data, so it is refused, never skipped."""
    with pytest.raises(RepositoryError, match=message):
        decode_snapshot(forged(**changes), "svc", 42)
    assert decode_snapshot(forged(), "svc", 42) == SNAPSHOT


def test_a_key_that_comes_twice_is_refused() -> None:
    """Two readers could see two different snapshots in one record."""
    body = encode_snapshot(SNAPSHOT).split(b',"checksum"')[0].replace(b'"files":3', b'"files":3,"files":4', 1) + b"}\n"
    checksum = blake3(body).hexdigest().encode()
    with pytest.raises(RepositoryError, match="twice"):
        decode_snapshot(body[:-2] + b',"checksum":"' + checksum + b'"}\n', "svc", 42)


@pytest.mark.parametrize(
    "command", ["jq -caS 'del(.checksum)' record", r"""sed -E 's/,"checksum":"[0-9a-f]{64}"\}$/}/' record"""]
)
def test_the_checksum_can_be_checked_with_jq_or_sed(command: str, tmp_path: Path) -> None:
    """Promise 8: the commands of docs/repository-format.md give the very bytes that were hashed."""
    if not shutil.which(command.split(maxsplit=1)[0]):
        pytest.skip(f"{command.split(maxsplit=1)[0]} is not installed")
    (tmp_path / "record").write_bytes(encode_snapshot(SNAPSHOT))
    done = subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, check=True)
    assert blake3(done.stdout).hexdigest() == json.loads(encode_snapshot(SNAPSHOT))["checksum"]


def test_names_of_records_sort_by_sequence() -> None:
    """Sequences are zero-padded; other names are no records."""
    assert record_name(7) == "000000000007.json"
    assert sequence_of(record_name(123_456)) == 123_456
    for name in ("7.json", "000000000000.json", ".tmp-x", "000000000007.json~", "٠" * 12 + ".json"):
        assert sequence_of(name) is None
    for bad in (0, -1, 10**12):
        with pytest.raises(ValueError, match="no sequence"):
            record_name(bad)


# --- marks


@given(
    st.builds(
        Marks,
        pinned=st.booleans(),
        proven_ns=st.none() | st.integers(-(2**63), 2**63 - 1),
        drilled_ns=st.none() | st.integers(0, 2**63 - 1),
        unhealthy=st.booleans(),
        rejected=st.dictionaries(texts, texts, max_size=2),
        tries_left=st.none() | st.integers(0, 10),
        migrated=st.lists(texts, max_size=2).map(tuple),
    )
)
def test_marks_come_back(marks: Marks) -> None:
    """The mutable facts survive, and 64-bit times are text."""
    assert decode_marks(encode_marks(marks)) == marks


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 20, b'{"marks":1', b'{"marks":1,"pinned":"no"}', b'{"marks":2}', b"[]"]
)
def test_damaged_marks_count_as_pinned(damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 3: marks that can't be read never let a snapshot be deleted."""
    marks = MarksDirectory(str(tmp_path))
    (tmp_path / record_name(3)).write_bytes(damage)
    with caplog.at_level(logging.WARNING):
        assert marks.get(3) == Marks(pinned=True)
    assert "counts as pinned" in caplog.text
    assert marks.all() == {3: Marks(pinned=True)}
    changed = marks.change(3, lambda found: replace(found, unhealthy=True))
    assert changed == Marks(pinned=True, unhealthy=True) == marks.get(3)


def test_marks_with_nothing_to_say_leave_no_file(tmp_path: Path) -> None:
    """The file is absent while all marks have their defaults; deleting what is not there is fine."""
    marks = MarksDirectory(str(tmp_path / "svc"))
    assert marks.all() == {}
    assert marks.get(1) == Marks()
    marks.forget([1, 2])
    assert marks.change(1, lambda found: found) == Marks()
    marks.change(1, lambda found: replace(found, pinned=True))
    marks.change(2, lambda found: replace(found, tries_left=0))
    assert marks.all() == {1: Marks(pinned=True), 2: Marks(tries_left=0)}
    marks.change(1, lambda found: replace(found, pinned=False))
    marks.forget([2, 5])
    assert [path.name for path in (tmp_path / "svc").iterdir()] == [".lock"]


# --- service records

RECORD = ServiceRecord(7, True, 2**62, 6, {"main": {"a.json": HASH}}, {"pid": 4}, "why", {"at": "x"}, 2, "no space")


def test_service_records_come_back(tmp_path: Path) -> None:
    """What recoverd remembers survives a restart."""
    assert decode_service_record(encode_service_record("svc", RECORD), "svc") == RECORD
    records = ServiceRecords(str(tmp_path / "services"))
    assert records.get("svc") == ServiceRecord()
    assert records.update("svc", lambda _: RECORD) == RECORD
    assert ServiceRecords(str(tmp_path / "services")).get("svc") == RECORD


@pytest.mark.parametrize(
    "damage", [b"", b"\0" * 100, encode_service_record("svc", RECORD)[:-9], b'{"service_record":1}']
)
def test_a_damaged_service_record_is_moved_aside(
    damage: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Never a crash: defaults, a warning, and the damaged file kept for those who want to know."""
    records = ServiceRecords(str(tmp_path))
    (tmp_path / "svc.json").write_bytes(damage)
    assert records.get("svc") == ServiceRecord()
    assert "defaults" in caplog.text
    assert records.update("svc", lambda found: replace(found, paused=True)).paused
    assert records.get("svc") == ServiceRecord(paused=True)
    (aside,) = tmp_path.glob("svc.json.damaged-*")
    assert aside.read_bytes() == damage


def test_a_service_record_of_a_newer_recoverd_is_left_alone(tmp_path: Path) -> None:
    """It is refused with a sentence, not overwritten with defaults."""
    newer = encode_service_record("svc", RECORD).replace(b'"service_record":1', b'"service_record":2')
    (tmp_path / "svc.json").write_bytes(newer)
    records = ServiceRecords(str(tmp_path))
    with pytest.raises(RepositoryError, match="version 2"):
        records.get("svc")
    with pytest.raises(RepositoryError, match="version 2"):
        records.update("svc", lambda found: found)
    assert (tmp_path / "svc.json").read_bytes() == newer


def test_a_record_of_another_service_is_damage() -> None:
    """A renamed file must not hand one service's process to another."""
    with pytest.raises(Malformed, match="another service"):
        decode_service_record(encode_service_record("svc", RECORD), "other")


@given(st.recursive(st.none() | st.booleans() | st.integers() | texts, lambda x: st.dictionaries(texts, x, max_size=3)))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_canonical_json_has_one_spelling(value: object) -> None:
    """The same document is the same bytes, whatever order its keys were made in."""
    text = canonical({"value": value})
    assert canonical(json.loads(text)) == text
    assert parse(text).rest() == {"value": value}
