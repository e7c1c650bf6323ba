"""Writes recoverd.yaml.5 from the JSON Schema of the configuration: `python man/generate.py`; `--check` only compares.

All that is said of a key stands in recoverd/config/recoverd.schema.json; which keys this version does not support yet
stands in recoverd/config/unsupported.py. This file only knows how a manual looks.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from recoverd.config import unsupported
from recoverd.config.wording import schema_text

PAGE = Path(__file__).with_name("recoverd.yaml.5")
Schema = Mapping[str, Any]

# $defs with keys of their own get a section each, in this order; the others are values, told once at the end.
SECTIONS = {
    "service": "SERVICES",
    "item": "STATE ITEMS",
    "autosave": "AUTOSAVE",
    "retention": "RETENTION",
    "restore": "RESTORE",
    "health": "HEALTH",
    "check": "CHECK",
    "watch": "WATCH",
    "drill": "DRILL",
    "limits": "LIMITS",
    "consistency": "CONSISTENCY",
    "hooks": "HOOKS",
}
PLAIN = {
    "string": "text",
    "integer": "number",
    "number": "number",
    "boolean": "true or false",
    "object": "mapping",
    "array": "list",
}
_WIDTH = 78  # of a line in the source, as mandoc wants it
_MOST_CHOICES = 12  # that are told one by one
NOT_YET = "Not supported yet."
HEAD = """\
.\\" Generated from recoverd.schema.json by man/generate.py.
.\\" Change the schema, not this file.
.Dd November 21, 2026
.Dt RECOVERD.YAML 5
.Os
.Sh NAME
.Nm recoverd.yaml
.Nd what recoverd looks after, and how
.Sh DESCRIPTION
The configuration of
.Xr recoverd 8
is YAML.
.Pa recoverd.yaml
holds what concerns the whole host, and each file in
.Pa conf.d
declares services; every file may hold both.
.Pp
Files are read in this order, and a later one takes the place of an earlier
one of the same name:
.Pp
.Bl -item -offset indent -compact
.It
.Pa /usr/lib/recoverd/conf.d/*.yaml ,
which packages ship;
.It
.Pa /etc/recoverd/recoverd.yaml ;
.It
.Pa /etc/recoverd/conf.d/*.yaml .
.El
.Pp
A plain user has
.Pa recoverd.yaml
and
.Pa conf.d
in
.Pa $XDG_CONFIG_HOME/recoverd
.Pq Pa ~/.config/recoverd
instead.
An empty file, or a link to
.Pa /dev/null ,
masks a shipped one of the same name, and
.Pa NAME.yaml.d/*.yaml
beside a file changes single keys of it.
.Fl \\-config
replaces all these places.
A service that is defined twice is an error.
.Pp
YAML is read strictly: duplicate keys, unknown keys, tags and wrong types are
errors, and only null, true, false, integers and floating point numbers are
resolved, so that
.Ql no
and
.Ql 0644
stay text.
All problems are reported at once, each with its file, line and column.
When recoverd runs as root, a file that others can write is refused.
.Pp
Paths expand a leading
.Ql \\(ti
and
.Ql ${NAME}
from the environment, which is an error when it is unset;
.Ql ${NAME:-default}
is not.
Relative paths start from the file that holds them, those of state items from
the
.Ic root
of their service.
.Pp
Keys marked
.Dq not supported yet
belong to the format and are refused by this version.
"""
EXAMPLE = """\
.Sh EXAMPLES
A file in
.Pa conf.d
that saves a state file and a directory of tasks every 30 seconds:
.Bd -literal -offset indent
services:
  assistant:
    root: /var/lib/assistant
    run:
      command: [/usr/bin/assistant, --port, "3000"]
    state:
      main:
        file: state.json
        format: json
        schema: {type: object, required: [version, tasks]}
      tasks: {directory: tasks, include: ["*.json"], optional: true}
    autosave: {every: 30s, on_shutdown: true}
    retention: {last: 10, hourly: 24, daily: 14}
    health:
      within: 30s
      probes:
        - http: http://127.0.0.1:3000/health
.Ed
.Sh SEE ALSO
.Xr recoverd 8
.Pp
.Ql recoverd config schema
prints the JSON Schema for editors,
.Ql recoverd config show
the configuration in effect and where each value comes from.
"""


def page() -> str:
    schema: Schema = json.loads(schema_text())
    defs = schema["$defs"]
    lines = [HEAD.rstrip("\n"), ".Sh HOST-WIDE KEYS", *_keys(schema["properties"], (), unsupported.HOST)]
    for name, title in SECTIONS.items():
        definition = defs[name].get("items", defs[name])
        lines += [f".Sh {title}", *_text(defs[name]["description"]), *_choice(definition)]
        paths = () if name == "service" else ("state", "*") if name == "item" else (name,)
        if any(line.pattern == name and not line.values for line in unsupported.SERVICE):
            lines += [".Pp", NOT_YET]
        lines += _keys(definition["properties"], paths, unsupported.SERVICE)
    lines += [".Sh VALUES", ".Bl -tag -width Ds"]
    for name, definition in defs.items():
        if name not in SECTIONS:
            told = (*_text(definition["description"]), *_text(f"It is {definition['title']}."))
            lines += [f".It Em {_type_name(name)}", *told]
    lines += [".El", EXAMPLE.rstrip("\n")]
    return "\n".join(lines) + "\n"


def _type_name(definition: str) -> str:
    return definition.replace("_", " ")


def _keys(
    properties: Mapping[str, Schema], path: tuple[str, ...], table: tuple[unsupported.Unsupported, ...]
) -> Iterator[str]:
    """A tagged list of keys, with those below each."""
    yield ".Bl -tag -width Ds"
    for key, value in properties.items():
        here = (*path, key)
        yield f".It Ic {key} : Em {_type(value)}"
        yield from _text(value["description"])
        if (default := value.get("default")) is not None and default not in ({}, []):
            yield from _text(f"Default: `{_spelled(default)}`.")
        found = [line for line in table if line.pattern.split(".") == list(here) or _is_list_of(line, here)]
        for line in found:
            if not line.values:
                yield NOT_YET
            else:
                yield from _text(f"Not supported yet: {', '.join(f'`{word}`' for word in line.values)}.")
        if holder := _holder(value):
            yield from _choice(holder)
            yield from _keys(holder["properties"], here if holder is value else (*here, "*"), table)
    yield ".El"


def _is_list_of(line: unsupported.Unsupported, here: tuple[str, ...]) -> bool:
    """Whether a pattern means the entries of the list at this key."""
    return bool(line.values) and line.pattern.split(".") == [*here, "*"]


def _holder(value: Schema) -> Schema | None:
    """Where keys below this one are told: the value itself, or the entries of a list or mapping."""
    for one in (value, value.get("items"), value.get("additionalProperties")):
        if isinstance(one, Mapping) and "properties" in one:
            return one
    return None


def _choice(value: Schema) -> Iterator[str]:
    keys = [one["required"][0] for one in value.get("oneOf", ()) if "required" in one]
    if keys:
        yield ".Pp"
        yield from _text(f"One of {', '.join(f'`{key}`' for key in keys)} is needed.")


def _type(value: Schema) -> str:
    """In a few words, what a key takes."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"see {SECTIONS[name]}" if name in SECTIONS else _type_name(name)
    if len(value.get("enum", ())) > _MOST_CHOICES:
        return str(value["title"])
    if "enum" in value:
        return " | ".join(_spelled(one) for one in value["enum"])
    if "type" not in value:
        return "any value"
    kinds = value["type"] if isinstance(value["type"], list) else [value["type"]]
    if kinds == ["array"]:
        return f"list of {_plural(value.get('items', {}))}"
    if kinds == ["object"] and isinstance(below := value.get("additionalProperties"), Mapping):
        return f"mapping of names to {_plural(below)}"
    return " or ".join(dict.fromkeys(PLAIN[kind] for kind in kinds))


def _plural(value: Schema) -> str:
    name = _type(value)
    if name.startswith("see "):
        return name.removeprefix("see ").lower() + f" ({name})"
    return {
        "text": "text",
        "mapping": "mappings",
        "command": "commands",
        "number": "numbers",
        "any value": "any values",
    }.get(name, name)


def _spelled(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_spelled(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_spelled, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _text(text: str) -> Iterator[str]:
    """Sentences, each beginning a line; what stands in backticks as literal text."""
    for sentence in re.split(r"(?<=[.;:]) (?=[A-Z`])", text):
        for number, part in enumerate(re.split(r"`([^`]+)`", sentence)):
            if number % 2:
                yield f".Ql {_quoted(part)}"
                continue
            closing = re.match(r"[.,;:)]+", part)
            rest = part
            if closing and number:
                last = " ".join(closing[0])
                rest = part[closing.end() :]
                yield f"\0{last}"
            for line in textwrap.wrap(rest.strip(), _WIDTH, break_long_words=False, break_on_hyphens=False):
                yield _escaped(line)


def _escaped(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("~", "\\(ti").replace("^", "\\(ha")
    return f"\\&{escaped}" if escaped[:1] in ".'" else escaped


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace('"', "\\(dq").replace("~", "\\(ti").replace("^", "\\(ha")
    return f'"{escaped}"' if re.search(r"[^\w./${}-]", text) else escaped


def render() -> str:
    """The page, with punctuation after literal text joined to its line."""
    return page().replace("\n\0", " ")


if __name__ == "__main__":
    made = render()
    if sys.argv[1:] == ["--check"]:
        if not PAGE.exists() or PAGE.read_text() != made:
            sys.exit(f"{PAGE.name} is not what the schema says: run `make docs`")
    else:
        PAGE.write_text(made)
