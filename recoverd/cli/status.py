"""The processes of services as they are, beside what is wanted of them. Changes nothing.

Exit status: 0 every service that should run does, 1 not so or not known, 64 there is no such service.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import printable, relative_time, table, width
from recoverd.system import clock

if TYPE_CHECKING:
    from recoverd.operations.lifecycle_results import ServiceProcess


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="or SERVICE@NAME; all by default")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.operations.lifecycle import status

    context = context_of(options, terminal, tolerant=True, told=True)
    require_services(context)
    result = status(context, options.services)
    if terminal.json:
        terminal.print_json("status", **result.to_json())
        return result.exit_status
    shown = [one for one in result.services if one.exit_status or not terminal.quiet]
    if shown:
        _show(shown, terminal)
    return result.exit_status


def _show(services: Sequence[ServiceProcess], terminal: Terminal) -> None:
    """A table; where a terminal has no room in it for the details, these are told below, each with its hint."""
    now_ns = clock.now_ns()
    header = ("SERVICE", "PROCESS", "WANTED", "PID", "SINCE", "RESTARTS", "DETAIL")
    align, spare = "<<<><>", ("RESTARTS", "PID", "SINCE")
    rows = [_row(one, now_ns, terminal) for one in services]
    if terminal.columns is None or max(map(width, table(rows, header, align=align))) <= terminal.columns:
        terminal.table(rows, header, align, spare=spare)
        for hint in dict.fromkeys(one.hint for one in services if one.hint is not None):
            terminal.print(terminal.style(f"hint: {printable(hint)}", "hint"))
        return
    terminal.table([row[:-1] for row in rows], header[:-1], align, spare=spare)
    told = [(one.service, row[-1], one.hint) for one, row in zip(services, rows, strict=True)]
    if any(detail or hint for _, detail, hint in told):
        terminal.print()
    for name, detail, one_hint in told:
        if detail:
            terminal.print(f"{terminal.style(printable(name), 'bold')}: {printable(detail)}")
        if one_hint is not None:
            terminal.print(terminal.style(f"  hint: {printable(one_hint)}", "hint"))


def _row(one: ServiceProcess, now_ns: int, terminal: Terminal) -> tuple[str, ...]:
    since = ""
    if one.since_ns is not None:
        since = relative_time(one.since_ns, now_ns) if terminal.interactive else clock.rfc3339(one.since_ns)
    wanted = {"unknown": "-"}.get(one.wanted, one.wanted)
    pid = "" if one.pid is None else str(one.pid)
    detail = one.detail.removeprefix(f"{one.service}: ")
    if one.since_ns is not None:  # what the other columns tell
        detail = detail.removeprefix(f"process {pid} runs since {clock.rfc3339(one.since_ns)}").lstrip(",; ")
    shown = [*([detail] if detail else []), *_resumed(one, now_ns, terminal)]
    return (one.service, one.outcome, wanted, pid, since, str(one.restarts), "; ".join(shown))


def _resumed(one: ServiceProcess, now_ns: int, terminal: Terminal) -> list[str]:
    """How it came back, where something was restored for it, was in flight, or its last run did not end in order."""
    report = one.resumed
    if report is None:
        return []
    found = report.get("in_flight") or {}
    told = found.get("count") or found.get("warnings") or found.get("notes")
    if report.get("outcome") == "untouched" and report.get("clean_shutdown") is not False and not told:
        return []
    time = str(report.get("time"))
    when = relative_time(clock.parse_rfc3339(time), now_ns) if terminal.interactive else f"at {time}"
    after = " after an unclean end" if report.get("clean_shutdown") is False else ""
    shown = [f"resumed {when}{after}: {printable(str(report.get('outcome')))}, #{report.get('restart_count')}"]
    if found.get("count"):
        shown.append(printable(str(found.get("summary"))))
    shown += [f"warning: {printable(str(text))}" for text in found.get("warnings", [])]
    return shown
