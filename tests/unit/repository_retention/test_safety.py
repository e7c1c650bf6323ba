"""Retention: recoverd's own rules. Promises 2 and 3 of the product: bad state pushes no good one out, and the last
known-good snapshot can't be deleted by retention or by a wrong clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Retention, Span
from recoverd.repository.retention import RULES, Candidate, Decision, decide

SECOND = 10**9
HOUR = 3600 * SECOND
DAY = 24 * HOUR
NOW = int(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()) * SECOND
NOTHING = Retention(keep_invalid=0)


def run(
    policy: Retention,
    candidates: Iterable[Candidate],
    *,
    now_ns: int = NOW,
    zone: str = "UTC",
    protected: dict[int, str] | None = None,
) -> dict[int, tuple[str, ...]]:
    """sequence -> the rules that keep it, for those that are kept."""
    decisions = decide(policy, candidates, now_ns=now_ns, zone=zone, protected=protected or {})
    assert all(decision.keep == bool(decision.rules) for decision in decisions)
    return {decision.sequence: decision.rules for decision in decisions if decision.keep}


def at(zone: str, *when: int, fold: int = 0) -> int:
    return int(datetime(*when, tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * SECOND  # type: ignore[misc, arg-type]


def test_empty_policy_keeps_only_what_is_never_deleted() -> None:
    """Promise 3, with every kind of protection at once."""
    candidates = [
        Candidate(1, NOW - 9 * DAY, pinned=True),
        Candidate(2, NOW - 8 * DAY, proven=True),
        Candidate(3, NOW - 7 * DAY, proven=True),
        Candidate(4, NOW - 6 * DAY),
        Candidate(5, NOW - 5 * DAY),
        Candidate(6, NOW - 4 * DAY),
        Candidate(7, NOW - 3 * DAY, counts=False),
    ]
    assert run(NOTHING, candidates, protected={4: "restore in progress"}) == {
        1: ("pinned",),
        3: ("proven",),
        4: ("restore in progress",),
        6: ("known-good",),
    }


def test_nothing_to_decide() -> None:
    assert decide(Retention(last=3), [], now_ns=NOW, zone="UTC", protected={5: "x"}) == []


def test_decisions_are_newest_first_and_complete() -> None:
    candidates = [Candidate(sequence, NOW - HOUR) for sequence in (3, 1, 2)]
    decisions = decide(Retention(last=1), candidates, now_ns=NOW, zone="UTC", protected={})
    assert decisions == [
        Decision(3, True, ("last", "known-good")),
        Decision(2, False, ()),
        Decision(1, False, ()),
    ]


def test_invalid_ones_have_an_allowance_of_their_own() -> None:
    """A crash loop writes a hundred bad snapshots: three stay as evidence and every good one keeps its place."""
    good = [Candidate(sequence, NOW - (20 - sequence) * DAY) for sequence in range(1, 11)]
    bad = [Candidate(sequence, NOW - 1000 * SECOND + sequence, counts=False) for sequence in range(11, 111)]
    kept = run(Retention(last=10, hourly=24), [*bad, *good])
    assert {sequence for sequence in kept if sequence <= 10} == set(range(1, 11))
    assert {sequence: rules for sequence, rules in kept.items() if sequence > 10} == {
        108: ("invalid",),
        109: ("invalid",),
        110: ("invalid",),
    }
    assert len(run(Retention(last=10, keep_invalid=-1), [*bad, *good])) == 110


def test_invalid_ones_are_never_kept_by_last_or_within() -> None:
    candidates = [Candidate(1, NOW - HOUR), Candidate(2, NOW - SECOND, counts=False)]
    policy = Retention(last=5, hourly=5, within=Span(days=5), within_daily=Span(days=5), keep_invalid=0)
    assert list(run(policy, candidates)) == [1]


def test_tags_keep_what_somebody_named_on_purpose() -> None:
    candidates = [
        Candidate(1, NOW - DAY, tags=("a",)),
        Candidate(2, NOW - DAY, tags=("a", "b"), counts=False),
        Candidate(3, NOW),
    ]
    kept = run(Retention(tags=(("a", "b"), ("c",)), keep_invalid=0), candidates)
    assert kept == {2: ("tags",), 3: ("known-good",)}


def test_last_goes_by_sequence_when_the_clock_ran_backwards() -> None:
    """A board without a battery starts in 1970: what it captures then is still the newest."""
    candidates = [
        Candidate(1, NOW - DAY),
        Candidate(2, NOW - HOUR),
        Candidate(3, 100 * SECOND),
        Candidate(4, 90 * SECOND),
    ]
    assert run(Retention(last=2), candidates) == {4: ("last", "known-good"), 3: ("last",)}


def test_each_bucket_keeps_its_newest_by_sequence() -> None:
    candidates = [Candidate(1, NOW - 60 * SECOND), Candidate(2, NOW - 120 * SECOND), Candidate(3, NOW - 3 * DAY)]
    kept = run(Retention(daily=5), candidates)
    assert kept == {3: ("daily", "known-good"), 2: ("daily",), 1: ("daily",)}, "1 is the oldest, and there is room"
    assert set(run(Retention(daily=2), candidates)) == {3, 2}


def test_a_bucket_is_counted_once_however_the_clock_jumps() -> None:
    """Times that alternate between two days must not use up one count per jump."""
    times = [NOW, NOW - 5 * DAY, NOW - HOUR, NOW - 5 * DAY - HOUR, NOW - 9 * DAY]
    candidates = [Candidate(9 - place, time_ns) for place, time_ns in enumerate(times)]
    assert set(run(Retention(daily=3), candidates)) == {9, 8, 5}


def test_the_future_is_kept_and_uses_up_nothing() -> None:
    """A clock that ran ahead and was set back again."""
    candidates = [Candidate(1, NOW - 2 * DAY), Candidate(2, NOW - DAY)]
    future = [Candidate(sequence, NOW + sequence * DAY) for sequence in (3, 4, 5)]
    kept = run(Retention(last=2, within=Span(days=3)), [*candidates, *future])
    assert kept == {
        5: ("known-good", "future"),
        4: ("future",),
        3: ("future",),
        2: ("last", "within", "known-good"),
        1: ("last", "within"),
    }
    later = run(Retention(last=2), [*candidates, *future], now_ns=NOW + 9 * DAY)
    assert set(later) == {5, 4}, "their time has come"


def test_a_snapshot_of_this_very_instant_is_not_from_the_future() -> None:
    assert run(NOTHING, [Candidate(1, NOW)]) == {1: ("known-good",)}


def test_a_clock_at_zero_deletes_nothing() -> None:
    candidates = [Candidate(sequence, NOW + sequence, counts=bool(sequence % 2)) for sequence in range(20)]
    assert len(run(Retention(last=1), candidates, now_ns=0)) == 20


def test_imports_are_never_the_newest() -> None:
    """A hundred dated copies, imported today, push out no capture and are not the known-good."""
    captures = [Candidate(1, NOW - 2 * DAY), Candidate(2, NOW - DAY)]
    imports = [Candidate(sequence, NOW - sequence * DAY, imported=True) for sequence in range(3, 103)]
    assert run(Retention(last=3), [*captures, *imports]) == {
        2: ("last", "known-good"),
        1: ("last",),
        3: ("last",),
    }
    assert run(Retention(last=1), imports) == {3: ("last", "known-good")}, "unless there is nothing else"


def test_imports_are_ordered_by_their_time() -> None:
    imports = [Candidate(10, NOW - 3 * DAY, imported=True), Candidate(11, NOW - 9 * DAY, imported=True)]
    assert set(run(Retention(last=1), imports)) == {10}


def test_within_is_strict_and_calendar_like() -> None:
    """31 March less one month is 31 February: 3 March in a common year (Go's AddDate)."""
    newest = at("UTC", 2026, 3, 31, 12, 0, 0)
    edge = at("UTC", 2026, 3, 3, 12, 0, 0)
    candidates = [Candidate(1, edge - 1), Candidate(2, edge), Candidate(3, edge + 1), Candidate(4, newest)]
    assert set(run(Retention(within=Span(months=1)), candidates)) == {3, 4}
    assert set(run(Retention(within=Span(months=1, seconds=1e-9)), candidates)) == {2, 3, 4}


def test_within_counts_back_from_the_newest_not_from_now() -> None:
    """A machine that was off for a year keeps what the rule kept when it went off."""
    candidates = [Candidate(1, NOW - 400 * DAY), Candidate(2, NOW - 400 * DAY + HOUR)]
    assert set(run(Retention(within=Span(seconds=7200)), candidates)) == {1, 2}


@pytest.mark.parametrize("huge", [Span(years=9999), Span(months=10**9), Span(days=10**12), Span(days=800_000)])
def test_a_huge_span_is_unlimited(huge: Span) -> None:
    candidates = [Candidate(1, -(2**63)), Candidate(2, 0), Candidate(3, NOW)]
    assert set(run(Retention(within=huge), candidates)) == {1, 2, 3}
    assert set(run(Retention(within_yearly=huge), candidates)) == {1, 2, 3}


def test_an_empty_span_is_off() -> None:
    assert set(run(Retention(within=Span(), within_daily=Span()), [Candidate(1, NOW - DAY), Candidate(2, NOW)])) == {2}


def test_times_that_no_calendar_holds() -> None:
    """A record may carry any number; deciding must not fail on it."""
    candidates = [Candidate(1, -(10**30)), Candidate(2, NOW), Candidate(3, 10**30)]
    policy = Retention(hourly=-1, weekly=-1, yearly=-1, within_weekly=Span(days=1))
    assert set(run(policy, candidates, zone="Pacific/Auckland")) == {1, 2, 3}
    assert set(run(policy, candidates, zone="Pacific/Auckland", now_ns=10**31)) == {1, 2, 3}


class TestSummerTime:
    """Buckets are named by the wall clock of one zone (decided: as restic does)."""

    ZONE = "Europe/Berlin"

    def test_the_repeated_hour_is_one_bucket(self) -> None:
        """25 October 2026 has 25 hours and 24 names for them: of the two 02:30 the later one stays."""
        start = at(self.ZONE, 2026, 10, 25, 0, 30)
        candidates = [Candidate(hour + 1, start + hour * HOUR) for hour in range(25)]
        kept = run(Retention(hourly=-1), candidates, zone=self.ZONE)
        assert set(range(1, 26)) - set(kept) == {3}
        assert len(run(Retention(hourly=-1), candidates, zone="UTC")) == 25

    def test_the_skipped_hour_is_none(self) -> None:
        start = at(self.ZONE, 2026, 3, 29, 0, 30)
        candidates = [Candidate(hour + 1, start + hour * HOUR) for hour in range(23)]
        assert len(run(Retention(hourly=-1), candidates, zone=self.ZONE)) == 23
        days = {datetime.fromtimestamp(c.time_ns // SECOND, ZoneInfo(self.ZONE)).day for c in candidates}
        assert days == {29}

    def test_a_day_begins_at_midnight_of_the_zone(self) -> None:
        candidates = [
            Candidate(1, at(self.ZONE, 2026, 7, 1, 12, 0)),
            Candidate(2, at(self.ZONE, 2026, 7, 1, 23, 59)),
            Candidate(3, at(self.ZONE, 2026, 7, 2, 0, 1)),
        ]
        assert set(run(Retention(daily=2), candidates, zone=self.ZONE)) == {2, 3}
        assert set(run(Retention(daily=2), candidates, zone="UTC")) == {3, 1}

    def test_a_span_of_days_keeps_the_wall_clock(self) -> None:
        """One day before noon is noon, also when that day had 25 hours."""
        newest = at(self.ZONE, 2026, 10, 25, 12, 0)
        noon_before = at(self.ZONE, 2026, 10, 24, 12, 0)
        assert newest - noon_before == 25 * HOUR
        candidates = [Candidate(1, noon_before), Candidate(2, noon_before + 1), Candidate(3, newest)]
        assert set(run(Retention(within=Span(days=1)), candidates, zone=self.ZONE)) == {2, 3}

    def test_iso_weeks_cross_the_year(self) -> None:
        """Friday 1 January 2027 is in week 53 of 2026."""
        candidates = [
            Candidate(1, at("UTC", 2026, 12, 28)),
            Candidate(2, at("UTC", 2027, 1, 1)),
            Candidate(3, at("UTC", 2027, 1, 4)),
        ]
        assert set(run(Retention(weekly=2), candidates, now_ns=NOW + 99 * DAY)) == {2, 3}


COUNTS = st.integers(-1, 6)
SPANS = st.none() | st.builds(
    Span,
    years=st.integers(0, 3),
    months=st.integers(0, 14),
    days=st.integers(0, 40),
    seconds=st.integers(0, 90_000).map(float),
)
POLICIES = st.builds(
    Retention,
    last=COUNTS,
    hourly=COUNTS,
    daily=COUNTS,
    weekly=COUNTS,
    monthly=COUNTS,
    yearly=COUNTS,
    tags=st.lists(st.lists(st.sampled_from("ab"), min_size=1, max_size=2).map(tuple), max_size=2).map(tuple),
    within=SPANS,
    within_hourly=SPANS,
    within_daily=SPANS,
    within_weekly=SPANS,
    within_monthly=SPANS,
    within_yearly=SPANS,
    keep_invalid=COUNTS,
)
TIMES = st.one_of(
    st.integers(NOW - 900 * DAY, NOW + 2 * DAY),
    st.integers(NOW - 2 * DAY, NOW),
    st.integers(0, DAY),
    st.integers(-(2**63), 2**63),
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Apia"])


@st.composite
def histories(draw: st.DrawFn) -> list[Candidate]:
    return [
        Candidate(
            sequence,
            draw(TIMES),
            counts=draw(st.booleans()),
            tags=tuple(draw(st.lists(st.sampled_from("ab"), max_size=2))),
            pinned=draw(st.sampled_from([False, False, False, True])),
            proven=draw(st.booleans()),
            imported=draw(st.sampled_from([False, False, False, True])),
        )
        for sequence in draw(st.lists(st.integers(1, 60), unique=True, max_size=20))
    ]


@given(POLICIES, histories(), TIMES, ZONES)
def test_the_newest_known_good_is_never_removed(
    policy: Retention, history: list[Candidate], now_ns: int, zone: str
) -> None:
    """Promise 3, whatever the clock and the policy say; the same for proven and pinned ones."""
    kept = run(policy, history, now_ns=now_ns, zone=zone)
    captured = [c for c in history if not c.imported] or history
    for group, rule in (
        ([c for c in captured if c.counts], "known-good"),
        ([c for c in captured if c.proven], "proven"),
    ):
        if group:
            assert (
                rule
                in kept[max(group, key=lambda c: (c.sequence if not c.imported else c.time_ns, c.sequence)).sequence]
            )
    assert {c.sequence for c in history if c.pinned or c.time_ns > now_ns} <= set(kept)


@given(POLICIES, histories(), TIMES, ZONES)
def test_deciding_again_on_what_was_kept_keeps_the_same(
    policy: Retention, history: list[Candidate], now_ns: int, zone: str
) -> None:
    """Prune twice in a row removes nothing the second time."""
    first = run(policy, history, now_ns=now_ns, zone=zone)
    again = run(policy, [c for c in history if c.sequence in first], now_ns=now_ns, zone=zone)
    assert set(again) == set(first)


@given(POLICIES, histories(), TIMES, ZONES, TIMES, st.booleans())
def test_an_invalid_snapshot_pushes_nothing_good_out(
    policy: Retention, history: list[Candidate], now_ns: int, zone: str, time_ns: int, imported: bool
) -> None:
    """Promise 2: adding one that does not count never removes one that counts."""
    added = Candidate(100, time_ns, counts=False, imported=imported)
    before = run(policy, history, now_ns=now_ns, zone=zone)
    after = run(policy, [*history, added], now_ns=now_ns, zone=zone)
    assert {c.sequence for c in history if c.counts and c.sequence in before} <= set(after)


@given(POLICIES, histories(), TIMES, ZONES, st.data())
def test_a_larger_count_keeps_at_least_as_much(
    policy: Retention, history: list[Candidate], now_ns: int, zone: str, data: st.DataObject
) -> None:
    """An operator who asks for more gets no less."""
    key = data.draw(st.sampled_from(["last", "hourly", "daily", "weekly", "monthly", "yearly", "keep_invalid"]))
    count = getattr(policy, key)
    more = replace(policy, **{key: count if count == -1 else data.draw(st.sampled_from([count + 1, count + 7, -1]))})
    assert set(run(policy, history, now_ns=now_ns, zone=zone)) <= set(run(more, history, now_ns=now_ns, zone=zone))


@given(POLICIES, histories(), TIMES, ZONES)
def test_the_order_of_the_input_does_not_matter_and_rules_are_known(
    policy: Retention, history: list[Candidate], now_ns: int, zone: str
) -> None:
    forwards = run(policy, history, now_ns=now_ns, zone=zone)
    assert forwards == run(policy, history[::-1], now_ns=now_ns, zone=zone)
    assert all(list(rules) == [rule for rule in RULES if rule in rules] for rules in forwards.values())
