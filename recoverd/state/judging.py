"""Judging documents: bytes in, a verdict out.

A judge is all that decides about the documents of one state item: format, strictness, limits, the schema with all that
it refers to. Its `id` names exactly that, so a verdict remembered under it is still right. Judging reads nothing but
the bytes that it is given, and the same bytes always get the same verdict, but for `unreadable`: that says that a
document could not be judged this time, and must not be remembered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, Protocol

from blake3 import blake3

from recoverd.config.model import Format, StateItem
from recoverd.errors import StateError
from recoverd.state.formats import detection, json_format
from recoverd.state.formats.json_lines import LinesReader
from recoverd.state.formats.opaque import OpaqueReader
from recoverd.state.formats.text import Limits, Parsed, Unjudgeable
from recoverd.state.schema_process import DEADLINE_S, GuardedValidator
from recoverd.state.schemas import Closure, Validator, close
from recoverd.state.signs import NO_SIGNS, Signs, emptied, name_of, too_small, version_of, why_misnamed, why_newer
from recoverd.state.verdicts import OK, Judgement, Problem, Verdict
from recoverd.values import replace

JUDGING_REVISION = 1
"""To be raised with every change of recoverd that can change a verdict: what was remembered is then judged again."""

# Steps of pattern matching that are made in this process: less than about half a second for one document or line, and
# no more than this sum for all lines of a file; about so many steps per byte do not count.
_MOST_STEPS_AT_ONCE = 20_000_000
_MOST_STEPS_IN_ALL = 200_000_000
_FREE_STEPS_PER_BYTE = 100
_MOST_DEADLINES = 10  # that the lines of one file may use up together
_FORMATS = (Format.AUTO, Format.JSON, Format.JSON_LINES, Format.OPAQUE)
_OK_UNCHECKED = Judgement(Verdict.OK, unchecked=True)


class Examination(Protocol):
    """A document that comes block by block."""

    def feed(self, block: bytes) -> None: ...

    def finish(self) -> Judgement: ...


def build_judge(item: StateItem, proven: Callable[[str], bool] | None = None) -> Judge:
    """The judge of one state item; reads its schema's references. Raises StateError for a schema that can't be used,
    and for a format that is not supported yet.

    `proven` tells by the judge's id whether its schema is known to be usable: jsonschema, which is slow to import, then
    waits for the first document.
    """
    if item.format not in _FORMATS:
        raise StateError(
            f"the state item {item.name}: format {item.format.value} is not supported yet",
            hint=f"use one of {', '.join(known.value for known in _FORMATS)}",
        )
    if item.format is Format.OPAQUE and item.schema is not None:
        raise StateError(f"the state item {item.name}: a schema can't be applied to format opaque")
    judge = Judge(
        item.format,
        allow=item.allow,
        closure=close(item.schema) if item.schema is not None else None,
        signs=Signs(item.guards, item.version, item.name_field, bytes.fromhex(item.magic)),
        validation=item.validate.command if item.validate is not None else (),
    )
    if judge.has_schema and (proven is None or not proven(judge.id)):
        judge.require_usable()
    return judge


class Judge:
    """Judges the documents of one state item; built once, reused, usable from any thread.

    `unchecked`: nothing declares what valid content is, so `ok` only means that the format is right. `validation`: the
    command that judges besides, which is for the caller to run.
    """

    def __init__(
        self,
        format: Format,
        *,
        allow: frozenset[str] = frozenset(),
        closure: Closure | None = None,
        signs: Signs = NO_SIGNS,
        validation: tuple[str, ...] = (),
        limits: Limits | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.format = format
        self.signs = signs
        self.unchecked = closure is None and signs == NO_SIGNS and not validation
        self._structured = closure is not None or signs.of_values  # something is to be said of parsed content
        self._allow = allow
        self._limits = limits or Limits()
        self._applier = _SchemaApplier(closure, allow, self._limits, deadline_s) if closure is not None else None
        self.id = blake3(
            json.dumps(
                [
                    JUDGING_REVISION,
                    format.value,
                    sorted(allow),
                    [self._limits.size_bytes, self._limits.depth, self._limits.digits, self._limits.problems],
                    closure.hash if closure is not None else None,
                    signs.to_plain() if signs != NO_SIGNS else None,
                    validation,
                ]
            ).encode()
        ).hexdigest()

    @property
    def has_schema(self) -> bool:
        return self._applier is not None

    def require_usable(self) -> None:
        """Raises StateError when its schema can't be used; else the first document that needs it would."""
        if self._applier is not None:
            self._applier.validator()

    def judge(self, name: str, data: bytes) -> Judgement:  # noqa: ARG002 -- content alone decides
        """The verdict on one whole document. `name` is its path below the item, "" for a file item."""
        kind = self._kind(data)
        if kind is Format.JSON:
            return self._by_bytes(self._json(data), data, len(data))
        reader = self._lines() if kind is Format.JSON_LINES else OpaqueReader()
        reader.feed(data)
        return self._by_bytes(self._finish(reader), data, len(data))

    def named(self, name: str, judgement: Judgement) -> Judgement:
        """The verdict once the name is looked at: the rule of its name field, which content alone can't tell."""
        field = self.signs.name_field
        if field is None or judgement.verdict is not Verdict.OK:
            return judgement
        sentence = why_misnamed(field, judgement.name, name)
        if sentence is None:
            return judgement
        return replace(judgement, verdict=Verdict.CORRUPT, problems=(Problem("", sentence),))

    def begin(self, name: str) -> Examination:  # noqa: ARG002 -- as above
        """The same for a document that comes block by block; opaque documents and JSON lines take bounded memory."""
        if self.format is Format.OPAQUE:
            return _Streamed(self, OpaqueReader())
        if self.format is Format.JSON_LINES:
            return _Streamed(self, self._lines())
        return _Collected(self, self._limits)

    def _kind(self, data: bytes) -> Format:
        if self.format is not Format.AUTO:
            return self.format
        found = detection.detect(data)
        # What has a schema is meant to be parsed, whatever is left of it.
        return Format.JSON if found is Format.OPAQUE and self._structured else found

    def _lines(self) -> LinesReader:
        check = _SchemaPass(self._applier) if self._applier is not None else None
        return LinesReader(allow=self._allow, limits=self._limits, check=check)

    def _json(self, data: bytes) -> Judgement:
        if len(data) > self._limits.size_bytes:
            return _too_large(self._limits)
        parsed = json_format.parse(data, allow=self._allow, limits=self._limits)
        if parsed.problems:
            return self._made(Verdict.CORRUPT, Format.JSON, parsed.problems, parsed.notes)
        signs = self.signs
        if signs.version is None and self._applier is None and signs.guards is None and signs.name_field is None:
            return self._made(Verdict.OK, Format.JSON, (), parsed.notes)
        return self._by_value(parsed, data)

    def _by_value(self, parsed: Parsed, data: bytes) -> Judgement:
        """What the content of a document says: too new first, for its schema of today would only misread it."""
        signs, value = self.signs, parsed.value
        version = version_of(signs.version, value) if signs.version is not None else None
        if signs.version is not None and version is not None and (why := why_newer(signs.version, version)):
            problem = Problem(f"#/{signs.version.field}", why)
            return Judgement(Verdict.NEWER, (problem,), parsed.notes, version=version)
        judgement = self._made(Verdict.OK, Format.JSON, (), parsed.notes)
        if self._applier is not None:
            judgement = self._by_schema(_SchemaPass(self._applier), parsed, data)
        if judgement.verdict is Verdict.OK and signs.guards is not None and (gone := emptied(signs.guards, value)):
            judgement = self._made(Verdict.RESET, Format.JSON, tuple(gone), parsed.notes)
        name = name_of(signs.name_field, value) if signs.name_field is not None else None
        return replace(judgement, version=version, name=name) if version is not None or name is not None else judgement

    def _by_bytes(self, judgement: Judgement, head: bytes, size_bytes: int) -> Judgement:
        """What the first bytes and the size say, whatever the format."""
        signs = self.signs
        if signs.magic and judgement.verdict is not Verdict.CORRUPT and not head.startswith(signs.magic):
            what = "is empty (0 bytes)" if not size_bytes else f"begins with {_hexadecimal(head[: len(signs.magic)])}"
            sentence = f"{what}, not with {_hexadecimal(signs.magic)}"
            return replace(judgement, verdict=Verdict.CORRUPT, problems=(Problem("", sentence),), blank=False)
        if signs.guards is not None and judgement.verdict in {Verdict.OK, Verdict.RESET}:
            small = too_small(signs.guards, size_bytes)
            if small is not None:
                return replace(judgement, verdict=Verdict.RESET, problems=(small, *judgement.problems))
        return judgement

    def _by_schema(self, check: _SchemaPass, parsed: Parsed, data: bytes) -> Judgement:
        try:
            problems = check(parsed.value, data)
        except Unjudgeable as reason:
            return Judgement(Verdict.UNREADABLE, (Problem("", str(reason)),), parsed.notes)
        return self._made(Verdict.CORRUPT if problems else Verdict.OK, Format.JSON, problems, parsed.notes)

    def _finish(self, reader: LinesReader | OpaqueReader) -> Judgement:
        if isinstance(reader, OpaqueReader):
            notes, blank = reader.finish()
            return self._made(Verdict.OK, Format.OPAQUE, (), notes, blank=blank)
        problems, notes, blank = reader.finish()
        if reader.unjudged and len(problems) == 1:
            return Judgement(Verdict.UNREADABLE, problems, notes)
        verdict = Verdict.CORRUPT if problems else Verdict.OK
        return self._made(verdict, Format.JSON_LINES, problems, notes, blank=blank)

    def _made(
        self,
        verdict: Verdict,
        kind: Format,
        problems: tuple[Problem, ...],
        notes: tuple[Problem, ...],
        *,
        blank: bool = False,
    ) -> Judgement:
        detected = kind.value if self.format is Format.AUTO and not self._structured else ""
        if verdict is Verdict.OK and not notes and not detected and not blank:
            return _OK_UNCHECKED if self.unchecked else OK
        return Judgement(verdict, problems, notes, unchecked=self.unchecked, blank=blank, detected=detected)


class _SchemaApplier:
    """One schema, applied in this process or, where its patterns might never end, in a child with a deadline."""

    def __init__(self, closure: Closure, allow: frozenset[str], limits: Limits, deadline_s: float) -> None:
        self.closure = closure
        self.deadline_s = deadline_s
        self.guarded = GuardedValidator(closure, allow, limits, deadline_s=deadline_s)
        self._validator: Validator | None = None
        self._limits = limits

    def validator(self) -> Validator:
        """The compiled schema. Raises StateError when it can't be used."""
        if self._validator is None:
            self._validator = Validator(self.closure)
        return self._validator

    def inline(self, value: Any) -> tuple[Problem, ...]:
        return self.validator().problems(value, self._limits.problems)


class _SchemaPass:
    """Applies a schema to one document, or to the lines of one file, with a bound for all of them together."""

    def __init__(self, applier: _SchemaApplier) -> None:
        self._applier = applier
        self._steps = 0
        self._guarded_s = 0.0

    def __call__(self, value: Any, data: bytes) -> tuple[Problem, ...]:
        applier = self._applier
        steps = applier.closure.steps(len(data))
        if steps is not None and steps <= _FREE_STEPS_PER_BYTE * len(data):
            return applier.inline(value)
        if steps is not None and steps <= _MOST_STEPS_AT_ONCE and self._steps + steps <= _MOST_STEPS_IN_ALL:
            self._steps += steps
            return applier.inline(value)
        if self._guarded_s > _MOST_DEADLINES * applier.deadline_s:
            raise Unjudgeable(f"could not be judged by its schema within {self._guarded_s:.0f} s")
        began = time.monotonic()
        try:
            return applier.guarded.problems(data)
        finally:
            self._guarded_s += time.monotonic() - began


def _hexadecimal(data: bytes) -> str:
    """A few bytes for people: as text where they are."""
    if data.isascii() and data.decode().isprintable():
        return f'"{data.decode()}"'
    return f"hex:{data[:16].hex()}{'…' if len(data) > 16 else ''}"


def _too_large(limits: Limits) -> Judgement:
    # Not corrupt: a document that grew beyond what is parsed must not be rolled back for it.
    sentence = f"is larger than {limits.size_bytes} bytes, more than is parsed; `format: opaque` keeps it unparsed"
    return Judgement(Verdict.UNREADABLE, (Problem("", sentence),))


class _Streamed:
    """An examination that keeps nothing but the reader's state."""

    def __init__(self, judge: Judge, reader: LinesReader | OpaqueReader) -> None:
        self._judge = judge
        self._reader = reader
        self._head = b""
        self._size_bytes = 0

    def feed(self, block: bytes) -> None:
        missing = len(self._judge.signs.magic) - len(self._head)
        if missing > 0:
            self._head += block[:missing]
        self._size_bytes += len(block)
        self._reader.feed(block)

    def finish(self) -> Judgement:
        return self._judge._by_bytes(self._judge._finish(self._reader), self._head, self._size_bytes)


class _Collected:
    """An examination that needs the whole document: it collects up to the limit, unless it turns out to be opaque."""

    def __init__(self, judge: Judge, limits: Limits) -> None:
        self._judge = judge
        self._limits = limits
        self._blocks: list[bytes] = []
        self._size_bytes = 0
        self._undecided = judge.format is Format.AUTO and not judge._structured
        self._reader: _Streamed | None = None

    def feed(self, block: bytes) -> None:
        if self._reader is not None:
            self._reader.feed(block)
            return
        if self._size_bytes > self._limits.size_bytes:
            return
        self._blocks.append(block)
        self._size_bytes += len(block)
        if self._undecided and self._size_bytes >= detection.HEAD_BYTES:
            self._undecided = False
            if not detection.looks_parsable(b"".join(self._blocks)):
                self._switch(OpaqueReader())
        if self._size_bytes > self._limits.size_bytes and self._reader is None:
            if self._judge.format is Format.AUTO and detection.is_lines(b"".join(self._blocks)):
                self._switch(self._judge._lines())
            else:
                self._blocks.clear()

    def finish(self) -> Judgement:
        if self._reader is not None:
            return self._reader.finish()
        if self._size_bytes > self._limits.size_bytes:
            return _too_large(self._limits)
        return self._judge.judge("", b"".join(self._blocks))

    def _switch(self, reader: LinesReader | OpaqueReader) -> None:
        self._reader = _Streamed(self._judge, reader)
        for block in self._blocks:
            self._reader.feed(block)
        self._blocks.clear()


def encode_judgement(judgement: Judgement) -> bytes:
    """A judgement as small JSON, for the memo; a plain `ok` is b""."""
    if judgement is OK or judgement == OK:
        return b""
    fields: dict[str, Any] = {}
    if judgement.verdict is not Verdict.OK:
        fields["verdict"] = judgement.verdict.value
    for name, problems in (("problems", judgement.problems), ("notes", judgement.notes)):
        if problems:
            fields[name] = [(problem.place, problem.problem) for problem in problems]
    for name in ("unchecked", "version", "name", "blank", "detected"):
        if value := getattr(judgement, name):
            fields[name] = value
    return json.dumps(fields, separators=(",", ":")).encode()


def decode_judgement(data: bytes) -> Judgement:
    """The reverse of `encode_judgement`. Raises ValueError for anything else."""
    if not data:
        return OK
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("not a judgement")  # noqa: TRY004 -- it is the bytes that are wrong
    try:
        return Judgement(
            Verdict(fields.get("verdict", "ok")),
            tuple(Problem(place, sentence) for place, sentence in fields.get("problems", ())),
            tuple(Problem(place, sentence) for place, sentence in fields.get("notes", ())),
            unchecked=bool(fields.get("unchecked", False)),
            version=fields.get("version"),
            name=fields.get("name"),
            blank=bool(fields.get("blank", False)),
            detected=str(fields.get("detected", "")),
        )
    except TypeError as error:
        raise ValueError("not a judgement") from error
