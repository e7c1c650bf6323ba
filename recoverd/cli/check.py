"""Health of the scheduler, the repository and every service, from records.

With --live, state is assessed and probes run as well.
Exit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.wording import choice
from recoverd.errors import RecoverdError, UsageError
from recoverd.operations.check import CheckRequest, check


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--live", action="store_true", help="assess state and run probes too")
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        type=choice("format", ("text", "json", "nagios"), ("prometheus",)),
        default=None,
        help="text, nagios (a plugin's output), or json as with --json",
    )


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    if options.format == "nagios":
        return _nagios(options, terminal)
    terminal.json = terminal.json or options.format == "json"
    result = check(
        context_of(options, terminal, tolerant=True, told=True), CheckRequest(tuple(options.services), options.live)
    )
    if terminal.json:
        from recoverd.health.json_format import document

        terminal.print_json("check", **document(result.results))
    else:
        from recoverd.health.text import render

        shown = render(
            result.results,
            color=terminal.color,
            symbols=terminal.symbols,
            verbose=terminal.verbose,
            quiet=terminal.quiet,
        )
        for line in shown.splitlines():
            terminal.print(line)
    return result.exit_status


def _nagios(options: argparse.Namespace, terminal: Terminal) -> int:
    """As a monitoring plugin: what can't be checked at all is told on stdout too, for that is all that is shown."""
    from recoverd.health import nagios

    if terminal.json:
        raise UsageError("--json and --format nagios do not go together", hint="choose one of them")
    try:
        context = context_of(options, terminal, tolerant=True, told=True)
        result = check(context, CheckRequest(tuple(options.services), options.live))
    except RecoverdError as error:
        terminal.write(nagios.failed(error.message, error.hint) + "\n")
        raise
    terminal.write(nagios.render(result.results) + "\n")
    return result.exit_status
