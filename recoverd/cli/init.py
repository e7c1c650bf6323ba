"""Write a commented recoverd.yaml and create the repository. What is there already is left as it is.

For root it is /etc/recoverd/recoverd.yaml, for a plain user ~/.config/recoverd/recoverd.yaml; --config names another.
"""

from __future__ import annotations

import argparse

from recoverd.cli.terminal import Terminal
from recoverd.cli.text import printable
from recoverd.operations.init import init


def add_arguments(parser: argparse.ArgumentParser) -> None:
    del parser  # there is nothing to choose but --config


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    result = init(options.config)
    if terminal.json:
        terminal.print_json("init", **result.to_json())
        return result.exit_status
    configuration, repository = printable(result.configuration), printable(result.repository)
    terminal.print(f"{configuration}: {'written' if result.written else 'exists already, and was left as it is'}")
    terminal.print(f"{repository}: {'created' if result.created else 'is a repository already'}")
    if result.written:
        terminal.say("next: declare a service there, then `recoverd config validate` and `recoverd snapshot`")
    return result.exit_status
