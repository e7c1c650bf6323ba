"""Room on file systems that restores of this process are about to fill: two side by side must not both count on it.

Each has looked at what is free before it writes. What others were promised and have not written yet is not free, so
who would fit but for them waits until they are done; only who fits even then no more is told that there is no room.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

_promised: dict[int, dict[int, int]] = {}  # device -> who -> bytes
_changed = threading.Condition()


class NoRoom(Exception):
    """There is too little even when nobody else writes."""

    def __init__(self, device: int, needed_bytes: int, free_bytes: int) -> None:
        super().__init__(device)
        self.device = device
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


@contextmanager
def promised(needed_bytes: Mapping[int, int], free_bytes: Callable[[int], int]) -> Iterator[None]:
    """For as long as the block writes, so many bytes on each device are its own. Raises NoRoom, and what `free_bytes`
    (of a device, now) raises.

    Nobody waits while something is promised to him, so none waits for ever.
    """
    with _changed:
        while not _fits(needed_bytes, free_bytes):
            _changed.wait()
        mine = threading.get_ident()
        for device, size_bytes in needed_bytes.items():
            _promised.setdefault(device, {})[mine] = size_bytes
    try:
        yield
    finally:
        with _changed:
            for device in needed_bytes:
                del _promised[device][mine]
            _changed.notify_all()


def _fits(needed_bytes: Mapping[int, int], free_bytes: Callable[[int], int]) -> bool:
    """Whether there is room for all now. Raises NoRoom where waiting would not help."""
    fits = True
    for device, size_bytes in needed_bytes.items():
        free = free_bytes(device)
        others = sum(_promised.get(device, {}).values())
        if size_bytes > free and not others:
            raise NoRoom(device, size_bytes, free)
        fits = fits and size_bytes + others <= free
    return fits
