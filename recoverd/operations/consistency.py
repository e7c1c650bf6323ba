"""Commands around a capture, for services whose files agree with each other only while they are held still."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from recoverd.config.model import Service
from recoverd.errors import ServiceError
from recoverd.services.commands import run_command

_log = logging.getLogger("recoverd.operations")


@contextmanager
def held_still(service: Service, *, dry_run: bool = False) -> Iterator[list[str]]:
    """Run the commands `before`, and at the end of the block, whatever happened in it, those `after`.

    Gives a list that holds, once the block has ended, a sentence for each command `after` that failed; none of them
    keeps the next from being run. Nothing is run for a `dry_run`. Raises ServiceError when one `before` fails: then
    the block is not entered, and those `after` have been run.
    """
    rules, late = service.consistency, list[str]()
    if dry_run or not (rules.before or rules.after):
        yield late
        return
    try:
        for command in rules.before:
            if (sentence := _failure(command, rules.timeout_s)) is not None:
                raise ServiceError(
                    f"nothing was captured: the command before it, {sentence}",
                    hint=f"`recoverd snapshot {service.name}` tries again",
                )
        yield late
    finally:
        for command in rules.after:
            if (sentence := _failure(command, rules.timeout_s)) is not None:
                late.append(f"the command after the capture, {sentence}")
                _log.error("%s: %s", service.name, late[-1])


def _failure(command: Sequence[str], timeout_s: float) -> str | None:
    shown = " ".join(command)
    try:
        ran = run_command(command, timeout_s=timeout_s)
    except (OSError, ValueError) as error:
        return f"{shown}, can't be run: {getattr(error, 'strerror', None) or error}"
    if ran.status == 0:
        return None
    said = f": {ran.last_line}" if ran.last_line and ran.status is not None else ""
    return f"{shown}, {ran.ending}{said}"
