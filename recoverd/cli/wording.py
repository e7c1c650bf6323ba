"""The words of the grammar: help that fits the terminal, and what is said of arguments that make no sense."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import NoReturn

from recoverd.errors import UsageError

# command -> options of the manual that this version does not have
NOT_YET_OPTIONS: Mapping[str, frozenset[str]] = {}
_WIDEST = 100  # longer lines are hard to read, however wide the terminal is


def columns() -> int:
    """How wide help may be: as the terminal (or $COLUMNS), 80 through a pipe, never wider than is good to read."""
    named = os.environ.get("COLUMNS", "")
    wide = int(named) if named.isascii() and named.isdigit() else 0
    if not wide and sys.__stdout__ is not None:
        try:
            wide = os.get_terminal_size(sys.__stdout__.fileno()).columns
        except (OSError, ValueError):  # no terminal, or closed
            wide = 0
    return max(20, min(wide or 80, _WIDEST))


def filled(text: str) -> str:
    """Paragraphs filled to the terminal; `- ` begins a line of its own, `Exit status` a paragraph."""
    import textwrap

    width = columns()
    blocks: list[str] = []
    for line in text.strip().splitlines():
        if line.startswith("Exit status") and blocks and blocks[-1]:
            blocks.append("")
        if not line.strip() or line.startswith("- ") or not blocks or not blocks[-1]:
            blocks.append(line.strip())
        else:
            blocks[-1] += " " + line.strip()
    lines: list[str] = []
    for block in blocks:
        more = "  " if block.startswith("- ") else ""
        lines += textwrap.wrap(block, width, subsequent_indent=more, break_on_hyphens=False) or [""]
    return "\n".join(lines)


class Help(argparse.HelpFormatter):
    """Help as wide as the terminal, with each paragraph of the description filled by itself."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns(), max_help_position=24)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        del width, indent  # there is no group with a description of its own
        return filled(text)


class Parser(argparse.ArgumentParser):
    """Says what is wrong as every other error is said: one sentence and a hint."""

    def __init__(self, command: str | None, description: str | None = None) -> None:
        super().__init__(
            prog="recoverd" if command is None else f"recoverd {command}",
            description=description,
            add_help=False,
            allow_abbrev=False,
            formatter_class=Help,
        )
        self._positionals.title = "arguments"
        self.command = command

    def format_help(self) -> str:
        """With a usage line that names what the command takes, not every global option again."""
        self.usage = " ".join([self.prog, "[options]", *map(_shown, self._get_positional_actions())])
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        if unknown := re.match(r"unrecognized arguments: (.*)", message):
            raise self._unknown(unknown[1].split(" ")[0].partition("=")[0])
        usual = f"`{self.prog} --help` shows what works"
        if missing := re.match(r"the following arguments are required: (.*)", message):
            raise UsageError(f"{missing[1]} is missing", hint=usual)
        message = re.sub(r"^argument (?:\S+/)?(?=-)", "", message)
        if one := re.match(r"(\S+): (ignored explicit|expected one) argument", message):
            raise UsageError(f"{one[1]} takes {'no' if one[2].startswith('ignored') else 'a'} value", hint=usual)
        if two := re.match(r"(\S+): not allowed with argument (?:\S+/)?(\S+)", message):
            raise UsageError(f"{two[1]} can't go together with {two[2]}", hint=usual)
        raise UsageError(message, hint=usual)

    def _unknown(self, word: str) -> UsageError:
        usual = f"`{self.prog} --help` shows what works"
        if not word.startswith("-"):
            return UsageError(f"{word!r} is one argument too many", hint=usual)
        if word in NOT_YET_OPTIONS.get(self.command or "", ()):
            return UsageError(f"`{self.prog} {word}` is not supported yet", hint=usual)
        return UsageError(f"there is no option {word}", hint=near(word, self._option_string_actions) or usual)


def _shown(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return {"*": f"[{name}...]", "?": f"[{name}]"}.get(str(action.nargs), name)


def near(word: str, known: Iterable[str], command: str = "") -> str | None:
    """`did you mean …?` for a misspelt word, or None when nothing is near."""
    import difflib

    found = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
    return f"did you mean {command}{found[0]}{'`' if command else ''}?" if found else None


def choice(what: str, known: tuple[str, ...], not_yet: tuple[str, ...] = ()) -> _Choice:
    """The `type` of an argument that is one of a few words."""
    return _Choice(what, known, not_yet)


class _Choice:
    def __init__(self, what: str, known: tuple[str, ...], not_yet: tuple[str, ...]) -> None:
        self._what, self._known, self._not_yet = what, known, not_yet

    def __call__(self, word: str) -> str:
        """Raises UsageError, with a suggestion."""
        if word in self._known:
            return word
        usual = f"it is one of {', '.join(self._known)}"
        if word in self._not_yet:
            raise UsageError(f"{self._what} {word} is not supported yet", hint=usual)
        raise UsageError(f"there is no {self._what} {word!r}", hint=near(word, self._known) or usual)
