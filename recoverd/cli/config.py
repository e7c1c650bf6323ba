"""The configuration itself: check it, show it, its JSON Schema, or the places it comes from. No service is touched.

- validate: checks all files, and tells every problem with its line
- show: the effective configuration, and where each value comes from
- schema: the JSON Schema, for editors
- paths: the places that are searched, and what was found there

Exit status: 0 no problems, 78 otherwise.
"""

# JSON of each (`--json`), besides the frame {"recoverd", "command"}:
#
# - `config validate`: {"files": [path], "services": [name], "problems": []}; a broken configuration is an error
#   with exit status 78 as everywhere, so `problems` is empty when this is printed. "notes": [what
#   `for_each` found nothing for, or left out].
# - `config show`: {"config": {...}, "from": {"services.web.autosave.every": "FILE:LINE"}}; keys of recoverd.yaml(5),
#   what is not in "from" is a default; "matches": {service: path} of those that `for_each` stands for.
# - `config schema`: the JSON Schema itself, without a frame, so that editors can read it.
# - `config paths`: {"places": [{"path", "standing", "by", "changes"}]}; standing is used, mask, empty, masked,
#   overridden, absent, orphan or unreadable.

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING

from recoverd.cli.text import plural, printable
from recoverd.cli.wording import choice

if TYPE_CHECKING:
    from recoverd.cli.terminal import Terminal
    from recoverd.config.loading import Loaded

_STANDING = {
    "used": "found",
    "mask": "found, masks",
    "empty": "found, empty",
    "masked": "masked by {by}",
    "overridden": "overridden by {by}",
    "absent": "absent",
    "orphan": "found, but {changes} is absent",
    "unreadable": "can't be read",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `recoverd config`."""
    parser.add_argument(
        "action",
        metavar="ACTION",
        type=choice("config action", ("validate", "show", "schema", "paths")),
        help="validate, show, schema or paths",
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Exit status 0; ConfigError, with every problem, when the configuration is broken."""
    if args.action == "schema":
        from recoverd.config.wording import schema_text

        terminal.write(schema_text())
    elif args.action == "paths":
        _paths(args, terminal)
    else:
        from recoverd.config.loading import load

        loaded = load(args.config or None, environ=os.environ, euid=os.geteuid(), home=os.path.expanduser("~"))
        if args.action == "validate":
            _validate(args, terminal, loaded)
        else:
            _show(args, terminal, loaded)
    return 0


def _validate(args: argparse.Namespace, terminal: Terminal, loaded: Loaded) -> None:
    files = [path for unit in loaded.search.units for path in (unit.path, *unit.changes)]
    services = list(loaded.config.services)
    if args.json:
        terminal.print_json("config validate", files=files, services=services, problems=[], notes=list(loaded.notes))
        return
    for path in files:
        terminal.say(f"{printable(path)}: {terminal.style('ok', 'ok')}")
    if not files:
        terminal.say("no configuration file was found; `recoverd config paths` tells where they are looked for")
    for note in loaded.notes:
        terminal.say(printable(note))
    terminal.say(f"{plural(len(files), 'file')}, {plural(len(services), 'service')}: no problems")


def _show(args: argparse.Namespace, terminal: Terminal, loaded: Loaded) -> None:
    from recoverd.config.nodes import describe
    from recoverd.config.rendering import as_plain, yaml_lines

    plain = as_plain(loaded.config, mask=True)
    matches = {name: one.match for name, one in loaded.config.services.items() if one.match is not None}
    if args.json:
        origins = {
            describe(path): f"{place.file}:{place.line}"
            for path, place in loaded.provenance.items()
            if path[0] != "defaults"
        }
        terminal.print_json("config show", config=plain, matches=matches, **{"from": origins})
        return
    for line in yaml_lines(plain, loaded.provenance, matches):
        terminal.print(line)


def _paths(args: argparse.Namespace, terminal: Terminal) -> None:
    from recoverd.config import places

    search = places.find(args.config or None, environ=os.environ, euid=os.geteuid(), home=os.path.expanduser("~"))
    if args.json:
        found = [
            {"path": each.path, "standing": each.standing.value, "by": each.by, "changes": each.changes}
            for each in search.found
        ]
        terminal.print_json("config paths", places=found)
        return
    rows = []
    for each in search.found:
        words = _STANDING[each.standing.value].format(by=each.by, changes=each.changes)
        if each.changes and each.standing == places.Standing.USED:
            words += f", changes {each.changes}"
        rows.append((printable(each.path), printable(words)))
    width = max((len(path) for path, _ in rows), default=0)
    for path, words in rows:
        terminal.print(f"{path:<{width}}  {words}")
