"""Telling whoever is at work that it is time to end."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Stop:
    """Asked once, for good: from then on nobody waits for anything any more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._asked = threading.Event()
        self._calls: dict[int, Callable[[], None]] = {}

    @property
    def is_asked(self) -> bool:
        return self._asked.is_set()

    def ask(self) -> None:
        with self._lock:
            self._asked.set()
            calls = tuple(self._calls.values())
            for call in calls:
                call()

    def wait(self, seconds: float) -> bool:
        """Sleep, unless it is asked; whether it was."""
        return self._asked.wait(seconds)

    @contextmanager
    def calling(self, call: Callable[[], None]) -> Iterator[None]:
        """Within this, `call` is called when it is asked, or at once if it was; it must not block nor raise."""
        key = id(call)
        with self._lock:
            self._calls[key] = call
            if self._asked.is_set():
                call()
        try:
            yield
        finally:
            with self._lock:
                del self._calls[key]

    @contextmanager
    def descriptor(self) -> Iterator[int]:
        """A descriptor that becomes readable when it is asked."""
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

        def tell() -> None:
            with suppress(OSError):
                os.eventfd_write(fd, 1)

        try:
            with self.calling(tell):
                yield fd
        finally:
            os.close(fd)
