"""The thread that compresses and writes: in order, bounded, and no later piece is done after one that failed."""

from __future__ import annotations

import threading

import pytest

from recoverd.repository.side_thread import SideThread


def test_in_order() -> None:
    side, done = SideThread(4), list[int]()
    for number in range(100):
        side.give(done.append, number)
    side.wait()
    assert done == list(range(100))
    assert not side.is_busy
    side.close()


def test_bounded() -> None:
    """Who gives more than may wait is held up: memory does not follow what is stored."""
    side, gate, given = SideThread(3), threading.Event(), list[int]()

    def give() -> None:
        for number in range(10):
            side.give(gate.wait)
            given.append(number)

    giver = threading.Thread(target=give)
    giver.start()
    giver.join(0.2)
    assert len(given) <= 3
    gate.set()
    giver.join()
    side.wait()
    assert len(given) == 10
    side.close()


def test_a_failure_is_told_and_ends_it() -> None:
    """What lies behind a piece that failed would be where nobody looks for it."""
    side, done = SideThread(100), list[int]()

    def fail() -> None:
        raise OSError(28, "No space left on device")

    side.give(done.append, 1)
    side.give(fail)
    with pytest.raises(OSError, match="No space left"):
        side.wait()
    for _ in range(2):
        with pytest.raises(OSError, match="No space left"):
            side.give(done.append, 2)
            side.wait()
    side.close()
    assert done == [1]


def test_close_begins_nothing() -> None:
    side, begun, gate, done = SideThread(100), threading.Event(), threading.Event(), list[str]()

    def first() -> None:
        begun.set()
        gate.wait()
        done.append("in hand")

    side.give(first)
    side.give(done.append, "waiting")
    begun.wait()
    closer = threading.Thread(target=side.close)
    closer.start()
    closer.join(0.1)
    gate.set()
    closer.join()
    assert done == ["in hand"]
    side.close()
