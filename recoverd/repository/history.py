"""What is to be told of all the snapshots of a service: `check` asks for it, often, and of every service.

Two of them matter, the newest and the known-good one; of the others it is enough to count them. So those are not
decoded where the catalog has their records: the checksum says that they are what was decoded once, and recoverd writes
their fields in one order only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from blake3 import blake3

from recoverd.errors import RepositoryError
from recoverd.repository.catalog import CachedRecord
from recoverd.repository.records import Snapshot, SnapshotVerdict
from recoverd.repository.snapshots import SNAPSHOT_VERSION, decode_snapshot
from recoverd.values import dataclass

_TEXT = rb'"(?:[^"\\]|\\.)*"'
_HEAD = rb'\{"boot_id":%b,"bytes":"[0-9]+","files":[0-9]+,"host":%b,"id":%b,"imported":(true|false),"items":\{' % (
    _TEXT,
    _TEXT,
    _TEXT,
)
_TAIL = (
    rb'"new_bytes":"([0-9]+)","parent":(?:null|[0-9]+),"reason":%b,"sequence":[0-9]+,"service":%b,"snapshot":%d,'
    rb'"tags":\[(?:%b(?:,%b)*)?\],"time":%b,"time_ns":"-?[0-9]+","verdict":"([a-z]+)"(,"checksum":"([0-9a-f]{64})"\}\n)'
    % (_TEXT, _TEXT, SNAPSHOT_VERSION, _TEXT, _TEXT, _TEXT)
)
_compiled = cache(re.compile)  # late: most commands never ask
_COUNTED = {verdict.value.encode(): verdict.counts for verdict in SnapshotVerdict}


@dataclass(frozen=True, slots=True)
class History:
    """The snapshots of a service that it captured itself, not those that were imported; and how many can't be read."""

    newest: Snapshot | None = None
    known_good: Snapshot | None = None  # the newest that counts
    snapshots: int = 0
    known_good_snapshots: int = 0
    new_bytes: int = 0  # of all of them
    unreadable: int = 0  # records, imported or not


def history_of(snapshots: Sequence[Snapshot], unreadable: int) -> History:
    """`snapshots`: all that can be read, ascending by sequence."""
    own = [one for one in snapshots if not one.imported]
    counted = [one for one in own if one.verdict.counts]
    return History(
        newest=own[-1] if own else None,
        known_good=counted[-1] if counted else None,
        snapshots=len(own),
        known_good_snapshots=len(counted),
        new_bytes=sum(one.new_bytes for one in own),
        unreadable=unreadable,
    )


def quick_history(
    service: str, stamps: Mapping[int, tuple[int, int]], cached: Mapping[int, CachedRecord]
) -> History | None:
    """The same by the catalog's records. `stamps`: bytes and mtime (ns) of all record files, ascending by sequence.

    None where it does not hold just these, or one of them has to be looked at more closely.
    """
    if stamps.keys() != cached.keys() or any((cached[n].size, cached[n].mtime_ns) != stamps[n] for n in stamps):
        return None
    own, counted, new_bytes = [], [], 0
    for sequence in stamps:
        gist = _gist(cached[sequence].record)
        if gist is None:
            return None
        imported, added, counts = gist
        if not imported:
            new_bytes += added
            own.append(sequence)
            if counts:
                counted.append(sequence)
    try:
        matter = {n: decode_snapshot(cached[n].record, service, n) for n in {*own[-1:], *counted[-1:]}}
    except RepositoryError:
        return None
    newest, good = (matter[found[-1]] if found else None for found in (own, counted))
    return History(newest, good, len(own), len(counted), new_bytes)


def _gist(record: bytes) -> tuple[bool, int, bool] | None:
    """Whether it is imported, its new bytes, and whether it counts. None for what is no intact record."""
    # quotes inside of a text are escaped, so this is a key, and behind the items there is one
    begin = max(0, record.rfind(b'"new_bytes":"'))
    head, tail = _compiled(_HEAD).match(record), _compiled(_TAIL).fullmatch(record, begin)
    if head is None or tail is None or tail[2] not in _COUNTED:
        return None
    if blake3(record[: tail.start(3)] + b"}\n").hexdigest().encode() != tail[4]:
        return None
    return head[1] == b"true", int(tail[1]), _COUNTED[tail[2]]
