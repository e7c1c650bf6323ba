"""A thread beside the one that stores: it does what it is given, in that order."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any


class SideThread:
    """Started with the first piece of work. Given to, waited for and closed by one thread.

    `most_waiting` pieces may be unfinished; who gives more waits. Behind a piece that fails no other one is done.
    """

    def __init__(self, most_waiting: int) -> None:
        self.finished = 0  # pieces
        self._given = self._heard = 0
        self._most_waiting = most_waiting
        self._work: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]] | None] = SimpleQueue()
        self._told: SimpleQueue[None] = SimpleQueue()
        self._failed: BaseException | None = None
        self._thread: Thread | None = None
        self._closed = False

    @property
    def given(self) -> int:
        """Pieces of work so far."""
        return self._given

    @property
    def is_busy(self) -> bool:
        return self.finished < self._given

    def give(self, work: Callable[..., object], *arguments: Any) -> None:
        """Raises what an earlier piece raised."""
        if self._thread is None:
            self._thread = Thread(target=self._run, name="recoverd-pack", daemon=True)
            self._thread.start()
        self._given += 1
        self._work.put((work, arguments))
        self.wait_for(self._given - self._most_waiting)

    def wait_for(self, pieces: int) -> None:
        """Until so many are finished. Raises what one of them raised."""
        while self._heard < pieces:
            self._told.get()
            self._heard += 1
        if self._failed is not None:
            raise self._failed

    def wait(self) -> None:
        """Until all are finished. Raises what one of them raised."""
        self.wait_for(self._given)

    def close(self) -> None:
        """End it: what it has in hand is finished first, what waits is not begun."""
        if self._thread is not None:
            self._closed = True
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (piece := self._work.get()) is not None:
            if self._failed is None and not self._closed:
                work, arguments = piece
                try:
                    work(*arguments)
                except BaseException as error:
                    self._failed = error
            del piece  # what it holds is large, and the next may be long in coming
            self.finished += 1
            self._told.put(None)
