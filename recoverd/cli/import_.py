"""Make snapshots of dated copies, or of a program's own backups: each PATH is a copy of one state item.

The time of a copy is what --time says, else the date in its name (or its directory's), else when it was last
changed. Copies are judged as live state is; one with nothing good in it is not kept. Imports are never the newest
snapshot. Exit status: 0, 3 when a copy is partly good, 1 when one is not good at all.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import plural, printable, size
from recoverd.operations.import_ import ImportRequest, import_copies
from recoverd.system import clock

_STYLES = {"saved": "ok", "unchanged": "dim", "invalid": "critical"}
_FROM = {"asked": "as --time says", "name": "by its name", "mtime": "when it was last changed"}
_MOST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("paths", nargs="+", metavar="PATH")
    parser.add_argument("--item", metavar="ITEM", help="what they are copies of, where their names do not tell")
    parser.add_argument("--time", metavar="TIME", help="of when they are, such as 2026-11-21T09:30:00Z or 2026-11-21")
    parser.add_argument("--label", help="a name for the snapshots")
    parser.add_argument("--dry-run", action="store_true", help="say what would be imported")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    request = ImportRequest(
        options.service, tuple(options.paths), options.item, options.time, options.label, options.dry_run
    )
    result = import_copies(context_of(options, terminal), request)
    if terminal.json:
        terminal.print_json("import", **result.to_json())
        return result.exit_status
    would = "would be " if result.dry_run else ""
    for one in result.imports:
        outcome = terminal.style({"unchanged": "known already"}.get(one.outcome, one.outcome), _STYLES[one.outcome])
        name = f" as {one.id}" if one.id is not None else ""
        partial = f" ({terminal.style('partial', 'warning')})" if one.verdict == "partial" else ""
        amount = f"{plural(one.files, 'file')}, {size(one.size_bytes)}"
        terminal.print(f"{printable(one.path)}: {would}{outcome}{name}{partial}: {one.item}, {amount}")
        terminal.print(f"  of {clock.rfc3339(one.time_ns)}, {_FROM[one.time_from]}")
        for place, sentence in one.problems[:_MOST]:
            terminal.print(f"  {printable(place)}: {printable(sentence)}")
        if len(one.problems) > _MOST:
            terminal.print(f"  and {plural(len(one.problems) - _MOST, 'more problem')}; --json lists all")
    return result.exit_status
