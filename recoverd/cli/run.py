"""The scheduler: captures services as their autosave says and applies retention, until told to stop.

SIGHUP reloads the configuration (a broken one leaves the old one running); SIGTERM and SIGINT take the
shutdown snapshots and stop.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import own_command, wait_s
from recoverd.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # the global options are all there is


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.operations.context import Context
    from recoverd.operations.opening import note_loaded, open_context
    from recoverd.scheduler.service import run as serve

    first = True

    def context() -> Context:
        """At the start a broken drop-in costs only its own services; later a broken configuration changes nothing."""
        nonlocal first
        opened = open_context(
            options.config,
            wait_s=wait_s(options.wait),
            debug=tuple(options.debug or ()),
            level=_level(options),
            tolerant=first,
        )
        first = False
        note_loaded(opened, options.config)
        return opened

    status = serve(context, announce=terminal.say, command=own_command(options.config))
    if terminal.json:
        terminal.print_json("run", exit_status=status)
    return status


def _level(options: argparse.Namespace) -> str | None:
    if options.verbose:
        return "debug"
    return "warning" if options.quiet else None
