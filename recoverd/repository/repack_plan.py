"""Which packs to delete, and which to write anew together. Pure: figures in, choices with reasons out.

- What nothing needs is deleted.
- **Sparse** packs, below half needed, are rewritten once their waste is more than a share of all that is needed.
  Copying costs less than it frees, so each byte that dies is paid for at most once; and the packs never take much more
  than twice what is needed.
- **Small** packs are merged by tiers: one tier for each power of 8 of the bytes needed in them. Eight of a tier become
  one of the next, so that a byte is copied once for each tier (logarithmic: flash memory), and only so many files stay
  as there are tiers, times seven. The newest packs wait: most of what is captured is gone after a few snapshots.
"""

from __future__ import annotations

from collections.abc import Sequence

from recoverd.values import dataclass

FAN = 8  # packs of one tier that become one
_FAN_BITS = FAN.bit_length() - 1

NOT_NEEDED = "nothing needs it"
COPIED = "other packs hold all that is needed of it"
SPARSE = "less than half of it is needed"
SMALL = f"{FAN} or more packs are about as small"


@dataclass(frozen=True, slots=True)
class PackFigures:
    """What the decision has to know of one pack.

    `live_bytes`: its share for the objects that are needed and for which it is to provide the copy; never more than
    `size_bytes`, and equal to it where everything is needed. `age`: how many packs are newer. `copies`: it also holds
    needed objects that other packs provide. `held`: something that is needed is damaged, and lies only there.
    """

    name: str
    size_bytes: int
    live_bytes: int
    age: int
    copies: bool = False
    held: bool = False


@dataclass(frozen=True, slots=True)
class RepackLimits:
    """`copy_bytes`: copied by one plan at most, unless one pack alone takes more. `small_bytes`: larger packs are not
    merged. `young`: so many of the newest packs are not merged either. `waste_share`: sparse packs wait while their
    waste is no more than this share of what is needed."""

    copy_bytes: int = 32 * 1024 * 1024
    small_bytes: int = 4 * 1024 * 1024
    young: int = 16
    waste_share: float = 0.25


@dataclass(frozen=True, slots=True)
class Choice:
    """What becomes of one pack, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class RepackPlan:
    """`dead` packs are deleted. What is needed of `sources` goes into one new pack; then they are deleted too."""

    dead: tuple[Choice, ...]
    sources: tuple[Choice, ...]


def plan(packs: Sequence[PackFigures], limits: RepackLimits) -> RepackPlan:
    """One step; when it is done and the figures are taken anew, the next step goes on. In the end nothing is chosen.

    A pack that is `held` is left alone.
    """
    dead = tuple(Choice(pack.name, NOT_NEEDED) for pack in packs if not (pack.live_bytes or pack.copies or pack.held))
    rest = [pack for pack in packs if (pack.live_bytes or pack.copies) and not pack.held]
    chosen: dict[str, str] = {pack.name: COPIED for pack in rest if not pack.live_bytes}
    room = limits.copy_bytes
    sparse = [pack for pack in rest if pack.name not in chosen and _is_sparse(pack)]
    waste = sum(pack.size_bytes - pack.live_bytes for pack in sparse)
    if waste > limits.waste_share * sum(pack.live_bytes for pack in rest):
        for place, pack in enumerate(sorted(sparse, key=lambda one: (one.live_bytes / one.size_bytes, one.name))):
            if pack.live_bytes <= room or not place:
                room -= pack.live_bytes
                chosen[pack.name] = SPARSE
    for pack in _smallest_full([pack for pack in rest if pack.name not in chosen], limits, room):
        chosen[pack.name] = SMALL
    return RepackPlan(dead, tuple(Choice(pack.name, chosen[pack.name]) for pack in rest if pack.name in chosen))


def _is_sparse(pack: PackFigures) -> bool:
    return 2 * pack.live_bytes < pack.size_bytes


def _smallest_full(packs: Sequence[PackFigures], limits: RepackLimits, room: int) -> list[PackFigures]:
    """The packs of the smallest tier that is full, and of those above which are filled by what becomes of it."""
    tiers: dict[int, list[PackFigures]] = {}
    for pack in packs:
        if pack.live_bytes < limits.small_bytes and pack.age >= limits.young:
            tiers.setdefault((pack.live_bytes.bit_length() - 1) // _FAN_BITS, []).append(pack)
    group: list[PackFigures] = []
    for tier in sorted(tiers):
        if len(tiers[tier]) + bool(group) >= FAN:
            group += tiers[tier]
        elif group:
            break
    taken: list[PackFigures] = []
    for pack in sorted(group, key=lambda one: (one.live_bytes, -one.age, one.name)):
        room -= pack.live_bytes
        if room < 0:
            break
        taken.append(pack)
    return taken if len(taken) > 1 else []
