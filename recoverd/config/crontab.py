"""Crontab expressions, as crontab(5) of Vixie cron and its descendants has them: which times they name. Pure.

Five fields (minute, hour, day of month, month, day of week) with names, lists, ranges and steps; Sunday is 0
and 7; where both day fields are restricted (neither begins with `*`) either one is enough. `@hourly` and its
kin stand for the fields that crontab(5) gives.

Daylight saving, as cron(8) has it: a schedule of every hour (its hour field names all of them) follows the real
time. Any other runs once for each time it names: what was skipped runs right after the clock went forward,
what comes twice runs the first time only.
"""

from __future__ import annotations

import calendar
import functools
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo

from recoverd.values import dataclass

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    **{"jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6},
    **{"jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12},
}
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_PART = re.compile(r"(?:(?P<all>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)
_ALL_HOURS = frozenset(range(24))
_SEARCHED_YEARS = 41  # a 29 February on a given weekday comes at least every 40 years
_DAYS = timedelta(days=2)  # around an instant, they hold every local time that a change of the clock can move there
_NOTHING, _MINUTE = timedelta(0), timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Field:
    """One of the five: its name for messages, its limits, the names it knows."""

    name: str
    low: int
    high: int
    names: dict[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of the month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of the week", 0, 7, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Crontab:
    """The times that an expression names, in any time zone. `weekdays` count from Sunday, 0."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either_day: bool  # both day fields are restricted: one of them is enough

    @property
    def follows_real_time(self) -> bool:
        """Whether a change of the clock makes it run as often as ever: it names every hour."""
        return frozenset(self.hours) == _ALL_HOURS

    def names_day(self, day: date) -> bool:
        """Whether it names any time of this date."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (by_day or by_weekday) if self.either_day else (by_day and by_weekday)

    def after(self, moment: datetime, zone: tzinfo) -> datetime:
        """The first time (UTC) later than `moment`, an aware datetime."""
        return self._beside(moment.astimezone(UTC), zone, 1)

    def at_or_before(self, moment: datetime, zone: tzinfo) -> datetime:
        """The last time (UTC) that is not later than `moment`, an aware datetime."""
        return self._beside(moment.astimezone(UTC), zone, -1)

    def _beside(self, moment: datetime, zone: tzinfo, step: int) -> datetime:
        """The nearest time after (`step` 1) or not after (-1) a moment."""
        here = moment.astimezone(zone)
        offset = here.utcoffset() or _NOTHING
        found = self._on_the_clock(here.replace(tzinfo=UTC), step) - offset
        if all(_offset(one, zone) == offset for one in (moment - _DAYS, moment + _DAYS, found - _DAYS, found + _DAYS)):
            return found  # no clock changes anywhere near, as on nearly every day
        if self.follows_real_time:
            return self._scanned(moment, zone, step)
        return self._weighed(moment, zone, step)

    def _on_the_clock(self, local: datetime, step: int) -> datetime:
        """The nearest time on a clock that is never changed; its hands are read as if they showed UTC."""
        for day in self._dates(local.date(), step):
            for hour in self.hours[::step]:
                last = datetime(day.year, day.month, day.day, hour, self.minutes[-1 if step > 0 else 0], tzinfo=UTC)
                if (last > local) if step > 0 else (last <= local):
                    times = (last.replace(minute=minute) for minute in self.minutes[::step])
                    return next(one for one in times if ((one > local) if step > 0 else (one <= local)))
        raise AssertionError("parse refuses what never comes")

    def _scanned(self, moment: datetime, zone: tzinfo, step: int) -> datetime:
        """The same for what follows real time, minute by minute."""
        at = moment.replace(second=0, microsecond=0) + (_MINUTE if step > 0 else _NOTHING)
        while True:
            local = at.astimezone(zone)
            if not self.names_day(local.date()):
                day = next(self._dates(local.date(), step))
                near = datetime(day.year, day.month, day.day, 12, tzinfo=UTC) - step * _DAYS
                at = max(at + _MINUTE, near) if step > 0 else min(at - _MINUTE, near)
            elif local.minute in self.minutes:
                return at
            else:
                at += step * _MINUTE

    def _weighed(self, moment: datetime, zone: tzinfo, step: int) -> datetime:
        """The same for what runs once for each time it names: all times of the dates around are compared."""
        best: datetime | None = None
        for day in self._dates(moment.astimezone(zone).date() - step * _DAYS, step):
            if best is not None and (day - best.astimezone(zone).date()) * step > _DAYS:
                break
            found = [one for one in self._times(day, zone) if ((one > moment) if step > 0 else (one <= moment))]
            found += [best] if best is not None else []
            best = (min if step > 0 else max)(found, default=None)
        assert best is not None, "parse refuses what never comes"
        return best

    def _dates(self, first: date, step: int) -> Iterator[date]:
        """The dates that are named, from `first` onward or back."""
        day, last_year = first, first.year + step * _SEARCHED_YEARS
        while (day.year - last_year) * step <= 0:
            if day.month not in self.months:
                day = _beside_month(day, step)
                continue
            if self.names_day(day):
                yield day
            day += timedelta(days=step)

    def _times(self, day: date, zone: tzinfo) -> Iterator[datetime]:
        """The instants (UTC) at which it runs once each for one local date; in no order where the clock changes."""
        for hour in self.hours:
            for minute in self.minutes:
                local = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                first, second = local.astimezone(UTC), local.replace(fold=1).astimezone(UTC)
                # of a time that comes twice it is the first; one that is skipped gives an instant after the change
                # first, and then one before it
                yield first if first <= second else _change_between(second, first, zone)


def _offset(moment: datetime, zone: tzinfo) -> timedelta | None:
    return moment.astimezone(zone).utcoffset()


def _change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The instant (UTC, to the second) at which the offset of `zone` changes, given one before and one after it."""
    old = before.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp())  # low: old offset, high: new one
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == old:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _beside_month(day: date, step: int) -> date:
    """The first date of the next month, or the last one of the month before."""
    if step < 0:
        return day.replace(day=1) - timedelta(days=1)
    return day.replace(day=calendar.monthrange(day.year, day.month)[1]) + timedelta(days=1)


@functools.lru_cache(maxsize=16)
def zone_named(name: str) -> tzinfo:
    """The time zone that `timezone:` names. UTC needs no time zone data. Raises zoneinfo.ZoneInfoNotFoundError."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


# --- parsing


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Crontab:
    """The times that an expression names. Raises ValueError with a sentence for one that names none."""
    words = text.split()
    if len(words) == 1 and words[0].startswith("@"):
        words = _macro(words[0]).split()
    if len(words) != len(_FIELDS):
        more = "; seconds can't be given" if len(words) == len(_FIELDS) + 1 else ""
        raise ValueError(
            f'"{text}" has {len(words)} field{"s" if len(words) != 1 else ""} where crontab has five: minute, hour, '
            f"day of the month, month, day of the week{more}"
        )
    minutes, hours, days, months, weekdays = (_field(word, field) for word, field in zip(words, _FIELDS, strict=True))
    found = Crontab(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=frozenset(number % 7 for number in weekdays),
        either_day=not words[2].startswith("*") and not words[4].startswith("*"),
    )
    if not found.either_day and min(days) > max(_LONGEST[month] for month in months):
        raise ValueError(f'"{text}" never comes: no month it names has {min(days)} days')
    return found


_LONGEST = {month: calendar.monthrange(2024, month)[1] for month in range(1, 13)}  # of a leap year


def _macro(word: str) -> str:
    if word == "@reboot":
        raise ValueError("@reboot is no time: `recoverd restore` runs at boot, and what is overdue is saved at start")
    if word.lower() not in _MACROS:
        raise ValueError(f'"{word}" is none of {", ".join(_MACROS)}')
    return _MACROS[word.lower()]


def _field(word: str, field: _Field) -> frozenset[int]:
    return frozenset(number for part in word.split(",") for number in _part(part, word, field))


def _part(part: str, word: str, field: _Field) -> range:
    """One of the numbers, ranges and `*` between commas."""
    found = _PART.fullmatch(part)
    if found is None:
        raise _wrong(word, field, f'"{part}" is no number, range or *')
    step = 1
    if found["step"] is not None:
        if not found["all"] and found["last"] is None:
            raise _wrong(word, field, f'a step follows * or a range, as in "{part.partition("/")[0]}-{field.high}/2"')
        step = int(found["step"]) if found["step"].isdecimal() else 0
        if not step:
            raise _wrong(word, field, f'"{found["step"]}" is no step')
    if found["all"]:
        # 7 is Sunday again, and would come as one more step
        return range(field.low, min(field.high, 6) + 1 if field.names is _WEEKDAYS else field.high + 1, step)
    first = _number(found["first"], word, field)
    if found["last"] is None:
        return range(first, first + 1)
    last = _number(found["last"], word, field)
    if last == 0 and first and field.names is _WEEKDAYS and not found["last"].isdecimal():
        last = 7  # fri-sun
    if last < first:
        raise _wrong(word, field, f'"{part}" goes backward; write two ranges with a comma')
    return range(first, last + 1, step)


def _number(text: str, word: str, field: _Field) -> int:
    number = field.names.get(text.lower(), -1)
    if text.isdecimal():
        number = int(text)
    elif number < 0:
        known = f" or one of {', '.join(field.names)}" if field.names else ""
        raise _wrong(word, field, f'"{text}" is no number{known}')
    if not field.low <= number <= field.high:
        raise _wrong(word, field, f"{text} is not between {field.low} and {field.high}")
    return number


def _wrong(word: str, field: _Field, sentence: str) -> ValueError:
    return ValueError(f'{field.name} "{word}": {sentence}')
