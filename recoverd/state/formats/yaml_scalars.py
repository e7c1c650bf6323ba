"""What a scalar of YAML means: YAML 1.1 as services write and read it, in values that a schema can speak of.

Plain (unquoted) scalars are null, booleans (`yes`, `off` and their kin), integers and floats as YAML 1.1
(yaml.org/type) spells them, and numbers as YAML 1.2 and JSON do (`1e3`, `0o17`). What only some readers take for more
than text stays text, as it is written: dates and times, numbers to the base of 60 (`12:30`), `y` and `n`. Writers quote
what they mean as text.
"""

from __future__ import annotations

import re
from typing import Any

from recoverd.state.formats.integers import TooManyDigits, long_integer, printable_integer

_PREFIX = "tag:yaml.org,2002:"
_WORDS: dict[str, Any] = {
    "": None,
    "~": None,
    **{spelled: value for word, value in (("null", None),) for spelled in (word, word.title(), word.upper())},
    **{spelled: True for word in ("true", "yes", "on") for spelled in (word, word.title(), word.upper())},
    **{spelled: False for word in ("false", "no", "off") for spelled in (word, word.title(), word.upper())},
}
_NUMERIC = re.compile(r"[-+.0-9]")
_DECIMAL = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)\Z")
_BASED = re.compile(r"([-+]?)(?:0(b)([01_]+)|0(x)([0-9a-fA-F_]+)|0(o?)([0-7_]+))\Z")
_FLOAT = re.compile(
    r"[-+]?(?:(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+)\Z"
)
_INFINITY = re.compile(r"([-+]?)\.(?:inf|Inf|INF)\Z")
_NAN = frozenset({".nan", ".NaN", ".NAN"})
_BASES = {"b": 2, "x": 16}


def resolve(text: str, tag: str | None, plain: bool, digits: int) -> Any:
    """The value of one scalar. `tag` None or "!" where it has none; `digits` of an integer are read at most.

    A tag of YAML's own types is obeyed where it can be; any other leaves the text as it is: nothing is constructed.
    Raises TooManyDigits.
    """
    if tag is None or tag == "!":
        return _plain(text, digits) if plain and tag is None else text
    if tag in _CONVERTED:
        value = _plain(text, digits)
        wanted = _CONVERTED[tag]
        if wanted is float and type(value) is int:
            return _float(text)
        return value if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)) else text
    return text


_CONVERTED: dict[str, type] = {
    _PREFIX + "null": type(None),
    _PREFIX + "bool": bool,
    _PREFIX + "int": int,
    _PREFIX + "float": float,
}


def _plain(text: str, digits: int) -> Any:
    if text in _WORDS:
        return _WORDS[text]
    if not _NUMERIC.match(text):
        return text
    if _DECIMAL.match(text):
        return long_integer(text.replace("_", "").removeprefix("+"), digits)
    if based := _BASED.match(text):
        sign, b, binary, x, hexadecimal, _, octal = based.groups()
        number = (binary or hexadecimal or octal).replace("_", "")
        if not number:
            return text
        if len(number) > digits:
            raise TooManyDigits(text[:20], len(number))
        return printable_integer(int(sign + number, _BASES.get(b or x or "", 8)))
    if _FLOAT.match(text):
        return _float(text)
    if infinite := _INFINITY.match(text):
        return float(f"{infinite[1]}inf")
    return float("nan") if text in _NAN else text


def _float(text: str) -> float:
    try:
        return float(text.replace("_", ""))
    except ValueError:  # an integer spelled in another base, tagged !!float
        return float(int(text.replace("_", ""), 0))
