"""What a service said: the file its output goes to, or its unit's journal.

Through a pipe the lines come as they are; on a terminal, what could drive it is written as an escape.
Exit status: 0 shown, 1 there is no log that can be read, 64 there is no such service, 130 interrupted.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import printable
from recoverd.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE", help="or SERVICE@NAME")
    parser.add_argument("-n", "--lines", metavar="N", default="50", help="how many of the newest lines (default 50)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with those that come, until interrupted")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.cli.main import INTERRUPTED
    from recoverd.operations.logs import logs

    if not (options.lines.isascii() and options.lines.isdecimal() and len(options.lines) < 10):
        raise UsageError(f"--lines: {options.lines!r} is no number of lines", hint="for example --lines 100")
    if options.follow and terminal.json:
        raise UsageError("--json is one document, and --follow never ends", hint="leave one of them out")
    context = context_of(options, terminal, tolerant=True)
    lines = logs(context, options.service, int(options.lines), follow=options.follow)
    if terminal.json:
        terminal.print_json("logs", service=options.service, lines=[printable(line) for line in lines])
        return 0
    try:
        for line in lines:
            terminal.write((_shown(line) if terminal.interactive else line) + "\n")
    except KeyboardInterrupt:
        if not options.follow:
            raise
        return INTERRUPTED  # the only way to end it, so nothing to complain about
    return 0


def _shown(line: str) -> str:
    """Tabs keep their columns; everything else that is not printable becomes an escape."""
    return printable(line.expandtabs())
