"""Steps from older versions of documents, and whether all of them lead to the version that is current."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recoverd.config.migration_model import MigrationStep, VersionRule
from recoverd.config.model import Format
from recoverd.config.sections import Section
from recoverd.config.signs import why_no_pointer
from recoverd.config.versions import are_same, is_newer

_WITH_VALUE = ("add", "replace", "test")
_WITH_FROM = ("move", "copy")
_KINDS = frozenset((*_WITH_VALUE, *_WITH_FROM, "remove"))


def build_migrations(item: Section, version: VersionRule | None) -> tuple[MigrationStep, ...]:
    """The steps, in the order in which they stand; empty where none are declared."""
    sections = item.sections("migrate")
    if not sections:
        return ()
    if version is None and not item.context.is_touched((*item.path, "version")):
        item.problem("migrate", "needs `version`: the field that holds it, and the version that the service writes")
    toml = item.text("format") == Format.TOML
    steps = [_step(section, toml=toml) for section in sections]
    if version is not None:
        _check_chains(sections, steps, version.current)
    return tuple(steps)


def _step(section: Section, *, toml: bool) -> MigrationStep:
    command = section.texts("command")
    if section.has("command") and (not command or not command[0]):
        section.problem("command", "the program must not be empty")
    if section.has("timeout") and not section.has("command"):
        section.problem("timeout", "goes with `command` only")
    for key in ("from", "to"):
        if section.text(key) == "":
            section.problem(key, "a version must not be empty")
    for key in ("patch", "rename"):
        if toml and section.has(key):
            section.problem(key, "TOML can't be written, so only a command can migrate a document of it")
    return MigrationStep(
        source=str(section.text("from", "")),
        target=str(section.text("to", "")),
        patch=tuple(_operation(operation) for operation in section.sections("patch")),
        rename=_renamed(section.section("rename")),
        command=command,
        timeout_s=section.duration("timeout", MigrationStep("", "").timeout_s, positive=True),
    )


def _operation(operation: Section) -> Mapping[str, Any]:
    kind = operation.text("op", "")
    for key, kinds in (("value", _WITH_VALUE), ("from", _WITH_FROM)):
        if kind in kinds and not operation.has(key):
            operation.problem(None, f"{kind} needs `{key}`")
        elif kind in _KINDS and kind not in kinds and operation.has(key):
            operation.problem(key, f"goes with {', '.join(kinds[:-1])} and {kinds[-1]}, not with {kind}")
    for key in ("path", "from"):
        text = operation.text(key)
        if text is not None and (reason := why_no_pointer(text)):
            operation.problem(key, reason)
    if kind == "move" and str(operation.text("path")).startswith(f"{operation.text('from')}/"):
        operation.problem("path", "nothing can be moved into itself")
    plain: Mapping[str, Any] = operation.node.plain()
    return plain


def _renamed(section: Section) -> Mapping[str, str]:
    """Pointer -> pointer. A plain name is a field of the document; as a new name, one beside the old."""
    found: dict[str, str] = {}
    for old in section.node.content:
        new = str(section.text(old, ""))
        before = old if old.startswith("/") else f"/{_escaped(old)}"
        after = new if new.startswith("/") else f"{before.rpartition('/')[0]}/{_escaped(new)}"
        reason = why_no_pointer(before) or why_no_pointer(after)
        if reason:
            section.problem(old, reason)
        elif not new or not old:
            section.problem(old, "a field has a name")
        elif f"{after}/".startswith(f"{before}/") or f"{before}/".startswith(f"{after}/"):
            section.problem(old, f"{before} and {after} are the same field, or one is part of the other")
        elif after in found.values():
            section.problem(old, f"two fields can't both become {after}")
        found[before] = after
    return found


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def _check_chains(sections: Sequence[Section], steps: Sequence[MigrationStep], current: str) -> None:
    """Every step is the only one from its version, and leads on to the current one."""
    for index, (section, step) in enumerate(zip(sections, steps, strict=True)):
        before = next((n for n in range(index) if are_same(steps[n].source, step.source)), None)
        if are_same(step.source, step.target):
            section.problem("to", f'"{step.target}" is the version that the step begins with')
        elif are_same(step.source, current):
            section.problem("from", f'"{step.source}" is the current version: nothing leads on from there')
        elif is_newer(step.source, current):
            section.problem("from", f'"{step.source}" is newer than the current version: what is newer is left alone')
        elif before is not None:
            place = sections[before].place("from")
            section.problem("from", f'there is a step from "{step.source}" already ({place.file}:{place.line})')
        elif is_newer(step.target, current):
            section.problem("to", f'"{step.target}" is newer than the current version, "{current}"')
        elif step.target != current and not are_same(step.target, current):
            _check_way(section, step, steps, current)


def _check_way(section: Section, step: MigrationStep, steps: Sequence[MigrationStep], current: str) -> None:
    way = [step]
    while not are_same(way[-1].target, current):
        following = next((one for one in steps if are_same(one.source, way[-1].target)), None)
        if following is None:
            if len(way) == 1:  # the step at the gap is told of, not all that lead there
                section.problem("to", f'no step leads on from "{step.target}" to "{current}"')
            return
        if following in way:
            if following is step:
                section.problem("to", f'leads back to "{step.source}", and never to "{current}"')
            return
        way.append(following)
