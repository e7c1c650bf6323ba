"""Stop services, what comes after others first, and remember that it was on purpose.

Nothing but `recoverd start` starts them again: no restore, and no reboot. A unit of systemd that somebody else starts
runs all the same, and `recoverd check` says so.
Exit status: 0 all are down, 1 not so, 64 there is no such service, 75 another recoverd is at it.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="or SERVICE@NAME; all by default")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.cli.lifecycle import show
    from recoverd.operations.lifecycle import stop

    context = context_of(options, terminal, tolerant=True, told=True)
    require_services(context)
    with terminal.progress("stopping"):
        result = stop(context, options.services)
    return show("stop", result, terminal)
