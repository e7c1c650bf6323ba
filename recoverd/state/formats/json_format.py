"""JSON as RFC 8259 defines it, read strictly, with words for what is wrong.

Python's reader is laxer than the RFC in one way (NaN, Infinity), stricter in one (integers beyond 4300 digits) and
silent about duplicate keys and lone surrogates; all four are dealt with here. What the RFC leaves open is a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any, NoReturn, cast

from recoverd.state.formats.integers import TooManyDigits, long_integer
from recoverd.state.formats.text import JSON_SPACE, Limits, Parsed, blank, not_text, nul_tail, place, pointer
from recoverd.state.verdicts import Problem

ALLOW_NAN = "nan"
DUPLICATES_ARE_ERRORS = "duplicate-keys-error"

_LIMITS = Limits()
_BOM = "\ufeff"
_MOST_DUPLICATES = 20
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_TOKEN = re.compile(rf"{_STRING.pattern}|[\[\]{{}}]", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_NOT_BRACKETS = {code: None for code in range(128) if chr(code) not in "[]{}"}
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
_WORDS = ("true", "false", "null", "NaN", "Infinity", "-Infinity")
_NUMBER_TAIL = re.compile(r"\.|\.?[eE][+-]?")  # what is left over of a number that was cut


class _DuplicateKeys(Exception):
    pass


class _NotANumber(Exception):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _DuplicateKeys
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise _NotANumber(name)


_strict = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant)
_with_nan = json.JSONDecoder(object_pairs_hook=_object)
_Scan = Callable[[str, int], tuple[Any, int]]
_scan_strict: _Scan = cast("Any", _strict).scan_once
_scan_with_nan: _Scan = cast("Any", _with_nan).scan_once


def parse(data: bytes, *, allow: frozenset[str] = frozenset(), limits: Limits | None = None, line: int = 1) -> Parsed:
    """Reads one document; `line` is the line of its file at which it begins (for places).

    Nothing that the bytes hold makes it raise; RecursionError only if the caller's own stack is nearly used up.
    """
    limits = limits or _LIMITS
    return _parse_ordinary(data, allow, limits) or _parse_exactly(data, allow, limits, line)


def _parse_ordinary(data: bytes, allow: frozenset[str], limits: Limits) -> Parsed | None:
    """A document of which nothing is to be said, in half the time; None for all others: they are read again."""
    try:
        text = data.decode()
        value, end = (_scan_with_nan if ALLOW_NAN in allow else _scan_strict)(text, 0)
    except (ValueError, StopIteration, RecursionError, _DuplicateKeys, _NotANumber):
        return None
    if end != len(text) and text[end:].strip(JSON_SPACE):
        return None
    # a second bracket is found much faster than all are counted
    nested = data.find(b"{", 1) >= 0 or data.find(b"[", 1) >= 0
    if (nested and _depth_is_doubtful(data, limits)) or _may_hold_surrogates(data):
        return None
    return Parsed(value)


def _parse_exactly(data: bytes, allow: frozenset[str], limits: Limits, line: int) -> Parsed:
    """Any document, with words for what is wrong with it."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _bad(*not_text(data, error))
    notes: tuple[Problem, ...] = ()
    if text.startswith(_BOM):
        text = text[1:]
        notes = (Problem("", "begins with a byte order mark"),)
    decoder = _with_nan if ALLOW_NAN in allow else _strict
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        return _bad(*_explain(data, text, error, line))
    except (ValueError, RecursionError, _DuplicateKeys, _NotANumber):
        # Rare, so the reading that knows all about it may be slow.
        return _parse_unusual(text, allow, limits, line, notes)
    if _depth_is_doubtful(data, limits) and (deep := _too_deep(text, limits, line)):
        return deep
    return Parsed(value, notes=notes + _lone_surrogates(data, text, line))


def _bad(where: str, sentence: str) -> Parsed:
    return Parsed(problems=(Problem(where, sentence),))


def _parse_unusual(text: str, allow: frozenset[str], limits: Limits, line: int, notes: tuple[Problem, ...]) -> Parsed:
    """The same for a document with duplicate keys, NaN, very long integers or very deep nesting."""
    if deep := _too_deep(text, limits, line):
        return deep
    duplicates = False

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal duplicates
        found = dict(pairs)
        duplicates = duplicates or len(found) != len(pairs)
        return found

    decoder = json.JSONDecoder(
        object_pairs_hook=collect,
        parse_int=lambda digits: long_integer(digits, limits.digits),
        parse_constant=None if ALLOW_NAN in allow else _refuse_constant,
    )
    try:
        value = decoder.decode(text)
    except json.JSONDecodeError as error:
        return _bad(*_explain(text.encode(), text, error, line))
    except _NotANumber as error:
        found = next(_positions(text, str(error)), 0)
        return _bad(place(text, found, line), f"{error} is not JSON (`allow: [{ALLOW_NAN}]` accepts it)")
    except TooManyDigits as error:
        start, count = error.args
        where = place(text, text.find(start), line)
        return _bad(where, f"holds an integer of {count} digits; at most {limits.digits} are read")
    repeated = tuple(_repeated_keys(text)) if duplicates else ()
    if DUPLICATES_ARE_ERRORS in allow and repeated:
        return Parsed(problems=repeated)
    return Parsed(value, notes=(*notes, *repeated, *_lone_surrogates(None, text, line)))


def _positions(text: str, word: str) -> Iterator[int]:
    """Where a bare word stands outside of strings."""
    for match in re.finditer(rf"{_STRING.pattern}|({re.escape(word)})", text, re.DOTALL):
        if match[1]:
            yield match.start()


def _depth_is_doubtful(data: bytes, limits: Limits) -> bool:
    return data.count(b"[") + data.count(b"{") > limits.depth


def _too_deep(text: str, limits: Limits, line: int) -> Parsed | None:
    """A problem when objects and lists are nested more deeply than the limit."""
    brackets = _STRING.sub("", text).translate(_NOT_BRACKETS)
    if max(accumulate(_STEP.get(char, 0) for char in brackets), default=0) <= limits.depth:
        return None
    depth = 0
    for match in _TOKEN.finditer(text):
        depth += _STEP.get(match[0], 0)
        if depth > limits.depth:
            return _bad(place(text, match.start(), line), f"is nested more than {limits.depth} levels deep")
    raise AssertionError("unreachable: both counts are the same")


def _repeated_keys(text: str) -> Iterator[Problem]:
    """A note for each key that an object holds twice, with the object's place."""

    class Pairs(list[tuple[str, Any]]):
        pass

    def walk(value: Any, path: tuple[str | int, ...]) -> Iterator[Problem]:
        if isinstance(value, Pairs):
            seen: set[str] = set()
            for key, member in value:
                if key in seen:
                    yield Problem(pointer((*path, key)), "stands twice in one object (the last one counts)")
                seen.add(key)
                yield from walk(member, (*path, key))
        elif isinstance(value, list):
            for index, member in enumerate(value):
                yield from walk(member, (*path, index))

    tree = json.JSONDecoder(object_pairs_hook=Pairs, parse_int=len).decode(text)
    for count, problem in enumerate(walk(tree, ())):
        if count == _MOST_DUPLICATES:
            yield Problem("", "holds more duplicate keys")
            return
        yield problem


def _lone_surrogates(data: bytes | None, text: str, line: int) -> tuple[Problem, ...]:
    """A note when an escape such as \\ud800 stands without its other half."""
    if data is not None and not _may_hold_surrogates(data):
        return ()
    high_end = -1  # where a high half ended that still waits for its low half
    for match in _ESCAPE.finditer(text):
        code = int(match[1], 16) if match[1] else 0
        if high_end == match.start() and 0xDC00 <= code <= 0xDFFF:
            high_end = -1
            continue
        if high_end >= 0:
            return (Problem(place(text, high_end - 6, line), "holds half of a character (a lone surrogate)"),)
        if 0xDC00 <= code <= 0xDFFF:
            return (Problem(place(text, match.start(), line), "holds half of a character (a lone surrogate)"),)
        if 0xD800 <= code <= 0xDBFF:
            high_end = match.end()
    if high_end >= 0:
        return (Problem(place(text, high_end - 6, line), "holds half of a character (a lone surrogate)"),)
    return ()


def _may_hold_surrogates(data: bytes) -> bool:
    # one character is found much faster than several
    return b"\\" in data and (b"\\ud" in data or b"\\uD" in data)


def _explain(data: bytes, text: str, error: json.JSONDecodeError, line: int) -> tuple[str, str]:
    """Place and sentence for a document that can't be parsed: first what power losses do, then what writers do."""
    if sentence := blank(data):
        return "", sentence
    if data.startswith(b"\0"):
        count = len(data) - len(data.lstrip(b"\0"))
        return place(text, 0, line), f"begins with {count} NUL byte{'' if count == 1 else 's'}"
    if tail := nul_tail(data):
        return place(text, len(text.rstrip("\0")), line), tail[1]
    end = len(text.rstrip(JSON_SPACE))
    where = place(text, error.pos, line)
    if error.msg.startswith("Unterminated string"):
        return place(text, end, line), f"ends in the middle of a text that begins at {where}"
    if error.pos >= end:
        return place(text, end, line), _open_at_end(text, line)
    rest = text[error.pos : error.pos + 12]
    if error.pos + len(rest.rstrip(JSON_SPACE)) >= end and (
        (error.msg.startswith("Invalid \\u") and '"' not in rest)
        or any(word.startswith(rest.rstrip(JSON_SPACE)) for word in _WORDS)
        or _NUMBER_TAIL.fullmatch(rest.rstrip(JSON_SPACE))
    ):
        return place(text, end, line), "ends in the middle of a value"
    if error.msg == "Extra data":
        return where, f"goes on after its end, with {_found(text, error.pos)}"
    if error.msg.startswith("Invalid control"):
        return where, f"holds {_found(text, error.pos)} inside a text"
    if error.msg.startswith("Invalid \\"):
        return where, "holds an invalid escape inside a text"
    return _unexpected(text, error, line)


def _unexpected(text: str, error: json.JSONDecodeError, line: int) -> tuple[str, str]:
    # Newer Pythons point at the comma, older ones behind it.
    position = error.pos
    if text[position] == ",":
        behind = text[position + 1 :].lstrip(JSON_SPACE)
        if behind[:1] in ("]", "}"):
            return place(text, position, line), "has a trailing comma"
    elif text[position] in "]}" and text[:position].rstrip(JSON_SPACE).endswith(","):
        return place(text, text.rindex(",", 0, position), line), "has a trailing comma"
    expected = {
        "Expecting value": "a value",
        "Expecting ':' delimiter": "a colon",
        "Expecting ',' delimiter": "a comma or the end of the list or object",
        "Expecting property name enclosed in double quotes": "a key in double quotes",
    }.get(error.msg, "something else")
    return place(text, position, line), f"{_found(text, position)} stands where {expected} is expected"


def _found(text: str, position: int) -> str:
    char = text[position]
    if char == "\0":
        return "a NUL byte"
    if char == '"':
        return "a quotation mark"
    return f'"{char}"' if char.isprintable() else f"a control character (U+{ord(char):04X})"


def _open_at_end(text: str, line: int) -> str:
    """What was not closed when the document ended."""
    stack: list[tuple[str, int]] = []
    for match in _TOKEN.finditer(text):
        if match[0] in "[{":
            stack.append((match[0], match.start()))
        elif match[0] in "]}" and stack:
            stack.pop()
    if not stack:
        return "ends where a value is expected"
    kind, position = stack[-1]
    what = "a list" if kind == "[" else "an object"
    return f"ends in the middle of {what} that begins at {place(text, position, line)}"
