"""Signals as messages: what the main loop reads from its mailbox, beside the marks of the timetable."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable
from enum import Enum, auto
from types import FrameType, TracebackType
from typing import Any

from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Changed:
    """This service should be captured since it changed, or since nobody knows whether it did."""

    service: str
    why: str


class Request(Enum):
    STOP = auto()
    RELOAD = auto()


class Mailbox:
    """Marks (names of services that are due, services that changed) and requests, in the order in which they came.

    `put` is safe in signal handlers: SimpleQueue is reentrant, unlike locks and Queue.
    """

    def __init__(self) -> None:
        self._messages: queue.SimpleQueue[str | Changed | Request] = queue.SimpleQueue()
        self.put: Callable[[str | Changed | Request], None] = self._messages.put

    def get(self, timeout_s: float) -> str | Changed | Request | None:
        """The next message; None when none came within `timeout_s` seconds."""
        try:
            return self._messages.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return None


class AskedTwice(BaseException):
    """A second SIGTERM or SIGINT: whoever sends it does not want to wait for the capture under way."""


class Signals:
    """While entered: SIGTERM and SIGINT ask to stop, SIGHUP asks to reload. Main thread only.

    A second SIGTERM or SIGINT raises AskedTwice wherever the main thread is. One that follows within `same_s`
    seconds is taken for the same wish: Ctrl-C reaches a whole process group, and parents pass it on.
    """

    _STOP = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, mailbox: Mailbox, *, same_s: float) -> None:
        self._mailbox, self._same_s = mailbox, same_s
        self._asked_at: float | None = None
        self._armed = True
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Signals:
        for number in (*self._STOP, signal.SIGHUP):
            handler = self._reload if number == signal.SIGHUP else self._stop
            self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.disarm()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def disarm(self) -> None:
        """From now on no signal raises anything."""
        self._armed = False

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (the signature of a handler)
        now = time.monotonic()
        if self._asked_at is None:
            self._asked_at = now
            self._mailbox.put(Request.STOP)
        elif self._armed and now - self._asked_at > self._same_s:
            self._armed = False
            raise AskedTwice

    def _reload(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 (the signature of a handler)
        self._mailbox.put(Request.RELOAD)
