"""Snapshot records as JSON: strict, checksummed, and readable with jq (docs/repository-format.md)."""

from __future__ import annotations

import re
from typing import Any

from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.repository.fields import Fields, Malformed, as_text, canonical, check_version, parse
from recoverd.repository.records import ItemRecord, Snapshot, SnapshotDraft, SnapshotVerdict
from recoverd.system.clock import rfc3339

SNAPSHOT_VERSION = 1
SEQUENCE_DIGITS = 12

_SERVICE = re.compile(r"[a-z0-9][a-z0-9._-]*")
_INSTANCE = re.compile(r"[A-Za-z0-9~][A-Za-z0-9._~-]{0,79}")
_RECORD_NAME = re.compile(r"([0-9]{12})\.json")
_HASH = re.compile(r"[0-9a-f]{64}")
_CHECKSUM = re.compile(rb',"checksum":"([0-9a-f]{64})"\}\n\Z')


def record_name(sequence: int) -> str:
    """The file name of a record, which sorts by sequence. Raises ValueError when the sequence is out of range."""
    if not 1 <= sequence < 10**SEQUENCE_DIGITS:
        raise ValueError(f"{sequence} is no sequence of a snapshot")
    return f"{sequence:0{SEQUENCE_DIGITS}d}.json"


def sequence_of(name: str) -> int | None:
    """The sequence in a record's file name; None for any other name."""
    match = _RECORD_NAME.fullmatch(name)
    return int(match[1]) or None if match else None


def is_service_name(name: str) -> bool:
    return _SERVICE.fullmatch(name) is not None and len(name) <= 200


def is_instance_name(name: str) -> bool:
    """Whether it is SERVICE@ID: one of a service's processes, which has a record and a lock, and never a snapshot."""
    service, separator, instance = name.partition("@")
    return bool(separator) and is_service_name(service) and _INSTANCE.fullmatch(instance) is not None


def from_draft(draft: SnapshotDraft, *, sequence: int, new_bytes: int) -> Snapshot:
    return Snapshot(
        service=draft.service,
        sequence=sequence,
        time_ns=draft.time_ns,
        boot_id=draft.boot_id,
        host=draft.host,
        verdict=draft.verdict,
        items=draft.items,
        reason=draft.reason,
        label=draft.label,
        tags=draft.tags,
        parent=draft.parent,
        files=draft.files,
        size_bytes=draft.size_bytes,
        new_bytes=new_bytes,
        imported=draft.imported,
    )


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The bytes of a record. Its last member is the BLAKE3 of all that stands before, with the closing "}\\n"."""
    document = {
        "snapshot": SNAPSHOT_VERSION,
        "id": snapshot.id,
        "service": snapshot.service,
        "sequence": snapshot.sequence,
        "time": rfc3339(snapshot.time_ns),
        "time_ns": str(snapshot.time_ns),
        "boot_id": snapshot.boot_id,
        "host": snapshot.host,
        "verdict": snapshot.verdict.value,
        "reason": snapshot.reason,
        "label": snapshot.label,
        "tags": list(snapshot.tags),
        "parent": snapshot.parent,
        "files": snapshot.files,
        "bytes": str(snapshot.size_bytes),
        "new_bytes": str(snapshot.new_bytes),
        "imported": snapshot.imported,
        "items": {name: _encode_item(item) for name, item in snapshot.items.items()},
    }
    body = canonical(document) + "\n"
    return f'{body[:-2]},"checksum":"{blake3(body.encode("ascii")).hexdigest()}"}}\n'.encode("ascii")


def decode_snapshot(data: bytes, service: str, sequence: int) -> Snapshot:
    """The snapshot in a record that was found as `sequence` of `service`.

    Raises RepositoryError when the record is damaged, malformed, another one's, or of a newer version.
    """
    what = f"the record of snapshot {service}/{sequence}"
    match = _CHECKSUM.search(data[-128:])
    if match is None or blake3(data[: -len(match[0])] + b"}\n").hexdigest().encode() != match[1]:
        raise RepositoryError(f"{what} is damaged: its checksum is wrong", hint="the other snapshots still work")
    try:
        fields = parse(data[: -len(match[0])] + b"}")
        check_version(fields, "snapshot", SNAPSHOT_VERSION, what)
        snapshot = _decode(fields)
        fields.nothing_else()
    except (ValueError, OverflowError) as error:
        raise RepositoryError(f"{what} is not what recoverd writes: {error}") from None
    if (snapshot.service, snapshot.sequence) != (service, sequence):
        raise RepositoryError(f"{what} is that of {snapshot.id}: somebody renamed it")
    return snapshot


def _encode_item(item: ItemRecord) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "path": item.path,
        "root": item.root,
        "good": item.good,
        "files": item.files,
        "bytes": str(item.size_bytes),
        "verdict": item.verdict,
        "problems": [{"place": place, "problem": sentence} for place, sentence in item.problems],
        "damaged": dict(item.damaged),
        "judge": item.judge,
        "version": item.version,
        **({"mount": item.mount} if item.mount is not None else {}),
    }


def _decode(fields: Fields) -> Snapshot:
    snapshot = Snapshot(
        service=fields.text("service"),
        sequence=fields.whole("sequence"),
        time_ns=fields.long("time_ns"),
        boot_id=fields.text("boot_id"),
        host=fields.text("host"),
        verdict=SnapshotVerdict(fields.text("verdict")),
        items=fields.objects("items", _decode_item),
        reason=fields.text("reason"),
        label=fields.text_or_none("label"),
        tags=fields.list_of("tags", as_text),
        parent=fields.whole_or_none("parent"),
        files=fields.whole("files"),
        size_bytes=fields.size("bytes"),
        new_bytes=fields.size("new_bytes"),
        imported=fields.flag("imported"),
    )
    if fields.text("id") != snapshot.id or fields.text("time") != rfc3339(snapshot.time_ns):
        raise Malformed("id or time contradict the other fields")
    return snapshot


def _decode_item(fields: Fields) -> ItemRecord:
    good = fields.text_or_none("good")
    item = ItemRecord(
        kind=fields.text("kind"),
        path=fields.text("path"),
        root=_hash(fields.text("root")),
        good=None if good is None else _hash(good),
        files=fields.whole("files"),
        size_bytes=fields.size("bytes"),
        verdict=fields.text("verdict"),
        problems=fields.list_of("problems", _decode_problem),
        damaged=fields.texts("damaged"),
        judge=fields.text("judge"),
        version=fields.text_or_none("version"),
        mount=fields.text_or_none("mount"),
    )
    fields.nothing_else()
    return item


def _decode_problem(document: Any) -> tuple[str, str]:
    fields = Fields(document)
    pair = fields.text("place"), fields.text("problem")
    fields.nothing_else()
    return pair


def _hash(value: str) -> str:
    if not _HASH.fullmatch(value):
        raise Malformed(f"{value!r} is no hash")
    return value
