"""Call what is on disk now good, after a reset that was meant: a pinned snapshot of it is taken.

What stays damaged by its format (or is absent) is left alone by restores, and reported, as long as it does not
change.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import plural, printable
from recoverd.operations.accept import AcceptRequest, accept

_MOST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", metavar="SERVICE")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    result = accept(context_of(options, terminal), AcceptRequest(options.service))
    if terminal.json:
        terminal.print_json("accept", **result.to_json())
        return result.exit_status
    what = f"accepted as {result.id}, which is pinned" if result.id is not None else "its absence is accepted"
    terminal.print(f"{terminal.style(result.service, 'bold')}: {what}")
    shown = result.accepted if terminal.verbose else result.accepted[:_MOST]
    for item, document, verdict in shown:
        where = f"{item}: {printable(document)}" if document else item
        terminal.print(f"  {where} is {verdict}: left alone as long as it does not change")
    if len(result.accepted) > len(shown):
        terminal.print(f"  and {plural(len(result.accepted) - len(shown), 'more document')}; --verbose shows them")
    return result.exit_status
