"""The files of a snapshot, or with PATH (ITEM, or ITEM/FILE below a directory item) one file's content.

SNAPSHOT is SERVICE/SEQUENCE, SERVICE/good (newest known-good), SERVICE/latest or SERVICE@TIME.
"""

from __future__ import annotations

import argparse
import base64
import io

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import printable, size
from recoverd.operations.listing import show, show_file
from recoverd.system import clock


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("snapshot", metavar="SNAPSHOT")
    parser.add_argument("path", nargs="?", metavar="PATH", help="print this file")
    parser.add_argument("--good", action="store_true", help="the known-good files that a restore would take")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    context = context_of(options, terminal)
    if options.path is not None:
        if terminal.json:
            content = io.BytesIO()
            show_file(context, options.snapshot, options.path, content.write, good=options.good)
            encoded = base64.b64encode(content.getvalue()).decode("ascii")
            terminal.print_json("show", path=options.path, content_base64=encoded)
        else:
            show_file(context, options.snapshot, options.path, terminal.write_bytes, good=options.good)
        return 0
    result = show(context, options.snapshot, good=options.good)
    if terminal.json:
        terminal.print_json("show", **result.to_json())
        return result.exit_status
    snapshot = result.listed.snapshot
    name, time = terminal.style(snapshot.id, "bold"), clock.rfc3339(snapshot.time_ns)
    terminal.print(f"{name}: {snapshot.verdict}, {time}, {snapshot.reason}")
    for name, item in snapshot.items.items():
        for place, sentence in item.problems:
            terminal.print(f"  {name}: {printable(place)}: {printable(sentence)}")
    rows = [
        (
            one.path,
            f"{one.entry.mode:04o}",
            one.entry.user or str(one.entry.uid),
            size(one.entry.size) if one.entry.type == "file" else "-> " + (one.entry.target or ""),
            one.damaged or "ok",
        )
        for one in result.files
    ]
    if rows:
        terminal.table(
            rows,
            ("PATH", "MODE", "OWNER", "SIZE", "VERDICT"),
            "<<<>",
            spare=("OWNER", "MODE", "VERDICT"),
            styles=_style,
        )
    return result.exit_status


def _style(column: str, cell: str) -> str | None:
    return "critical" if column == "VERDICT" and cell != "ok" else None
