"""What a parsed document says of processes: which are to be brought back, and which pids it names. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from recoverd.config.process_model import Instances, Processes
from recoverd.errors import StateError
from recoverd.events.text import printable
from recoverd.state.signs import at, is_absent
from recoverd.values import dataclass

_FIELD = re.compile(r"\{([^{}]*)\}")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_MOST_REFUSED = 100  # entries that are named
_MOST_LETTERS = 4096  # of one word that is filled in


@dataclass(frozen=True, slots=True)
class Wanted:
    """One process that a document lists: SERVICE@ID, and what starts it where."""

    name: str
    command: tuple[str, ...]
    cwd: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that fits and can't be brought back; `why` is a sentence without its full stop."""

    name: str
    why: str


def instance_name(service: str, name: str) -> str:
    """SERVICE@ID for what an entry is called: a valid file name whatever that holds, and no two share one.

    A plain name stays as it is; any other gets a ~, which no plain one has, and a hash.
    """
    if _PLAIN.match(name):
        return f"{service}@{name}"
    import hashlib  # late: few services list processes

    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()
    words = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:40].strip("-_")
    return f"{service}@{words}~{digest}"


def listed(
    service: str, rule: Instances, document: Any, *, now_ns: int
) -> tuple[tuple[Wanted, ...], tuple[Refused, ...]]:
    """The entries of a document that fit, in their order. What is wrong with one of them concerns no other.

    Raises StateError when there is no list where one is to be.
    """
    from recoverd.state.rebuilding import matches  # late: nearly every command comes by here

    wanted: dict[str, Wanted] = {}
    refused: list[Refused] = []
    for number, entry in enumerate(_entries(document, rule.select)):
        if rule.where and not matches(rule.where, entry, now_ns=now_ns):
            continue
        name = f"{service}@~{number}"  # as long as it has no other
        try:
            name = instance_name(service, _filled(rule.name, entry))
            if name in wanted:
                refused.append(Refused(f"{service}@~{number}", f"{name} is listed twice: only the first is meant"))
            elif len(wanted) == rule.most:
                refused.append(Refused(name, f"is one more than `instances.most` allows ({rule.most})"))
            else:
                wanted[name] = Wanted(name, tuple(_filled(word, entry) for word in rule.command), _cwd(rule, entry))
        except ValueError as error:
            refused.append(Refused(name, f"entry {number} of {rule.select or 'the document'} {error}"))
    more = len(refused) - _MOST_REFUSED
    if more > 0:  # told of in every status, and noted durably
        refused[_MOST_REFUSED:] = [Refused(f"{service}@~", f"{more} more entries can't be used either")]
    return tuple(wanted.values()), tuple(refused)


def pids(rule: Processes, document: Any) -> tuple[int, ...]:
    """The process ids that a document names. Raises StateError when there is no list where one is to be."""
    found = []
    for entry in _entries(document, rule.select):
        pid = at(entry, _pointer(rule.pid))
        if isinstance(pid, int) and not isinstance(pid, bool) and 1 < pid < 1 << 31:
            found.append(pid)
    return tuple(dict.fromkeys(found))


def _entries(document: Any, select: str) -> list[Any]:
    found = at(document, select)
    if is_absent(found) or found is None:
        return []
    if isinstance(found, Mapping):
        return list(found.values())
    if not isinstance(found, list):
        raise StateError(f"{select or 'the document'} is neither a list nor a mapping, so it lists no processes")
    return found


def _cwd(rule: Instances, entry: Any) -> str | None:
    if rule.cwd is None:
        return None
    cwd = _filled(rule.cwd, entry)
    if not cwd.startswith("/"):
        raise ValueError(f"gives {printable(cwd)} as the directory to start in, which is no whole path")
    return cwd


def _filled(text: str, entry: Any) -> str:
    """Text with the fields of an entry. Raises ValueError with the rest of a sentence about the entry."""

    def value(found: re.Match[str]) -> str:
        field = found[1]
        here = at(entry, _pointer(field))
        if is_absent(here) or here is None:
            raise ValueError(f"has no {field}")
        if isinstance(here, bool) or not isinstance(here, str | int | float) or here == "":
            raise ValueError(f"has no {field} that is text or a number")
        words = str(here)
        if "\0" in words or len(words) > _MOST_LETTERS:
            raise ValueError(f"can't be used: its {field} holds a NUL, or is too long")
        return words

    return _FIELD.sub(value, text)


def _pointer(field: str) -> str:
    return field if field.startswith("/") else "/" + field.replace("~", "~0").replace("/", "~1")
