"""Bounds: which snapshots go when the repository is too large or its disk too full. Pure: values in, decisions out.

Retention decides first; this is about what it keeps. What `SAFE` names is never offered, so bounds that can't be met
stay unmet. Nor does anything go for `min_free` where more is missing than the whole repository takes: then it is not
recoverd that fills the disk, and history would be given up for nothing. In which order the others go:

- *Evidence first*: a snapshot that does not count pushes no good one out.
- *Each service from its oldest on*, in retention's order: imports, then captures by sequence.
- *Across services* the one whose remaining history takes the most gives up its oldest; where that is equal, the oldest
  of all. So a service with a small history is not emptied for one that writes a hundred times as much.

What a removal frees is known only when it is done, because snapshots share objects and packs. So they go in rounds:
some, then another look. A round takes no more than is believed to be needed, and at most 1, 2, 4, 8 ..., so that a
wrong belief costs little history; every fourth doubles what goes at least: ten thousand take some fifty rounds.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from recoverd.config.model import RepositoryConfig
from recoverd.values import dataclass

MAX_BYTES, MIN_FREE = "max_bytes", "min_free"
SAFE = frozenset({"pinned", "known-good", "proven", "future", "restore"})
"""The rules of retention whose snapshots no bound removes; `restore`: an unfinished one may need it."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a repository takes (packs and records), what is free for it on its file system, and all of that."""

    size_bytes: int
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class Unmet:
    """A bound that is not met: it asks for at most (`max_bytes`) or at least (`min_free`) `limit_bytes`.

    `in_reach`: removing snapshots could meet it.
    """

    bound: str
    limit_bytes: int
    found_bytes: int
    in_reach: bool = True

    @property
    def missing_bytes(self) -> int:
        """How many bytes have to go."""
        return abs(self.found_bytes - self.limit_bytes)


@dataclass(frozen=True, slots=True)
class Expendable:
    """A snapshot that retention keeps and that may go all the same.

    `counts`: it is no mere evidence. `frees_bytes`: what is believed to be in it alone, once all older ones are gone.
    """

    service: str
    sequence: int
    time_ns: int  # wall clock, UTC
    counts: bool
    frees_bytes: int


def min_free_bytes(config: RepositoryConfig, total_bytes: int) -> int:
    """How many bytes `min_free` wants free on a file system of `total_bytes`; 0 where it is absent."""
    if config.min_free_share is not None:
        return int(total_bytes * config.min_free_share)
    return config.min_free_bytes or 0


def unmet(config: RepositoryConfig, room: Room) -> tuple[Unmet, ...]:
    """The bounds that are not met, `max_bytes` before `min_free`."""
    found = []
    if config.max_bytes is not None and room.size_bytes > config.max_bytes:
        found.append(Unmet(MAX_BYTES, config.max_bytes, room.size_bytes))
    wanted = min_free_bytes(config, room.total_bytes)
    if room.total_bytes and room.free_bytes < wanted:  # without a size, a file system tells of no room either
        found.append(Unmet(MIN_FREE, wanted, room.free_bytes, wanted - room.free_bytes <= room.size_bytes))
    return tuple(found)


def order(services: Iterable[Sequence[Expendable]]) -> list[Expendable]:
    """All that may go, in the order in which it goes. Each sequence is one service's, oldest first."""
    histories = [list(history) for history in services]
    evidence = [[one for one in history if not one.counts] for history in histories]
    good = [[one for one in history if one.counts] for history in histories]
    return [*_level(evidence), *_level(good)]


def _level(histories: Iterable[Sequence[Expendable]]) -> list[Expendable]:
    """Always the oldest of the service with the largest remainder."""
    heap: list[tuple[int, int, str, deque[Expendable]]] = [
        (-sum(one.frees_bytes for one in history), history[0].time_ns, history[0].service, deque(history))
        for history in histories
        if history
    ]
    heapq.heapify(heap)
    found = []
    while heap:
        rest, _, service, history = heap[0]
        going = history.popleft()
        found.append(going)
        if history:
            heapq.heapreplace(heap, (rest + going.frees_bytes, history[0].time_ns, service, history))
        else:
            heapq.heappop(heap)
    return found


def next_round(waiting: Sequence[Expendable], missing_bytes: int, number: int) -> int:
    """How many of `waiting` go in round `number` (from 0), when so many bytes are missing; at least one."""
    believed, count = 0, 0
    while count < min(len(waiting), 1 << number) and believed < missing_bytes:
        believed += waiting[count].frees_bytes
        count += 1
    return min(len(waiting), max(count, 1 << number // 4))
