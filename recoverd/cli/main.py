"""`recoverd`: parse, call one command, turn errors into sentences and exit statuses."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import recoverd
from recoverd.cli import arguments
from recoverd.cli.terminal import Terminal
from recoverd.errors import RecoverdError, UsageError

INTERRUPTED = 130
_UNKNOWN = 3  # of `check`: monitoring systems read 64 and 78 as nothing they know


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit status; a traceback is shown only for a fault of recoverd's own."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _main(words)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Whoever read our output has had enough; nothing more may be written to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _main(words: list[str]) -> int:
    plain = "--no-color" in words
    early = Terminal(sys.stdout, sys.stderr, color="never" if plain else "auto")
    try:
        called = arguments.parse(words)
    except UsageError as error:
        early.error(error)
        return _UNKNOWN if "check" in words[:1] else error.exit_status
    options = called.arguments
    if called.command == "version":
        early.print(f"recoverd {recoverd.__version__}")
        return 0
    if called.command is None:
        early.print(arguments.front_help())
        return 0 if options.help or not words or "help" in words else UsageError.exit_status
    if options.help:
        early.print(options.text.rstrip())
        return 0
    terminal = Terminal(
        sys.stdout,
        sys.stderr,
        color="never" if options.no_color else "auto",
        json=options.json,
        quiet=options.quiet,
        verbose=options.verbose,
    )
    try:
        return int(arguments.load(called.command).run(options, terminal))
    except RecoverdError as error:
        terminal.error(error)
        status = error.exit_status
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        where = f"{error.filename}: " if error.filename else ""
        fault = RecoverdError(where + (error.strerror or str(error)), hint=_os_hint(error))
        terminal.error(fault)
        status = fault.exit_status
    return _UNKNOWN if called.command == "check" else status


def _os_hint(error: OSError) -> str | None:
    if isinstance(error, PermissionError):
        return "run it as the user who owns that path, or as root"
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "the disk is full: free space there, or run `recoverd prune`"
    return None
