"""The command line's grammar: global options, which may stand before or after the command."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import recoverd
from recoverd.cli.wording import Parser, filled, near
from recoverd.errors import UsageError
from recoverd.values import dataclass

# command -> (module of recoverd.cli, what it does)
COMMANDS: Mapping[str, tuple[str, str]] = {
    "check": ("check", "health of everything, for people and for monitoring"),
    "restore": ("restore", "recover what is not ok, bring services up, prove them"),
    "drill": ("drill", "rehearse a restore in a scratch directory"),
    "confirm": ("confirm", "the second phase of a boot: start, prove, fall back"),
    "migrate": ("migrate", "bring documents of older versions to the current one"),
    "undo": ("undo", "reverse a restore or a migration"),
    "assess": ("assess", "the verdict on live state, with problems; changes nothing"),
    "snapshot": ("snapshot", "capture services now"),
    "list": ("list", "snapshots with verdict, age, size, and why each is kept"),
    "show": ("show", "the files of a snapshot, or the content of one"),
    "diff": ("diff", "what changed between two snapshots, or a snapshot and live state"),
    "accept": ("accept", "call what is on disk now good, after a reset that was meant"),
    "pin": ("pin", "keep snapshots for ever"),
    "unpin": ("unpin", "let retention decide about them again"),
    "export": ("export", "a plain tar of a snapshot's known-good files"),
    "import": ("import_", "make snapshots of dated copies and backups"),
    "clear": ("clear", "remove a service's snapshots, or move its live state to quarantine"),
    "pause": ("pause", "switch autosave off"),
    "resume": ("resume", "switch autosave on again"),
    "init": ("init", "write a commented recoverd.yaml and create the repository"),
    "prune": ("prune", "apply retention and free what only deleted snapshots used"),
    "verify": ("verify", "read the repository, name what is damaged, heal it"),
    "start": ("start", "start services in order, and prove that they are healthy"),
    "stop": ("stop", "stop services, and remember that it was on purpose"),
    "restart": ("restart", "stop services and start them again"),
    "status": ("status", "the processes of services, beside what is wanted of them"),
    "logs": ("logs", "what a service said"),
    "units": ("units", "systemd units and drop-ins, generated from the configuration"),
    "run": ("run", "the scheduler: autosave and prune until told to stop"),
    "config": ("config", "validate, show, schema, paths"),
}

NOT_YET = frozenset(
    [
        "adopt",
        "replicate",
        "bootstrap",
        "fleet",
        "report",
    ]
)


@dataclass(frozen=True, slots=True)
class Called:
    """What was asked for: the command (None: help was), and its arguments."""

    command: str | None
    arguments: argparse.Namespace


def _globals(parser: argparse.ArgumentParser, *, first: bool) -> None:
    """The global options. After the command they have no defaults, so that they don't undo what came before it."""

    def default(value: Any) -> Any:
        return value if first else argparse.SUPPRESS

    group = parser.add_argument_group("global options")
    group.add_argument(
        "--config",
        metavar="PATH",
        action="append",
        default=default(None),
        help="a configuration file or directory instead of the usual places; repeatable",
    )
    group.add_argument("--json", action="store_true", default=default(False), help="one JSON document, nothing else")
    loud = group.add_mutually_exclusive_group()
    loud.add_argument("-q", "--quiet", action="store_true", default=default(False), help="only what is not fine")
    loud.add_argument("-v", "--verbose", action="store_true", default=default(False), help="more of it")
    group.add_argument(
        "--debug",
        metavar="AREA",
        action="append",
        default=default(None),
        help="log one area in detail, such as recovery",
    )
    group.add_argument("--no-color", action="store_true", default=default(False), help="plain text on a terminal too")
    group.add_argument(
        "--wait", metavar="TIME", default=default(None), help="how long to wait for another recoverd (default 30s)"
    )
    group.add_argument("-h", "--help", action="store_true", default=default(False), help="show this help")


def parse(argv: list[str]) -> Called:
    """Raises UsageError for what makes no sense, with a suggestion for a misspelt command."""
    front = Parser(None)
    _globals(front, first=True)
    front.add_argument("--version", action="store_true")
    front.add_argument("command", nargs="?")
    front.add_argument("rest", nargs=argparse.REMAINDER)
    called = front.parse_args(argv)
    if called.version:
        return Called("version", called)
    if called.command is None:
        return Called(None, called)
    if called.command == "help":
        if not called.rest:
            return Called(None, called)
        called.command, called.rest, called.help = called.rest[0], [], True
    if called.command not in COMMANDS:
        raise _unknown(called.command)
    parser = command_parser(called.command)
    rest = called.rest
    if called.help or "-h" in rest or "--help" in rest:
        called.help = True
        called.text = parser.format_help()
        return Called(called.command, called)
    return Called(called.command, parser.parse_args(rest, called))


def command_parser(command: str) -> argparse.ArgumentParser:
    """The parser of one command; imports only that command's file."""
    module = load(command)
    parser = Parser(command, module.__doc__)
    module.add_arguments(parser)
    _globals(parser, first=False)
    return parser


def load(command: str) -> Any:
    """The module of a command: it has `add_arguments(parser)` and `run(arguments, terminal) -> exit status`."""
    import importlib

    return importlib.import_module(f"recoverd.cli.{COMMANDS[command][0]}")


def _unknown(command: str) -> UsageError:
    if command in NOT_YET:
        return UsageError(
            f"`recoverd {command}` is not supported yet", hint="`recoverd --help` lists what this version can do"
        )
    hint = near(command, COMMANDS, "`recoverd ") or "`recoverd --help` lists the commands"
    return UsageError(f"there is no command {command!r}", hint=hint)


def front_help() -> str:
    """What `recoverd --help` says."""
    front = Parser(None)
    _globals(front, first=True)
    width = max(len(name) for name in COMMANDS)
    lines = [
        filled(f"recoverd {recoverd.__version__}: brings services back with their last known-good state"),
        "",
        "usage: recoverd [global options] COMMAND [arguments]",
        "",
        "commands:",
        *(f"  {name:{width}}  {words}" for name, (_, words) in COMMANDS.items()),
        "",
        front.format_help().partition("global options:")[2].join(["global options:", ""]),
        filled(_END),
    ]
    return "\n".join(lines)


_END = """
SNAPSHOT is SERVICE/SEQUENCE, SERVICE/good (newest known-good), SERVICE/latest (newest, whatever its verdict)
or SERVICE@TIME (newest known-good at or before it).

Exit status: 0 done; 1 failed; 3 degraded; 64 usage; 75 another recoverd is at it; 78 configuration; 130 interrupted.
For check: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.

`recoverd COMMAND --help` tells more about one command.
"""
