"""The JSON Schemas of documents: found, read with all that they refer to, and checked when the configuration loads.

Files that a schema refers to are sources of the configuration as much as its own: as root only root may be able to
write them, and a change of one makes the configuration load again. None is reached outside the directories that
schemas are looked up in, and nothing is fetched.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from recoverd.config import trust
from recoverd.config.json_places import place_in
from recoverd.config.model import SchemaSource
from recoverd.config.nodes import place_of
from recoverd.config.schema_check import faults
from recoverd.config.schema_closure import Fault, crawl
from recoverd.config.sections import Section
from recoverd.values import dataclass, field

_MOST_BYTES = 4 * 1024 * 1024


def load_schema(item: Section) -> SchemaSource | None:
    """The schema of a state item; None where it has none, or where a problem was reported."""
    node = item.node.get("schema")
    if node is None:
        return None
    beside = os.path.dirname(node.place.file)
    directories: tuple[str, ...] = (beside, os.path.join(beside, "schemas"), item.context.schema_directory)
    files = _Files(item)
    path: str | None = None
    try:
        if isinstance(node.content, dict):
            document = node.plain()
        else:
            named = item.expanded("schema")
            path = None if named is None else _find(item, named, directories)
            if path is None:
                return None
            document = files.parsed(path)
            directories = tuple(dict.fromkeys((os.path.dirname(path), *directories)))
        found, referred = examine(document, path, directories, files.within(directories))
    except Fault as unreadable:
        found, referred = [unreadable], {}
    for fault in found:
        files.report(fault)
    return None if found else SchemaSource(document, path, directories, node.place, referred)


def examine(
    document: Any, path: str | None, directories: tuple[str, ...], read: Callable[[str], Any]
) -> tuple[list[Fault], dict[str, Any]]:
    """What is wrong with a schema, and the files that it refers to, parsed, by their paths. `read` as for `crawl`."""
    try:
        closure = crawl(document, path, directories, read)
        return faults(closure), closure.files
    except Fault as fault:
        return [fault], {}


def _find(item: Section, named: str, directories: tuple[str, ...]) -> str | None:
    tried = [os.path.normpath(os.path.join(directory, named)) for directory in directories]
    for path in dict.fromkeys(tried):
        if os.path.lexists(path):
            return path
        item.context.sources.add_absent(path)
    if os.path.isabs(named):
        item.problem("schema", f"{named} does not exist")
    else:
        item.problem("schema", f"{named} is in none of {', '.join(directories)}")
    return None


@dataclass(slots=True)
class _Files:
    """The files of one schema, with their texts: so long as it is not known to be good, places in them are needed."""

    item: Section
    texts: dict[str, str] = field(default_factory=dict)

    def within(self, directories: tuple[str, ...]) -> Callable[[str], Any]:
        """What reads a file that is referred to; it must lie in one of the directories, wherever links lead."""
        allowed = [os.path.realpath(directory) for directory in directories]

        def read(path: str) -> Any:
            if not os.path.lexists(path):
                self.item.context.sources.add_absent(path)
                return None
            real = os.path.realpath(path)
            if not any(os.path.commonpath([real, directory]) == directory for directory in allowed):
                raise Fault(
                    None,
                    (),
                    f"leads to {real}, outside of the configuration directories; schemas may refer to files in "
                    f"{', '.join(directories)}",
                )
            return self.parsed(path)

        return read

    def parsed(self, path: str) -> Any:
        """The content of a JSON file. Raises Fault."""
        try:
            data = self.item.context.read(path, _MOST_BYTES)
        except trust.Unusable as reason:
            raise Fault(None, (), f"{path} {reason}") from None
        if len(data) > _MOST_BYTES:
            raise Fault(None, (), f"{path} is larger than {_MOST_BYTES // 1024 // 1024} MiB")
        try:
            text = data.decode("utf-8-sig")
            document = json.loads(text, parse_constant=_refuse_constant)
        except UnicodeDecodeError:
            reason_text = "it is not UTF-8 text"
        except json.JSONDecodeError as error:
            reason_text = f"line {error.lineno}, column {error.colno}: {error.msg.lower()}"
        except (ValueError, RecursionError) as error:
            reason_text = "it is nested too deep" if isinstance(error, RecursionError) else str(error)
        else:
            self.texts[path] = text
            return document
        raise Fault(None, (), f"{path} is not JSON: {reason_text}")

    def report(self, fault: Fault) -> None:
        item = self.item
        path = (*item.path, "schema")
        if fault.file is None:
            node = item.node.get("schema")
            assert node is not None
            place = place_of(node, fault.path, key=fault.key)
            inline = isinstance(node.content, dict)
            item.context.findings.add(place, (*path, *fault.path) if inline else path, fault.sentence, unit=item.unit)
            return
        place = place_in(self.texts[fault.file], fault.file, fault.path, key=fault.key)
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in fault.path)
        sentence = f"#{pointer} {fault.sentence}" if fault.path else fault.sentence
        item.context.findings.add(place, path, sentence, unit=item.unit)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
