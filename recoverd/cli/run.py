"""The scheduler: captures services as their autosave says and applies retention, until told to stop.

SIGHUP reloads the configuration (a broken one leaves the old one running); SIGTERM and SIGINT take the
shutdown snapshots and stop.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults()


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.scheduler.service import run as serve

    return serve(lambda: context_of(options), announce=terminal.say)
