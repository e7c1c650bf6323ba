"""What was in flight when a service went down, asked of its documents by the queries of `in_flight`. Pure.

Documents are somebody else's: whatever they hold, the worst that comes of it is a note. Times count from `now_ns`, the
moment at which the service comes back.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recoverd.config.in_flight_model import InFlight
from recoverd.config.units import parse_duration
from recoverd.events.text import plural, printable
from recoverd.state.rebuilding import field_of, matches, time_of
from recoverd.state.signs import at, is_absent
from recoverd.values import dataclass, field

MOST_ENTRIES = 100  # of one query that are listed; all are counted
MOST_NOTES = 20
_MOST_LETTERS = 200  # of one value that is shown or filled in
_MOST_FILLED = 1000  # of a whole text
_LARGEST_EXACT = 2**53  # jq 1.6 and JavaScript round integers beyond it
_FIELD = re.compile(r"\{([^{}]*)\}")
_WORD = re.compile(r"([A-Za-z][A-Za-z0-9 _-]{0,39}):")
_SURROGATES = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was in flight: where it stands, what it is called and what is told of it."""

    item: str
    document: str  # "" is the item itself
    place: str  # JSON pointer in the document
    called: str | None = None
    show: Mapping[str, Any] = field(default_factory=dict)
    exists: Mapping[str, bool] = field(default_factory=dict)
    message: str | None = None
    warning: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "as": self.called,
            "item": self.item,
            "document": self.document,
            "place": self.place,
            "show": dict(self.show),
            "exists": dict(self.exists),
            "message": self.message,
            "warning": self.warning,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """All that was in flight, in the order of the queries, of document names and of entries.

    `counts`: what is to be resumed, by the word for it. `notes`: what could not be told, in sentences.
    """

    counts: Mapping[str, int] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return sum(self.counts.values())

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(one.warning for one in self.entries if one.warning is not None)

    @property
    def messages(self) -> tuple[Entry, ...]:
        """Those of which something is to be told."""
        return tuple(one for one in self.entries if one.message is not None)

    @property
    def summary(self) -> str:
        """ "resuming 2 tasks and 1 conversation"."""
        counted = [plural(count, word) for word, count in self.counts.items() if count]
        if not counted:
            return "nothing to resume"
        *most, last = counted
        return f"resuming {', '.join(most)} and {last}" if most else f"resuming {last}"

    def to_json(self) -> dict[str, Any]:
        return {
            "count": self.count,
            "counts": dict(self.counts),
            "summary": self.summary,
            "entries": [one.to_json() for one in self.entries],
            "warnings": list(self.warnings),
            "notes": list(self.notes),
        }


class Asked:
    """Asks the queries of one service of its documents, one after the other, so that none has to be kept."""

    def __init__(self, queries: Sequence[InFlight], *, now_ns: int) -> None:
        self._queries = [_Query(query, now_ns) for query in queries]
        self._notes: dict[str, None] = {}

    def add(self, item: str, document: str, value: Any) -> None:
        """Ask all queries that are about `item` of one parsed document of it."""
        for query in self._queries:
            if query.rule.item == item:
                query.ask(document, value)

    def note(self, sentence: str) -> None:
        self._notes[_short(sentence, _MOST_FILLED)] = None

    def found(self) -> Found:
        counts: Counter[str] = Counter()
        for query in self._queries:
            if not query.rule.is_warning:
                counts[query.word] += query.fit
        notes = [*self._notes, *(note for query in self._queries for note in query.told())]
        if len(notes) > MOST_NOTES:
            notes[MOST_NOTES - 1 :] = [f"{len(notes) - MOST_NOTES + 1} more could not be told"]
        return Found(dict(counts), tuple(entry for query in self._queries for entry in query.entries), tuple(notes))


class _Query:
    """One query under way."""

    def __init__(self, rule: InFlight, now_ns: int) -> None:
        self.rule = rule
        self.word = _word(rule)
        self.entries: list[Entry] = []
        self.fit = 0
        self._now_ns = now_ns
        self._equal = {name: wanted for name, wanted in rule.where.items() if not isinstance(wanted, Mapping)}
        self._since = {
            name: now_ns - round(parse_duration(wanted["within"]) * 1e9)
            for name, wanted in rule.where.items()
            if isinstance(wanted, Mapping)
        }
        texts = (rule.called, rule.message, rule.notify)
        self._named = [*rule.where, *rule.show, *(name for text in texts if text for name in _FIELD.findall(text))]
        self._lacking: Counter[str] = Counter()  # sentence after "N of them"
        self._unfit: dict[str, None] = {}

    def ask(self, document: str, value: Any) -> None:
        found = at(value, self.rule.select)
        if is_absent(found) or found is None:
            return
        if not isinstance(found, list | Mapping):
            self._unfit[f"{self._where(document)} is neither a list nor an object"] = None
            return
        for key, entry in self._entries(found):
            if self._fits(entry):
                self.fit += 1
                if len(self.entries) < MOST_ENTRIES:
                    self.entries.append(self._entry(document, key, entry))

    def told(self) -> Iterator[str]:
        """What is to be noted, in sentences."""
        yield from list(self._unfit)[:MOST_NOTES]
        where = f"{self.rule.item} {self.rule.select}".rstrip()
        for what, count in self._lacking.items():
            yield f"{where}: {count} {'entry' if count == 1 else 'entries'} {what}"
        if self.fit > len(self.entries):
            yield f"{where}: {self.fit} entries fit, of which the first {len(self.entries)} are listed"

    def _entries(self, found: Any) -> Iterator[tuple[str, Any]]:
        """Each entry with its own part of the pointer.

        The values of an object are the entries where it holds objects and has no plain value in a field that the query
        names; of a query that names none, where it holds nothing but objects. Else the object is one entry itself.
        """
        if isinstance(found, list):
            yield from ((f"/{number}", entry) for number, entry in enumerate(found))
            return
        holds = [isinstance(each, Mapping) for each in found.values()]
        nests = any(holds) if self._named else all(holds)
        if not nests or any(self._is_plain(field_of(found, name)) for name in self._named):
            if found:
                yield "", found
            return
        yield from ((f"/{_escaped(name)}", entry) for name, entry in found.items())

    @staticmethod
    def _is_plain(value: Any) -> bool:
        return not is_absent(value) and not isinstance(value, Mapping)

    def _fits(self, entry: Any) -> bool:
        if not matches(self._equal, entry, now_ns=self._now_ns):
            return False
        for name, since_ns in self._since.items():
            value = field_of(entry, name)
            if is_absent(value) or value is None:
                return False
            time_ns = time_of(value)
            if time_ns is None:
                self._lacking[f"left out: {printable(name)} is no time"] += 1
            elif time_ns > self._now_ns:
                self._lacking[f"left out: {printable(name)} lies in the future"] += 1
            if time_ns is None or not since_ns <= time_ns <= self._now_ns:
                return False
        return True

    def _entry(self, document: str, key: str, entry: Any) -> Entry:
        rule = self.rule
        show = {name: found for name in rule.show if not is_absent(found := field_of(entry, name))}
        exists = {}
        if rule.exists is not None:
            there = field_of(entry, rule.exists)
            exists[rule.exists] = not is_absent(there) and there is not None
        return Entry(
            item=rule.item,
            document=_short(document),
            place=_short(rule.select + key),
            called=self._filled(rule.called, entry),
            show={name: _shown(value) for name, value in show.items()},
            exists=exists,
            message=self._filled(rule.message, entry),
            warning=self._filled(rule.notify, entry),
        )

    def _filled(self, text: str | None, entry: Any) -> str | None:
        """A template with the fields of an entry; a question mark for what it lacks."""
        if text is None:
            return None

        def value(found: re.Match[str]) -> str:
            here = field_of(entry, found[1])
            if is_absent(here) or here is None:
                self._lacking[f"without {printable(found[1])}"] += 1
                return "?"
            shown = _shown(here)
            return ("true" if here else "false") if isinstance(here, bool) else str(shown)

        return _short(_FIELD.sub(value, text), _MOST_FILLED)

    def _where(self, document: str) -> str:
        inside = f": {printable(_short(document))}" if document else ""
        return f"{self.rule.item}{inside} {self.rule.select}".rstrip()


def _word(rule: InFlight) -> str:
    """What entries are counted as: what stands before the colon in `as`, else the end of `select`, else the item."""
    if rule.called is not None and (found := _WORD.match(rule.called)):
        return found[1]
    last = rule.select.rpartition("/")[2].replace("~1", "/").replace("~0", "~") or rule.item
    return last.removesuffix("s") or last


def _shown(value: Any) -> Any:
    """A value as the report tells it: plain and short, and exact for whoever reads JSON."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_EXACT else _number(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str):
        return _short(value)
    letters = ""
    for piece in json.JSONEncoder(separators=(", ", ": "), default=str).iterencode(value):
        letters += piece
        if len(letters) > _MOST_LETTERS:
            break
    return _short(letters)


def _number(value: int) -> str:
    """An integer of any size; of one that Python does not spell out (sys.set_int_max_str_digits), how large it is."""
    if value.bit_length() > 600:
        return f"a number of {round(value.bit_length() * math.log10(2))} digits"
    return str(value)


def _short(text: str, most: int = _MOST_LETTERS) -> str:
    """Of a bounded length, and valid Unicode."""
    return _SURROGATES.sub("\ufffd", text if len(text) <= most else text[: most - 1] + "…")


def _escaped(key: Any) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
