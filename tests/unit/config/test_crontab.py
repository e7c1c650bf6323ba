"""Crontab expressions: what crontab(5) and cron(8) say of them, against a table and against a minute-by-minute scan."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta, tzinfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.config.crontab import Crontab, parse

MINUTE = timedelta(minutes=1)


def zone(name: str) -> tzinfo:
    try:
        return zoneinfo.ZoneInfo(name)
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zone data")


def local(text: str, where: tzinfo = UTC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=where)


def following(expression: str, start: str, count: int, where: tzinfo = UTC) -> list[str]:
    """The next times in local words, with the offset where it is not UTC."""
    found, moment = [], local(start, where)
    for _ in range(count):
        moment = parse(expression).after(moment, where)
        found.append(moment.astimezone(where).strftime("%Y-%m-%d %H:%M" + ("" if where is UTC else "%z")))
    return found


# 2026-11-21 is a Saturday
@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("* * * * *", ["2026-11-21 12:01", "2026-11-21 12:02"]),
        ("*/15 * * * *", ["2026-11-21 12:15", "2026-11-21 12:30"]),
        ("17 * * * *", ["2026-11-21 12:17", "2026-11-21 13:17"]),
        ("0 12 * * *", ["2026-11-22 12:00", "2026-11-23 12:00"]),
        ("5,35 0-23/6 * * *", ["2026-11-21 12:05", "2026-11-21 12:35", "2026-11-21 18:05"]),
        ("0 4 * * 0", ["2026-11-22 04:00", "2026-11-29 04:00"]),
        ("0 4 * * 7", ["2026-11-22 04:00", "2026-11-29 04:00"]),
        ("0 4 * * sun", ["2026-11-22 04:00", "2026-11-29 04:00"]),
        ("0 4 * * 5-7", ["2026-11-22 04:00", "2026-11-27 04:00", "2026-11-28 04:00", "2026-11-29 04:00"]),
        ("0 4 * * Fri-Sun", ["2026-11-22 04:00", "2026-11-27 04:00", "2026-11-28 04:00", "2026-11-29 04:00"]),
        ("0 4 * * 0-2", ["2026-11-22 04:00", "2026-11-23 04:00", "2026-11-24 04:00", "2026-11-29 04:00"]),
        ("0 9 * * MON-FRI", ["2026-11-23 09:00", "2026-11-24 09:00"]),
        ("0 0 1 JAN *", ["2027-01-01 00:00", "2028-01-01 00:00"]),
        # both day fields are restricted: either one is enough (crontab(5), "30 4 1,15 * 5")
        ("30 4 1,15 * 5", ["2026-11-27 04:30", "2026-12-01 04:30", "2026-12-04 04:30", "2026-12-11 04:30"]),
        ("0 0 31 2 1", ["2027-02-01 00:00", "2027-02-08 00:00"]),
        # a field that begins with * restricts nothing by itself: both must agree
        ("0 0 */2 * 1", ["2026-11-23 00:00", "2026-12-07 00:00"]),
        ("0 0 13 * */5", ["2026-12-13 00:00", "2027-06-13 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00"]),
        ("0 0 31 * *", ["2026-12-31 00:00", "2027-01-31 00:00", "2027-03-31 00:00"]),
        ("@hourly", ["2026-11-21 13:00", "2026-11-21 14:00"]),
        ("@daily", ["2026-11-22 00:00"]),
        ("@midnight", ["2026-11-22 00:00"]),
        ("@weekly", ["2026-11-22 00:00", "2026-11-29 00:00"]),
        ("@monthly", ["2026-12-01 00:00", "2027-01-01 00:00"]),
        ("@yearly", ["2027-01-01 00:00"]),
        ("@annually", ["2027-01-01 00:00"]),
        ("  0\t0 1   1 * ", ["2027-01-01 00:00"]),
    ],
)
def test_known_crontabs(expression: str, times: list[str]) -> None:
    assert following(expression, "2026-11-21 12:00", len(times)) == times


def test_a_leap_day_is_found_over_a_century_without_one() -> None:
    """2100 is no leap year; a 29 February that must be a Sunday comes after 40 years once."""
    assert following("0 0 29 2 *", "2097-01-01 00:00", 1) == ["2104-02-29 00:00"]
    assert following("0 0 29 2 */7", "2089-01-01 00:00", 1) == ["2128-02-29 00:00"]
    assert parse("0 0 29 2 */7").at_or_before(local("2128-02-28 00:00"), UTC) == local("2088-02-29 00:00")


BERLIN = "Europe/Berlin"  # 02:00 becomes 03:00 on 2026-03-29; 03:00 becomes 02:00 on 2026-10-25


def test_a_skipped_time_runs_once_right_after() -> None:
    """cron(8): two times in the skipped hour are one run, and the next day is as ever."""
    berlin = zone(BERLIN)
    assert following("10,30 2 * * *", "2026-03-28 12:00", 3, berlin) == [
        "2026-03-29 03:00+0200",
        "2026-03-30 02:10+0200",
        "2026-03-30 02:30+0200",
    ]
    assert following("30 1-3 * * *", "2026-03-29 00:00", 4, berlin) == [
        "2026-03-29 01:30+0100",
        "2026-03-29 03:00+0200",
        "2026-03-29 03:30+0200",
        "2026-03-30 01:30+0200",
    ]


def test_a_time_that_comes_twice_runs_the_first_time_only() -> None:
    berlin = zone(BERLIN)
    assert following("30 2,3 * * *", "2026-10-25 00:00", 3, berlin) == [
        "2026-10-25 02:30+0200",
        "2026-10-25 03:30+0100",
        "2026-10-26 02:30+0100",
    ]


def test_what_names_every_hour_follows_real_time() -> None:
    """Neither an hour without a run when the clock goes back, nor a second one at the same moment when it goes on."""
    berlin = zone(BERLIN)
    assert following("*/30 * * * *", "2026-10-25 02:00", 5, berlin) == [
        "2026-10-25 02:30+0200",
        "2026-10-25 02:00+0100",
        "2026-10-25 02:30+0100",
        "2026-10-25 03:00+0100",
        "2026-10-25 03:30+0100",
    ]
    assert following("@hourly", "2026-03-29 00:00", 3, berlin) == [
        "2026-03-29 01:00+0100",
        "2026-03-29 03:00+0200",
        "2026-03-29 04:00+0200",
    ]


@pytest.mark.parametrize(
    ("name", "expression", "start", "times"),
    [
        # half an hour on Lord Howe Island
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03 12:00", ["2026-10-04 02:30+1100", "2026-10-05 02:15+1100"]),
        # midnight itself is skipped
        ("Africa/Cairo", "0 0 * * *", "2026-04-23 12:00", ["2026-04-24 01:00+0300", "2026-04-25 00:00+0300"]),
        # a whole day was skipped
        ("Pacific/Apia", "0 9 30 12 *", "2011-12-01 00:00", ["2011-12-31 00:00+1400", "2012-12-30 09:00+1400"]),
    ],
)
def test_odd_changes_of_the_clock(name: str, expression: str, start: str, times: list[str]) -> None:
    assert following(expression, start, len(times), zone(name)) == times


def _in_fields(crontab: Crontab, moment: datetime) -> bool:
    return crontab.names_day(moment.date()) and moment.hour in crontab.hours and moment.minute in crontab.minutes


def scan(crontab: Crontab, where: tzinfo, first: datetime, last: datetime) -> list[datetime]:
    """The reference: what a cron that looks at the clock each minute runs, from `first` to `last` (UTC)."""
    runs, moment, seen = [], first, first.astimezone(where).replace(tzinfo=None) - MINUTE
    while moment <= last:
        now = moment.astimezone(where).replace(tzinfo=None)
        if crontab.follows_real_time:
            wanted = _in_fields(crontab, now)
        else:  # every minute that the clock has passed since it was furthest, and none twice
            passed = int((now - seen) / MINUTE)
            wanted = any(_in_fields(crontab, seen + MINUTE * number) for number in range(1, passed + 1))
        if wanted:
            runs.append(moment)
        seen = max(seen, now)
        moment += MINUTE
    return runs


def _fields(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    ranges = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    steps = st.tuples(st.one_of(st.just("*"), ranges), st.integers(1, high)).map(lambda pair: f"{pair[0]}/{pair[1]}")
    parts = st.one_of(number.map(str), ranges, steps)
    return st.one_of(st.just("*"), st.lists(parts, min_size=1, max_size=3).map(",".join))


EXPRESSIONS = st.tuples(_fields(0, 59), _fields(0, 23), _fields(1, 28), _fields(1, 12), _fields(0, 7)).map(" ".join)
NIGHTS = st.tuples(_fields(0, 59), _fields(0, 5), st.just("*"), st.just("*"), st.sampled_from(["*", "sat-sun"]))
CHANGES = [
    ("UTC", "2026-12-31T20:00+00:00"),
    (BERLIN, "2026-03-29T01:00+00:00"),
    (BERLIN, "2026-10-25T01:00+00:00"),
    ("America/New_York", "2026-11-01T06:00+00:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00+00:00"),
    ("Africa/Cairo", "2026-04-23T22:00+00:00"),
    ("America/Havana", "2026-11-01T05:00+00:00"),
]


@pytest.mark.parametrize(("name", "change"), CHANGES)
@settings(max_examples=12, deadline=None)
@given(expression=NIGHTS.map(" ".join) | EXPRESSIONS, shift=st.integers(-240, 240))
def test_no_run_is_lost_or_added(name: str, change: str, expression: str, shift: int) -> None:
    """Around a change of the clock, forward and backward give exactly the runs of a minute-by-minute scan."""
    where, crontab = zone(name), parse(expression)
    first = datetime.fromisoformat(change).astimezone(UTC) + MINUTE * shift - timedelta(hours=3)
    last = first + timedelta(hours=6)
    # the scan begins earlier, for what it has seen by then counts
    runs = [run for run in scan(crontab, where, first - timedelta(days=1), last) if run > first]
    forward, moment = [], first
    while (moment := crontab.after(moment, where)) <= last:
        forward.append(moment)
    backward, moment = [], last
    while (moment := crontab.at_or_before(moment, where)) > first:
        backward.append(moment)
        moment -= timedelta(microseconds=1)
    assert forward == runs
    assert backward == runs[::-1]


@settings(max_examples=40, deadline=None)
@given(EXPRESSIONS, st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1)))  # noqa: DTZ001 (made aware below)
def test_forward_and_backward_agree_everywhere(expression: str, moment: datetime) -> None:
    """The time before the next one is not after the moment, and the next after that is the next one."""
    where, crontab = zone("Europe/Berlin"), parse(expression)
    moment = moment.replace(tzinfo=UTC)
    later = crontab.after(moment, where)
    before = crontab.at_or_before(later - timedelta(microseconds=1), where)
    assert before <= moment < later
    assert crontab.at_or_before(later, where) == later
    assert crontab.after(before, where) == later


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("", '"" has 0 fields where crontab has five'),
        ("x", '"x" has 1 field where'),
        ("* * * *", "has 4 fields"),
        ("0 * * * * *", "has 6 fields where crontab has five: minute, hour, day of the month, month, day of the week; "
         "seconds can't be given"),
        ("60 * * * *", 'minute "60": 60 is not between 0 and 59'),
        ("* 24 * * *", 'hour "24": 24 is not between 0 and 23'),
        ("* * 0 * *", "day of the month"),
        ("* * 32 * *", "32 is not between 1 and 31"),
        ("* * * 13 *", "13 is not between 1 and 12"),
        ("* * * * 8", "8 is not between 0 and 7"),
        ("* * * foo *", '"foo" is no number or one of jan, feb'),
        ("* * * * monday", '"monday" is no number or one of sun, mon'),
        ("* * * sun *", '"sun" is no number or one of jan'),
        ("mon * * * *", 'minute "mon": "mon" is no number'),
        ("50-10 * * * *", '"50-10" goes backward'),
        ("5/15 * * * *", 'a step follows * or a range, as in "5-59/2"'),
        ("*/0 * * * *", '"0" is no step'),
        ("*/x * * * *", '"x" is no step'),
        ("1,,2 * * * *", '"" is no number, range or *'),
        ("? * * * *", '"?" is no number, range or *'),
        ("* * L * *", '"L" is no number'),
        ("-5 * * * *", '"-5" is no number, range or *'),
        ("٣ * * * *", "is no number"),
        ("0 0 31 2 *", '"0 0 31 2 *" never comes: no month it names has 31 days'),
        ("0 0 31 4,6,9,11 *", "no month it names has 31 days"),
        ("0 0 30 2 */2", "never comes"),
        ("@reboot", "@reboot is no time"),
        ("@often", '"@often" is none of @yearly'),
    ],
)  # fmt: skip
def test_what_is_no_crontab_is_said_in_a_sentence(expression: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(expression)
    assert sentence in str(caught.value)


def test_a_minute_schedule_is_cheap_also_when_the_clock_changes() -> None:
    """`check` asks it for every service; a scan of whole days would take a hundred times as long."""
    import time

    berlin, crontab = zone(BERLIN), parse("* * * * *")
    started = time.perf_counter()
    for text in ("2026-06-01 12:00", "2026-10-25 04:00"):
        for _ in range(100):
            crontab.at_or_before(local(text, berlin), berlin)
    assert time.perf_counter() - started < 0.5
