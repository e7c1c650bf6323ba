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
    freed = max(result.freed_bytes, 0)
    if result.dry_run:
        would = f", about {size(freed)} would be freed" if freed else ""
        told = f"{plural(len(result.removed), 'snapshot')} would be removed{bounded}, {len(result.kept)} kept{would}"
    else:
        told = f"{plural(len(result.removed), 'snapshot')} removed{bounded}, {len(result.kept)} kept"
        told += f", {size(freed)} freed" if freed else ""
    terminal.say(told + _packs(result))


def _packs(result: PruneResult) -> str:
    """What became of packs that are rewritten, where some are."""
    if not result.packs.rewritten:
        return ""
    rewritten, new = plural(result.packs.rewritten, "pack"), plural(result.packs.written, "new one")
    if result.dry_run:
        return f"; {rewritten} would be rewritten"
    return f"; {rewritten} rewritten as {new} of {size(result.packs.written_bytes)}"


def _because(result: PruneResult, name: str) -> str:
    return f"goes because of {', '.join(result.bounded[name])}" if name in result.bounded else ""


def _bounds(result: PruneResult) -> str:
    return ", ".join(dict.fromkeys(bound for bounds in result.bounded.values() for bound in bounds))
