"""How the repository grows: its size and the room beside it, noted hourly in the run history, which is bounded."""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.errors import RepositoryError
from recoverd.repository.bounds import Room
from recoverd.repository.catalog import Run
from recoverd.repository.store import Repository
from recoverd.system import clock
from recoverd.values import dataclass

SIZE = "size"  # in the run history: the detail is what it takes, what is free and all of the disk, in bytes
MOST_NOTES = 200  # what the run history keeps: more than a week
_AGAIN_NS = 3600 * 1_000_000_000
_DAY_NS = 24 * _AGAIN_NS
_LONGEST_NS = 7 * _DAY_NS
_SHORTEST_NS = 6 * _AGAIN_NS  # what grew in less time tells nothing of days


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a day, and in how many days the disk is full at this rate; None: it does not fill."""

    bytes_per_day: float
    days_until_full: float | None


def note_size(repository: Repository) -> None:
    """Note what there is now, once an hour. What can't be measured or noted is left out."""
    last = repository.catalog.runs("", SIZE, 1)
    now_ns = clock.now_ns()
    if last and 0 <= now_ns - last[0].time_ns < _AGAIN_NS:
        return
    from recoverd.operations.bounding import room_of  # late: once an hour

    try:
        room = room_of(repository)
    except (RepositoryError, OSError):
        return
    detail = f"{room.size_bytes} {room.free_bytes} {room.total_bytes}"
    repository.catalog.record_run("", SIZE, now_ns, 0.0, "done", detail)


def growth_of(repository: Repository, room: Room, now_ns: int) -> Growth | None:
    """The growth of the last days; None while too little is known of them."""
    return growth(repository.catalog.runs("", SIZE, MOST_NOTES), room, now_ns)


def growth(notes: Sequence[Run], room: Room, now_ns: int) -> Growth | None:
    """From the notes, newest first, and what there is now. Pure.

    The disk fills as fast as the repository grows, or as what is free shrinks: whichever is faster, for others write
    there too. Notes of a disk of another size, or of before the clock was set back, say nothing of this one.
    """
    oldest: tuple[int, int, int] | None = None
    for note in notes:
        size_bytes, free_bytes, total_bytes = map(int, note.detail.split())
        newer_ns = now_ns if oldest is None else oldest[0]
        if total_bytes != room.total_bytes or note.time_ns > newer_ns:
            break
        oldest = note.time_ns, size_bytes, free_bytes
        if now_ns - note.time_ns >= _LONGEST_NS:
            break
    if oldest is None or now_ns - oldest[0] < _SHORTEST_NS:
        return None
    days = (now_ns - oldest[0]) / _DAY_NS
    grown = (room.size_bytes - oldest[1]) / days
    filled = max(grown, (oldest[2] - room.free_bytes) / days)
    return Growth(grown, room.free_bytes / filled if filled >= 1 else None)
