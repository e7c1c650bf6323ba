"""Switch autosave on again after `recoverd pause`.

A running scheduler saves at once what became due meanwhile.
"""

from __future__ import annotations

import argparse

from recoverd.cli import pause
from recoverd.cli.terminal import Terminal

add_arguments = pause.add_arguments


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    return pause.run(options, terminal, paused=False)
