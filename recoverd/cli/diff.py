"""What changed from snapshot A to snapshot B, or to live state: files, and in JSON documents the very values.

- `+` is only in B (or live), `-` only in A, `~` in both and not the same.

With --json each changed document has its JSON Patch (RFC 6902). A SNAPSHOT is SERVICE/SEQUENCE, SERVICE/good,
SERVICE/latest or SERVICE@TIME. Exit status: 0, whether anything changed or not.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import fit, plural, printable, size
from recoverd.operations.diff import LIVE, Change, DiffRequest, DiffResult, diff

_MOST_CHANGES, _MOST_OPERATIONS = 100, 20
_VALUE_COLUMNS = 60
_STYLES = {"+": "ok", "-": "critical", "~": "warning"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="a snapshot")
    parser.add_argument("b", metavar="B", nargs="?", help="another one of the same service (default: live state)")
    parser.add_argument("--good", action="store_true", help="compare the known-good files of snapshots")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    result = diff(context_of(options, terminal), DiffRequest(options.a, options.b, options.good))
    if terminal.json:
        terminal.print_json("diff", **result.to_json())
    else:
        _render(result, terminal)
    return result.exit_status


def _render(result: DiffResult, terminal: Terminal) -> None:
    other = "live state" if result.b == LIVE else result.b
    if not result.changes:
        terminal.say(f"{result.a} and {other} are the same")
        return
    shown = result.changes if terminal.verbose else result.changes[:_MOST_CHANGES]
    terminal.say(f"{result.a} -> {other}: {plural(len(result.changes), 'change')}")
    width = max(len(_name(change)) for change in shown)
    for change in shown:
        mark = {"added": "+", "removed": "-"}.get(change.change, "~")
        terminal.print(f"{terminal.style(mark, _STYLES[mark])} {_name(change):{width}}  {_words(change)}".rstrip())
        lines = list(_lines(change))
        for sign, line in lines if terminal.verbose else lines[:_MOST_OPERATIONS]:
            terminal.print(f"    {terminal.style(sign, _STYLES[sign])} {line}")
        if len(lines) > _MOST_OPERATIONS and not terminal.verbose:
            terminal.print(f"    and {len(lines) - _MOST_OPERATIONS} more; --verbose shows them")
    if len(shown) < len(result.changes):
        terminal.print(f"and {plural(len(result.changes) - len(shown), 'more change')}; --verbose shows them")


def _name(change: Change) -> str:
    return printable(f"{change.item}/{change.path}" if change.path else change.item)


def _words(change: Change) -> str:
    one = change.after or change.before
    assert one is not None, "a change has at least one side"
    if change.before is None or change.after is None:
        return size(one.size) if one.type == "file" else f"-> {printable(one.target or '')}" if one.target else one.type
    words = list(change.differs)
    if "content" in words and change.before.size != change.after.size:
        words[words.index("content")] = f"content ({size(change.before.size)} -> {size(change.after.size)})"
    if "mode" in words:
        words[words.index("mode")] = f"mode ({change.before.mode:04o} -> {change.after.mode:04o})"
    if change.patch == ():
        words.append("the same document, written differently")
    return ", ".join(words)


def _lines(change: Change) -> Iterator[tuple[str, str]]:
    """The operations of a document's patch: sign, then pointer and value."""
    operations = change.patch or ()
    width = min(max((len(printable(one["path"])) for one in operations), default=0), 40)
    for one in operations:
        sign = {"add": "+", "remove": "-"}.get(one["op"], "~")
        place = printable(one["path"] or "(the whole document)")
        value = fit(printable(json.dumps(one["value"], ensure_ascii=False)), _VALUE_COLUMNS) if "value" in one else ""
        yield sign, f"{place:{width}}  {value}".rstrip()
