"""Start services in the order of `after`, and prove that they are healthy.

One that runs already is left alone, and proven all the same. A service counts as up when its process and all its probes
were fine for `health.stable_for` (3 s by default) without a break; --no-wait returns as soon as it was started.
One whose state is blocked is not started: `recoverd restore` sees to that. What was stopped on purpose is wanted
again from now on.
Exit status: 0 all are up, 1 not so, 64 there is no such service, 75 another recoverd is at it.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="or SERVICE@NAME; all by default")
    parser.add_argument("--no-wait", action="store_true", help="do not wait until they are proven healthy")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.cli.lifecycle import show
    from recoverd.operations.lifecycle import start

    context = context_of(options, terminal, tolerant=True, told=True)
    require_services(context)
    with terminal.progress("starting and proving"):
        result = start(context, options.services, wait=not options.no_wait)
    return show("start", result, terminal)
