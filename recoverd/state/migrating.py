"""Migrating one document from an older version to the current one: bytes in, bytes out, written as they were.

Patches and renames are pure. A command is handed in by the caller, who knows as whom it is to run: it gets the
document uncompressed, as its format has it. The version field is set after each step that has not set it itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from recoverd.config.migration_model import MigrationStep, VersionRule, chain
from recoverd.config.model import Format, StateItem
from recoverd.config.versions import are_same
from recoverd.errors import StateError
from recoverd.state.formats import detection
from recoverd.state.formats.compression import Compression, pack, unpack
from recoverd.state.formats.reading import read, read_plain
from recoverd.state.formats.text import Limits, Unjudgeable, value_words
from recoverd.state.signs import version_of
from recoverd.values import dataclass, replace

Run = Callable[[MigrationStep, bytes], bytes]
"""Runs a step's command on a document. Raises StateError and OSError."""


@dataclass(frozen=True, slots=True)
class Migrations:
    """What is declared of older versions of one state item's documents."""

    rule: VersionRule
    steps: tuple[MigrationStep, ...]

    def of(self, version: str | None) -> tuple[MigrationStep, ...]:
        """The steps from this version to the current one; none for one that is current, or that nothing leads from."""
        return chain(version, self.steps, self.rule.current) if version is not None else ()

    def to_plain(self) -> list[Any]:
        """What tells two of them apart, for the id of a judge."""
        return [
            [step.source, step.target, list(map(dict, step.patch)), sorted(step.rename.items()), list(step.command)]
            for step in self.steps
        ]


def migrations_of(item: StateItem) -> Migrations | None:
    """None where an item declares none."""
    return Migrations(item.version, item.migrate) if item.version is not None and item.migrate else None


def is_pure(steps: Sequence[MigrationStep]) -> bool:
    """Whether what they make of a document follows from the document alone."""
    return not any(step.command for step in steps)


def why_not_written(kind: Format, steps: Sequence[MigrationStep]) -> str | None:
    """Why steps can't be taken in this format, whatever the document says."""
    step = next((one for one in steps if not one.command), None) if kind is Format.TOML else None
    return f"{_named(step)}: TOML can't be written, so only a `command` can migrate it" if step is not None else None


def migrate_value(value: Any, rule: VersionRule, steps: Sequence[MigrationStep]) -> Any:
    """What pure steps make of a parsed document, which is left as it is. Raises StateError with what failed."""
    from copy import deepcopy

    value = deepcopy(value)
    for step in steps:
        value = _with_version(_stepped(value, step), rule, step)
    return value


def migrate_document(data: bytes, item: StateItem, steps: Sequence[MigrationStep], run: Run) -> bytes:
    """The bytes of a document of this version, in the encoding that it has. Raises StateError with what failed.

    What a command writes in YAML or TOML is kept as it is, with its comments, where the command has set the version;
    all else is written like the document before.
    """
    from recoverd.state.formats.encoding import describe, encode  # late: every look at state loads this file

    rule = item.version
    assert rule is not None
    kind = item.format if item.format is not Format.AUTO else _detected(data, item)
    try:
        encoding, text = describe(data, kind), unpack(data, Limits().most_bytes(kind)).data
        value = _only(read(data, kind, allow=item.allow).values)
        rewritten = False  # whether `text` is not what `value` says any more
        for step in steps:
            if not step.command:
                value, rewritten = _with_version(_stepped(value, step), rule, step), True
                continue
            before = encode(value, replace(encoding, compression=Compression.NONE)) if rewritten else text
            text = _ran(run, step, before)
            found = read_plain(text, kind, allow=item.allow, limits=Limits())
            if found.problems:
                raise StateError(f"{_named(step)}: what {step.command[0]} wrote can't be read: {found.problems[0]}")
            value = _only(found.values)
            set_by_itself = are_same(version_of(rule, value) or "", step.target)
            if kind is Format.TOML and not set_by_itself:
                raise StateError(f"{_named(step)}: {step.command[0]} must set the version itself in TOML")
            value = _with_version(value, rule, step)
            rewritten = not set_by_itself or kind is Format.JSON
        return encode(value, encoding) if rewritten else pack(text, encoding.compression, encoding.level)
    except Unjudgeable as reason:
        raise StateError(str(reason)) from reason


def value_of(data: bytes, item: StateItem) -> Any:
    """What a document that is whole says."""
    kind = item.format if item.format is not Format.AUTO else _detected(data, item)
    return _only(read(data, kind, allow=item.allow).values)


def _detected(data: bytes, item: StateItem) -> Format:
    return detection.format_of(data, item.path, structured=True)


def _only(values: Sequence[Any]) -> Any:
    if len(values) != 1:
        raise StateError(f"it holds {len(values)} documents in one file, which can't be migrated")
    return values[0]


def _ran(run: Run, step: MigrationStep, before: bytes) -> bytes:
    try:
        return run(step, before)
    except OSError as error:
        raise StateError(f"{_named(step)}: {step.command[0]} can't be run: {error.strerror or error}") from error
    except StateError as error:
        raise StateError(f"{_named(step)}: {error.message}") from error


def _stepped(value: Any, step: MigrationStep) -> Any:
    """One pure step. Raises StateError."""
    if step.rename:
        for old, new in step.rename.items():
            _rename(value, old, new, step)
        return value
    return _patched(value, step)


def _patched(value: Any, step: MigrationStep) -> Any:
    import jsonpatch  # late: few documents are ever migrated
    from jsonpointer import JsonPointerException

    for number, operation in enumerate(step.patch, 1):
        try:
            value = jsonpatch.apply_patch(value, [operation], in_place=True)
        except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, ValueError, LookupError) as error:
            what = f"{_named(step)}: operation {number}, {operation['op']} {operation['path']}"
            if isinstance(error, jsonpatch.JsonPatchTestFailed):
                raise StateError(f"{what}: it is not {value_words(operation['value'])}") from error
            # not the library's words: they tell what is in the document, which may be a secret
            raise StateError(f"{what}: there is no such place in the document") from error
    return value


def _rename(value: Any, old: str, new: str, step: MigrationStep) -> None:
    """Move a field, if it is there; beside the old one it takes its place in the order."""
    *above, name = _tokens(old)
    *new_above, new_name = _tokens(new)
    holder = _holder(value, above)
    if holder is None or name not in holder:
        return
    target = _holder(value, new_above)
    if target is None:
        raise StateError(f"{_named(step)}: {old} can't become {new}: there is nothing that could hold it")
    if new_name in target:
        raise StateError(f"{_named(step)}: {old} can't become {new}, which is there already")
    if target is holder:
        entries = [(new_name if key == name else key, entry) for key, entry in holder.items()]
        holder.clear()
        holder.update(entries)
    else:
        target[new_name] = holder.pop(name)


def _holder(value: Any, tokens: Sequence[str]) -> dict[str, Any] | None:
    """The mapping that a pointer's tokens lead to."""
    for token in tokens:
        if isinstance(value, dict):
            value = value.get(token)
        elif isinstance(value, list) and token.isascii() and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            return None
    return value if isinstance(value, dict) else None


def _tokens(pointer: str) -> list[str]:
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]


def _with_version(value: Any, rule: VersionRule, step: MigrationStep) -> Any:
    """The document as one of the step's version: text stays text, a number a number where it can be."""
    if not isinstance(value, dict):
        raise StateError(f"{_named(step)}: it gives {value_words(value)}, not a document with a version")
    found = version_of(rule, value)
    if found is not None and are_same(found, step.target):
        return value
    if found is not None and not are_same(found, step.source):
        raise StateError(f"{_named(step)}: what it gives says that its version is {value_words(found)}")
    *above, name = rule.keys
    holder = _holder(value, above)
    if holder is None:
        raise StateError(f"{_named(step)}: it gives a document with no place for its version, {rule.pointer}")
    before, after = holder.get(name), step.target
    number: Any = after
    if isinstance(before, int | float) and not isinstance(before, bool):
        try:
            number = float(after) if "." in after or isinstance(before, float) else int(after)
        except ValueError:
            number = after
    holder[name] = number
    return value


def _named(step: MigrationStep) -> str:
    return f"the step from {step.source} to {step.target}"
