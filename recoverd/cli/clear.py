"""Remove a service's snapshots, or move its live state to quarantine, or both.

Asks first on a terminal; elsewhere it needs --yes. Live state can be brought back: `recoverd undo`. Removed
snapshots are gone, pinned ones among them.
"""

from __future__ import annotations

import argparse
import sys

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import plural, printable, size
from recoverd.errors import RecoverdError, UsageError
from recoverd.operations.clear import ClearRequest, ClearResult, clear


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--snapshots", action="store_true", help="remove all its snapshots")
    what.add_argument("--live", action="store_true", help="move its live state to quarantine")
    what.add_argument("--all", action="store_true", help="both")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--dry-run", action="store_true", help="say what would be cleared")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    if not (options.snapshots or options.live or options.all):
        raise UsageError("say what is to be cleared", hint="--snapshots, --live or --all")
    context = context_of(options, terminal)
    snapshots, live = options.snapshots or options.all, options.live or options.all
    if not (options.yes or options.dry_run):
        _ask(clear(context, ClearRequest(options.service, snapshots, live, dry_run=True)), terminal)
    result = clear(context, ClearRequest(options.service, snapshots, live, dry_run=options.dry_run))
    if terminal.json:
        terminal.print_json("clear", **result.to_json())
    else:
        _render(result, terminal, snapshots=snapshots, live=live)
    return result.exit_status


def _ask(would: ClearResult, terminal: Terminal) -> None:
    """Raises UsageError where nobody can be asked, RecoverdError when the answer is no."""
    if terminal.json or not (terminal.interactive and sys.stdin is not None and sys.stdin.isatty()):
        raise UsageError("`recoverd clear` asks first, and there is no terminal to ask on", hint="--yes goes ahead")
    parts = []
    if would.removed:
        pinned = f" ({would.pinned} of them pinned)" if would.pinned else ""
        parts.append(f"remove {plural(len(would.removed), 'snapshot')}{pinned} for ever")
    if would.files:
        parts.append(f"move {plural(would.files, 'live file')} to quarantine")
    if would.stopped:
        parts.append("stop it")
    if not parts:
        return
    terminal.write(f"{would.service}: {', '.join(parts)}? Type yes: ")
    if sys.stdin.readline().strip().lower() != "yes":
        raise RecoverdError("nothing was cleared: the answer was not yes")


def _render(result: ClearResult, terminal: Terminal, *, snapshots: bool, live: bool) -> None:
    would = "would be " if result.dry_run else ""
    name = terminal.style(result.service, "bold")
    if live:
        if result.stopped:
            terminal.print(f"{name}: {would}stopped")
        terminal.print(f"{name}: {plural(result.files, 'live file')} {would}moved to quarantine")
        if result.quarantine is not None:
            place = result.quarantine.rstrip("/").rpartition("/")[2]
            terminal.print(f"  it is in {printable(result.quarantine)}")
            terminal.print(f"  to put it back: recoverd undo {result.service}/{place}")
            if snapshots:
                terminal.print(f"  `recoverd restore {result.service}` starts it anew")
            else:
                good = f"recoverd restore {result.service} --snapshot {result.service}/good"
                terminal.print(f"  to take known-good state instead: {good}")
    if snapshots:
        freed = f", {size(result.freed_bytes)} freed" if result.freed_bytes else ""
        pinned = f", {result.pinned} of them pinned" if result.pinned else ""
        terminal.print(f"{name}: {plural(len(result.removed), 'snapshot')} {would}removed{pinned}{freed}")
    for note in result.notes:
        terminal.print(f"  {printable(note)}")
