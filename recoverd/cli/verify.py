"""Read the repository, check every byte of it, and name what is damaged, with the snapshots and files it hurts.

With --sample, reads only a part, goes on next time where it stopped, and gives way to all other work. With --heal,
gets back what is damaged: from live files with the same content, from quarantine, from what else can still be read.

Exit status: 0 all that was read is whole, 1 something is damaged.
"""

from __future__ import annotations

import argparse

from recoverd.cli.opening import context_of
from recoverd.cli.terminal import Terminal
from recoverd.cli.text import duration, plural, printable, size
from recoverd.errors import UsageError
from recoverd.operations.verify import VerifyRequest, VerifyResult, bytes_to_read, verify
from recoverd.operations.verify_due import sentence

_MOST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sample", metavar="SHARE", help="read so much, such as 5%%, from where the last one stopped")
    parser.add_argument("--heal", action="store_true", help="get back what is damaged, as far as anything has it")


def run(options: argparse.Namespace, terminal: Terminal) -> int:
    request = VerifyRequest(_share(options.sample), options.heal, background=options.sample is not None)
    context = context_of(options, terminal, tolerant=True)
    if not (options.verbose or options.debug):
        context.log_to()  # what is damaged is printed, and once is enough
    with terminal.progress("verifying", bytes_to_read(context, request)) as progress:
        result = verify(context, request, progress.advance)
    if terminal.json:
        terminal.print_json("verify", **result.to_json())
    else:
        _render(result, terminal)
    return result.exit_status


def _share(text: str | None) -> float | None:
    """The value of --sample. Raises UsageError."""
    if text is None:
        return None
    from recoverd.config.units import parse_percentage

    try:
        share = parse_percentage(text)
    except ValueError as error:
        raise UsageError(f"--sample: {error}", hint="for example --sample 5%") from None
    if not share:
        raise UsageError("--sample 0% would read nothing", hint="for example --sample 5%")
    return share


def _render(result: VerifyResult, terminal: Terminal) -> None:
    for one in result.healed:
        terminal.print(f"{terminal.style('healed', 'ok')}  {printable(one.what)}: {printable(one.origin)}")
    for note in result.notes:
        terminal.print(printable(note))
    most = len(result.damage) if terminal.verbose else _MOST
    # what hurts first, together by snapshot
    ordered = sorted(result.damage, key=lambda one: (not one.snapshots, one.snapshots, one.files, one.problem))
    for damage in ordered[:most]:
        terminal.print(f"{terminal.style('damaged', 'critical')}  {printable(sentence(damage))}")
        for place in damage.files if terminal.verbose else ():
            terminal.print(f"         {printable(place)}")
    if len(result.damage) > most:
        terminal.print(f"and {len(result.damage) - most} more; -v or --json names them all")
    part = "" if result.packs == result.of_packs else f" ({result.packs} of {plural(result.of_packs, 'pack')})"
    read = f"{size(result.checked_bytes)} in {plural(result.objects, 'object')} read{part}"
    took = f"in {duration(result.seconds)}"
    if not result.damage:
        terminal.say(f"{read} {took}: all of it is whole")
        return
    hurt = f", which hurt {plural(len(result.snapshots), 'snapshot')}" if result.snapshots else ""
    terminal.print(f"{read} {took}: {plural(len(result.damage), 'damage')}{hurt}")
    terminal.print("hint: " + _hint(result))


def _hint(result: VerifyResult) -> str:
    if result.healed or result.notes:
        return "what is left can't be had anywhere; restores pass it over, and docs/recovery.md says what to do with it"
    return "`recoverd verify --heal` gets back what it can; restores pass damage over and take the next older version"
