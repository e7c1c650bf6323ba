"""TOML 1.0, read by the standard library, with bounds around it. Duplicate keys are errors: TOML itself says so.

Dates and times become text as RFC 3339 spells them, so that a schema can speak of them. The library calls itself for
nested values and takes quadratic time for long dotted keys: both are bounded before it sees the document.
"""

from __future__ import annotations

import datetime
import re
from itertools import accumulate
from typing import Any

from recoverd.state.formats.integers import TooManyDigits, long_integer, printable_integer
from recoverd.state.formats.text import Documents, Limits, blank, not_text, nul_tail, place, printable, refused
from recoverd.state.verdicts import Problem

_BOM = "\ufeff"
_NOTHING = re.compile(r"(?:[ \t\r\n]++|#[^\n]*+)*+\Z")
# Texts without an end go to the end, so that nothing is looked at twice; the library will say so at that place.
_TEXT_OR_COMMENT = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+(?:""")?|\'\'\'(?:[^\']++|\'(?!\'\'))*+(?:\'\'\')?'
    r'|"(?:[^"\\\n]++|\\[^\n])*+"?|\'[^\'\n]*+\'?|#[^\n]*+',
    re.DOTALL,
)
_LONG_INTEGER = re.compile(r"(?<![\w.+-])[-+]?[0-9][0-9_]{3999,}(?![\w.:+-]|[ \t]*[=.])")
_KEY_END = re.compile(r"[\n=,{}]")
_BRACKETS = re.compile(r"[\[\]{}]")
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
_NEGATIVE = "recoverd-negative-integer"
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")


def parse(data: bytes, *, limits: Limits | None = None) -> Documents:
    """Reads one file; there is one value, an object, when there are no problems. Raises nothing."""
    limits = limits or Limits()
    if sentence := blank(data):
        return refused("", sentence)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return refused(*not_text(data, error))
    notes: tuple[Problem, ...] = ()
    if text.startswith(_BOM):
        text = text[1:]
        notes = (Problem("", "begins with a byte order mark"),)
    if tail := nul_tail(data):
        return refused(place(text, len(text.rstrip("\0"))), tail[1])
    if _NOTHING.match(text):
        return refused("", "holds no value")
    bare = _TEXT_OR_COMMENT.sub(_blotted, text)
    if (deep := _too_deep(bare, limits.depth)) is not None:
        return refused(place(text, deep), f"is nested more than {limits.depth} levels deep")
    return _read(text, bare, notes, limits)


def _blotted(found: re.Match[str]) -> str:
    """As long as what was found, with the same line feeds, and nothing in it that means anything."""
    return re.sub(r"[^\n]", "_", found[0])


def _too_deep(bare: str, depth: int) -> int | None:
    """Where brackets or dotted keys are nested more deeply than `depth`."""
    brackets = [(match.start(), _STEP[match[0]]) for match in _BRACKETS.finditer(bare)]
    for (position, _), level in zip(brackets, accumulate(step for _, step in brackets), strict=True):
        if level > depth + 1:  # the heading of a table stands in brackets too
            return position
    if bare.count(".") <= depth:
        return None
    start = 0
    while start < len(bare):
        end = match.start() if (match := _KEY_END.search(bare, start)) else len(bare)
        if bare.count(".", start, end) > depth:
            return start
        start = end + 1
    return None


def _read(text: str, bare: str, notes: tuple[Problem, ...], limits: Limits) -> Documents:
    import tomllib

    try:
        try:
            value = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            raise
        except ValueError:  # an integer too long for Python
            value = tomllib.loads(_in_hexadecimal(text, bare, limits.digits))
    except TooManyDigits as error:
        where = place(text, text.find(error.args[0]))
        return refused(where, f"holds an integer of {error.args[1]} digits; at most {limits.digits} are read")
    except tomllib.TOMLDecodeError as error:
        return refused(*_explain(text, str(error)))
    except (ValueError, RecursionError) as error:
        return refused("", f"is not valid TOML ({printable(str(error))})")
    return Documents((_plain(value),), ("",), notes=notes)


def _in_hexadecimal(text: str, bare: str, digits: int) -> str:
    """The same document with its longest integers written so that the library reads them. Raises TooManyDigits."""
    parts = []
    end = 0
    for found in _LONG_INTEGER.finditer(bare):
        value = long_integer(found[0].replace("_", ""), digits)
        # TOML has no negative hexadecimal numbers: the sign goes by way of a table
        parts += [text[end : found.start()], f"{{ {_NEGATIVE} = {-value:#x} }}" if value < 0 else f"{value:#x}"]
        end = found.end()
    return "".join((*parts, text[end:]))


def _plain(value: Any) -> Any:
    """What the library read in the values that JSON has."""
    if isinstance(value, dict):
        if value.keys() == {_NEGATIVE} and type(value[_NEGATIVE]) is int:
            return printable_integer(-value[_NEGATIVE])
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    if isinstance(value, datetime.date | datetime.time):
        written = value.isoformat()
        return written.removesuffix("+00:00") + "Z" if written.endswith("+00:00") else written
    return printable_integer(value) if type(value) is int else value


def _explain(text: str, message: str) -> tuple[str, str]:
    found = _AT.search(message)
    end = text.rstrip()
    if found is None:
        return "", f"is not valid TOML ({printable(message)})"
    what = message[: found.start()]
    if found[1] is None:
        return place(end, len(end)), f"ends where more is expected ({printable(what)})"
    return f"line {found[1]}, column {found[2]}", f"is not valid TOML ({printable(what)})"
