"""Keeping the repository within `repository.max_bytes`, and `repository.min_free` free beside it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from recoverd.config.model import RepositoryConfig
from recoverd.errors import StateError
from recoverd.events.text import size
from recoverd.operations import pending_loads, unproven
from recoverd.operations.context import Context
from recoverd.recovery import intents
from recoverd.repository import bounds, pruning
from recoverd.repository.bounds import Expendable, Room, Unmet
from recoverd.repository.pruning import PackChanges
from recoverd.repository.records import Marks, Snapshot
from recoverd.repository.reserve import free_and_total
from recoverd.repository.retention import Decision
from recoverd.repository.store import Repository
from recoverd.repository.writer import Writer
from recoverd.values import dataclass, field, replace

_TAKEN_FROM = re.compile(r"[^/]+/([0-9]+)")  # what an intent's evidence calls a snapshot


@dataclass(frozen=True, slots=True)
class Bounded:
    """Which snapshots went because of which bounds, by id; and the bounds that are not met even so."""

    removed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    freed_bytes: int = 0
    unmet: tuple[Unmet, ...] = ()
    kept_data: str | None = None  # why what they took could not be freed
    packs: PackChanges = PackChanges()


def has_bounds(config: RepositoryConfig) -> bool:
    return config.max_bytes is not None or config.min_free_bytes is not None or config.min_free_share is not None


def room_of(repository: Repository) -> Room:
    """What it takes and what is free. Raises RepositoryError, OSError."""
    return Room(repository.statistics().size_bytes, *free_and_total(repository.state_dir, repository.path))


def lacks_free(context: Context) -> bool:
    """Whether less is free than `min_free` asks for; False too where that can't be told."""
    config = context.config.repository
    try:
        free_bytes, total_bytes = free_and_total(context.state_dir, config.path)
    except OSError:
        return False
    return bool(bounds.unmet(replace(config, max_bytes=None), Room(0, free_bytes, total_bytes)))


def unmet(context: Context, repository: Repository) -> tuple[Unmet, ...]:
    """The bounds that are not met now; without bounds nothing is looked at. Raises RepositoryError, OSError."""
    config = context.config.repository
    return bounds.unmet(config, room_of(repository)) if has_bounds(config) else ()


def enforce(
    context: Context, repository: Repository, writer: Writer, kept: Mapping[str, Sequence[Decision]]
) -> Bounded:
    """Remove snapshots that retention keeps until the bounds are met, or none is left that may go.

    `kept`: by service what retention decided; the caller holds their locks. Raises RepositoryError, OSError.
    """
    waiting = _waiting(repository, kept)
    removed: dict[str, tuple[str, ...]] = {}
    freed, number, packs = 0, 0, PackChanges()
    while (over := _in_reach(unmet(context, repository))) and waiting:
        count = bounds.next_round(waiting, max(one.missing_bytes for one in over), number)
        going, waiting = waiting[:count], waiting[count:]
        pruned = pruning.prune(repository, writer, _by_service(going))
        removed.update(dict.fromkeys(pruned.removed, tuple(one.bound for one in over)))
        freed += pruned.freed_bytes
        packs = packs.plus(pruned.packs)
        if pruned.kept_data is not None:  # more would go, and as little be freed
            return Bounded(removed, freed, unmet(context, repository), pruned.kept_data, packs)
        number += 1
    return Bounded(removed, freed, unmet(context, repository), packs=packs)


def foreseen(context: Context, repository: Repository, kept: Mapping[str, Sequence[Decision]]) -> Bounded:
    """What `enforce` would do, as far as can be told: what removals free is an estimate. Raises RepositoryError."""
    found = unmet(context, repository)
    over = _in_reach(found)
    missing_bytes = max((one.missing_bytes for one in over), default=0)
    removed: dict[str, tuple[str, ...]] = {}
    for one in _waiting(repository, kept):
        if missing_bytes <= 0:
            break
        missing_bytes -= one.frees_bytes
        removed[f"{one.service}/{one.sequence}"] = tuple(each.bound for each in over)
    return Bounded(removed, unmet=tuple(one for one in found if missing_bytes > 0 or not one.in_reach))


def _in_reach(over: Iterable[Unmet]) -> tuple[Unmet, ...]:
    return tuple(one for one in over if one.in_reach)


def sentence(one: Unmet, *, waits: bool = False) -> str:
    """One bound that is not met, in words. `waits`: the next prune goes on."""
    if one.bound == bounds.MAX_BYTES:
        found = f"the repository takes {size(one.found_bytes)}, and max_bytes allows {size(one.limit_bytes)}"
    else:
        found = f"{size(one.found_bytes)} are free on its disk, and min_free asks for {size(one.limit_bytes)}"
    if not one.in_reach:
        return f"{found}: it lacks more than all snapshots take, so none goes for that"
    return f"{found}: {'the next prune goes on' if waits else 'no more snapshots may go'}"


def named_by_restores(context: Context, repository: Repository, service: str, sequences: Iterable[int]) -> set[int]:
    """The snapshots that a restore under way has taken from, or one that nobody has proven yet.

    All of `sequences` where what the restore has written of itself can't be read.
    """
    try:
        intent = intents.load(context.state_dir, service)
    except StateError:
        return set(sequences)
    plan = intent.evidence.get("plan", ()) if intent is not None else ()
    found = (_TAKEN_FROM.fullmatch(str(part.get("from", ""))) for part in plan)
    named = {int(match[1]) for match in found if match is not None}
    waiting = unproven.load(repository, service)
    named |= {one.sequence for one in pending_loads.load(repository, service).values()}
    return named | ({part.sequence for part in waiting.parts} if waiting is not None else set())


def _waiting(repository: Repository, kept: Mapping[str, Sequence[Decision]]) -> list[Expendable]:
    return bounds.order(
        _history(repository.snapshots(service), repository.all_marks(service), decisions)
        for service, decisions in kept.items()
    )


def _history(
    snapshots: Iterable[Snapshot], marks: Mapping[int, Marks], decisions: Iterable[Decision]
) -> list[Expendable]:
    """What may go of one service, the first to go first. What the next one stored anew is believed to replace it."""
    kept = {one.sequence: one for one in decisions if one.keep}
    order = sorted(
        (one for one in snapshots if one.sequence in kept),
        key=lambda one: (False, one.time_ns, one.sequence) if one.imported else (True, one.sequence, 0),
    )
    return [
        Expendable(
            one.service,
            one.sequence,
            one.time_ns,
            counts=one.verdict.counts and not marks.get(one.sequence, Marks()).unhealthy,
            frees_bytes=max(1, after.new_bytes),
        )
        for one, after in zip(order, [*order[1:], *order[-1:]], strict=True)
        if bounds.SAFE.isdisjoint(kept[one.sequence].rules)
    ]


def _by_service(going: Iterable[Expendable]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for one in going:
        found.setdefault(one.service, []).append(one.sequence)
    return found
