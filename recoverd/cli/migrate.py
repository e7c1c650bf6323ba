"""Bring live documents of older versions to the version that the service writes today, by the declared steps.

A pinned snapshot of the state as it is comes first; all documents of a service change in one transaction, or none does.
What was there before goes to quarantine, and `recoverd undo` puts it back. A service that runs is stopped, started
again and proven. `recoverd restore` does the same by itself before it starts a service.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, fit, plural, printable
from recoverd.cli.text import width as width_of
from recoverd.operations.migrate import DocumentMigration, MigrateRequest, MigrateResult, ServiceMigration, migrate

_STYLES = {"migrated": "ok", "untouched": "ok", "pending": "warning", "blocked": "critical", "failed": "critical"}
_SIGNS = {"add": ("+", "green"), "remove": ("-", "red"), "replace": ("~", "yellow")}
_MOST = 12
_MOST_PLACE_COLUMNS = 40
_VALUE_COLUMNS = 60  # where nobody knows how wide it may be
_FEWEST_COLUMNS = 20
_MOST_COLUMNS = 2000  # of one value, however much of it was asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--dry-run", action="store_true", help="show what would change in each document")
    parser.add_argument("--no-start", action="store_true", help="leave what was stopped for it stopped")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    context = context_of(options, terminal, tolerant=True, told=True)
    require_services(context)
    request = MigrateRequest(tuple(options.services), options.dry_run, not options.no_start)
    with terminal.progress("migrating and proving"):
        result = migrate(context, request)
    if terminal.json:
        terminal.print_json("migrate", **result.to_json())
        return result.exit_status
    render(result, terminal)
    return result.exit_status


def render(result: MigrateResult, terminal: Terminal) -> None:
    for one in result.services:
        if one.outcome != "untouched" or one.reasons or not terminal.quiet:
            _service(one, terminal, dry_run=result.dry_run)


def _service(one: ServiceMigration, terminal: Terminal, *, dry_run: bool) -> None:
    outcome = terminal.style(one.outcome, _STYLES[one.outcome])
    if one.outcome == "untouched":
        outcome += ", nothing waits for a migration"
    if one.outcome == "pending":
        outcome = f"{plural(len(one.documents), 'document')} would be {terminal.style('migrated', 'warning')}"
    if one.outcome == "failed" and dry_run:
        outcome = f"nothing would be migrated, because it would {terminal.style('fail', 'critical')}"
    health = ""
    if one.healthy is not None:
        health = ", " + (terminal.style("healthy", "ok") if one.healthy else terminal.style("not healthy", "critical"))
    took = f" in {duration(one.seconds)}" if one.outcome == "migrated" else ""
    terminal.print(f"{terminal.style(one.service, 'bold')}: {outcome}{health}{took}")
    if one.outcome == "failed" and dry_run:
        _some([printable(reason) for reason in one.reasons], terminal)
    groups = list(_groups(one.documents).values())
    for alike in groups if terminal.verbose else groups[:_MOST]:
        _alike(alike, terminal)
    if len(groups) > _MOST and not terminal.verbose:
        left = sum(map(len, groups[_MOST:]))
        terminal.print(f"  and {plural(left, 'document')} in {len(groups) - _MOST} other ways; --verbose shows them")
    if not (one.outcome == "failed" and dry_run):
        _some([printable(reason) for reason in one.reasons], terminal)
    if one.outcome == "migrated" and one.snapshot is not None:
        terminal.print(f"  as it was before: snapshot {one.snapshot}, pinned")
    if one.quarantine is not None:
        name = f"{one.service}/{one.quarantine.rstrip('/').rpartition('/')[2]}"
        terminal.print(f"  to put it back: recoverd undo {name}")
    if one.hint is not None:
        terminal.print(terminal.style(f"  hint: {printable(one.hint)}", "hint"))


def _some(lines: Sequence[str], terminal: Terminal) -> None:
    for line in lines if terminal.verbose else lines[:_MOST]:
        terminal.print(f"  {line}")
    if len(lines) > _MOST and not terminal.verbose:
        terminal.print(f"  and {len(lines) - _MOST} more; --verbose shows them")


def _groups(documents: Sequence[DocumentMigration]) -> dict[Any, list[DocumentMigration]]:
    """Documents of which the same becomes: of one item, from one version to one, changed in the same places."""
    found: dict[Any, list[DocumentMigration]] = {}
    for one in documents:
        places = tuple((step["op"], step["path"]) for step in one.patch or ())
        found.setdefault((one.item, one.before, one.after, places), []).append(one)
    return found


def _alike(documents: Sequence[DocumentMigration], terminal: Terminal) -> None:
    """One document, or many of which the same becomes: the first stands for all."""
    first = documents[0]
    versions = f"from version {printable(first.before)} to {printable(first.after)}"
    if len(documents) > 1:
        such_as = f", such as {printable(first.document)}" if first.patch is not None else ""
        terminal.print(f"  {printable(first.item)}: {plural(len(documents), 'document')} {versions}{such_as}")
    else:
        name = f"{first.item}/{first.document}" if first.document else first.item
        terminal.print(f"  {printable(name)}: {versions}")
    patch = first.patch or ()
    width = min(max((len(printable(step["path"])) for step in patch), default=0), _MOST_PLACE_COLUMNS)
    columns = _VALUE_COLUMNS
    if terminal.columns is not None:
        columns = max(terminal.columns - width - len("    +   "), _FEWEST_COLUMNS)
    for step, taken in list(zip(patch, first.taken, strict=True))[: None if terminal.verbose else _MOST]:
        sign, style = _SIGNS[step["op"]]
        place = printable(step["path"] or "(the whole document)")
        value = _value(step, taken, _MOST_COLUMNS if terminal.verbose else columns)
        terminal.print(f"    {terminal.style(sign, style)} {place:{width}}  {value}".rstrip())
    if len(patch) > _MOST and not terminal.verbose:
        terminal.print(f"    and {len(patch) - _MOST} more; --verbose shows them")


def _value(step: Mapping[str, Any], taken: Any, columns: int) -> str:
    """What one operation takes away, and what it puts there: at most about so many columns."""
    words = [printable(json.dumps(one, ensure_ascii=False)) for one in (*_old(step, taken), *_new(step))]
    room = columns - len(" -> ") * (len(words) - 1)
    if sum(map(width_of, words)) > room:
        short = min(map(width_of, words))
        half = room // len(words)
        words = [fit(one, half if short > half or len(words) == 1 else max(room - short, short)) for one in words]
    return " -> ".join(words)


def _old(step: Mapping[str, Any], taken: Any) -> Sequence[Any]:
    return [] if step["op"] == "add" else [taken]


def _new(step: Mapping[str, Any]) -> Sequence[Any]:
    return [step["value"]] if "value" in step else []
