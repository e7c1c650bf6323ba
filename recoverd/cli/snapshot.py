"""Capture services now. What did not change makes no new snapshot.

Exit status: 0 captured (or nothing had changed), 3 when a snapshot is partial, 1 when a capture failed or
held nothing good that is new, 75 when another recoverd is at it.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of, require_services
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, plural, printable, size
from recoverd.operations.context import Context
from recoverd.operations.dump_asking import SHUTDOWN
from recoverd.operations.snapshot import SnapshotRequest, SnapshotResult, snapshot

_STYLES = {"saved": "ok", "unchanged": "dim", "invalid": "critical", "failed": "critical"}
_MOST = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("services", nargs="*", metavar="SERVICE", help="all by default")
    parser.add_argument("--due", action="store_true", help="only what its autosave schedule says is due")
    parser.add_argument("--reason", default=None, help="why it is taken (default: manual, or due with --due)")
    parser.add_argument("--label", help="a name for it; with one, a snapshot is made even if nothing changed")
    parser.add_argument("--tag", action="append", default=[], help="a tag that retention can keep; repeatable")
    parser.add_argument("--time", metavar="TIME", help="its state is of then: an import, which never is the newest")
    parser.add_argument("--dry-run", action="store_true", help="say what would be captured")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    context = context_of(options, terminal, tolerant=options.due)
    names = tuple(options.services)
    if options.due:
        from recoverd.operations.due import last_captures, paused_services
        from recoverd.scheduler.due import due
        from recoverd.system.clock import now_ns

        chosen = context.select(names)
        zone = context.config.timezone
        found = due(chosen, last_captures(context), now_ns(), zone=zone, paused=paused_services(context))
        names = tuple(one.service for one in found)
        if not names:
            if terminal.json:
                terminal.print_json("snapshot", snapshots=[])
            else:
                terminal.say("nothing is due")
            if not options.dry_run:
                _care(context)
            return 0
    else:
        require_services(context)
    time_ns = None if options.time is None else _time(options.time, context)
    usual = "due" if options.due else "manual" if time_ns is None else "import"
    request = SnapshotRequest(
        services=names,
        reason=options.reason or usual,
        label=options.label,
        tags=tuple(options.tag),
        prune=options.reason != SHUTDOWN,  # somebody waits for the end
        dry_run=options.dry_run,
        time_ns=time_ns,
    )
    result = snapshot(context, request)
    if terminal.json:
        terminal.print_json(
            "snapshot",
            snapshots=[one.to_json() for one in result.services],
            pruned=result.pruned,
            dry_run=result.dry_run,
        )
    else:
        _render(result, terminal)
    if options.due and not options.dry_run:
        _care(context)
    return result.exit_status


def _care(context: Context) -> None:
    """Where no `recoverd run` does it, who calls from cron also verifies and drills; events tell what is found."""
    from recoverd.operations.drill_due import drill_if_due
    from recoverd.operations.verify_due import verify_if_due

    verify_if_due(context)
    drill_if_due(context)


def _time(text: str, context: Context) -> int:
    """What --time says. Raises UsageError."""
    from recoverd.recovery.dated_names import asked_time

    return asked_time(text, context.config.timezone)


def _render(result: SnapshotResult, terminal: Terminal) -> None:
    would = "would be " if result.dry_run else ""
    for one in result.services:
        if terminal.quiet and one.outcome in {"saved", "unchanged"} and one.verdict == "ok" and one.error is None:
            continue
        outcome = terminal.style(one.outcome, _STYLES[one.outcome])
        line = f"{terminal.style(one.service, 'bold')}: {would}{outcome}"
        if one.error is not None and one.outcome == "failed":
            line += f": {printable(one.error)}"
        elif one.id is not None or result.dry_run:
            name = f" as {one.id}" if one.id is not None else ""
            partial = f" ({terminal.style('partial', 'warning')})" if one.verdict == "partial" else ""
            name += f" in the spare {printable(one.spare)}" if one.spare is not None else ""
            new = f", {size(one.new_bytes)} new" if one.id is not None else ""
            line += (
                f"{name}{partial}: {plural(one.files, 'file')}, {size(one.size_bytes)}{new}, {duration(one.seconds)}"
            )
        terminal.print(line)
        if one.error is not None and one.outcome != "failed":
            terminal.print(f"  {terminal.style('failed', 'critical')}: {printable(one.error)}")
        if one.hint is not None:
            terminal.print(terminal.style(f"  hint: {one.hint}", "hint"))
        problems = [each for each in one.problems if f"{each[0]} {each[2]}" not in (one.error or "")]  # told above
        for item, place, sentence in problems[:_MOST]:
            where = item if place == item else f"{item}: {printable(place)}"  # a dump lies in no file
            terminal.print(f"  {where}: {printable(sentence)}")
        if len(problems) > _MOST:
            terminal.print(f"  and {plural(len(problems) - _MOST, 'more problem')}; `recoverd assess` lists all")
    for why in dict.fromkeys(one.because for one in result.services if one.because is not None):
        terminal.warn(f"the repository can't be written, so what changed went to the spare: {why}")
    if result.pruned:
        terminal.detail(f"retention removed {plural(result.pruned, 'snapshot')}")
