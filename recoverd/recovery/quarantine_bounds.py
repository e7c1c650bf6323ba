"""Which quarantines may go, and why: a pure decision over what restores replaced."""

from __future__ import annotations

from collections.abc import Iterable

from recoverd.values import dataclass

_SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Kept:
    """One quarantine. `proven`: a snapshot was proven after it, so nobody needs what was replaced to get well."""

    service: str
    id: str
    time_ns: int
    sequence: int
    size_bytes: int
    proven: bool


@dataclass(frozen=True, slots=True)
class Bounds:
    """What goes, oldest first, each with the reason; and by how much `max_bytes` is exceeded by what must stay."""

    going: tuple[tuple[Kept, str], ...]
    excess_bytes: int = 0


def decide(quarantines: Iterable[Kept], *, keep_s: float, max_bytes: int | None, now_ns: int) -> Bounds:
    """Those older than `keep_s` go, and then the oldest of all services until the rest takes at most `max_bytes`.

    Never the newest of a service, and none that no proven snapshot follows. One from the future is not old.
    """
    everything = sorted(quarantines, key=lambda one: (one.time_ns, one.service, one.sequence))
    newest: dict[str, Kept] = {}
    for one in everything:
        if one.service not in newest or one.sequence > newest[one.service].sequence:
            newest[one.service] = one
    free = [one for one in everything if one.proven and one is not newest[one.service]]
    going = [(one, "keep") for one in free if now_ns - one.time_ns > keep_s * _SECOND_NS]
    total = sum(one.size_bytes for one in everything) - sum(one.size_bytes for one, _ in going)
    if max_bytes is None:
        return Bounds(tuple(going))
    for one in free[len(going) :]:  # both are oldest first
        if total <= max_bytes:
            break
        going.append((one, "max_bytes"))
        total -= one.size_bytes
    return Bounds(tuple(going), max(0, total - max_bytes))
