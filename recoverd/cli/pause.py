"""Switch autosave off, until `recoverd resume`. It lasts over reboots; `recoverd check` warns of it.

A running scheduler follows at once. `recoverd snapshot` and restores work as ever.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.operations.pause import PauseRequest, pause


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")


def run(options: argparse.Namespace, terminal: Terminal, *, paused: bool = True) -> int:
    context = context_of(options, terminal)
    require_services(context)
    result = pause(context, PauseRequest(tuple(options.services), paused))
    if terminal.json:
        terminal.print_json("pause" if paused else "resume", **result.to_json())
    word = "paused" if paused else "on"
    for one in result.services:
        known = "" if one.changed else " already"
        none = "" if one.scheduled else " (it has no `autosave`)"
        terminal.say(f"{terminal.style(one.service, 'bold')}: autosave is {word}{known}{none}")
    return result.exit_status
