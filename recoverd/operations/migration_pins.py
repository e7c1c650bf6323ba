"""Which snapshots migrations keep: pinned before anything is migrated, and let go again by a rule.

A migration pins the snapshot of what was there, and those that migrated state was taken from. Of each step (from one
version to another) the first and the newest of them stay pinned: the first is how everything was before the update, the
newest how it was before the last try. Of older steps than the newest `MOST_STEPS` none does. The next migration unpins
the others, and retention decides about them. What somebody pinned by hand is never unpinned, and an undo needs none of
this: it takes from quarantine.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from functools import partial

from recoverd.config.migration_model import chain
from recoverd.config.model import StateItem
from recoverd.errors import RecoverdError
from recoverd.operations.context import Context
from recoverd.repository.records import Marks
from recoverd.values import replace

MOST_STEPS = 10  # an update a day must not fill a disk
_log = logging.getLogger("recoverd.operations")


def step_of(item: StateItem, version: str) -> str:
    """From which version to which a document is migrated, as the configuration spells them."""
    current = item.version.current if item.version is not None else ""
    steps = chain(version, item.migrate, current)
    return f"{steps[0].source if steps else current} to {current}"


def superseded(pinned: Mapping[int, Collection[str]], just: Collection[int]) -> list[int]:
    """The snapshots that need not stay pinned, in order; pure. `pinned`: sequence -> steps that it was pinned for;
    `just`: those that the present migration is about, which stay."""
    first: dict[str, int] = {}
    newest: dict[str, int] = {}
    for sequence in sorted(pinned):
        for step in pinned[sequence]:
            first.setdefault(step, sequence)
            newest[step] = sequence
    steps = sorted(newest, key=lambda step: (newest[step], step))[-MOST_STEPS:]
    kept = {sequence for step in steps for sequence in (first[step], newest[step])}
    return [sequence for sequence in sorted(pinned) if sequence not in kept and sequence not in just]


def pin(context: Context, service: str, wanted: Mapping[int, Collection[str]]) -> None:
    """Pin snapshots (sequence -> steps), durable on return; then unpin what they supersede. Raises RepositoryError."""
    repository = context.repository()
    for sequence, steps in sorted(wanted.items()):
        marks = repository.marks(service, sequence)
        if marks.pinned and not marks.migrated:
            continue  # by hand, or as accepted: that stays so
        if not marks.pinned or not set(steps) <= set(marks.migrated):
            repository.set_marks(service, sequence, partial(_pinned, steps))
    if wanted:
        _let_go(context, service, wanted)


def _let_go(context: Context, service: str, just: Collection[int]) -> None:
    """What can't be unpinned now is by the next migration."""
    repository = context.repository()
    try:
        there = repository.sequences(service)
        marks = {sequence: one for sequence, one in repository.all_marks(service).items() if sequence in there}
        pinned = {sequence: one.migrated for sequence, one in marks.items() if one.pinned and one.migrated}
        for sequence in superseded(pinned, just):
            repository.set_marks(service, sequence, _unpinned)
            _log.info("%s/%s is not pinned any more: migrations since then have newer ones", service, sequence)
    except (RecoverdError, OSError) as error:
        _log.warning("older snapshots of migrations of %s stay pinned for now: %s", service, error)


def _pinned(steps: Collection[str], marks: Marks) -> Marks:
    return replace(marks, pinned=True, migrated=tuple(sorted({*marks.migrated, *steps})))


def _unpinned(marks: Marks) -> Marks:
    return replace(marks, pinned=False, migrated=()) if marks.migrated else marks
