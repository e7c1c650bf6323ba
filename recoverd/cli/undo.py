"""Reverse a restore: what it replaced comes back, what it wrote goes to quarantine.

The content put back counts as accepted: the next restore leaves it alone as long as it does not change.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import printable
from recoverd.operations.undo import UndoRequest, undo


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("quarantine", nargs="?", metavar="ID", help="which one (default: the newest)")
    parser.add_argument("--no-start", action="store_true", help="leave the service stopped")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    result = undo(context_of(options, terminal), UndoRequest(options.quarantine, not options.no_start))
    if terminal.json:
        terminal.print_json("undo", **result.to_json())
        return result.exit_status
    terminal.print(f"{terminal.style(result.service, 'bold')}: the restore {result.undone} was undone")
    terminal.print(f"  live state is now {result.verdict}; what the restore wrote is in {printable(result.quarantine)}")
    if result.accepted:
        terminal.print("  it is accepted as it is: the next restore leaves it alone as long as it does not change")
    if result.healthy is not None:
        health = terminal.style("healthy", "ok") if result.healthy else terminal.style("not healthy", "critical")
        terminal.print(f"  {health}: {printable(result.why)}")
    return result.exit_status
