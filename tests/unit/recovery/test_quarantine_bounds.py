"""What may go from quarantine: never the newest of a service, nothing that no proven snapshot follows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recoverd.recovery.quarantine_bounds import Kept, decide

DAY = 86400
NS = 1_000_000_000


def kept(service: str, day: int, size: int = 1, *, proven: bool = True) -> Kept:
    return Kept(service, f"{service}{day}", day * DAY * NS, day, size, proven)


def ids(found: object) -> list[tuple[str, str]]:
    return [(one.id, rule) for one, rule in found.going]  # type: ignore[attr-defined]


def test_by_age() -> None:
    """Older than `keep` goes; what is exactly as old stays; the newest stays however old it is."""
    everything = [kept("a", 0), kept("a", 1), kept("a", 2), kept("b", 0)]
    found = decide(everything, keep_s=9 * DAY, max_bytes=None, now_ns=10 * DAY * NS)
    assert ids(found) == [("a0", "keep")]


def test_by_bytes() -> None:
    """The oldest of all services first, only until it is enough."""
    everything = [kept("a", 3, 10), kept("b", 1, 10), kept("b", 2, 10), kept("b", 9, 10), kept("a", 9, 10)]
    found = decide(everything, keep_s=99 * DAY, max_bytes=35, now_ns=10 * DAY * NS)
    assert ids(found) == [("b1", "max_bytes"), ("b2", "max_bytes")]
    assert found.excess_bytes == 0


def test_what_must_stay() -> None:
    """The bound gives way, and says by how much."""
    everything = [kept("a", 0, 10, proven=False), kept("a", 1, 10), kept("a", 2, 10)]
    found = decide(everything, keep_s=0.0, max_bytes=5, now_ns=10 * DAY * NS)
    assert ids(found) == [("a1", "keep")]
    assert found.excess_bytes == 15


def test_a_clock_that_was_set_back() -> None:
    """What is from the future is not old, and the newest is so by its sequence."""
    everything = [Kept("a", "first", 50 * DAY * NS, 1, 1, True), Kept("a", "second", 5 * DAY * NS, 2, 1, True)]
    assert not decide(everything, keep_s=DAY, max_bytes=None, now_ns=10 * DAY * NS).going


@given(
    st.lists(
        st.builds(
            lambda service, number, size, proven, time: Kept(service, str(number), time, number, size, proven),
            st.sampled_from("abc"),
            st.integers(0, 30),
            st.integers(0, 100),
            st.booleans(),
            st.integers(0, 40 * DAY * NS),
        ),
        unique_by=lambda one: (one.service, one.sequence),
    ),
    st.integers(0, 40),
    st.none() | st.integers(0, 500),
)
def test_the_rules_hold(everything: list[Kept], days: int, most: int | None) -> None:
    """Promise 4: whatever the bounds, and whatever the clock said."""
    now_ns = 30 * DAY * NS
    found = decide(everything, keep_s=days * DAY, max_bytes=most, now_ns=now_ns)
    gone = [one for one, _ in found.going]
    stays = [one for one in everything if one not in gone]
    assert all(one.proven for one in gone)
    assert {one.service for one in everything} == {one.service for one in stays}
    for service in {one.service for one in gone}:
        assert max(one.sequence for one in gone if one.service == service) < max(
            one.sequence for one in stays if one.service == service
        )
    free = [
        one
        for one in stays
        if one.proven and one.sequence < max(x.sequence for x in everything if x.service == one.service)
    ]
    assert not [one for one in free if now_ns - one.time_ns > days * DAY * NS], "old, and it could have gone"
    if most is not None:
        total = sum(one.size_bytes for one in stays)
        assert found.excess_bytes == max(0, total - most)
        assert not free or total <= most
    by_bytes = [one for one, rule in found.going if rule == "max_bytes"]
    assert all(one.time_ns <= other.time_ns for one in by_bytes for other in free)
