"""Watching the state of services that are saved on change: a thread that reads events and says what is due.

It keeps within a tenth of one processor whatever a service does: events are read in batches with pauses that follow
the work; what can't be kept up with is closed, and everything is looked at once instead.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from collections.abc import Callable, Iterable

from recoverd.config.model import OnChange, Service
from recoverd.events.text import duration
from recoverd.operations.snapshot import FAILED, ServiceSnapshot
from recoverd.operations.watched import Watched
from recoverd.recovery.partial import Hints, ServiceHints
from recoverd.scheduler.news import News
from recoverd.scheduler.quiet import FULL_LOOK_EVERY_S, LOOK_EVERY_S, Unsaved, due_s, rested_s, seen
from recoverd.scheduler.signals import Changed
from recoverd.scheduler.watches import CannotWatch, Overflow, Watches
from recoverd.system import clock
from recoverd.values import dataclass

_LOG = logging.getLogger("recoverd.scheduler")
_BATCHES = 8  # read at once; the kernel keeps 16384 events by default


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How the thread spends its time, in seconds."""

    pause_s: float = 0.05  # between reads, so that one read takes many events
    idle_share: float = 9.0  # so much longer than the work of a round is the pause after it, if that is more
    longest_pause_s: float = 2.0
    anchors_s: float = 2.0  # how often it is looked whether paths still lead to what is watched
    full_look_s: float = FULL_LOOK_EVERY_S
    look_s: float = LOOK_EVERY_S
    retry_first_s: float = 1.0  # after a capture that failed; doubled each time
    retry_most_s: float = 60.0


class _Service:
    """One service, as the thread knows it."""

    def __init__(self, service: Service, rule: OnChange) -> None:
        self.service, self.rule = service, rule
        self.watches: Watches | None = None
        self.cannot: CannotWatch | None = None
        self.news = News(everything=True)
        self.why = "what changed before the start is not known"
        self.unsaved: Unsaved | None = None
        self.taken: dict[str, Hints] | None = None  # by the capture under way; None: everything
        self.under_way = self.marked = self.flooded = False
        self.since: int | None = None  # the snapshot that the news are counted from
        self.began_s = self.rested_s = 0.0
        self.full_s: float | None = None  # when everything is looked at next; None: when somebody asks first
        self.again_s = 0.0  # when it is tried again to watch what could not be
        self.failures = 0

    @property
    def looks_itself(self) -> bool:
        """Whether nothing else looks at it now and then where it can't be watched."""
        return self.service.autosave.every_s is None


class Watcher:
    """Watches services, from `start` to `stop`. All methods are called on the main thread, `mark` on another."""

    def __init__(self, services: Iterable[Service], mark: Callable[[Changed], None], rhythm: Rhythm) -> None:
        self._mark, self._rhythm = mark, rhythm
        self._watched = {
            service.name: _Service(service, service.autosave.on_change)
            for service in services
            if service.autosave.on_change is not None
        }
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._anchors_s = 0.0
        self._wake_fd = -1
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; each service is marked once it is watched."""
        if self._watched:
            self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._thread = threading.Thread(target=self._run, name="watching", daemon=True)
            self._thread.start()

    def stop(self) -> frozenset[str]:
        """End; the services of which changes were seen that no capture has looked at."""
        if self._thread is None:
            return frozenset()
        self._stopping.set()
        os.eventfd_write(self._wake_fd, 1)
        self._thread.join()
        self._thread = None
        os.close(self._wake_fd)
        self._wake_fd = -1
        for one in self._watched.values():
            self._read(one, clock.monotonic_s(), anchors=True)
            self._close(one)
        return frozenset(name for name, one in self._watched.items() if one.unsaved is not None)

    def take(self, names: Iterable[str]) -> dict[str, ServiceHints]:
        """A capture of these services begins now: what may have changed, for those of which that is known."""
        found = {}
        with self._lock:
            for one in self._of(names):
                known = one.watches is not None and one.since is not None and not one.news.everything
                one.taken = one.news.hints() if known else None
                if one.taken is not None and one.since is not None:
                    found[one.service.name] = ServiceHints(one.since, one.taken)
                one.news, one.unsaved = News(), None
                one.marked, one.under_way, one.began_s = False, True, clock.monotonic_s()
        return found

    def done(self, names: Iterable[str], results: Iterable[ServiceSnapshot]) -> None:
        """The capture of these services has ended; without a result it could not even begin."""
        by_name = {result.service: result for result in results}
        now_s = clock.monotonic_s()
        with self._lock:
            for one in self._of(names):
                one.under_way = False
                result = by_name.get(one.service.name)
                if result is None or result.outcome == FAILED:
                    self._failed(one, now_s, alone=result is not None and not result.busy)
                else:
                    self._succeeded(one, result, now_s)
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def unchanged_since(self) -> dict[str, int]:
        """Services of which nothing has changed since a snapshot, with its sequence."""
        with self._lock:
            return {
                name: one.since
                for name, one in self._watched.items()
                if one.watches is not None
                and one.since is not None
                and one.unsaved is None
                and not (one.marked or one.under_way or one.news.told)
            }

    def state(self) -> dict[str, Watched]:
        """How each service is watched; those that the thread has not come to yet are left out."""
        with self._lock:
            found = {}
            for name, one in self._watched.items():
                if one.cannot is not None:
                    found[name] = Watched(0, one.cannot.why, one.cannot.hint, self._looks_s(one))
                elif one.watches is not None:
                    found[name] = Watched(len(one.watches))
            return found

    def _of(self, names: Iterable[str]) -> list[_Service]:
        return [self._watched[name] for name in names if name in self._watched]

    def _failed(self, one: _Service, now_s: float, *, alone: bool) -> None:
        """What was taken is still to be captured. Where another recoverd was at it, nobody knows."""
        if one.taken is None or not alone:
            one.why = "its last capture could not be made"
            one.news.all_changed()
        else:
            one.news.add(one.taken, is_news=True)
        one.unsaved = seen(one.unsaved, now_s)
        one.rested_s = now_s + min(self._rhythm.retry_first_s * 2 ** min(one.failures, 30), self._rhythm.retry_most_s)
        one.failures += 1

    def _succeeded(self, one: _Service, result: ServiceSnapshot, now_s: float) -> None:
        one.failures = 0
        one.why = "more changed than is worth naming"  # if it comes to that
        one.since = result.sequence
        one.news.add(result.touched, is_news=False)
        one.rested_s = rested_s(one.began_s, now_s, named=one.taken is not None, flooded=one.flooded)
        one.flooded = False
        if one.taken is None:
            polled = one.cannot is not None and one.looks_itself
            one.full_s = now_s + (self._rhythm.look_s if polled else self._rhythm.full_look_s)

    # -- the thread ---------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            for one in self._watched.values():
                with self._lock:
                    self._open(one)
                    self._say_due(one)
            while not self._stopping.is_set():
                began_s = clock.monotonic_s()
                with self._lock:
                    self._round(began_s)
                work_s = clock.monotonic_s() - began_s
                idle_s = min(work_s * self._rhythm.idle_share, self._rhythm.longest_pause_s)
                self._stopping.wait(max(self._rhythm.pause_s, idle_s))
                self._wait()
        except Exception as error:  # whatever it is, autosave goes on
            _LOG.error("this is a mistake in recoverd; please report it", exc_info=error)
            with self._lock:
                for one in self._watched.values():
                    self._give_up(one, CannotWatch(f"watching ended: {type(error).__name__}: {error}"))
            while not self._stopping.wait(1.0):
                with self._lock:
                    for one in self._watched.values():
                        self._see_what_is_due(one, clock.monotonic_s())

    def _round(self, now_s: float) -> None:
        """Read what there is, see to the anchors, and say what is due."""
        anchors = now_s >= self._anchors_s
        if anchors:
            self._anchors_s = now_s + self._rhythm.anchors_s
        for one in self._watched.values():
            self._read(one, now_s, anchors=anchors)
            self._see_what_is_due(one, now_s)

    def _read(self, one: _Service, now_s: float, *, anchors: bool) -> None:
        told = one.news.told
        try:
            for _ in range(_BATCHES):
                if one.watches is None or not one.watches.read(one.news):
                    break
            if one.watches is not None and anchors:
                one.watches.look_for_anchors(one.news)
        except Overflow:
            self._close(one)  # until it is due: what happens meanwhile costs nothing
            one.why, one.flooded = "more changed than could be counted", True
            one.news.all_changed()
        except CannotWatch as error:
            self._give_up(one, error)
        if one.news.told != told:
            one.unsaved = seen(one.unsaved, now_s)

    def _see_what_is_due(self, one: _Service, now_s: float) -> None:
        if one.marked or one.under_way:
            return
        due = due_s(one.unsaved, one.rule, rested_s=one.rested_s)
        if due is not None and now_s >= due:
            if one.watches is None and one.cannot is None:
                self._open(one)  # before the capture looks, so that nothing falls in between
            self._say_due(one)
        elif one.full_s is not None and now_s >= one.full_s:
            one.full_s = now_s + self._rhythm.full_look_s
            if one.cannot is not None and now_s >= one.again_s:
                self._open(one)
            if one.cannot is None or one.looks_itself:
                one.why = "it can't be watched" if one.cannot is not None else "everything is looked at now and then"
                one.news.all_changed()
                self._say_due(one)

    def _say_due(self, one: _Service) -> None:
        one.marked = True
        self._mark(Changed(one.service.name, one.why if one.news.everything else "its state changed"))

    def _open(self, one: _Service) -> None:
        """Watch a service anew, from an empty queue of events."""
        try:
            one.watches = Watches(one.service)
            one.watches.start()
            one.cannot = None
            _LOG.debug("%s: watching %d directories", one.service.name, len(one.watches))
        except CannotWatch as error:
            self._give_up(one, error)

    def _give_up(self, one: _Service, error: CannotWatch) -> None:
        """From now on the service is looked at."""
        self._close(one)
        known = one.cannot is not None and one.cannot.why == error.why
        one.cannot, one.why = error, f"it can't be watched: {error.why}"
        one.again_s = clock.monotonic_s() + self._rhythm.full_look_s
        one.news.all_changed()
        if not known:
            every = duration(self._looks_s(one))
            _LOG.warning("%s can't be watched and is looked at every %s: %s", one.service.name, every, error.why)
            if error.hint is not None:
                _LOG.warning("hint: %s", error.hint)

    def _looks_s(self, one: _Service) -> float:
        return one.service.autosave.every_s or self._rhythm.look_s

    @staticmethod
    def _close(one: _Service) -> None:
        if one.watches is not None:
            one.watches.close()
            one.watches = None

    def _wait(self) -> None:
        """Until something happens, or until it is time for something."""
        poll = select.poll()
        poll.register(self._wake_fd, select.POLLIN)
        with self._lock:
            times = [self._anchors_s]
            for one in self._watched.values():
                if one.watches is not None:
                    poll.register(one.watches.fd, select.POLLIN)
                if not one.marked and not one.under_way:
                    due = due_s(one.unsaved, one.rule, rested_s=one.rested_s)
                    times += [time_s for time_s in (due, one.full_s) if time_s is not None]
        if poll.poll(max(0.0, min(times) - clock.monotonic_s()) * 1000):
            try:
                os.eventfd_read(self._wake_fd)
            except BlockingIOError:
                pass
