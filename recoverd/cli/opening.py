"""From global options to a context: configuration, log, waiting time."""

from __future__ import annotations

import argparse

from recoverd.errors import UsageError
from recoverd.operations.context import DEFAULT_WAIT_S, Context
from recoverd.operations.opening import open_context


def context_of(options: argparse.Namespace, *, tolerant: bool = False) -> Context:
    """What the command works with. With `tolerant`, a broken drop-in costs only its own services.

    Raises ConfigError, UsageError.
    """
    return open_context(
        options.config, wait_s=wait_s(options.wait), debug=tuple(options.debug or ()), tolerant=tolerant
    )


def wait_s(text: str | None) -> float:
    """The value of --wait in seconds. Raises UsageError."""
    if text is None:
        return DEFAULT_WAIT_S
    from recoverd.config.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--wait: {error}", hint="for example --wait 500ms, --wait 2m") from None
