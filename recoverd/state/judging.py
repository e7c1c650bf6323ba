"""Judging documents: bytes in, a verdict out.

A judge is all that decides about the documents of one state item: format, strictness, limits, the schema with all that
it refers to. Its `id` names exactly that, so a verdict remembered under it is still right. Judging reads nothing but
the bytes that it is given, and the same bytes always get the same verdict, but for `unreadable`: that says that a
document could not be judged this time, and must not be remembered.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import islice
from typing import Any

from blake3 import blake3

from recoverd.config.database_model import DatabaseRules
from recoverd.config.model import Format, ItemKind, StateItem
from recoverd.config.versions import is_newer
from recoverd.errors import StateError
from recoverd.state.examining import Examining, Unpacking, too_large
from recoverd.state.formats import compression, detection, json_format
from recoverd.state.formats.compression import Compression
from recoverd.state.formats.json_lines import Check, LinesReader
from recoverd.state.formats.json_writing import to_json
from recoverd.state.formats.opaque import OpaqueReader
from recoverd.state.formats.reading import read_plain
from recoverd.state.formats.text import Documents, Limits, Parsed, Unjudgeable, printable
from recoverd.state.migrating import Migrations, is_pure, migrate_value, migrations_of, why_not_written
from recoverd.state.schema_applying import SchemaApplier
from recoverd.state.schema_process import DEADLINE_S
from recoverd.state.schemas import Closure, close
from recoverd.state.signs import NO_SIGNS, Signs, emptied, name_of, too_small, version_of, why_misnamed, why_newer
from recoverd.state.verdicts import OK, Judgement, Problem, Verdict
from recoverd.values import replace

JUDGING_REVISION = 3
"""To be raised with every change of recoverd that can change a verdict: what was remembered is then judged again."""

MIGRATION_TO = "its migration to"
"""What the problem says of a document of an older version that can't be brought to the current one."""

# What compressed data can begin with: a look at one byte settles it for nearly all documents.
_COMPRESSED = frozenset((0x1F, 0x28, *range(0x50, 0x60)))
_OK_UNCHECKED = Judgement(Verdict.OK, unchecked=True)


def build_judge(item: StateItem, proven: Callable[[str], bool] | None = None) -> Judge:
    """The judge of one state item; reads its schema's references. Raises StateError for a schema that can't be used.

    `proven` tells by the judge's id whether its schema is known to be usable: jsonschema, which is slow to import, then
    waits for the first document.
    """
    if item.format is Format.OPAQUE and item.schema is not None:
        raise StateError(f"the state item {item.name}: a schema can't be applied to format opaque")
    judge = Judge(
        item.format,
        allow=item.allow,
        closure=close(item.schema) if item.schema is not None else None,
        signs=Signs(item.guards, item.version, item.name_field, bytes.fromhex(item.magic)),
        validation=item.validate.command if item.validate is not None else (),
        file_name=os.path.basename(item.path) if item.kind is ItemKind.FILE else "",
        migrations=migrations_of(item),
        database=item.database,
    )
    if judge.has_schema and (proven is None or not proven(judge.id)):
        judge.require_usable()
    return judge


class Judge:
    """Judges the documents of one state item; built once, reused, usable from any thread.

    `unchecked`: nothing declares what valid content is, so `ok` only means that the format is right. `validation`: the
    command that judges besides, which is for the caller to run. `file_name`: what the only document is called.
    `database`: what a database is held to, which is for `state.databases` to ask it.
    """

    def __init__(
        self,
        format: Format,
        *,
        allow: frozenset[str] = frozenset(),
        closure: Closure | None = None,
        signs: Signs = NO_SIGNS,
        validation: tuple[str, ...] = (),
        file_name: str = "",
        migrations: Migrations | None = None,
        database: DatabaseRules | None = None,
        limits: Limits | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.format = format
        self.signs = signs
        self.database = database or DatabaseRules()
        self.unchecked = closure is None and signs == NO_SIGNS and not validation and not self.database.tells_content
        self.is_structured = closure is not None or signs.of_values  # something is to be said of parsed content
        self.content_decides = format is not Format.AUTO or self.is_structured  # alone: a name is no hint to it
        self._file_name = file_name
        self._migrations = migrations
        self._allow = allow
        self._limits = limits or Limits()
        # YAML and TOML have NaN whatever is allowed in JSON, and values reach a child as JSON
        allow_all = allow | {json_format.ALLOW_NAN}
        self._applier = SchemaApplier(closure, allow_all, self._limits, deadline_s) if closure is not None else None
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
                    [self._limits.yaml_bytes, self._limits.toml_bytes, self._limits.values],
                    self.hint(""),
                    *([migrations.to_plain()] if migrations is not None else []),
                    *([database.check, database.require_tables, database.assertions] if database is not None else ()),
                ]
            ).encode()
        ).hexdigest()

    @property
    def has_schema(self) -> bool:
        return self._applier is not None

    def require_usable(self) -> None:
        """Raises StateError when its schema can't be used; else the first document that needs it would."""
        if self._applier is not None:
            self._applier.parts()

    def judge(self, name: str, data: bytes) -> Judgement:
        """The verdict on one whole document. `name` is its path below the item, "" for a file item."""
        return self.by_bytes(self.content(name, data), data, len(data))

    def content(self, name: str, data: bytes) -> Judgement:
        """The same, of what it says only; seen through one compression, as files have it."""
        if data[:1] and data[0] in _COMPRESSED and (packed := self.compression(data)) is not Compression.NONE:
            unpacking = Unpacking(self, name, packed)
            unpacking.feed(data)
            return unpacking.finish()
        return self.plain(name, data)

    def plain(self, name: str, data: bytes) -> Judgement:
        """The same, of a document that is not compressed, or not any more."""
        kind, found = self._kind(name, data)
        if kind is Format.JSON:
            return self._json(data)
        if kind is Format.YAML or kind is Format.TOML:
            return self._documents(kind, data, found)
        reader = self.lines() if kind is Format.JSON_LINES else OpaqueReader()
        reader.feed(data)
        return self.finished(reader)

    def named(self, name: str, judgement: Judgement) -> Judgement:
        """The verdict once the name is looked at: the rule of its name field, which content alone can't tell."""
        field = self.signs.name_field
        if field is None or judgement.verdict is not Verdict.OK:
            return judgement
        sentence = why_misnamed(field, judgement.name, name)
        if sentence is None:
            return judgement
        return replace(judgement, verdict=Verdict.CORRUPT, problems=(Problem("", sentence),))

    def begin(self, name: str) -> Examining:
        """The same for a document that comes block by block; opaque documents and JSON lines take bounded memory."""
        return Examining(self, name)

    def is_older(self, judgement: Judgement) -> bool:
        """Whether a document is good, of an older version, and steps lead from there to the current one."""
        migrations = self._migrations
        return judgement.verdict is Verdict.OK and migrations is not None and bool(migrations.of(judgement.version))

    @property
    def most_bytes(self) -> int:
        """What a document that is parsed as a whole may have."""
        return self._limits.most_bytes(self.format)

    def hint(self, name: str) -> Format | None:
        """What the name of a document says that it is, where that counts for anything."""
        return None if self.content_decides else detection.hint(name or self._file_name)

    def compression(self, head: bytes) -> Compression:
        """How a document that begins so is compressed, as far as that is to be seen through."""
        if self.format is Format.OPAQUE or (not self.content_decides and not compression.is_certain(head)):
            return Compression.NONE
        return compression.find(head)

    def lines(self) -> LinesReader:
        """A reader of JSON lines that holds each of them to the schema."""
        return LinesReader(allow=self._allow, limits=self._limits, check=self._check())

    def _check(self) -> Check | None:
        return self._applier.begin() if self._applier is not None else None

    def _kind(self, name: str, data: bytes) -> tuple[Format, Documents | None]:
        """What a document is taken for, and what reading it gave where it had to be read to know."""
        if self.format is not Format.AUTO:
            return self.format, None
        found = detection.detect(data)
        if self.is_structured:
            # What has a schema is meant to be parsed, whatever is left of it.
            return detection.detect_structured(data, self._limits) if found is Format.OPAQUE else (found, None)
        hint = self.hint(name)
        parsed = detection.try_as(hint, data, self._limits) if hint is not None else None
        return (hint, parsed) if hint is not None and parsed is not None else (found, None)

    def _documents(self, kind: Format, data: bytes, found: Documents | None) -> Judgement:
        """The verdict on a file that may hold several documents: the worst of theirs."""
        try:
            found = found or read_plain(data, kind, allow=self._allow, limits=self._limits)
        except Unjudgeable as reason:
            return Judgement(Verdict.UNREADABLE, (Problem("", str(reason)),))
        if found.problems:
            return self.made(Verdict.CORRUPT, kind, found.problems, found.notes)
        if not self.is_structured and self.signs.guards is None:
            return self.made(Verdict.OK, kind, (), found.notes)
        check = self._check()
        verdicts = []
        for value, where in zip(found.values, found.places, strict=True):
            as_json = to_json(value).encode() if check is not None else b""
            one = self._by_value(Parsed(value, notes=found.notes), as_json, kind, check)
            problems = (Problem(f"{where}, {each.place}".strip(", "), each.problem) for each in one.problems)
            verdicts.append(replace(one, problems=tuple(problems)) if where else one)
        if self._migrations is not None and len(verdicts) > 1:
            verdicts += [_not_alone(self._migrations, one, len(verdicts)) for one in verdicts if self.is_older(one)]
        worst = max(verdicts, key=lambda one: one.verdict.severity)
        problems = (problem for one in verdicts if one.verdict is worst.verdict for problem in one.problems)
        return replace(worst, problems=tuple(islice(problems, self._limits.problems))) if worst.problems else worst

    def _json(self, data: bytes) -> Judgement:
        if len(data) > self._limits.size_bytes:
            return too_large(self._limits.size_bytes)
        parsed = json_format.parse(data, allow=self._allow, limits=self._limits)
        if parsed.problems:
            return self.made(Verdict.CORRUPT, Format.JSON, parsed.problems, parsed.notes)
        signs = self.signs
        if signs.version is None and self._applier is None and signs.guards is None and signs.name_field is None:
            return self.made(Verdict.OK, Format.JSON, (), parsed.notes)
        return self._by_value(parsed, data, Format.JSON, self._check())

    def _by_value(self, parsed: Parsed, data: bytes, kind: Format, check: Check | None) -> Judgement:
        """What the content of a document says: too new first, for its schema of today would only misread it."""
        signs, value = self.signs, parsed.value
        version = version_of(signs.version, value) if signs.version is not None else None
        if version is not None and self._migrations is not None and self._migrations.of(version):
            return self._older(self._migrations, version, parsed, kind, check)
        if signs.version is not None and version is not None and (why := why_newer(signs.version, version)):
            problem = Problem(f"#{signs.version.pointer}", why)
            return Judgement(Verdict.NEWER, (problem,), parsed.notes, version=version)
        judgement = self.made(Verdict.OK, kind, (), parsed.notes)
        if check is not None:
            judgement = self._by_schema(check, parsed, data, kind)
        if judgement.verdict is Verdict.CORRUPT and self._migrations is not None and version is not None:
            judgement = _without_way(self._migrations, version, judgement)
        if judgement.verdict is Verdict.OK and signs.guards is not None and (gone := emptied(signs.guards, value)):
            judgement = self.made(Verdict.RESET, kind, tuple(gone), parsed.notes)
        name = name_of(signs.name_field, value) if signs.name_field is not None else None
        return replace(judgement, version=version, name=name) if version is not None or name is not None else judgement

    def _older(
        self, migrations: Migrations, version: str, parsed: Parsed, kind: Format, check: Check | None
    ) -> Judgement:
        """A document of an older version is as good as what its migration makes of it, where that can be told by
        itself. If that is not valid, nobody can tell whether the document or the migration is wrong: it counts as one
        of a version that does not fit, and is left alone."""
        steps, current = migrations.of(version), migrations.rule.current
        place = f"#{migrations.rule.pointer}"
        note = Problem(place, f"has version {printable(version)}, and is to be migrated to {current}")
        found = Judgement(Verdict.OK, (), (*parsed.notes, note), unchecked=True, version=version)
        unwritable = why_not_written(kind, steps)
        if unwritable is None and not is_pure(steps):
            return found
        try:
            if unwritable is not None:
                raise StateError(unwritable)
            value = migrate_value(parsed.value, migrations.rule, steps)
            later = self._by_value(Parsed(value), to_json(value).encode(), kind, check)
        except (StateError, UnicodeEncodeError) as error:
            later = Judgement(Verdict.CORRUPT, (Problem("", getattr(error, "message", str(error))),))
        if later.verdict is Verdict.OK:
            return replace(found, unchecked=later.unchecked, name=later.name)
        if later.verdict is Verdict.UNREADABLE:
            return later
        why = "; ".join(map(str, later.problems[:3]))
        problem = Problem(place, f"has version {printable(version)}, and {MIGRATION_TO} {current} fails: {why}")
        return Judgement(Verdict.NEWER, (problem,), parsed.notes, version=version)

    def by_bytes(self, judgement: Judgement, head: bytes, size_bytes: int) -> Judgement:
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

    def _by_schema(self, check: Check, parsed: Parsed, data: bytes, kind: Format) -> Judgement:
        try:
            problems = check(parsed.value, data)
        except Unjudgeable as reason:
            return Judgement(Verdict.UNREADABLE, (Problem("", str(reason)),), parsed.notes)
        return self.made(Verdict.CORRUPT if problems else Verdict.OK, kind, problems, parsed.notes)

    def finished(self, reader: LinesReader | OpaqueReader) -> Judgement:
        """The verdict on what a reader was given."""
        if isinstance(reader, OpaqueReader):
            notes, blank = reader.finish()
            return self.made(Verdict.OK, Format.OPAQUE, (), notes, blank=blank)
        problems, notes, blank = reader.finish()
        if reader.unjudged and len(problems) == 1:
            return Judgement(Verdict.UNREADABLE, problems, notes)
        verdict = Verdict.CORRUPT if problems else Verdict.OK
        return self.made(verdict, Format.JSON_LINES, problems, notes, blank=blank)

    def made(
        self,
        verdict: Verdict,
        kind: Format,
        problems: tuple[Problem, ...],
        notes: tuple[Problem, ...],
        *,
        blank: bool = False,
    ) -> Judgement:
        """A verdict with all that goes with one of this judge."""
        detected = kind.value if not self.content_decides else ""
        if verdict is Verdict.OK and not notes and not detected and not blank:
            return _OK_UNCHECKED if self.unchecked else OK
        return Judgement(verdict, problems, notes, unchecked=self.unchecked, blank=blank, detected=detected)


def _not_alone(migrations: Migrations, judgement: Judgement, count: int) -> Judgement:
    """An older document among several in one file: good by itself, but nothing brings the file to the current one."""
    version = printable(judgement.version or "")
    sentence = f"has version {version}, and the file holds {count} documents: only a file of one can be migrated"
    return Judgement(Verdict.NEWER, (Problem(f"#{migrations.rule.pointer}", sentence),))


def _without_way(migrations: Migrations, version: str, judgement: Judgement) -> Judgement:
    """What the schema of today refuses is no damage where it is of an older version that no step leads on from: a step
    may be missing, and an update is no damage. It counts as one of a version that does not fit."""
    if not is_newer(migrations.rule.current, version):
        return judgement
    why = "; ".join(map(str, judgement.problems[:3]))
    sentence = f"has version {printable(version)}, from which no step leads to {migrations.rule.current}: {why}"
    return Judgement(Verdict.NEWER, (Problem(f"#{migrations.rule.pointer}", sentence),), judgement.notes)


def _hexadecimal(data: bytes) -> str:
    """A few bytes for people: as text where they are."""
    if data.isascii() and data.decode().isprintable():
        return f'"{data.decode()}"'
    return f"hex:{data[:16].hex()}{'…' if len(data) > 16 else ''}"


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
