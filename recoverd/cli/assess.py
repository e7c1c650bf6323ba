"""The verdict on live state, item by item, with its problems. Changes nothing.

Exit status: 0 when every verdict is ok or new, 1 otherwise.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import plural, printable, size
from recoverd.operations.assess import AssessRequest, AssessResult, assess
from recoverd.recovery.item_survey import ItemSurvey, ServiceSurvey
from recoverd.state.verdicts import Verdict

STYLES = {Verdict.OK: "ok", Verdict.NEW: "ok", Verdict.RESET: "warning", Verdict.NEWER: "warning"}
_MOST = 8  # problems of one item, unless --verbose


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    context = context_of(options, terminal)
    require_services(context)
    result = assess(context, AssessRequest(tuple(options.services)))
    if terminal.json:
        terminal.print_json("assess", **result.to_json())
    else:
        _render(result, terminal)
    return result.exit_status


def _render(result: AssessResult, terminal: Terminal) -> None:
    if not result.services:
        terminal.say("no service has any state declared")
    for service in result.services:
        if terminal.quiet and service.verdict in {Verdict.OK, Verdict.NEW}:
            continue
        terminal.print(f"{terminal.style(service.service, 'bold')}: {verdict(service.verdict, terminal)}")
        _items(service, terminal)


def _items(service: ServiceSurvey, terminal: Terminal) -> None:
    for item in service.items.values():
        terminal.print(f"  {item.item}: {verdict(item.verdict, terminal)}{_details(item)}")
        shown = item.problems if terminal.verbose else item.problems[:_MOST]
        for problem in shown:
            terminal.print(f"    {printable(str(problem))}")
        if len(item.problems) > len(shown):
            terminal.print(f"    and {plural(len(item.problems) - len(shown), 'more problem')}; --verbose shows them")
        if item.older:
            versions = ", ".join(sorted({one.version for one in item.older.values()}))
            what = plural(len(item.older), "document")
            terminal.print(
                f"    {what} of version {printable(versions)}: `recoverd migrate --dry-run` shows what changes"
            )
        for note in item.notes if terminal.verbose else ():
            terminal.print(f"    note: {printable(str(note))}")


def _details(item: ItemSurvey) -> str:
    if not item.files:
        return ""
    unchecked = "; no schema, so only its format is checked" if item.unchecked else ""
    return f" ({plural(item.files, 'file')}, {size(item.size_bytes)}{unchecked})"


def verdict(value: Verdict, terminal: Terminal) -> str:
    return terminal.style(value.value, STYLES.get(value, "critical"))
