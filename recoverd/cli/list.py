"""Snapshots, newest first: verdict, age, size, what it added, and the rules that keep it."""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import relative_time, size
from recoverd.errors import NOTHING_DECLARED
from recoverd.operations.listing import Listed, list_snapshots
from recoverd.system import clock

_NOTHING = "nothing: the next prune removes it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    context = context_of(options, terminal)
    result = list_snapshots(context, tuple(options.services))
    if terminal.json:
        terminal.print_json("list", **result.to_json())
        return result.exit_status
    if not result.snapshots and not result.unreadable:
        if context.config.services:
            terminal.say("there are no snapshots yet; `recoverd snapshot` takes one")
        else:
            terminal.say(f"there are no snapshots, and no service is declared: {NOTHING_DECLARED}")
    now_ns = clock.now_ns()
    if result.snapshots:
        rows = [_row(one, now_ns, terminal) for one in result.snapshots]
        header = ("SNAPSHOT", "TIME", "VERDICT", "FILES", "SIZE", "NEW", "REASON", "KEPT BY")
        terminal.table(rows, header, "<<<>>>", spare=("NEW", "FILES", "REASON", "SIZE", "KEPT BY"), styles=_style)
    for sentence in result.unreadable:
        terminal.warn(sentence)
    return result.exit_status


def _style(column: str, cell: str) -> str | None:
    """Only what is not fine stands out."""
    if column == "VERDICT":
        return "critical" if cell.startswith("invalid") else None if cell in {"ok", "ok, proven"} else "warning"
    return "dim" if column == "KEPT BY" and cell == _NOTHING else None


def _row(one: Listed, now_ns: int, terminal: Terminal) -> tuple[str, ...]:
    snapshot, marks = one.snapshot, one.marks
    flags = [
        word
        for word, true in (
            ("proven", marks.is_proven),
            ("pinned", marks.pinned),
            ("unhealthy", marks.unhealthy),
            ("rejected", bool(marks.rejected)),
        )
        if true
    ]
    verdict = ", ".join([snapshot.verdict.value, *flags])
    time = clock.rfc3339(snapshot.time_ns)
    if terminal.interactive:
        time = relative_time(snapshot.time_ns, now_ns)
    reason = f'{snapshot.reason} "{snapshot.label}"' if snapshot.label else snapshot.reason
    return (
        snapshot.id,
        time,
        verdict,
        str(snapshot.files),
        size(snapshot.size_bytes),
        size(snapshot.new_bytes),
        reason,
        ", ".join(one.kept_by) or _NOTHING,
    )
