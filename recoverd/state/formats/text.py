"""What the formats share: bounds, what a reading gives, and words for bytes, places and values.

Whatever comes out of a document may have been written by somebody hostile: it is shortened, and made printable.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from recoverd.config.model import Format
from recoverd.state.verdicts import Problem
from recoverd.values import dataclass

POWER_LOSS = "typical of a power loss"
JSON_SPACE = " \t\r\n"
_JSON_SPACE_BYTES = JSON_SPACE.encode()
_LONGEST_VALUE = 40
_LONGEST_KEY = 80


class Unjudgeable(Exception):
    """A document could not be judged this time; says nothing about the document."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is judged at most. A document beyond `size_bytes` is not judged at all, one beyond `depth` is a problem."""

    size_bytes: int = 128 * 1024 * 1024
    yaml_bytes: int = 16 * 1024 * 1024  # YAML is read much more slowly than JSON,
    toml_bytes: int = 4 * 1024 * 1024  # and TOML more slowly still
    values: int = 1_000_000  # of one YAML file, counting what aliases repeat
    depth: int = 128  # nested objects and lists
    digits: int = 100_000  # of one integer
    problems: int = 20  # reported of one document

    def most_bytes(self, format: Format) -> int:
        """What a document of this format may have to be parsed as a whole."""
        return {Format.YAML: self.yaml_bytes, Format.TOML: self.toml_bytes}.get(format, self.size_bytes)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What reading a document gave; `value` means something only when there are no problems."""

    value: Any = None
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Documents:
    """What reading a file gave that may hold several documents; `values` mean something only without problems.

    `places` names each of them for people, "" where there is one only.
    """

    values: tuple[Any, ...] = ()
    places: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[Problem, ...] = ()


def refused(where: str, sentence: str) -> Documents:
    """A file that can't be read, for one reason."""
    return Documents(problems=(Problem(where, sentence),))


def not_text(data: bytes, error: UnicodeDecodeError) -> tuple[str, str]:
    """Place and sentence for bytes that are not UTF-8."""
    where = f"byte {error.start}"
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return where, "is UTF-16, not UTF-8"
    if data[:2] == b"\x1f\x8b" or data[:4] == b"\x28\xb5\x2f\xfd":
        return where, "is compressed data, not text"
    return where, f"is not valid UTF-8 (byte 0x{data[error.start]:02x})"


def blank(data: bytes) -> str | None:
    """A sentence when there is nothing in the document: no byte, NUL bytes only, white space only."""
    if not data:
        return "is empty (0 bytes)"
    if data[0] not in b"\0 \t\r\n" or data.strip(b"\0 \t\r\n"):
        return None
    if not data.strip(b"\0"):
        return f"holds only NUL bytes ({len(data)} of them): {POWER_LOSS}"
    if not data.strip(_JSON_SPACE_BYTES):
        return f"holds only white space ({_bytes(len(data))})"
    return f"holds only NUL bytes and white space ({_bytes(len(data))})"


def nul_tail(data: bytes) -> tuple[int, str] | None:
    """Offset of the first NUL byte of a tail of them, and a sentence; None when the last byte is not NUL."""
    if not data.endswith(b"\0"):
        return None
    start = len(data.rstrip(b"\0"))
    count = len(data) - start
    return start, f"ends with {count} NUL byte{'' if count == 1 else 's'}: {POWER_LOSS}"


def _bytes(count: int) -> str:
    return f"{count} byte{'' if count == 1 else 's'}"


def place(text: str, position: int, first_line: int = 1) -> str:
    """Line and column (characters, from 1) of an offset; `first_line` is the line in its file that the text is."""
    line = text.count("\n", 0, position) + first_line
    column = position - text.rfind("\n", 0, position)
    return f"line {line}, column {column}"


def printable(text: str, most: int = _LONGEST_KEY) -> str:
    """The text cut to `most` characters, with everything that a terminal would act on escaped."""
    cut = text[:most]
    if not cut.isprintable():
        cut = "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in cut)
    return cut if len(text) <= most else cut + "…"


def value_words(value: Any) -> str:
    """A value in few words (at most about 60 characters); long text is cut: it may be a secret."""
    if isinstance(value, str):
        return f'"{printable(value, _LONGEST_VALUE)}"'
    if isinstance(value, dict):
        return f"an object with {len(value)} key{'' if len(value) == 1 else 's'}" if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return printable(str(value), _LONGEST_VALUE)


def pointer(path: Iterable[str | int]) -> str:
    """A JSON pointer as a URI fragment is written, "#/tasks/3/status"; keys are shortened and made printable."""
    tokens = (printable(str(token)).replace("~", "~0").replace("/", "~1") for token in path)
    return "/".join(("#", *tokens))
