"""Let retention decide again about snapshots that were pinned.

The newest known-good and the newest proven snapshot stay in any case.
"""

from __future__ import annotations

import argparse

from recoverd.cli import pin
from recoverd.cli.terminal import Terminal

add_arguments = pin.add_arguments


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    return pin.run(options, terminal, pinned=False)
