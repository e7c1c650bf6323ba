"""Room that restores side by side count on: no two on the same, and who fits is never refused because of others."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoverd.recovery.promised import NoRoom, promised


class Disk:
    """Two devices. Who writes takes room, and never more than there is."""

    def __init__(self, *free_bytes: int) -> None:
        self._free = list(free_bytes)
        self._lock = threading.Lock()

    def free(self, device: int) -> int:
        with self._lock:
            return self._free[device]

    def write(self, device: int, size_bytes: int) -> None:
        with self._lock:
            assert self._free[device] >= size_bytes, "no space left on device"
            self._free[device] -= size_bytes


def side_by_side(works: list[Callable[[], None]]) -> list[BaseException]:
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "somebody waits for ever"
    return errors


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=8),
    st.integers(0, 200),
    st.integers(0, 200),
)
def test_whoever_was_promised_room_has_it(needs: list[tuple[int, int]], one: int, other: int) -> None:
    """Nobody meets a full disk in the middle; who is refused does not fit into what all the others have left."""
    disk = Disk(one, other)
    refused: list[tuple[int, int]] = []

    def work(needed: tuple[int, int]) -> None:
        try:
            with promised(dict(enumerate(needed)), disk.free):
                for device, size_bytes in enumerate(needed):
                    disk.write(device, size_bytes)
        except NoRoom as error:
            assert error.needed_bytes == needed[error.device] > error.free_bytes
            refused.append(needed)

    assert side_by_side([lambda needed=needed: work(needed) for needed in needs]) == []  # type: ignore[misc]
    for needed in refused:
        assert any(size_bytes > disk.free(device) for device, size_bytes in enumerate(needed))


def test_who_fits_but_for_others_waits_for_them() -> None:
    """What others were promised and did not take is room again."""
    disk, told = Disk(100), threading.Event()
    asked = 0

    def free(device: int) -> int:
        nonlocal asked
        asked += 1
        told.set()
        return disk.free(device)

    entered: list[int] = []

    def second() -> None:
        with promised({0: 60}, free):
            entered.append(asked)

    thread = threading.Thread(target=second)
    with promised({0: 80}, disk.free):
        thread.start()
        assert told.wait(60)
        assert entered == []
        with pytest.raises(NoRoom), promised({1: 1}, lambda device: 0):  # what is on another device, is refused
            raise AssertionError("never entered")
    thread.join(60)
    assert entered == [2]
