"""Stop services and start them again, one after the other in the order of `after`, and prove that they are healthy.

Those that do not run are started. --no-wait returns as soon as they were started.
Exit status: 0 all are up, 1 not so, 64 there is no such service, 75 another recoverd is at it.
"""

from __future__ import annotations

import argparse

from recoverd.cli import start
from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal

add_arguments = start.add_arguments


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.cli.lifecycle import show
    from recoverd.operations.lifecycle import restart

    context = context_of(options, terminal, tolerant=True, told=True)
    require_services(context)
    with terminal.progress("restarting and proving"):
        result = restart(context, options.services, wait=not options.no_wait)
    return show("restart", result, terminal)
