"""Write a snapshot's known-good files as a plain tar archive, to FILE or to standard output.

Owners, modes, times, links, holes and extended attributes are kept; the same snapshot gives the same bytes.
An existing FILE is never overwritten. Exit status: 0, or 3 when an item has no known-good version.
"""

from __future__ import annotations

import argparse
import sys

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import plural, printable, size
from recoverd.errors import UsageError
from recoverd.operations.export import ExportRequest, export


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("snapshot", metavar="SNAPSHOT")
    parser.add_argument("file", nargs="?", metavar="FILE", help="a new file (default, and `-`: standard output)")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    file = None if options.file in {None, "-"} else options.file
    if file is None and (terminal.json or terminal.interactive):
        why = "--json needs a FILE for the archive" if terminal.json else "a terminal is no place for an archive"
        raise UsageError(why, hint=f"for example `recoverd export {options.snapshot} state.tar`")
    context = context_of(options, terminal)
    request = ExportRequest(options.snapshot, file)
    with terminal.progress("exporting"):
        result = export(context, request, sys.stdout.buffer if file is None else None)
    if terminal.json:
        terminal.print_json("export", **result.to_json())
    elif file is not None:
        terminal.say(
            f"{result.snapshot}: {plural(result.files, 'file')}, {size(result.size_bytes)} in {printable(file)}"
        )
    for note in result.notes:
        terminal.warn(note)
    for item in result.without:
        terminal.warn(f"no version of {item} in {result.snapshot} was ever good; it is not in the archive")
    return result.exit_status
