"""Assembling a document from other state: collected lists, constants, counts, means, times. Pure.

What comes in are the parsed documents of other state items, in the order of their names; what comes out is a value,
which its own schema must still accept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from recoverd.config.model import Computed, Rebuild
from recoverd.config.units import parse_duration
from recoverd.state.signs import at, is_absent

Documents = Mapping[str, Sequence[Any]]  # state item -> its parsed documents


def rebuild(rule: Rebuild, documents: Documents, *, now_ns: int) -> dict[str, Any]:
    """The document that `rule` describes. `now_ns`: the time that `now` stands for.

    Parents of a pointer that are not there are made as mappings. Raises ValueError with a sentence where a pointer
    leads into something that is none.
    """
    document: dict[str, Any] = {}
    for pointer, value in rule.constants.items():
        put(document, pointer, value)
    for pointer, item in rule.collect.items():
        put(document, pointer, list(documents[item]))
    for pointer, computed in rule.compute.items():
        put(document, pointer, compute(computed, documents, now_ns=now_ns))
    return document


def put(document: dict[str, Any], pointer: str, value: Any) -> None:
    """Set what a JSON pointer (RFC 6901) leads to, making mappings on the way. Raises ValueError."""
    *parents, last = (token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])
    here: Any = document
    for key in parents:
        here = here.setdefault(key, {})
        if not isinstance(here, dict):
            raise ValueError(f"{pointer} leads into something that is no mapping")  # noqa: TRY004 - it is what the rule says that is wrong
    here[last] = value


def compute(rule: Computed, documents: Documents, *, now_ns: int) -> Any:
    """The value of one rule: RFC 3339 text, a count, or a mean of seconds (0 where there is nothing to take it of)."""
    if rule.what == "now":
        return rfc3339(now_ns)
    chosen = [document for document in documents[rule.item] if matches(rule.where, document, now_ns=now_ns)]
    if rule.what == "count":
        return len(chosen)
    seconds = [found for document in chosen if (found := _seconds(rule, document)) is not None]
    return round(sum(seconds) / len(seconds), 6) if seconds else 0


def matches(where: Mapping[str, Any], document: Any, *, now_ns: int) -> bool:
    """Whether a document has the wanted values: each field (a name, or a JSON pointer) equals the value, or one of a
    list of them, or holds a time within the last `{within: DURATION}`."""
    return all(_is(wanted, field_of(document, name), now_ns) for name, wanted in where.items())


def _is(wanted: Any, value: Any, now_ns: int) -> bool:
    if is_absent(value):
        return False
    if isinstance(wanted, Mapping):
        time_ns = time_of(value)
        return time_ns is not None and now_ns - parse_duration(wanted["within"]) * 1e9 <= time_ns <= now_ns
    if isinstance(wanted, list | tuple):
        return any(_same(one, value) for one in wanted)
    return _same(wanted, value)


def _same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def field_of(document: Any, name: str) -> Any:
    """What a field of a document (a name, or a JSON pointer) holds; as `signs.at` where there is none."""
    return at(document, name if name.startswith("/") else "/" + name.replace("~", "~0").replace("/", "~1"))


def _seconds(rule: Computed, document: Any) -> float | None:
    first, last = (time_of(field_of(document, name)) for name in (rule.seconds_from, rule.to))
    return None if first is None or last is None else (last - first) / 1e9


def time_of(value: Any) -> int | None:
    """A time as documents write it, in nanoseconds: ISO 8601 text (UTC where it names no zone), seconds since 1970, or
    milliseconds where that many seconds would lie beyond the year 5000. None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        if not abs(value) < 1e14:  # also what is no number
            return None
        return round(value * (1_000_000 if abs(value) > 1e11 else 1_000_000_000))
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.upper())  # RFC 3339, 5.6: T and Z may be lower case
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    try:
        return round(moment.timestamp() * 1e6) * 1000
    except (OverflowError, ValueError):
        return None


def rfc3339(time_ns: int) -> str:
    """A time as JSON documents usually hold it, with milliseconds, in UTC."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1_000_000:03d}Z"
