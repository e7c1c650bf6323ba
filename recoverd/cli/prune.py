"""Apply retention and the bounds of the repository, and free the data that only deleted snapshots used.

With --dry-run, says for every snapshot which rules keep it, or that it would go.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import plural, printable, size
from recoverd.health.disk import UNMET_HINT
from recoverd.operations.prune import PruneRequest, PruneResult, prune


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--dry-run", action="store_true", help="only say what is kept, and why")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    result = prune(context_of(options, terminal), PruneRequest(tuple(options.services), options.dry_run))
    if terminal.json:
        terminal.print_json("prune", **result.to_json())
    else:
        _render(result, terminal)
    return result.exit_status


def _render(result: PruneResult, terminal: Terminal) -> None:
    if result.dry_run or terminal.verbose:
        rows = [(name, "keep", ", ".join(rules)) for name, rules in result.kept]
        rows += [(name, "remove", _because(result, name)) for name in result.removed]
        if rows:
            terminal.table(rows, ("SNAPSHOT", "DECISION", "KEPT BY"))
    for note in result.notes:
        terminal.print(printable(note))
    if result.unmet:
        terminal.print(terminal.style(f"  hint: {UNMET_HINT}", "hint"))
    bounded = f" ({len(result.bounded)} of them because of {_bounds(result)})" if result.bounded else ""
    if result.dry_run:
        terminal.say(f"{plural(len(result.removed), 'snapshot')} would be removed{bounded}, {len(result.kept)} kept")
    else:
        freed = f", {size(result.freed_bytes)} freed" if result.freed_bytes > 0 else ""
        terminal.say(f"{plural(len(result.removed), 'snapshot')} removed{bounded}, {len(result.kept)} kept{freed}")


def _because(result: PruneResult, name: str) -> str:
    return f"goes because of {', '.join(result.bounded[name])}" if name in result.bounded else ""


def _bounds(result: PruneResult) -> str:
    return ", ".join(dict.fromkeys(bound for bounds in result.bounded.values() for bound in bounds))
