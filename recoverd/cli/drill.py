"""Rehearse a restore: known-good state goes into a scratch directory, is judged, and a declared command may try it.

Live state and running services are not touched.
Exit status: 0 every service could be restored, 1 one could not.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, plural, printable, size
from recoverd.operations.drill import DrillRequest, DrillResult, ServiceDrill, drill


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--background", action="store_true", help=argparse.SUPPRESS)  # for `drill.cron`


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    context = context_of(options, terminal)
    require_services(context)
    with terminal.progress("rehearsing"):
        result = drill(context, DrillRequest(tuple(options.services), background=options.background))
    if terminal.json:
        terminal.print_json("drill", **result.to_json())
    else:
        _render(result, terminal)
    return result.exit_status


def _render(result: DrillResult, terminal: Terminal) -> None:
    for one in result.services:
        if one.passed and terminal.quiet:
            continue
        _service(one, terminal)


def _service(one: ServiceDrill, terminal: Terminal) -> None:
    word = terminal.style("passed", "ok") if one.passed else terminal.style("failed", "critical")
    line = f"{terminal.style(one.service, 'bold')}: drill {word}"
    if one.candidate is not None and one.age_s is not None:
        line += (
            f" on {one.candidate}, {duration(one.age_s)} old:"
            f" {plural(one.files, 'file')}, {size(one.size_bytes)} in {duration(one.seconds)}"
        )
    terminal.print(line)
    for attempt in one.attempts:
        if attempt.result in {"damaged", "invalid"}:
            terminal.print(f"  {printable(f'{attempt.candidate} was {attempt.result}: {attempt.why}')}")
    for reason in one.reasons:
        terminal.print(f"  {printable(reason)}")
    if not one.passed:
        hint = f"`recoverd list {one.service}` shows what was saved, `recoverd verify` whether it can be read"
        terminal.print(terminal.style(f"  hint: {hint}", "hint"))
