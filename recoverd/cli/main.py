"""`recoverd`: parse, call one command, turn errors into sentences and exit statuses."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import recoverd
from recoverd.cli import arguments
from recoverd.cli.terminal import Terminal
from recoverd.errors import ConfigError, RecoverdError, UsageError, os_hint

INTERRUPTED = 130
_UNKNOWN = 3  # of `check`: monitoring systems read 64 and 78 as nothing they know


def main(argv: Sequence[str] | None = None) -> int:
    """The entry point. Returns the exit status; a traceback is shown only for a fault of recoverd's own."""
    signal.signal(signal.SIGINT, _interrupt)  # `run` has signals of its own, once it serves
    _open_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _main(words)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:  # before there was a command
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has had enough; nothing more may be written to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _open_standard_streams() -> None:
    """Where `>&-` closed one, open /dev/null: the next file to be opened would take its number, and be written to."""
    for number, mode in ((0, "r"), (1, "w"), (2, "w")):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number is this one
        name = ("stdin", "stdout", "stderr")[number]
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def _main(words: list[str]) -> int:
    early = _early_terminal(words)
    try:
        called = arguments.parse(words)
    except UsageError as error:
        return _failed(early, _command_in(words), error)
    except KeyboardInterrupt:
        return _failed(early, _command_in(words), _Interrupted("interrupted"))
    options = called.arguments
    if called.command == "version":
        early.print(f"recoverd {recoverd.__version__}")
        if early.json:
            early.print_json("version")
        return 0
    if called.command is None:
        early.write(arguments.front_help() + "\n")
        return 0
    if options.help:
        early.write(options.text)
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
        return _called(called.command, options, terminal)
    finally:
        terminal.end()


def _called(command: str, options: argparse.Namespace, terminal: Terminal) -> int:
    try:
        return int(arguments.load(command).run(options, terminal))
    except RecoverdError as error:
        return _failed(terminal, command, error)
    except KeyboardInterrupt:
        return _failed(terminal, command, _Interrupted("interrupted"))
    except BrokenPipeError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(terminal, command, RecoverdError(where + (error.strerror or str(error)), hint=os_hint(error)))


class _Interrupted(RecoverdError):
    exit_status = INTERRUPTED


def _interrupt(_number: int, frame: FrameType | None) -> None:
    """Ctrl-C: what is under way comes to a safe point first; pressed again, the process ends at once.

    Ending at once loses nothing either: what was begun is finished or taken back by the next command. So it does while
    a module is being imported, which nothing may break off: Python would keep its lock, or make another error of it.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            words = sys.argv[1:]
            _failed(_early_terminal(words), _command_in(words), _Interrupted("interrupted"))
            with suppress(OSError):
                sys.stdout.flush()
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt


def _early_terminal(words: list[str]) -> Terminal:
    """The terminal as far as it is known before the words are understood."""
    color = "never" if "--no-color" in words else "auto"
    return Terminal(sys.stdout, sys.stderr, color=color, json="--json" in words)


def _command_in(words: list[str]) -> str | None:
    """The command among words that could not be parsed."""
    return next((word for word in words if word in arguments.COMMANDS), None)


def _failed(terminal: Terminal, command: str | None, error: RecoverdError) -> int:
    """Tell it on stderr, with --json also as the one document on stdout; the exit status."""
    terminal.error(error)
    status = error.exit_status
    if command == "check" and status != INTERRUPTED:
        status = _UNKNOWN
    if terminal.json:
        keys: dict[str, Any] = {"status": "UNKNOWN", "results": []} if command == "check" else {}
        fault: dict[str, Any] = {"message": error.message, "hint": error.hint, "exit_status": status}
        if isinstance(error, ConfigError):
            fault["problems"] = [
                {
                    "file": one.file,
                    "line": one.line,
                    "column": one.column,
                    "place": one.place,
                    "problem": one.sentence,
                }
                for one in error.problems
            ]
        with suppress(RecoverdError):  # stdout may be what the error is about
            terminal.print_json(command or "", **keys, error=fault)
    return status
