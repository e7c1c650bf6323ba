"""The second phase of a boot: start what nobody else starts, and prove that services are healthy.

Where a service does not work with the state that `restore --boot` has restored, that is taken back and the next older
candidate is tried. State that was ok is left alone, whatever a probe says.
Exit status: 0 every service is proven, 1 not so, 75 another recoverd is at it.
"""

from __future__ import annotations

import argparse
import os

from recoverd.cli.opening import context_of, own_command, require_services
from recoverd.cli.restore import render
from recoverd.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--only-start", metavar="SERVICE", help=argparse.SUPPRESS)  # for transient units


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.operations.confirm import confirm, start_only

    context = context_of(options, terminal, tolerant=True, told=True)
    if options.only_start is not None:
        start_only(context, options.only_start)
        return 0
    require_services(context)
    if "INVOCATION_ID" in os.environ:  # systemd.exec(5): we are (in) a unit, which will end
        context.command = tuple(own_command(options.config))
    with terminal.progress("proving"):
        result = confirm(context, tuple(options.services))
    if terminal.json:
        terminal.print_json("confirm", **result.to_json())
    else:
        render(result, terminal)
    return result.exit_status
