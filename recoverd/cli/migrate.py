"""Bring live documents of older versions to the version that the service writes today, by the declared steps.

A pinned snapshot of the state as it is comes first; all documents of a service change in one transaction, or none does.
What was there before goes to quarantine, and `recoverd undo` puts it back. A service that runs is stopped, started
again and proven. `recoverd restore` does the same by itself before it starts a service.
"""

from __future__ import annotations

import argparse
import json

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, fit, plural, printable
from recoverd.operations.migrate import DocumentMigration, MigrateRequest, ServiceMigration, migrate

_STYLES = {"migrated": "ok", "untouched": "ok", "pending": "warning", "blocked": "critical", "failed": "critical"}
_SIGNS = {"add": ("+", "green"), "remove": ("-", "red"), "replace": ("~", "yellow")}
_MOST = 12
_VALUE_COLUMNS = 60


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
    for one in result.services:
        if one.outcome != "untouched" or one.reasons or not terminal.quiet:
            _service(one, terminal)
    return result.exit_status


def _service(one: ServiceMigration, terminal: Terminal) -> None:
    outcome = terminal.style(one.outcome, _STYLES[one.outcome])
    if one.outcome == "untouched":
        outcome += ", nothing waits for a migration"
    if one.outcome == "pending":
        outcome = f"{plural(len(one.documents), 'document')} would be {terminal.style('migrated', 'warning')}"
    health = ""
    if one.healthy is not None:
        health = ", " + (terminal.style("healthy", "ok") if one.healthy else terminal.style("not healthy", "critical"))
    took = f" in {duration(one.seconds)}" if one.outcome == "migrated" else ""
    terminal.print(f"{terminal.style(one.service, 'bold')}: {outcome}{health}{took}")
    for document in one.documents if terminal.verbose else one.documents[:_MOST]:
        _document(document, terminal)
    if len(one.documents) > _MOST and not terminal.verbose:
        terminal.print(f"  and {len(one.documents) - _MOST} more; --verbose shows them")
    for reason in one.reasons:
        terminal.print(f"  {printable(reason)}")
    if one.outcome == "migrated" and one.snapshot is not None:
        terminal.print(f"  as it was before: snapshot {one.snapshot}, pinned")
    if one.quarantine is not None:
        name = f"{one.service}/{one.quarantine.rstrip('/').rpartition('/')[2]}"
        terminal.print(f"  to put it back: recoverd undo {name}")
    if one.hint is not None:
        terminal.print(terminal.style(f"  hint: {printable(one.hint)}", "hint"))


def _document(one: DocumentMigration, terminal: Terminal) -> None:
    name = f"{one.item}/{one.document}" if one.document else one.item
    terminal.print(f"  {printable(name)}: from version {printable(one.before)} to {printable(one.after)}")
    patch = one.patch or ()
    width = min(max((len(printable(step["path"])) for step in patch), default=0), 40)
    for step in patch if terminal.verbose else patch[:_MOST]:
        sign, style = _SIGNS[step["op"]]
        value = fit(printable(json.dumps(step["value"], ensure_ascii=False)), _VALUE_COLUMNS) if "value" in step else ""
        place = printable(step["path"] or "(the whole document)")
        terminal.print(f"    {terminal.style(sign, style)} {place:{width}}  {value}".rstrip())
    if len(patch) > _MOST and not terminal.verbose:
        terminal.print(f"    and {len(patch) - _MOST} more; --verbose shows them")
