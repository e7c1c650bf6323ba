"""What is seen of services beside restores: proven snapshots, and captures of services that are not healthy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.config.model import Place, Probe, ProbeKind, Retention, Service
from recoverd.operations import proving
from recoverd.operations.processes import driver_of
from recoverd.operations.prune import candidate
from recoverd.repository.records import Marks, Snapshot, SnapshotVerdict
from recoverd.repository.retention import decide
from recoverd.values import replace

House = Any  # of conftest.py, which test files can't import


def start(house: House) -> None:
    driver = driver_of(house.context, house.service)
    assert driver is not None
    driver.start()


def stop(house: House, *, by_operator: bool = False) -> None:
    driver = driver_of(house.context, house.service)
    assert driver is not None
    driver.stop(by_operator=by_operator)


def observe_until(house: House, reached: Callable[[], object]) -> None:
    until = time.monotonic() + 60
    while not reached():
        assert time.monotonic() < until
        proving.observe(house.context, house.service)
        time.sleep(0.01)


@pytest.fixture
def quick(frail: House, monkeypatch: pytest.MonkeyPatch) -> House:
    """Looked at all the time."""
    monkeypatch.setattr(proving, "EVERY_S", 0.0)
    monkeypatch.setattr(proving, "REST_S", 0.0)
    return frail


def proven(house: House) -> list[int]:
    return [one.snapshot.sequence for one in house.list() if one.marks.proven_ns is not None]


def test_a_snapshot_is_proven_once_its_service_was_healthy_for_its_time(quick: House) -> None:
    """After the capture, not only after a restore; and then a quiet service costs no look any more."""
    start(quick)
    quick.snapshot()
    observe_until(quick, lambda: proven(quick))
    assert proven(quick) == [1]
    looks = quick.context.observing["app"].observed.last
    for _ in range(20):
        proving.observe(quick.context, quick.service)
    watch = quick.context.observing["app"]
    assert watch.look is None and watch.observed.last is looks


def test_marks_reach_the_disk_once_an_hour(quick: House, monkeypatch: pytest.MonkeyPatch) -> None:
    start(quick)
    quick.snapshot()
    observe_until(quick, lambda: proven(quick))
    quick.write(7)
    quick.snapshot()
    for _ in range(20):
        proving.observe(quick.context, quick.service)
    assert quick.context.observing["app"].look is None and proven(quick) == [1]
    monkeypatch.setattr(proving, "HOUR_NS", 0)
    observe_until(quick, lambda: 2 in proven(quick))


def test_what_is_not_healthy_proves_nothing(quick: House) -> None:
    quick.write(1, poison=True)
    quick.snapshot()
    start(quick)
    observe_until(quick, lambda: (last := quick.context.observing["app"].observed.last) and last.healthy is False)
    assert not proven(quick)


def test_it_never_waits_for_a_service(quick: House) -> None:
    """A probe that hangs keeps nobody: neither the scheduler's loop nor, after the first time, a capture."""
    quick.change(
        health=replace(
            quick.service.health, probes=(Probe(ProbeKind.COMMAND, command=("sleep", "60"), timeout_s=60.0),)
        )
    )
    start(quick)
    quick.snapshot()
    watch = quick.context.observing["app"]
    assert watch.is_slow and watch.look is not None
    look = watch.look
    for number in range(1, 4):
        quick.write(number)
        assert quick.snapshot().outcome == "saved"
        proving.observe(quick.context, quick.service)
    assert watch.look is look and look.marks == {1, 2, 3, 4}  # one look, whatever is asked; its answer is for all
    assert not any(one.marks.unhealthy for one in quick.list())


def test_captures_of_a_service_that_is_not_healthy_are_marked(quick: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marked before retention looks at them; unmarked by the proof that it was only starting."""
    monkeypatch.setattr(proving, "FRESH_S", -1.0)
    start(quick)
    observe_until(quick, lambda: proving.glance(quick.service, driver_of(quick.context, quick.service)).healthy)
    assert quick.snapshot().healthy is True
    quick.write(1, poison=True)
    stop(quick)
    made = quick.snapshot()
    assert (made.outcome, made.healthy) == ("saved", False)
    assert quick.list()[0].marks.unhealthy and "invalid" in quick.list()[0].kept_by
    quick.write(2)
    stop(quick, by_operator=True)
    assert quick.snapshot().healthy is None and not quick.list()[0].marks.unhealthy  # down on purpose
    quick.context.repository().set_marks("app", 3, lambda marks: replace(marks, unhealthy=True))
    start(quick)
    observe_until(quick, lambda: 3 in proven(quick))
    assert not quick.list()[0].marks.unhealthy


def test_a_crash_loop_on_valid_state_does_not_rotate_the_working_copies_out(frail: House) -> None:
    """Recovery.md: they use the allowance of invalid ones; and a restore gets to a copy that works within its
    attempts, however many of the others there are."""
    frail.change(retention=Retention(last=3, keep_invalid=5))
    for number in range(3):
        frail.write(number)
        frail.snapshot()
    frail.start()
    for number in range(8):
        frail.write(100 + number, poison=True)
        stop(frail)
        start(frail)  # and ends at once
        until = time.monotonic() + 60
        while frail.running():
            assert time.monotonic() < until
            time.sleep(0.01)
        frail.reopen()  # captured by a process of its own, as by a timer
        assert frail.snapshot().healthy is False
    kept = {one.snapshot.sequence for one in frail.list()}
    assert {1, 2, 3} <= kept and len(kept) == 8
    frail.state.write_bytes(b"")
    result = frail.restore()
    assert (result.outcome, result.healthy, result.exit_status) == ("restored", True, 0), result
    assert [one.result for one in result.attempts] == ["rejected", "restored"]
    assert b'"counter": 2' in frail.state.read_bytes()


def test_a_start_by_hand_proves_what_a_boot_restored(frail: House) -> None:
    """`recoverd start` proves: then nothing is taken back for it any more."""
    from recoverd.operations.boot import boot
    from recoverd.operations.lifecycle import start as start_services

    frail.snapshot()
    frail.state.write_bytes(b"")
    boot(frail.context)
    assert frail.context.repository().record("app").last_restore
    assert start_services(frail.context, ("app",)).exit_status == 0
    assert not frail.context.repository().record("app").last_restore and proven(frail) == [1]


MARKS = st.builds(
    Marks,
    proven_ns=st.none() | st.integers(1, 9),
    drilled_ns=st.none() | st.integers(1, 9),
    unhealthy=st.booleans(),
    pinned=st.booleans(),
)


@given(
    st.lists(st.tuples(MARKS, st.sampled_from(SnapshotVerdict), st.integers(0, 10**9)), min_size=1, max_size=20),
    st.builds(Retention, last=st.integers(0, 3), keep_invalid=st.integers(0, 3)),
)
def test_the_newest_proven_and_the_newest_that_counts_are_never_deleted(
    history: list[tuple[Marks, SnapshotVerdict, int]], policy: Retention
) -> None:
    """Promise 3, whatever the clock said, and whether a restore, a scheduler or a drill proved it."""
    candidates = [
        candidate(Snapshot("app", number, time_ns, "boot", "host", verdict, {}), marks)
        for number, (marks, verdict, time_ns) in enumerate(history)
    ]
    kept = {one.sequence for one in decide(policy, candidates, now_ns=5 * 10**8, protected={}) if one.keep}
    sequences = range(len(history) - 1, -1, -1)
    newest_proven = next(
        (n for n in sequences if history[n][0].proven_ns is not None or history[n][0].drilled_ns is not None), None
    )
    newest_good = next((n for n in sequences if history[n][1].counts and not history[n][0].unhealthy), None)
    assert {one for one in (newest_proven, newest_good) if one is not None} <= kept


def test_state_only_services_are_not_looked_at(house: House) -> None:
    house.snapshot()
    proving.observe_all(house.context)
    assert not house.context.observing and house.snapshot().healthy is None
    assert Service("other", Place("x", 1, 1)).health.probes == ()
