"""The main job: recover what is not ok, bring services up, prove that they are healthy.

State that is ok is left alone. What a restore replaces goes to quarantine, and `recoverd undo` puts it back.
With --snapshot, that snapshot's known-good state replaces what is there, also if that is ok.
Exit status: 0 state is valid and every probe passed, 1 not so, 75 another recoverd is at it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, printable
from recoverd.errors import UsageError

if TYPE_CHECKING:
    from recoverd.operations.restore_results import ItemOutcome, RestoreResult, ServiceRestore

_STYLES = {"untouched": "ok", "restored": "ok", "degraded": "warning", "blocked": "critical", "failed": "critical"}
_MOST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--snapshot", metavar="SNAPSHOT", help="restore this one, also over good state")
    parser.add_argument("--to", metavar="DIR", help="write into an empty directory instead; touches nothing else")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and why")
    parser.add_argument("--no-start", action="store_true", help="restore state, start nothing, prove nothing")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    if options.to is not None:
        return _extract(options, terminal)
    from recoverd.operations.restore import restore
    from recoverd.operations.restore_results import RestoreRequest

    context = context_of(options, terminal, tolerant=True, told=True)
    require_services(context)
    request = RestoreRequest(
        services=tuple(options.services),
        snapshot=options.snapshot,
        dry_run=options.dry_run,
        start=not options.no_start,
    )
    with terminal.progress("restoring and proving"):
        result = restore(context, request)
    if terminal.json:
        terminal.print_json("restore", **result.to_json())
    else:
        _render(result, terminal)
    return result.exit_status


def _extract(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.operations.extract import ExtractRequest, extract

    if options.dry_run:
        raise UsageError(
            "--to and --dry-run do not go together", hint="`recoverd show SNAPSHOT --good` lists the files"
        )
    result = extract(
        context_of(options, terminal), ExtractRequest(options.to, tuple(options.services), options.snapshot)
    )
    if terminal.json:
        terminal.print_json("restore", **result.to_json())
        return result.exit_status
    for one in result.items:
        terminal.print(f"{one.item} of {one.snapshot}: {printable(one.path)}")
    for name in result.without:
        terminal.warn(f"service {name} has no snapshot")
    return result.exit_status


def _render(result: RestoreResult, terminal: Terminal) -> None:
    for service in result.services:
        if terminal.quiet and service.exit_status == 0 and service.outcome == "untouched":
            continue
        _service(service, terminal, dry_run=result.dry_run)


def _service(one: ServiceRestore, terminal: Terminal, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    outcome = terminal.style(one.outcome, _STYLES[one.outcome])
    if one.outcome == "untouched" and one.verdict == "ok":
        outcome += ", its state is ok"
    health = ""
    if one.healthy is not None:
        health = ", " + (terminal.style("healthy", "ok") if one.healthy else terminal.style("not healthy", "critical"))
    took = "" if dry_run else f" in {duration(one.seconds)}"
    terminal.print(f"{terminal.style(one.service, 'bold')}: {would}{outcome}{health}{took}")
    restored = [item for item in one.items if item.source != "live"]
    for item in restored if terminal.verbose else restored[:_MOST]:
        terminal.print("  " + _item(item, would))
    if len(restored) > _MOST and not terminal.verbose:
        terminal.print(f"  and {len(restored) - _MOST} more; --verbose shows them")
    for attempt in one.attempts:
        if attempt.result != "restored":
            terminal.print(f"  {attempt.candidate} was {attempt.result}: {printable(attempt.why)}")
    for reason in one.reasons:
        terminal.print(f"  {printable(reason)}")
    if one.pid is not None:
        terminal.print(f"  {'started as' if one.started else 'runs as'} process {one.pid}")
    places = list(dict.fromkeys(item.quarantine for item in restored if item.quarantine is not None))
    for place in places:
        name = f"{one.service}/{place.rstrip('/').rpartition('/')[2]}"
        terminal.print(f"  replaced state is in {printable(place)}")
        terminal.print(f"  to put it back: recoverd undo {name}")
    hint = one.hint
    if hint is None and one.outcome in {"blocked", "failed"}:
        hint = f"`recoverd assess {one.service}` shows the state as it is, `recoverd list {one.service}` what was saved"
    if hint is not None:
        terminal.print(terminal.style(f"  hint: {printable(hint)}", "hint"))


def _item(item: ItemOutcome, would: str) -> str:
    name = f"{item.item}: {printable(item.document)}" if item.document else item.item
    age = f", {duration(item.age_s)} old" if item.age_s is not None else ""
    return f"{name} was {item.verdict_before}; {would}restored from {item.candidate}{age}"
