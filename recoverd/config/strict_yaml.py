"""Strict YAML: text in, plain values with places out, or problems with line and column.

What is accepted is YAML 1.2 with JSON's idea of scalars. Of plain (unquoted) scalars only these are resolved:

- null: `null`, `~` and nothing at all;
- booleans: `true` and `false`, in lower case;
- numbers as JSON spells them: `0`, `-12`, `1.5`, `2e3`. No leading zero, plus sign, underscore, hex or octal.

All else stays text: `no`, `on`, `True`, `0644`, `12:30`, `2026-11-21`, `.inf`. Anchors and aliases work, within
bounds; merge keys (`<<`), tags, keys that are not text, duplicate keys and a second document are problems.

Nothing here can crash or hang: size is bounded before parsing, depth while parse events come in (the C library
composes by recursion and overflows its stack; its events do not), and expansion by counting what aliases repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from recoverd.config.model import Place
from recoverd.config.nodes import Node
from recoverd.config.units import quote
from recoverd.errors import ConfigProblem
from recoverd.values import dataclass, field

if TYPE_CHECKING:
    import yaml

MOST_BYTES = 1024 * 1024
MOST_DEPTH = 64
MOST_NODES = 100_000
_MOST_DIGITS = 1000

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)\Z", re.ASCII)
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?\Z", re.ASCII)
_MISSING_SPACE = re.compile(r"\s*(?:- +)*[\w.-]+:(?!//)[^\s:]")
_BREAK = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
# YAML 1.2, production [1] c-printable
_NOT_PRINTABLE = re.compile("[^\\t\\n\\r -~\\x85\\xa0-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Parsed:
    """`node` is None for a document without content, or when it could not be read at all."""

    node: Node | None
    problems: tuple[ConfigProblem, ...]


def parse(data: bytes, file: str) -> Parsed:
    """Read one document. `file` is only named in places and problems. Raises nothing."""
    builder = _Builder(file)
    try:
        node = builder.build(data)
    except _Refused as refused:
        builder.problem(refused.line, refused.column, refused.sentence)
        node = None
    return Parsed(node, tuple(builder.problems))


class _Refused(Exception):
    """Reading can't go on. Line and column count from 1."""

    def __init__(self, line: int, column: int, sentence: str) -> None:
        super().__init__(sentence)
        self.line, self.column, self.sentence = line, column, sentence


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    event: yaml.CollectionStartEvent
    mapping: bool
    entries: dict[str, Node] = field(default_factory=dict)
    elements: list[Node] = field(default_factory=list)
    keys: dict[str, Place] = field(default_factory=dict)
    key: tuple[str | None, Place] | None = None  # a key that waits for its value; None: refused, value is dropped
    size: int = 1
    height: int = 1


class _Builder:
    def __init__(self, file: str) -> None:
        self.problems: list[ConfigProblem] = []
        self._file = file
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}  # node, size and height
        self._nodes = 0
        self._root: Node | None = None
        self._documents = 0

    def problem(self, line: int, column: int, sentence: str) -> None:
        self.problems.append(ConfigProblem(self._file, line, column, "", sentence))

    def build(self, data: bytes) -> Node | None:
        text = _decode(data)
        import yaml

        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        try:
            for event in yaml.parse(text, Loader=loader):
                self._take(event, yaml)
        except yaml.YAMLError as error:
            raise _syntax(error, text, self._bracket()) from None
        root = self._root
        return None if root is not None and root.content is None and not root.keys else root

    def _bracket(self) -> tuple[int, int] | None:
        """Where the innermost bracket stands that is still open."""
        return next((_where(each.event) for each in reversed(self._open) if each.event.flow_style), None)

    def _take(self, event: yaml.Event, yaml: Any) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _Refused(*_where(event), "a second document starts here; one file holds one document")
        elif isinstance(event, yaml.CollectionStartEvent):
            self._refuse_tag(event)
            if len(self._open) >= MOST_DEPTH:
                raise _Refused(*_where(event), f"nested more than {MOST_DEPTH} levels deep")
            self._count(1, event)
            self._open.append(_Open(event, mapping=isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event)
            self._count(1, event)
            if "\0" in event.value:
                self.problem(*_where(event), "no value can hold a NUL byte")
            if self._is_key():
                self._take_key(event)
            else:
                node = Node(self._resolve(event), self._place(event))
                self._remember(event.anchor, node, 1, 1)
                self._add(node, 1, 1)
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(event)

    def _take_alias(self, event: yaml.AliasEvent) -> None:
        if event.anchor not in self._anchors:
            raise _Refused(
                *_where(event), f"the alias *{event.anchor} stands for nothing: no &{event.anchor} before it"
            )
        node, size, height = self._anchors[event.anchor]
        self._count(size, event)
        if len(self._open) + height > MOST_DEPTH:
            raise _Refused(*_where(event), f"nested more than {MOST_DEPTH} levels deep")
        if self._is_key():
            self._refuse_key(event, "a key must be written out, not an alias")
        else:
            self._add(node, size, height)

    def _take_key(self, event: yaml.ScalarEvent) -> None:
        top = self._open[-1]
        place = self._place(event)
        if event.anchor is not None:
            self.problem(*_where(event), "a key can't have an anchor")
        value = self._resolve(event)
        if event.value == "<<" and event.implicit[0]:
            self._refuse_key(event, "merge keys (<<) are not supported: use `defaults`, or an alias for a whole value")
        elif not isinstance(value, str):
            shown = event.value or "an empty key"
            self._refuse_key(event, f"a key must be text, not {_kind(value)}: write it in quotes ({shown})")
        elif value in top.keys:
            self._refuse_key(event, f"duplicate key {quote(value)}, first used in line {top.keys[value].line}")
        else:
            top.keys[value] = place
            top.key = (value, place)

    def _refuse_key(self, event: yaml.Event, sentence: str) -> None:
        self.problem(*_where(event), sentence)
        self._open[-1].key = (None, self._place(event))

    def _is_key(self) -> bool:
        return bool(self._open) and self._open[-1].mapping and self._open[-1].key is None

    def _close(self) -> None:
        done = self._open.pop()
        place = self._place(done.event)
        node = Node(done.entries, place, done.keys) if done.mapping else Node(tuple(done.elements), place)
        self._remember(done.event.anchor, node, done.size, done.height)
        if self._is_key():
            self._refuse_key(done.event, "a key must be text, not a mapping or a list")
        else:
            self._add(node, done.size, done.height)

    def _add(self, node: Node, size: int, height: int) -> None:
        if not self._open:
            self._root = node
            return
        top = self._open[-1]
        top.size += size
        top.height = max(top.height, height + 1)
        if top.mapping:
            if top.key is not None and top.key[0] is not None:
                top.entries[top.key[0]] = node
            top.key = None
        else:
            top.elements.append(node)

    def _remember(self, anchor: str | None, node: Node, size: int, height: int) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size, height)

    def _count(self, size: int, event: yaml.Event) -> None:
        self._nodes += size
        if self._nodes > MOST_NODES:
            raise _Refused(*_where(event), f"more than {MOST_NODES:,} values, counting what aliases repeat")

    def _refuse_tag(self, event: yaml.NodeEvent) -> None:
        tag: str | None = getattr(event, "tag", None)
        if tag is not None:
            self.problem(*_where(event), f"tags such as {quote(tag)} are not supported: values are read as they are")

    def _resolve(self, event: yaml.ScalarEvent) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block of text
            return text
        if text in _WORDS:
            return _WORDS[text]
        if not _FLOAT.match(text):
            return text
        if len(text) > _MOST_DIGITS:
            self.problem(*_where(event), "a number with this many digits can't be meant: write text in quotes")
            return 0
        if _INTEGER.match(text):
            return int(text)
        number = float(text)
        if number in (float("inf"), float("-inf")):
            self.problem(*_where(event), f"the number {text} is too large")
            return 0
        return number

    def _place(self, event: yaml.Event) -> Place:
        return Place(self._file, *_where(event))


def _decode(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise _Refused(1, 1, f"the file is larger than {MOST_BYTES // 1024} KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        raise _Refused(line, column, f"the file is not UTF-8 text (byte 0x{data[error.start]:02x})") from None
    if found := _NOT_PRINTABLE.search(text):
        lines = _BREAK.split(text[: found.start()])
        what = "a NUL byte" if found[0] == "\0" else f"the control character U+{ord(found[0]):04X}"
        raise _Refused(len(lines), len(lines[-1]) + 1, f"{what} stands here: the file is damaged, or is no text")
    return text


def _where(event: yaml.Event) -> tuple[int, int]:
    mark: Any = event.start_mark
    return mark.line + 1, mark.column + 1


def _kind(value: Any) -> str:
    return "nothing" if value is None else "true or false" if isinstance(value, bool) else "a number"


def _syntax(error: Any, text: str, bracket: tuple[int, int] | None) -> _Refused:
    """The library's syntax error as a sentence for people, at the place that is most likely wrong."""
    problem = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "")
    context = str(getattr(error, "context", None) or "")
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return _Refused(1, 1, f"not valid YAML: {problem}")
    start = getattr(error, "context_mark", None) or mark
    lines = _BREAK.split(text)
    current = lines[mark.line] if mark.line < len(lines) else ""
    letter = current[mark.column : mark.column + 1]
    indentation = current[: len(current) - len(current.lstrip())]
    line, column = mark.line + 1, mark.column + 1
    at_end = not letter.strip() and not "".join(lines[mark.line + 1 :]).strip()
    if at_end:  # where the content ends says more than where the empty lines do
        line = max((number for number, content in enumerate(lines, 1) if content.strip()), default=1)
        column = len(lines[line - 1].rstrip()) + 1
    if letter == "\t" or "\t" in indentation:
        return _Refused(line, indentation.find("\t") + 1 or column, "a tab can't indent in YAML: use spaces")
    if "quoted scalar" in context and ("end of stream" in problem or "document indicator" in problem):
        return _Refused(start.line + 1, start.column + 1, "this quotation mark is never closed")
    for number in _near(mark.line, lines):
        if found := _MISSING_SPACE.match(lines[number]):
            key = lines[number][: found.end() - 1].strip()
            return _Refused(number + 1, found.end(), f"a space is missing after the colon of {quote(key)}")
    if "mapping values are not allowed" in problem:
        return _Refused(
            line, column, "a key can't stand here: indent it like its neighbours, or quote text with a colon"
        )
    if "cannot start any token" in problem:
        return _Refused(line, column, f"text can't start with {letter}: write it in quotes")
    if bracket is not None:
        what = "is never closed" if at_end else f"is not closed, or a comma is missing before line {line}"
        return _Refused(*bracket, f"this bracket {what}")
    if "block mapping" in context or "block collection" in context or "simple key" in context:
        what = "this line does not fit: check its indentation, and that its key ends with a colon"
        return _Refused(line, column, "the file ends within this line: was it cut off?" if at_end else what)
    return _Refused(line, column, f"not valid YAML: {problem}" if problem else "not valid YAML")


def _near(line: int, lines: list[str]) -> Iterator[int]:
    """The line of an error and the last one with content before it: where a missing space shows itself."""
    if line < len(lines):
        yield line
    for number in range(min(line, len(lines)) - 1, -1, -1):
        if lines[number].strip():
            yield number
            return
