"""Which snapshots go when the repository is too large or its disk too full: properties of the pure decision."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import RepositoryConfig
from recoverd.repository.bounds import MAX_BYTES, MIN_FREE, Expendable, Room, Unmet, next_round, order, unmet

SERVICES = "abc"


def histories() -> st.SearchStrategy[list[list[Expendable]]]:
    """Some services with snapshots of any size and time; sequences rise, times need not."""

    def one(service: str) -> st.SearchStrategy[list[Expendable]]:
        snapshot = st.tuples(st.integers(0, 50), st.booleans(), st.integers(0, 1000))
        return st.lists(snapshot, max_size=8).map(
            lambda found: [Expendable(service, n, *values) for n, values in enumerate(found, 1)]
        )

    return st.tuples(*map(one, SERVICES)).map(list)


@given(histories())
def test_everything_goes_once_evidence_first_and_each_service_from_its_oldest_on(
    services: list[list[Expendable]],
) -> None:
    """Promise 2: a snapshot that does not count never pushes a good one out."""
    found = order(services)
    assert sorted(found, key=repr) == sorted((one for history in services for one in history), key=repr)
    counts = [one.counts for one in found]
    assert counts == sorted(counts)
    for history in services:
        for kind in (False, True):
            mine = [one for one in found if one.counts is kind and history and one.service == history[0].service]
            assert mine == [one for one in history if one.counts is kind]


@given(histories())
def test_always_the_service_whose_history_takes_the_most_gives(services: list[list[Expendable]]) -> None:
    """Fair: no service loses anything while the rest of another one's history takes more; equal ones by age."""
    rest: dict[tuple[str, bool], list[Expendable]] = defaultdict(list)
    for one in (one for history in services for one in history):
        rest[one.service, one.counts].append(one)
    for one in order(services):
        waiting = {service: left for (service, counts), left in rest.items() if counts is one.counts and left}
        weight = {service: sum(each.frees_bytes for each in left) for service, left in waiting.items()}
        assert weight[one.service] == max(weight.values())
        equal = [waiting[service][0].time_ns for service in waiting if weight[service] == weight[one.service]]
        assert one.time_ns == min(equal)
        rest[one.service, one.counts].remove(one)


def test_equal_services_lose_their_oldest_in_turn() -> None:
    services = [[Expendable(name, n, 2 * n + index, True, 10) for n in (1, 2, 3)] for index, name in enumerate("ab")]
    assert [(one.service, one.sequence) for one in order(services)] == [
        ("a", 1), ("b", 1), ("a", 2), ("b", 2), ("a", 3), ("b", 3),
    ]  # fmt: skip


def test_a_small_service_is_not_emptied_for_a_large_one() -> None:
    """Old snapshots of a quiet service stay as long as those of a busy one can go."""
    quiet = [Expendable("quiet", n, n, True, 10) for n in range(1, 4)]
    busy = [Expendable("busy", n, 1000 + n, True, 1000) for n in range(1, 100)]
    assert {one.service for one in order([quiet, busy])[:99]} == {"busy"}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=40), st.integers(1, 10**7), st.integers(0, 60))
def test_a_round_takes_what_is_needed_and_never_nothing(sizes: list[int], missing: int, number: int) -> None:
    """No more than is believed to be missing (and at most twice as many as before), unless the rounds grow too many."""
    waiting = [Expendable("a", n, n, True, size) for n, size in enumerate(sizes, 1)]
    count = next_round(waiting, missing, number)
    assert 1 <= count <= len(waiting)
    assert count <= max(1, 1 << number)
    fewest = min(len(waiting), 1 << number // 4)
    assert count == fewest or sum(sizes[: count - 1]) < missing


@pytest.mark.parametrize("believed", [0, 1, 10**12])
def test_ten_thousand_take_few_rounds_whatever_is_believed(believed: int) -> None:
    """Cost: each round lists the repository once."""
    waiting, rounds = [Expendable("a", n, n, True, believed) for n in range(1, 10_001)], 0
    while waiting:
        waiting = waiting[next_round(waiting, 10**9, rounds) :]
        rounds += 1
    assert rounds < 60


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (RepositoryConfig("/r"), ()),
        (RepositoryConfig("/r", max_bytes=100, min_free_bytes=50, min_free_share=None), ()),
        (RepositoryConfig("/r", max_bytes=99), (Unmet(MAX_BYTES, 99, 100),)),
        (RepositoryConfig("/r", min_free_bytes=51), (Unmet(MIN_FREE, 51, 50),)),
        (RepositoryConfig("/r", min_free_share=0.05), ()),
        (RepositoryConfig("/r", min_free_share=0.051), (Unmet(MIN_FREE, 51, 50),)),
        (RepositoryConfig("/r", min_free_bytes=150), (Unmet(MIN_FREE, 150, 50),)),
        (RepositoryConfig("/r", min_free_bytes=151), (Unmet(MIN_FREE, 151, 50, in_reach=False),)),
        (RepositoryConfig("/r", max_bytes=10, min_free_bytes=60), (Unmet(MAX_BYTES, 10, 100), Unmet(MIN_FREE, 60, 50))),
    ],
)
def test_which_bounds_are_not_met(config: RepositoryConfig, found: tuple[Unmet, ...]) -> None:
    """A repository of 100 bytes on a disk of 1000, of which 50 are free: exactly at a bound is within it."""
    assert unmet(config, Room(100, 50, 1000)) == found
    assert all(one.missing_bytes > 0 for one in found)


def test_a_file_system_that_tells_no_size_is_not_taken_for_full() -> None:
    """Some FUSE file systems answer statvfs(3) with zeros: nothing may go for that."""
    assert unmet(RepositoryConfig("/r", min_free_bytes=50), Room(100, 0, 0)) == ()
