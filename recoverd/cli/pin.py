"""Keep snapshots for ever: retention deletes no pinned one. `recoverd unpin` takes it back.

SNAPSHOT is SERVICE/SEQUENCE, SERVICE/good (newest known-good), SERVICE/latest or SERVICE@TIME.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import printable
from recoverd.operations.pin import PinRequest, pin


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("snapshots", nargs="+", metavar="SNAPSHOT")


def run(options: argparse.Namespace, terminal: Terminal, *, pinned: bool = True) -> int:
    result = pin(context_of(options, terminal), PinRequest(tuple(options.snapshots), pinned))
    word = "pinned" if pinned else "unpinned"
    if terminal.json:
        terminal.print_json("pin" if pinned else "unpin", **result.to_json())
    for one in result.snapshots:
        label = f' "{printable(one.label)}"' if one.label else ""
        terminal.say(f"{one.id}{label}: {word}" if one.changed else f"{one.id}{label}: was {word} already")
    return result.exit_status
