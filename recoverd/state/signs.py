"""Signs of good state that a document's own content shows: its version, its name, what must be in it.

Pure: a declared rule and a parsed value come in, a sentence comes out, or nothing. What compares a document with its
known-good version, and what a command says about it, is decided where those are at hand (recovery.comparing).
"""

from __future__ import annotations

from typing import Any

from recoverd.config.migration_model import VersionRule
from recoverd.config.model import Guards
from recoverd.config.versions import numbers
from recoverd.state.formats.text import pointer, printable, value_words
from recoverd.state.verdicts import Problem
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Signs:
    """The declared rules of one state item that its judge applies to each document."""

    guards: Guards | None = None
    version: VersionRule | None = None
    name_field: str | None = None
    magic: bytes = b""

    @property
    def of_values(self) -> bool:
        """Whether any asks for a parsed document."""
        fields = self.guards is not None and bool(self.guards.require or self.guards.min_items)
        return fields or self.version is not None or self.name_field is not None

    def to_plain(self) -> list[Any]:
        """What tells two of them apart, for the id of a judge."""
        guards, version = self.guards, self.version
        return [
            None
            if guards is None
            else [guards.min_bytes, guards.max_shrink, list(guards.require), sorted(guards.min_items.items())],
            None if version is None else [version.field, version.current],
            self.name_field,
            self.magic.hex(),
        ]


NO_SIGNS = Signs()
NOT_IN_NAMES = '/\\:*?"<>|'
_LONGEST_VERSION = 100  # letters; whoever can write the document must not fill records and logs with it
_ABSENT = object()
_WITHOUT = str.maketrans("", "", NOT_IN_NAMES)


def version_of(rule: VersionRule, value: Any) -> str | None:
    """The version that a document says it has; None where the field is absent or is no text or number."""
    found = value
    for key in rule.keys:
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int | float):
        return None
    return str(found)[:_LONGEST_VERSION]


def why_newer(rule: VersionRule, version: str) -> str | None:
    """A sentence when `version` is newer than what is configured; None when it is that version or an older one.

    Numbers are compared part by part, 1.10 being newer than 1.9 and 2 equal to 2.0; a suffix such as -beta says
    nothing. What is neither equal nor a number can't be placed in time: nothing may be concluded but that it is not
    known, so it counts as newer and is left alone.
    """
    if version == rule.current:
        return None
    found, current = numbers(version), numbers(rule.current)
    if found is None or current is None:
        return f"has version {value_words(version)}, which is not known: {rule.current} is configured"
    if found <= current:
        return None
    return f"has version {printable(version)}, newer than {rule.current}, which is configured"


def name_of(field: str, value: Any) -> str | None:
    """What a document wants to be called: the value of its name field, less the characters that no name may have.

    None where it has no such field. "" where nothing of the value is left.
    """
    found = value.get(field) if isinstance(value, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    return str(found).translate(_WITHOUT)


def why_misnamed(field: str, wanted: str | None, path: str) -> str | None:
    """A sentence when the file at `path` is not named by the field of its document, which wants to be `wanted`.

    The name may have a prefix that ends in one of `_ - .` (task_ID.json), and suffixes (ID.json, ID.json.gz).
    """
    name = path.rpartition("/")[2]
    if wanted is None:
        return f"has no field {value_words(field)} that says its name"
    if not wanted:
        return f"has a field {value_words(field)} of which nothing is left that could be a name"
    start = name.rfind(wanted)
    while start >= 0:
        before, after = name[:start], name[start + len(wanted) :]
        if (not before or before[-1] in "_-.") and (not after or after[0] == "."):
            return None
        start = name.rfind(wanted, 0, start + len(wanted) - 1)
    return f"says in its field {value_words(field)} that it is {value_words(wanted)}, which is not its name"


def at(value: Any, path: str) -> Any:
    """What a JSON pointer (RFC 6901) leads to in `value`; `is_absent` of what it returns tells that there is nothing.

    An index has no leading zeros; the place after the end of a list, "-", never exists.
    """
    for token in path.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(key, _ABSENT)
        elif isinstance(value, list) and key.isdecimal() and key.isascii() and (key == "0" or key[0] != "0"):
            value = value[int(key)] if len(key) < 19 and int(key) < len(value) else _ABSENT
        else:
            return _ABSENT
        if value is _ABSENT:
            return _ABSENT
    return value


def is_absent(value: Any) -> bool:
    return value is _ABSENT


def emptied(guards: Guards, value: Any) -> list[Problem]:
    """What a parsed document lacks that its guards ask for."""
    lacking = [path for path in guards.require if is_absent(at(value, path))]
    found = [Problem(_place(path), "is not there, although a guard requires it") for path in lacking]
    for path, fewest in guards.min_items.items():
        there = at(value, path)
        if is_absent(there):
            count, what = 0, "is not there"
        elif isinstance(there, dict | list):
            count, what = len(there), f"is {value_words(there)}"
        else:
            count, what = 0, f"is {value_words(there)}, which has no entries"
        if count < fewest:
            wanted = "1 entry" if fewest == 1 else f"{fewest} entries"
            found.append(Problem(_place(path), f"{what}: a guard asks for {wanted}"))
    return found


def too_small(guards: Guards, size_bytes: int) -> Problem | None:
    """A document of fewer bytes than a guard asks for."""
    if guards.min_bytes is None or size_bytes >= guards.min_bytes:
        return None
    return Problem("", f"has {size_bytes} bytes: a guard asks for {guards.min_bytes}")


def shrunk(guards: Guards, before: int, now: int, *, what: str = "bytes") -> str | None:
    """A sentence when a document, or the number of documents, shrank by more than the guard allows."""
    if guards.max_shrink is None or now >= before:
        return None
    share = (before - now) / before
    if share <= guards.max_shrink:
        return None
    allowed = f"{guards.max_shrink * 100:g} %"
    return f"shrank from {before} to {now} {what}, by {share * 100:.0f} %: a guard allows {allowed}"


def _place(path: str) -> str:
    return pointer(token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:])
