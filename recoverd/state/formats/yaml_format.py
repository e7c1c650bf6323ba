"""YAML as services write it: what any reader of YAML 1.1 or 1.2 accepts is accepted, and nothing is constructed.

Tags are looked past (`!secret x` is the text x), dates stay text as written, keys become text, merge keys are merged.
A file of several documents is that many values; empty ones between them are passed over.

Nothing that the bytes hold can crash or hang the reader: it takes the C library's events, which know no recursion
(composing by the library overflows its stack), bounds depth as they come, counts what aliases repeat, and watches the
clock. What is larger than that is not damaged: it is not judged.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from recoverd.state.formats import json_format
from recoverd.state.formats.integers import TooManyDigits
from recoverd.state.formats.json_writing import to_json
from recoverd.state.formats.text import (
    Documents,
    Limits,
    Unjudgeable,
    blank,
    not_text,
    nul_tail,
    place,
    pointer,
    printable,
    refused,
)
from recoverd.state.formats.yaml_scalars import resolve
from recoverd.state.verdicts import Problem
from recoverd.values import dataclass, field

if TYPE_CHECKING:
    import yaml

DEADLINE_S = 30.0
"""For one file. Several times what the largest one that is read takes on a slow board."""

_BOM = "\ufeff"
_EVENTS_A_LOOK = 4096  # at the clock
_TEXT_WEIGHT = 64  # so many characters weigh as much as a value
_MOST_DUPLICATES = 20
_MERGE = object()
_HANDLE = re.compile(r"(?:^|[\r\n\x85\u2028\u2029])%TAG")
_MOST_HANDLES = 100  # each is compared with all before it, and with each tag
# YAML 1.2, production [1] c-printable
_NOT_PRINTABLE = re.compile("[^\\t\\n\\r -~\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def parse(data: bytes, *, allow: frozenset[str] = frozenset(), limits: Limits | None = None) -> Documents:
    """Reads one file. Raises Unjudgeable for one that is too large or takes too long, nothing else."""
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
    if found := _NOT_PRINTABLE.search(text):
        return refused(*_not_printable(data, text, found.start()))
    if "%TAG" in text and sum(1 for _ in _HANDLE.finditer(text)) > _MOST_HANDLES:
        raise Unjudgeable(f"declares more than {_MOST_HANDLES} tag handles, more than are read")
    builder = _Builder(limits)
    try:
        builder.build(text)
    except _Refused as reason:
        # JSON is YAML, also where the library says no: when it is indented by tabs
        parsed = json_format.parse(data, allow=allow, limits=limits)
        if not parsed.problems and text.lstrip()[:1] in ("{", "["):
            return Documents((parsed.value,), ("",), notes=parsed.notes)
        return refused(*reason.args)
    notes += tuple(builder.notes())
    if json_format.DUPLICATES_ARE_ERRORS in allow and builder.duplicates:
        return Documents(problems=tuple(builder.duplicates), notes=notes)
    held = [(number, value) for number, value in enumerate(builder.documents, 1) if value is not None]
    if not held:
        return refused("", "holds no value")
    several = len(builder.documents) > 1
    return Documents(
        tuple(value for _, value in held),
        tuple(f"document {number}" if several else "" for number, _ in held),
        notes=(*notes, *builder.duplicates),
    )


class _Refused(Exception):
    """(place, sentence)"""


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    mapping: dict[str, Any] | None  # None: a list
    items: list[Any]
    anchor: str | None
    line: int
    flow: bool
    is_key: bool  # the collection is a key of the one around it
    key: Any = None  # of the value that comes next: text, or `_MERGE`
    merged: list[dict[str, Any]] = field(default_factory=list)
    weight: int = 1
    height: int = 1


@dataclass(frozen=True, slots=True)
class _Anchored:
    value: Any
    weight: int
    height: int


class _Builder:
    """Events in, values out. No method calls itself, however deep the document is."""

    def __init__(self, limits: Limits) -> None:
        self.documents: list[Any] = []
        self.duplicates: list[Problem] = []
        self._limits = limits
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}  # None: its collection is not closed yet
        self._weight = 0
        self._more_duplicates = False
        self._only_text = False

    def build(self, text: str) -> None:
        """Raises _Refused, Unjudgeable."""
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        scalar, alias = yaml.ScalarEvent, yaml.AliasEvent
        collection, end = yaml.CollectionStartEvent, yaml.CollectionEndEvent
        until = time.monotonic() + DEADLINE_S
        try:
            for count, event in enumerate(yaml.parse(text, Loader=loader)):
                if count % _EVENTS_A_LOOK == 0 and time.monotonic() > until:
                    raise Unjudgeable(f"could not be read within {DEADLINE_S:.0f} s")
                if isinstance(event, scalar):
                    self._scalar(event)
                elif isinstance(event, collection):
                    self._begin(event, isinstance(event, yaml.MappingStartEvent))
                elif isinstance(event, end):
                    self._end(event)
                elif isinstance(event, alias):
                    self._alias(event)
                elif isinstance(event, yaml.DocumentStartEvent):
                    self._anchors = {}
        except yaml.YAMLError as error:
            raise _Refused(*self._explain(error, text)) from None

    def notes(self) -> Iterator[Problem]:
        """What is worth knowing of the file as a whole."""
        count = len(self.documents)
        if count > 1:
            yield Problem("", f"holds {count} documents")
        elif self._only_text:
            yield Problem("", "holds a single text, no mapping and no list")

    # -- events -------------------------------------------------------------------------------------------

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        text: str = event.value
        plain: bool = event.implicit[0]
        if self._open and self._open[-1].mapping is not None and self._open[-1].key is None:
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchored(text, 1, 1)
            self._key(_MERGE if plain and text == "<<" else text, event)
            return
        try:
            value = resolve(text, event.tag, plain, self._limits.digits)
        except TooManyDigits as error:
            sentence = f"holds an integer of {error.args[1]} digits; at most {self._limits.digits} are read"
            raise _Refused(_where(event), sentence) from None
        weight = 1 + len(text) // _TEXT_WEIGHT
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, weight, 1)
        if not self._open:
            self._only_text = isinstance(value, str)
        self._count(weight, event)
        self._add(value, weight, 1)

    def _begin(self, event: Any, mapping: bool) -> None:
        if len(self._open) >= self._limits.depth:
            raise self._too_deep(event)
        top = self._open[-1] if self._open else None
        is_key = top is not None and top.mapping is not None and top.key is None
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        self._count(1, event)
        line = event.start_mark.line + 1
        self._open.append(_Open({} if mapping else None, [], event.anchor, line, bool(event.flow_style), is_key))

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        value: Any = done.items
        if done.mapping is not None:
            value = done.mapping
            if done.merged:
                # what the mapping says itself counts, then the first of those that are merged into it
                value = {key: member for one in reversed(done.merged) for key, member in one.items()} | value
        if done.anchor is not None:
            self._anchors[done.anchor] = _Anchored(value, done.weight, done.height)
        if done.is_key:
            self._key(to_json(value, ensure_ascii=False), event)
        else:
            self._add(value, done.weight, done.height)

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = str(event.anchor)
        if name not in self._anchors:
            raise _Refused(_where(event), f"the alias *{printable(name)} stands for nothing")
        found = self._anchors[name]
        if found is None:
            raise _Refused(_where(event), f"the alias *{printable(name)} stands for what it is itself a part of")
        if len(self._open) + found.height > self._limits.depth + 1:
            raise self._too_deep(event)
        self._count(found.weight, event)
        top = self._open[-1] if self._open else None
        if top is not None and top.mapping is not None and top.key is None:
            key = found.value if isinstance(found.value, str) else to_json(found.value, ensure_ascii=False)
            self._key(key, event)
        else:
            self._add(found.value, found.weight, found.height)

    # -- building -----------------------------------------------------------------------------------------

    def _key(self, key: Any, event: Any) -> None:
        top = self._open[-1]
        assert top.mapping is not None
        if key is not _MERGE:
            self._count(1 + len(key) // _TEXT_WEIGHT, event)
            if key in top.mapping:
                self._twice(key)
        top.key = key

    def _add(self, value: Any, weight: int, height: int) -> None:
        if not self._open:
            self.documents.append(value)
            return
        top = self._open[-1]
        top.weight += weight
        top.height = max(top.height, height + 1)
        if top.mapping is None:
            top.items.append(value)
            return
        key, top.key = top.key, None
        if key is not _MERGE:
            top.weight += 1 + len(key) // _TEXT_WEIGHT
            top.mapping[key] = value
        elif isinstance(value, dict):
            top.merged.append(value)
        elif isinstance(value, list) and all(isinstance(one, dict) for one in value):
            top.merged += value
        else:
            top.mapping["<<"] = value  # nothing to merge: to YAML 1.2 it is a key like any other

    def _count(self, weight: int, event: Any) -> None:
        self._weight += weight
        if self._weight > self._limits.values:
            raise Unjudgeable(
                f"holds more than {self._limits.values} values up to {_where(event)}, counting what aliases repeat"
            )

    def _too_deep(self, event: Any) -> _Refused:
        return _Refused(_where(event), f"is nested more than {self._limits.depth} levels deep")

    def _twice(self, key: str) -> None:
        if len(self.duplicates) < _MOST_DUPLICATES:
            where = pointer((*self._path(), key))
            if self.documents:
                where = f"document {len(self.documents) + 1}, {where}"
            self.duplicates.append(Problem(where, "stands twice in one mapping (the last one counts)"))
        elif not self._more_duplicates:
            self._more_duplicates = True
            self.duplicates.append(Problem("", "holds more duplicate keys"))

    def _path(self) -> Iterator[str | int]:
        """Where the innermost open collection stands in its document."""
        for one in self._open[:-1]:
            if one.mapping is None:
                yield len(one.items)
            else:
                yield "<<" if one.key is _MERGE else one.key if one.key is not None else "?"

    # -- words --------------------------------------------------------------------------------------------

    def _explain(self, error: Any, text: str) -> tuple[str, str]:
        """Place and sentence for the library's syntax error."""
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "")
        context = str(getattr(error, "context", None) or "")
        mark = getattr(error, "problem_mark", None)
        if mark is None:
            return "", "is not valid YAML" + (f": {printable(problem)}" if problem else "")
        end = text.rstrip()
        if mark.line >= end.count("\n") + 1 or (mark.line == end.count("\n") and mark.column >= len(end)):
            where = place(end, len(end))
            return where, f"ends in the middle of {self._unfinished(context)}"
        where = f"line {mark.line + 1}, column {mark.column + 1}"
        words = ", ".join(printable(part) for part in (context, problem) if part)
        return where, f"is not valid YAML ({words})"

    def _unfinished(self, context: str) -> str:
        if "quoted scalar" in context:
            return "a text"
        if not self._open:
            return "its content"
        top = self._open[-1]
        return f"{'a list' if top.mapping is None else 'a mapping'} that begins at line {top.line}"


def _not_printable(data: bytes, text: str, position: int) -> tuple[str, str]:
    if text[position] != "\0":
        return place(text, position), f"holds a control character (U+{ord(text[position]):04X})"
    tail = nul_tail(data)
    if tail is not None and len(text.rstrip("\0")) == position:
        return place(text, position), tail[1]
    return place(text, position), "a NUL byte stands here"


def _where(event: Any) -> str:
    return f"line {event.start_mark.line + 1}, column {event.start_mark.column + 1}"
