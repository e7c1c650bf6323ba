"""The plan of a prune: which packs go, which are rewritten together, and when it is better to wait."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from recoverd.repository.repack_plan import (
    COPIED,
    FAN,
    NOT_NEEDED,
    SMALL,
    SPARSE,
    PackFigures,
    RepackLimits,
    RepackPlan,
    plan,
)
from recoverd.values import replace

MIB = 1024 * 1024
WAITING = RepackLimits()
THOROUGH = RepackLimits(waste_share=0)


@st.composite
def packs(draw: st.DrawFn) -> list[PackFigures]:
    """Packs as a repository may have them: full ones, half dead ones, copies, damaged ones, of all sizes."""
    found = []
    for number in range(draw(st.integers(0, 40))):
        size = draw(st.one_of(st.integers(300, 100_000), st.integers(300, 65 * MIB)))
        live = draw(st.one_of(st.just(0), st.just(size), st.integers(1, size)))
        copies = draw(st.booleans()) and draw(st.booleans())
        held = draw(st.integers(0, 9)) == 0
        found.append(PackFigures(f"{number:03}", size, live, number, copies, held))
    return found


def carried_out(figures: list[PackFigures], step: RepackPlan) -> list[PackFigures]:
    """What is left when a step is done: one new pack holds what is needed of its sources."""
    going = {one.name for one in (*step.dead, *step.sources)}
    live = sum(pack.live_bytes for pack in figures if pack.name in {one.name for one in step.sources})
    rest = [pack for pack in figures if pack.name not in going]
    if live:
        rest.insert(0, PackFigures(f"new of {len(going)} {live}", live, live, 0))
    return [replace(pack, age=age) for age, pack in enumerate(rest)]


@given(packs(), st.sampled_from([WAITING, THOROUGH]))
@settings(max_examples=50)
def test_what_is_chosen_may_go(figures: list[PackFigures], limits: RepackLimits) -> None:
    """Promise 7, bounded work: dead is what nothing needs and only that; damaged packs are left alone; one step copies
    no more than it may; every choice has the reason that fits the figures."""
    step = plan(figures, limits)
    by_name = {pack.name: pack for pack in figures}
    dead = {one.name for one in step.dead}
    assert dead == {pack.name for pack in figures if not (pack.live_bytes or pack.copies or pack.held)}
    assert {one.why for one in step.dead} <= {NOT_NEEDED}
    assert dead.isdisjoint(one.name for one in step.sources)
    sources = [(by_name[one.name], one.why) for one in step.sources]
    assert len({pack.name for pack, _ in sources}) == len(sources)
    assert not any(pack.held for pack, _ in sources)
    for pack, why in sources:
        sparse = 2 * pack.live_bytes < pack.size_bytes
        assert {COPIED: not pack.live_bytes, SPARSE: sparse, SMALL: pack.live_bytes < limits.small_bytes}[why]
    copied = [pack.live_bytes for pack, _ in sources]
    assert sum(copied) <= max([limits.copy_bytes, *copied])


@given(packs(), st.sampled_from([WAITING, THOROUGH]))
@settings(max_examples=50)
def test_step_by_step_it_comes_to_an_end(figures: list[PackFigures], limits: RepackLimits) -> None:
    """In the end little is wasted and few packs are left; what is needed is all there; damaged packs never move."""
    needed, held = sum(pack.live_bytes for pack in figures), [pack.name for pack in figures if pack.held]
    steps = 0
    while (step := plan(figures, limits)) != RepackPlan((), ()):
        figures = carried_out(figures, step)
        steps += 1
        assert steps <= 200
    assert sum(pack.live_bytes for pack in figures) == needed
    assert [pack.name for pack in figures if pack.held] == held
    free = [pack for pack in figures if not pack.held]
    live = sum(pack.live_bytes for pack in free)
    assert sum(pack.size_bytes for pack in free) <= (2 + limits.waste_share) * live
    small = [pack for pack in free if pack.live_bytes < limits.small_bytes]
    tiers = (limits.small_bytes.bit_length() + 2) // 3
    assert len(small) <= limits.young + tiers * (FAN - 1)


@given(st.integers(1, 200_000), st.integers(100, 400), st.integers(0, 2**32))
@settings(max_examples=20)
def test_a_byte_is_copied_once_for_each_tier(size: int, count: int, seed: int) -> None:
    """Flash memory: a service that only grows, in packs of any size, has each byte rewritten a logarithmic number of
    times, and never more files than there are tiers and young ones; what has grown large is left alone."""
    figures: list[PackFigures] = []
    copied = 0
    for number in range(count):
        varied = 1 + (size * (1 + (seed >> number % 32) % 3)) // 2
        figures.insert(0, PackFigures(f"p{number}", varied, varied, 0))
        figures = [replace(pack, age=age) for age, pack in enumerate(figures)]
        step = plan(figures, WAITING)
        assert not step.dead
        sources = {one.name for one in step.sources}
        copied += sum(pack.size_bytes for pack in figures if pack.name in sources)
        figures = carried_out(figures, step)
    total = sum(pack.size_bytes for pack in figures)
    tiers = 1
    while size * FAN**tiers < min(total, WAITING.small_bytes * FAN):
        tiers += 1
    assert copied <= (tiers + 1) * total
    large = sum(1 for pack in figures if pack.live_bytes >= WAITING.small_bytes)
    assert len(figures) - large <= WAITING.young + (tiers + 1) * FAN
    assert large <= total // WAITING.small_bytes


def test_sparse_packs_wait_until_their_waste_matters() -> None:
    """A flash disk is not written for a few bytes: below the share nothing is rewritten, above it all of them are."""
    large = PackFigures("large", 1000, 1000, 20)
    few = [large, PackFigures("sparse", 300, 100, 19)]
    assert plan(few, WAITING) == RepackPlan((), ())
    assert [one.why for one in plan(few, THOROUGH).sources] == [SPARSE]
    more = [*few, PackFigures("sparse too", 300, 100, 18)]
    assert Counter(one.why for one in plan(more, WAITING).sources) == {SPARSE: 2}


def test_the_newest_packs_are_not_merged() -> None:
    """Most of what is captured is gone after a few snapshots: merging it would be for nothing."""
    young = [PackFigures(str(age), 1000, 1000, age) for age in range(WAITING.young + FAN - 1)]
    assert plan(young, WAITING) == RepackPlan((), ())
    grown = [*young, PackFigures("oldest", 1000, 1000, len(young))]
    assert len(plan(grown, WAITING).sources) == FAN


def test_a_filled_tier_takes_the_next_one_along() -> None:
    """Eight of a tier that would make the next one full are merged with it at once: one copy less."""
    packs = [PackFigures(f"a{n}", 600, 600, 100 + n) for n in range(FAN)]
    packs += [PackFigures(f"b{n}", 4200, 4200, 200 + n) for n in range(FAN - 1)]
    assert len(plan(packs, WAITING).sources) == 2 * FAN - 1
    assert len(plan(packs[:-1], WAITING).sources) == FAN
