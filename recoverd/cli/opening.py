"""From global options to a context: configuration, log, waiting time."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial

from recoverd.cli.terminal import Terminal
from recoverd.errors import NOTHING_DECLARED, UsageError
from recoverd.events.logs import log_sink
from recoverd.events.stream import Event
from recoverd.operations.context import DEFAULT_WAIT_S, Context
from recoverd.operations.opening import open_context


def context_of(
    options: argparse.Namespace, terminal: Terminal, *, tolerant: bool = False, told: bool = False
) -> Context:
    """What the command works with. With `tolerant`, a broken drop-in costs only its own services, with a warning
    unless the command's result tells it (`told`).

    Commands print their results; the log on stderr adds only what no result tells, unless asked for more.
    Raises ConfigError, UsageError.
    """
    talkative = options.verbose or options.debug
    context = open_context(
        options.config,
        wait_s=wait_s(options.wait),
        debug=tuple(options.debug or ()),
        level="info" if options.verbose else "error",
        tolerant=tolerant,
    )
    if not talkative:
        context.log_to(_log_untold)
    if context.hooks is not None:
        from recoverd.operations.hooks import finish

        terminal.at_end(partial(finish, context))
    for problem in () if told else context.problems:
        terminal.warn(str(problem))
    return context


def require_services(context: Context) -> None:
    """Raises UsageError when nothing is declared: a command that looked at nothing must not say that all is well."""
    if not context.config.services and not context.config.failed:
        raise UsageError("no service is declared", hint=NOTHING_DECLARED)


def wait_s(text: str | None) -> float:
    """The value of --wait in seconds. Raises UsageError."""
    if text is None:
        return DEFAULT_WAIT_S
    from recoverd.config.units import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--wait: {error}", hint="for example --wait 500ms, --wait 2m") from None


def own_command(config: Sequence[str] | None) -> list[str]:
    """How units call what runs now: by absolute path, with the same configuration."""
    import shutil

    called = os.path.abspath(sys.argv[0])
    if os.path.basename(called) != "recoverd" or not os.access(called, os.X_OK):
        found = shutil.which("recoverd")
        command = [found] if found is not None else [sys.executable, "-m", "recoverd"]
    else:
        command = [called]
    for path in config or ():
        command += ["--config", os.path.abspath(path)]
    return command


_IN_RESULTS = ("snapshot", "state", "restore", "service")


def _log_untold(event: Event) -> None:
    """Log what happened besides; the outcome itself is printed, and once is enough."""
    if event.name.value.partition(".")[0] not in _IN_RESULTS:
        log_sink(event)
