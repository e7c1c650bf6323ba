"""Retention: which snapshots are kept, and by which rules. Pure: values in, decisions out.

The rules are restic's (its 40 golden policies are tests/conformance/retention): rules are ORed; each hour, day, ISO
week, month or year keeps its newest snapshot; only periods that hold snapshots use up a count; the oldest snapshot is
kept while a count has room; a `within` span reaches back from the newest snapshot and its cut-off itself is outside.

Where recoverd is stricter:

- *Newest* goes by sequence, never by time: a clock may be wrong, a counter is not. Time only names buckets. The order
  of the walk is: captures by descending sequence, then imports by descending time, so an import is never the newest.
- Only snapshots that count (`Candidate.counts`) use up counts, fill buckets or are kept by `last` and `within`. The
  others have an allowance of their own, `keep_invalid`. `tags` keeps any snapshot: somebody named it on purpose.
- A snapshot from the future is kept, and uses up nothing until its time has come.
- The newest snapshot that counts, the newest proven one, pinned ones and `protected` ones are never deleted.

Buckets are named by the wall clock of one zone, as restic does it: on the day that summer time ends the repeated hour
is one bucket (its newest snapshot stays), on the day that it begins the skipped hour is none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeGuard

from recoverd.config.model import UNLIMITED, Retention, Span
from recoverd.values import dataclass

_SECOND_NS = 1_000_000_000
# What datetime can hold in every zone: the years 2 to 9998, in seconds since 1970.
_FIRST_SECOND = -62_104_060_800
_LAST_SECOND = 253_339_228_800

_Bucket = tuple[int, ...]
_PERIODS: Mapping[str, Callable[[datetime], _Bucket]] = {
    "hourly": lambda t: (t.year, t.month, t.day, t.hour),
    "daily": lambda t: (t.year, t.month, t.day),
    "weekly": lambda t: tuple(t.isocalendar()[:2]),
    "monthly": lambda t: (t.year, t.month),
    "yearly": lambda t: (t.year,),
}

RULES = (
    "last",
    *_PERIODS,
    "within",
    *(f"within_{period}" for period in _PERIODS),
    "tags",
    "pinned",
    "migration",
    "known-good",
    "proven",
    "invalid",
    "future",
)
"""Every rule that can keep a snapshot, in the order in which `Decision.rules` names them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """What retention has to know of one snapshot.

    `counts`: it is `ok` or `partial` and was not captured while the service was unhealthy. `time_ns`: wall clock, UTC.
    `imported`: its time is not when it was captured.
    """

    sequence: int
    time_ns: int
    counts: bool = True
    tags: tuple[str, ...] = ()
    pinned: bool = False
    migrated: bool = False  # pinned by a migration, and not by hand
    proven: bool = False
    imported: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a snapshot is kept, and every rule that keeps it (`RULES`, then the reason given for `protected`)."""

    sequence: int
    keep: bool
    rules: tuple[str, ...]


def decide(
    policy: Retention,
    candidates: Iterable[Candidate],
    *,
    now_ns: int,
    zone: str = "UTC",
    protected: Mapping[int, str],
) -> list[Decision]:
    """Decides for each snapshot of one service whether it is kept; the answer is by descending sequence.

    `zone` is an IANA name that names the buckets. `protected` maps sequences that must not be deleted to the reason,
    for example a restore in progress. An empty policy keeps only what can never be deleted.
    Raises zoneinfo.ZoneInfoNotFoundError for an unknown zone.
    """
    order = sorted(candidates, key=_newest_first, reverse=True)
    kept: dict[int, set[str]] = {candidate.sequence: set() for candidate in order}
    counted = [candidate for candidate in order if candidate.counts and candidate.time_ns <= now_ns]
    _apply_counts(policy, counted, _zone(zone), kept)
    _apply_tags(policy, order, kept)
    _apply_safety(policy, order, now_ns, kept)
    decisions = []
    for sequence in sorted(kept, reverse=True):
        names = kept[sequence]
        rules = tuple(rule for rule in RULES if rule in names) if names else ()
        if sequence in protected:
            rules = (*rules, protected[sequence])
        decisions.append(Decision(sequence, bool(rules), rules))
    return decisions


def _newest_first(candidate: Candidate) -> tuple[bool, int, int]:
    if candidate.imported:
        return (False, candidate.time_ns, candidate.sequence)
    return (True, candidate.sequence, 0)


def _zone(name: str) -> tzinfo:
    # UTC must work on machines without a time zone database.
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def _local(time_ns: int, zone: tzinfo) -> datetime:
    second = min(max(time_ns // _SECOND_NS, _FIRST_SECOND), _LAST_SECOND)
    return datetime.fromtimestamp(second, zone)


def _apply_counts(policy: Retention, counted: Sequence[Candidate], zone: tzinfo, kept: dict[int, set[str]]) -> None:
    """`last`, the counted periods and the `within` rules, over what counts, newest first."""
    if not counted:
        return
    oldest = counted[-1]
    for candidate in counted if policy.last < 0 else counted[: policy.last]:
        kept[candidate.sequence].add("last")
    newest_local = _local(counted[0].time_ns, zone)
    newest_ns = counted[0].time_ns
    if _is_set(policy.within):
        cutoff_ns = _cutoff(newest_ns, newest_local, policy.within)
        for candidate in counted:
            if cutoff_ns is None or candidate.time_ns > cutoff_ns:
                kept[candidate.sequence].add("within")
    local: list[datetime] | None = None
    for period, bucket_of in _PERIODS.items():
        count: int = getattr(policy, period)
        span: Span | None = getattr(policy, f"within_{period}")
        if count == 0 and not _is_set(span):
            continue
        if local is None:
            local = [_local(candidate.time_ns, zone) for candidate in counted]
        buckets = list(map(bucket_of, local))
        _fill(period, count, zip(counted, buckets, strict=True), oldest, kept)
        if _is_set(span):
            cutoff_ns = _cutoff(newest_ns, newest_local, span)
            inside = (
                (candidate, bucket)
                for candidate, bucket in zip(counted, buckets, strict=True)
                if cutoff_ns is None or candidate.time_ns > cutoff_ns
            )
            _fill(f"within_{period}", UNLIMITED, inside, oldest, kept)


def _fill(
    rule: str,
    count: int,
    walk: Iterable[tuple[Candidate, _Bucket]],
    oldest: Candidate,
    kept: dict[int, set[str]],
) -> None:
    """Keeps the first of each bucket while the count has room, and the oldest of all if it still has then."""
    seen: set[_Bucket] = set()
    room = count
    for candidate, bucket in walk:
        if room == 0:
            return
        if bucket not in seen or candidate is oldest:
            seen.add(bucket)
            kept[candidate.sequence].add(rule)
            if room > 0:
                room -= 1


def _apply_tags(policy: Retention, order: Sequence[Candidate], kept: dict[int, set[str]]) -> None:
    wanted = [frozenset(tags) for tags in policy.tags]
    if not wanted:
        return
    for candidate in order:
        if any(tags.issubset(candidate.tags) for tags in wanted):
            kept[candidate.sequence].add("tags")


def _apply_safety(policy: Retention, order: Sequence[Candidate], now_ns: int, kept: dict[int, set[str]]) -> None:
    """What no policy and no clock can delete, and the allowance of what does not count."""
    allowance = policy.keep_invalid
    newest = arrived = proven = False
    for candidate in order:
        rules = kept[candidate.sequence]
        if candidate.pinned:
            rules.add("pinned")
            if candidate.migrated:
                rules.add("migration")
        if candidate.proven and not proven:
            proven = True
            rules.add("proven")
        future = candidate.time_ns > now_ns
        if future:
            rules.add("future")
        if candidate.counts:
            # While the newest is one from the future, the newest whose time has come is protected as well.
            if not newest or (not arrived and not future):
                rules.add("known-good")
            newest = True
            arrived = arrived or not future
        elif not future and allowance != 0:
            allowance -= 1
            rules.add("invalid")


def _is_set(span: Span | None) -> TypeGuard[Span]:
    return span is not None and span != Span()


def _cutoff(newest_ns: int, newest_local: datetime, span: Span) -> int | None:
    """The instant (ns) after which a snapshot is inside the span; None when the span reaches back for ever.

    Calendar arithmetic like Go's AddDate: 31 March less one month is 31 February, which is 3 (or 2) March.
    """
    months = newest_local.year * 12 + newest_local.month - 1 - span.years * 12 - span.months
    try:
        first = newest_local.replace(year=months // 12, month=months % 12 + 1, day=1)
        wall = first + timedelta(days=newest_local.day - 1 - span.days)
        second = int(wall.timestamp())
    except (OverflowError, ValueError):
        return None
    return second * _SECOND_NS + newest_ns % _SECOND_NS - round(span.seconds * _SECOND_NS)
