"""The main job: recover what is not ok, bring services up, prove that they are healthy.

State that is ok is left alone. What a restore replaces goes to quarantine, and `recoverd undo` puts it back.
With --snapshot or --at, the known-good state of that snapshot or time replaces what is there, also if that is ok.
With --only, one state item or one document of it is restored; what else is damaged stays so, is told, and makes the
exit status 1.
Exit status: 0 state is valid and every probe passed, 1 not so, 75 another recoverd is at it.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from recoverd.cli import in_flight
from recoverd.cli.opening import context_of, own_command, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, printable
from recoverd.errors import UsageError

if TYPE_CHECKING:
    from recoverd.operations.context import Context
    from recoverd.operations.restore_results import ItemOutcome, RestoreResult, ServiceRestore

_STYLES = {"untouched": "ok", "restored": "ok", "degraded": "warning", "blocked": "critical", "failed": "critical"}
_MADE = {
    "rebuild": "rebuilt from other state",
    "initial": "replaced by the initial document",
    "empty": "taken away",
}
_MOST = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--snapshot", metavar="SNAPSHOT", help="restore this one, also over good state")
    parser.add_argument("--at", metavar="TIME", help="restore what was known-good then, also over good state")
    parser.add_argument(
        "--from",
        dest="origin",
        metavar="ORIGIN",
        help="only siblings, snapshots, rebuild or initial; or a directory as --to writes it",
    )
    parser.add_argument("--only", metavar="ITEM", help="this state item of one service, or ITEM/PATH, and nothing else")
    parser.add_argument("--to", metavar="DIR", help="write into an empty directory instead; touches nothing else")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and why")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--boot", action="store_true", help="before services start: only repair; start and stop nothing")
    which.add_argument("--unit", metavar="UNIT", help="the services of this systemd unit, which has failed")
    which.add_argument("--revive", choices=("ended", "unhealthy"), help=argparse.SUPPRESS)  # for `watch`
    parser.add_argument("--no-start", action="store_true", help="restore state, start nothing, prove nothing")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    if options.to is not None and not (options.boot or options.unit):
        return _extract(options, terminal)
    from recoverd.operations.restore import restore
    from recoverd.operations.restore_results import RestoreRequest

    _refuse_mixtures(options)
    context = context_of(options, terminal, tolerant=True, told=True)
    if options.boot:
        return _boot(context, terminal)
    require_services(context)
    if options.revive is not None:
        from recoverd.operations.reviving import revive

        if "INVOCATION_ID" in os.environ:  # systemd.exec(5): the scheduler is a unit, with which its processes end
            context.command = tuple(own_command(options.config))
        return _finish(revive(context, options.services, replace=options.revive == "unhealthy"), terminal)
    if options.unit is not None:
        from recoverd.operations.recover import recover

        return _finish(recover(context, options.unit), terminal)
    request = RestoreRequest(
        services=tuple(options.services),
        snapshot=options.snapshot,
        origin=options.origin,
        at_ns=_at(options, context),
        only=options.only,
        dry_run=options.dry_run,
        start=not options.no_start,
    )
    with terminal.progress("restoring and proving"):
        result = restore(context, request)
    return _finish(result, terminal)


def _finish(result: RestoreResult, terminal: Terminal) -> int:
    if terminal.json:
        terminal.print_json("restore", **result.to_json())
    else:
        render(result, terminal)
    return result.exit_status


def _refuse_mixtures(options: argparse.Namespace) -> None:
    """--boot and --unit say by themselves what is restored and how; three options say what it is restored from."""
    origins = {"--snapshot": options.snapshot, "--at": options.at, "--from": options.origin}
    if len(named := [name for name, value in origins.items() if value is not None]) > 1:
        raise UsageError(f"{named[0]} and {named[1]} do not go together", hint="leave one of them out")
    mode = "--boot" if options.boot else "--unit" if options.unit is not None else None
    given = {
        "a service": options.services,
        "--snapshot": options.snapshot,
        "--at": options.at,
        "--from": options.origin,
        "--only": options.only,
        "--to": options.to,
        "--dry-run": options.dry_run,
        "--no-start": options.no_start,
    }
    for name, value in given.items():
        if mode is not None and value:
            raise UsageError(f"{mode} and {name} do not go together", hint="leave one of them out")


def _at(options: argparse.Namespace, context: Context) -> int | None:
    """What --at says. Raises UsageError."""
    if options.at is None:
        return None
    from recoverd.recovery.dated_names import asked_time

    return asked_time(options.at, context.config.timezone, option="--at")


def _boot(context: Context, terminal: Terminal) -> int:
    """Nothing declared is nothing to do: the unit may be enabled before the first service is."""
    from recoverd.operations.boot import boot

    if context.hooks is not None:
        context.hooks.hold_webhooks()
    result, ended = boot(context)
    status = _finish(result, terminal)
    if context.hooks is not None:
        from recoverd.operations import hooks

        hooks.finish(context, most_s=hooks.BOOT_S, keep=True)
    if not ended:
        # a thread hangs in a dead file system, or is in the middle of a restore that goes on later
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    return status


def _extract(options: argparse.Namespace, terminal: Terminal) -> int:
    from recoverd.operations.extract import ExtractRequest, extract

    _refuse_mixtures(options)
    if options.origin is not None:
        raise UsageError("--to and --from do not go together", hint="leave one of them out")
    if options.dry_run:
        raise UsageError(
            "--to and --dry-run do not go together", hint="`recoverd show SNAPSHOT --good` lists the files"
        )
    context = context_of(options, terminal)
    request = ExtractRequest(options.to, tuple(options.services), options.snapshot, _at(options, context), options.only)
    result = extract(context, request)
    if terminal.json:
        terminal.print_json("restore", **result.to_json())
        return result.exit_status
    for one in result.items:
        terminal.print(f"{one.item} of {one.snapshot}: {printable(one.path)}")
    for note in result.notes:
        terminal.print(f"  {printable(note)}")
    for name in result.without:
        terminal.warn(f"service {name} has no snapshot that can be read")
    return result.exit_status


def render(result: RestoreResult, terminal: Terminal) -> None:
    for service in result.services:
        if terminal.quiet and service.exit_status == 0 and service.outcome == "untouched":
            continue
        _service(service, terminal, dry_run=result.dry_run)


def _service(one: ServiceRestore, terminal: Terminal, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    changed = [item for item in one.items if item.source != "live" or item.migrated is not None]
    only_migrated = one.outcome == "restored" and all(item.source == "live" for item in changed)
    outcome = terminal.style("migrated" if only_migrated and changed else one.outcome, _STYLES[one.outcome])
    if one.outcome == "untouched" and one.verdict == "ok":
        outcome += ", its state is ok" + ("," if one.healthy is None and not dry_run else "")
    health = ""
    if one.healthy is not None:
        health = ", " + (terminal.style("healthy", "ok") if one.healthy else terminal.style("not healthy", "critical"))
    took = "" if dry_run else f" in {duration(one.seconds)}"
    if dry_run and one.outcome == "failed":
        would, outcome = "", terminal.style("would fail", _STYLES["failed"])
    terminal.print(f"{terminal.style(one.service, 'bold')}: {would}{outcome}{health}{took}")
    for item in changed if terminal.verbose else changed[:_MOST]:
        terminal.print("  " + _item(item, would))
    if len(changed) > _MOST and not terminal.verbose:
        terminal.print(f"  and {len(changed) - _MOST} more; --verbose shows them")
    for attempt in one.attempts:
        if attempt.result != "restored":
            terminal.print(f"  {printable(f'{attempt.candidate} was {attempt.result}: {attempt.why}')}")
    for reason in one.reasons:
        terminal.print(f"  {printable(reason)}")
    if one.resume is not None and one.resume.in_flight is not None:
        for line in in_flight.lines(one.resume.in_flight.to_json(), verbose=terminal.verbose):
            terminal.print(f"  {line}")
    if one.pid is not None:
        terminal.print(f"  {'started as' if one.started else 'runs as'} process {one.pid}")
    places = list(dict.fromkeys(item.quarantine for item in changed if item.quarantine is not None))
    for place in places:
        terminal.print(f"  replaced state is in {printable(place)}")
    if places:  # of one restore: an undo of one of them is an undo of all
        name = f"{one.service}/{places[-1].rstrip('/').rpartition('/')[2]}"
        terminal.print(f"  to put it back: recoverd undo {name}")
    hint = one.hint
    if hint is None and one.outcome in {"blocked", "failed"}:
        hint = f"`recoverd assess {one.service}` shows the state as it is, `recoverd list {one.service}` what was saved"
    if hint is not None:
        terminal.print(terminal.style(f"  hint: {printable(hint)}", "hint"))


def _item(item: ItemOutcome, would: str) -> str:
    name = f"{item.item}: {printable(item.document)}" if item.document else item.item
    versions = " to ".join(map(printable, item.migrated or ()))
    migrated = f"migrated from version {versions}" if versions else ""
    if item.source == "live":
        return f"{name} was {would}{migrated}"
    was = f"{name} was {item.verdict_before}; {would}"
    if item.source in _MADE:
        return was + _MADE[item.source]
    age = f", {duration(item.age_s)} old" if item.age_s is not None else ""
    return f"{was}restored from {printable(item.candidate or '')}{age}{', ' if migrated else ''}{migrated}"
