"""`recoverd verify --heal`: what is damaged gets an intact copy, from wherever somebody still has the same bytes.

Asked are, in this order: the other one of repository and spare, files of the right size in live state and in
quarantine, and where trees are lost, live state as a whole. What can still be read of damaged packs is copied. A tree
that comes back may tell of more that is lost; so it goes in rounds, until one finds nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from recoverd.errors import DamagedObject, RecoverdError
from recoverd.operations.context import Context
from recoverd.recovery.live_copies import live_paths, offer_files, offer_trees
from recoverd.repository import verifying
from recoverd.repository.healing import Healed, Healer, Outcome, heal_records
from recoverd.repository.references import Kind
from recoverd.repository.store import Repository
from recoverd.repository.verifying import Verified
from recoverd.repository.writer import explained
from recoverd.system import clock

_MOST_ROUNDS = 100  # a tree lost below a tree lost below …


def heal(
    context: Context, repository: Repository, found: Verified, others: Sequence[Repository], told: Callable[[int], None]
) -> Outcome:
    """Heal what `found` names, and verify what that changed. `others`: repositories that may hold the same objects.

    Raises LockHeld when another recoverd writes to the repository, RepositoryError when it can't be written.
    """
    first = found
    healed: list[Healed] = []
    notes: list[str] = []
    for _ in range(_MOST_ROUNDS):
        if not found.damage:
            break
        done, changed = _round(context, repository, found, others, notes)
        if not done:
            break
        healed += done
        found = verifying.verify(repository, only=changed, told=told)
    return Outcome(first, found, tuple(healed), tuple(dict.fromkeys(notes)))


def _round(
    context: Context, repository: Repository, found: Verified, others: Sequence[Repository], notes: list[str]
) -> tuple[list[Healed], set[str]]:
    """What was healed, and the packs to look at again."""
    with repository.writer(wait_s=context.wait_s, what="the repository") as writer:
        healer = Healer(repository, writer, found)
        try:
            with explained("healed"):
                _ask_others(healer, others)
                _ask_files(context, healer, found)
                healer.rescue()
                new = healer.finish()
                healer.replace_packs(new)
                records = heal_records(repository, found.damage)
        finally:
            healer.close()
    notes += healer.notes
    return [*healer.healed, *records], {*new, *(report.name for report in found.reports)}


def _ask_others(healer: Healer, others: Sequence[Repository]) -> None:
    for other in others:
        if not healer.wanted:
            return
        with other.reader() as reader:
            for key in sorted(healer.wanted):
                try:
                    healer.offer(reader.read(key), other.path)
                except DamagedObject:
                    continue


def _ask_files(context: Context, healer: Healer, found: Verified) -> None:
    services = [service for service in context.config.services.values() if service.enabled]
    timeout_s = context.config.io_timeout_s
    quarantine = os.path.join(context.state_dir, "quarantine")
    for paths in (live_paths(services), {quarantine: True}):
        lost = {key: found.lost[key] for key in healer.wanted}
        offer_files(paths, lost, healer.offer, io_timeout_s=timeout_s)
    if any(found.lost[key].kind is Kind.TREE for key in healer.wanted):
        for service in services:
            try:
                offer_trees(service, healer.offer, now_ns=clock.now_ns(), io_timeout_s=timeout_s)
            except RecoverdError as error:
                healer.notes.append(f"live state of {service.name} could not be asked: {error.message}")
