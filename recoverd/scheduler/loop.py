"""The main thread of `recoverd run`.

APScheduler's jobs only mark services as due. One loop, on the main thread, gathers all that is due at about the
same time and captures it together (one pack for each tick), so that no two captures ever race each other
and a signal always finds the thread that handles it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from recoverd.config.model import Service
from recoverd.errors import ConfigError, LockHeld, RecoverdError
from recoverd.events.text import duration, plural
from recoverd.operations import hooks
from recoverd.operations.context import Context
from recoverd.operations.proving import observe_all
from recoverd.operations.snapshot import SnapshotRequest, SnapshotResult
from recoverd.scheduler.aside import Aside
from recoverd.scheduler.changes import Changes, confirm_every_s, on_change
from recoverd.scheduler.chores import PREFIX, Chores, schedules
from recoverd.scheduler.due import after_step_s, due, next_s, scheduled, waits_s
from recoverd.scheduler.dumper import Dumper
from recoverd.scheduler.keeper import Keeper
from recoverd.scheduler.matches import Matches
from recoverd.scheduler.notify import Watchdog, notify
from recoverd.scheduler.signals import Changed, Mailbox, Request
from recoverd.scheduler.timetable import Timetable
from recoverd.scheduler.watching import Rhythm
from recoverd.system import clock
from recoverd.values import dataclass, replace

Capture = Callable[[Context, SnapshotRequest], SnapshotResult]
LastCaptures = Callable[[Context], Mapping[str, int]]
_LOG = logging.getLogger("recoverd.scheduler")


@dataclass(frozen=True, slots=True)
class Timings:
    """How patient the loop is, in seconds."""

    gather_s: float = 0.25  # what becomes due so shortly after another is captured with it
    tick_s: float = 5.0  # how often the clocks are compared while nothing is due
    step_s: float = 2.0  # the wall clock was set when it moved so much against the monotonic one
    retry_first_s: float = 1.0  # after a capture that could not even begin; doubled each time
    retry_most_s: float = 60.0
    lock_wait_s: float = 2.0  # for another recoverd, while waiting longer would only make signals wait too
    last_dumps_s: float = (
        120.0  # for all dumps of the shutdown together; the unit's TimeoutStopSec is more than twice that
    )
    same_signal_s: float = 0.5  # a second SIGTERM so soon is the same wish
    matches_s: float = 60.0  # how often the patterns of `for_each` are looked at
    longest_capture_s: float = 3600.0  # a capture that takes longer hangs: the watchdog may bark
    rhythm: Rhythm = Rhythm()  # of those who watch for changes


class Loop:
    """The main thread of `recoverd run`."""

    def __init__(
        self,
        context: Context,
        open_context: Callable[[], Context],
        mailbox: Mailbox,
        *,
        capture: Capture,
        last_captures: LastCaptures,
        chores: Chores,
        timings: Timings,
        environment: Mapping[str, str],
        asides: Sequence[Aside],
        keeper: Keeper,
        dumper: Dumper,
    ) -> None:
        self._context, self._open_context, self._mailbox = context, open_context, mailbox
        self._capture, self._last_captures, self._chores = capture, last_captures, chores
        self._timings, self._environment = timings, environment
        self._wait_s = context.wait_s
        self._timetable = Timetable(mailbox.put)
        self._changes = Changes(mailbox.put, timings.rhythm)
        self._watchdog = Watchdog(self._is_alive, environment)
        self._matches = Matches(timings.matches_s)
        self._asides, self._keeper, self._dumper = asides, keeper, dumper
        self._due: dict[str, str] = {}  # service -> why
        self._by_change: set[str] = set()  # those of them that are due only because they changed
        self._chores_due: dict[str, float] = {}  # name -> not before, monotonic
        self._held: dict[str, str] = {}  # the same of services that are paused, until they are resumed
        self._stop = self._reload = False
        self._not_before_s = 0.0  # monotonic
        self._failures = 0
        self._offset_s = _offset_s()
        self._turned_s = clock.monotonic_s()
        self._capturing = False

    @property
    def context(self) -> Context:
        """That of the configuration in force: a reload replaces it."""
        return self._context

    def serve(self, announce: Callable[[str], None]) -> int:
        """Watch until asked to stop, take the shutdown snapshots; the exit status."""
        self._timetable.start()
        try:
            for failed in self._context.config.failed:
                for problem in failed.problems:
                    _LOG.error("%s is not watched: %s", failed.name, problem)
            self._plan(catch_up=True)
            self._changes.plan(self._context)
            self._keeper.plan(self._context)
            announce(self._announcement())
            notify("READY=1", environment=self._environment)
            self._watchdog.start()
            while self._turn():
                pass
            notify("STOPPING=1", environment=self._environment)
            self._stop_others()
            self._timetable.stop()
            return self._shut_down(self._changes.stop())
        finally:
            self._stop_others()
            self._watchdog.stop()
            self._changes.stop()
            self._timetable.stop()

    def _stop_others(self) -> None:
        """What has threads or processes of its own. Harmless when done twice."""
        self._keeper.stop()
        self._dumper.stop()
        for aside in self._asides:
            aside.stop()

    def _turn(self) -> bool:
        """Wait for something to do and do it; False when asked to stop."""
        self._turned_s = clock.monotonic_s()
        self._wait()
        if self._stop:
            return False
        self._notice_clock_step()
        if self._reload or self._matches.changed(self._context.config.matches, euid=os.geteuid()):
            self._load_again()
        for name in [name for name in self._held if not self._is_paused(name)]:
            self._due.setdefault(name, self._held.pop(name) + ", and it was paused until now")
        if self._due and clock.monotonic_s() >= self._not_before_s:
            self._capture_due()
        self._tend_dumps()
        self._do_chores()
        for aside in self._asides:
            aside.tend(self._context)
        observe_all(self._context)
        self._changes.tell(self._context)
        return True

    def _plan(self, *, catch_up: bool) -> None:
        """Bring the timetable in line with the configuration; at the start, what is overdue is due at once."""
        services = list(self._context.config.services.values())
        try:
            last_ns = self._last_captures(self._context)
        except (RecoverdError, OSError) as error:
            _LOG.warning("when services were saved last is not known, so all are due: %s", error)
            last_ns = {}
        now_ns, zone = clock.now_ns(), self._context.config.timezone
        waits = waits_s(services, last_ns, now_ns, zone=zone)
        overdue = {one.service: one.reason for one in due(services, last_ns, now_ns, zone=zone)} if catch_up else {}
        self._due.update(overdue)
        first = {
            # what is due at once is on the list already: its schedule goes on from now
            service.name: next_s(service.autosave, 0.0, now_ns, zone)
            if service.name in overdue
            else waits[service.name]
            for service in scheduled(services)
        }
        own = schedules(self._context.config)
        first |= {name: next_s(schedule, 0.0, now_ns, zone) for name, schedule in own.items()}
        self._timetable.update(scheduled(services), first, chores=own, zone=zone)

    def _announcement(self) -> str:
        services = self._context.config.services.values()
        changing = on_change(services)
        watched = {service.name for service in (*scheduled(services), *changing, *_on_shutdown(services))}
        if not watched:
            return "watching no service: none has `autosave`"
        left_s = self._timetable.remaining_s()
        waits = [0.0] if self._due else sorted(left_s[name] for name in left_s if not name.startswith(PREFIX))
        if not waits and changing:
            return f"watching {plural(len(watched), 'service')}, to be saved when they change"
        if not waits:
            return f"watching {plural(len(watched), 'service')}, to be saved on shutdown"
        when = "now" if waits[0] < 0.5 else f"in {duration(round(waits[0]))}"
        return f"watching {plural(len(watched), 'service')}, next autosave {when}"

    def _wait(self) -> None:
        """Sleep until there is something to do; what becomes due within `gather_s` of the first is taken along."""
        if self._stop or self._reload:  # came during a capture
            return
        until_s = min(self._timings.tick_s, confirm_every_s(self._context))
        if self._due:
            until_s = min(until_s, self._not_before_s - clock.monotonic_s())
        message = self._mailbox.get(until_s)
        gathered_s = clock.monotonic_s() + self._timings.gather_s
        while message is not None:
            self._accept(message)
            if isinstance(message, Request):
                return
            message = self._mailbox.get(gathered_s - clock.monotonic_s())

    def _accept(self, message: str | Changed | Request) -> None:
        if message is Request.STOP:
            self._stop = True
        elif message is Request.RELOAD:
            self._reload = True
        elif isinstance(message, Changed):
            if message.service not in self._due:
                self._due[message.service] = message.why
                self._by_change.add(message.service)
        elif message in self._chores:
            self._chores_due.setdefault(message, 0.0)
        elif isinstance(message, str):
            self._due.setdefault(message, "its time has come")
            self._by_change.discard(message)

    def _notice_clock_step(self) -> None:
        """APScheduler counts in wall-clock time: when that was set, each wait is counted anew."""
        offset_s = _offset_s()
        step_s, self._offset_s = offset_s - self._offset_s, offset_s
        if abs(step_s) < self._timings.step_s:
            return  # ordinary slewing, a little each turn
        _LOG.warning(
            "the clock was set %s by %s; the schedule follows",
            "forward" if step_s > 0 else "back",
            duration(abs(step_s)),
        )
        left = self._timetable.remaining_s(offset_s=step_s)
        self._timetable.shift({name: after_step_s(wait_s, step_s) for name, wait_s in left.items()})

    def _tend_dumps(self) -> None:
        """Captures of services with dumps go on aside."""
        due, changed = self._dumper.tend(self._context)
        for name, why in due.items():
            self._due[name] = why
            self._by_change.discard(name)
        for name, why in changed.items():
            self._accept(Changed(name, why))

    def _capture_due(self, *, stopping: bool = False) -> None:
        """One capture of all that is due; what can't begin is due again after a pause."""
        wanted, self._due = self._due, {}
        everything = self._context.config.services.values()
        services = {service.name: service for service in (*scheduled(everything), *on_change(everything))}
        paused = {name for name in services if name in wanted and self._is_paused(name)}
        self._held.update({name: wanted[name] for name in paused})
        names = tuple(name for name in services if name in wanted and name not in paused)
        if not names:
            return
        for name in names:
            self._context.events.emit("autosave.triggered", service=name, message=wanted[name])
        if not stopping:
            aside = self._dumper.take(self._context, {name: wanted[name] for name in names}, self._by_change)
            self._by_change -= aside
            names = tuple(name for name in names if name not in aside)
            if not names:
                return
        self._capturing = True
        result = None
        try:
            result = self._take(names, "scheduled")
        except LockHeld as error:
            # Somebody else is at work, which is no failure; what is due stays due.
            _LOG.info("autosave waits: %s", error.message)
            self._try_again(names, wanted, self._timings.retry_first_s)
        except Exception as error:
            self._failures += 1
            pause_s = min(self._timings.retry_first_s * 2 ** min(self._failures - 1, 30), self._timings.retry_most_s)
            self._tell_failure(names, error, f"; next try in {duration(pause_s)}")
            self._try_again(names, wanted, pause_s)
        else:
            self._failures = 0
            self._by_change.difference_update(names)
            self._forget_marks(names)
        finally:
            self._capturing = False
            self._changes.done(names, result)

    def _do_chores(self) -> None:
        """What is due beside captures; what another recoverd hinders is tried again."""
        for name in [name for name, after_s in self._chores_due.items() if clock.monotonic_s() >= after_s]:
            del self._chores_due[name]
            self._context.wait_s = min(self._wait_s, self._timings.lock_wait_s)
            self._capturing = True
            try:
                if not self._chores[name](self._context):
                    self._chores_due[name] = clock.monotonic_s() + self._timings.retry_most_s
            except Exception as error:  # what runs must go on
                _LOG.error("this is a mistake in recoverd; please report it", exc_info=error)
            finally:
                self._capturing = False

    def _take(self, names: tuple[str, ...], reason: str) -> SnapshotResult:
        last = reason == "shutdown"
        # A scheduled capture can come later; for the last one there is no later.
        self._context.wait_s = self._wait_s if last else min(self._wait_s, self._timings.lock_wait_s)
        known = self._changes.take(names)
        hints = {name: known[name] for name in self._by_change & known.keys()}
        request = SnapshotRequest(services=names, reason=reason, full_read=last, prune=not last, hints=hints)
        if self._dumper.is_active:
            request = replace(request, ask_dumps=False)
        return self._capture(self._context, request)

    def _try_again(self, names: Iterable[str], reasons: Mapping[str, str], pause_s: float) -> None:
        self._due.update({name: reasons[name] for name in names})
        self._not_before_s = clock.monotonic_s() + pause_s

    def _tell_failure(self, names: Iterable[str], error: Exception, more: str = "") -> None:
        sentence = error.message if isinstance(error, RecoverdError) else f"{type(error).__name__}: {error}"
        for name in names:
            self._context.events.emit("snapshot.failed", service=name, message=sentence + more)
        if not isinstance(error, RecoverdError | OSError):
            _LOG.error("this is a mistake in recoverd; please report it", exc_info=error)

    def _forget_marks(self, names: tuple[str, ...]) -> None:
        """What became due while it was being captured has been captured: a slow capture must not chase itself."""
        while (message := self._mailbox.get(0.0)) is not None:
            if isinstance(message, Changed) or message not in names:
                self._accept(message)

    def _is_paused(self, name: str) -> bool:
        try:
            repository = self._context.repository_if_any()
            return repository is not None and repository.record(name).paused
        except (RecoverdError, OSError) as error:
            _LOG.debug("whether %s is paused is not known: %s", name, error)
            return False  # better saved once too often

    def _load_again(self) -> None:
        """SIGHUP: the new configuration, or the old one if the new one has any problem that it did not have."""
        self._reload = False
        notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", environment=self._environment)
        problems: list[str] = []
        try:
            new = self._open_context()
            known = {failed.name for failed in self._context.config.failed}
            for failed in new.config.failed:
                if failed.name not in known:
                    problems += failed.problems or (f"{failed.name} can't be used",)
            if os.path.realpath(new.state_dir) != os.path.realpath(self._context.state_dir):
                problems.append(f"state_dir became {new.state_dir}: that needs a restart of `recoverd run`")
            if not problems:
                hooks.follow(new, self._context)
                self._context, self._wait_s = new, new.wait_s
                self._plan(catch_up=False)
                self._changes.plan(new)
                self._keeper.plan(new)
        except ConfigError as error:
            problems = [str(problem) for problem in error.problems] or [error.message]
        except RecoverdError as error:
            problems = [error.message]
        except Exception as error:  # whatever it is, what runs must go on
            problems = [f"{type(error).__name__}: {error}"]
        for problem in problems:
            _LOG.error("%s", problem)
        if problems:
            _LOG.error("the configuration was not loaded again; the old one stays in force")
        else:
            _LOG.info("configuration loaded again: %s", self._announcement())
        notify("READY=1", environment=self._environment)

    def _shut_down(self, unsaved: Iterable[str]) -> int:
        """The last capture of services that ask for one, and of those with `unsaved` changes. The exit status."""
        services = _on_shutdown(self._context.config.services.values())
        self._due = dict.fromkeys(set(unsaved) - {service.name for service in services}, "its state changed")
        self._capture_due(stopping=True)
        names = [service.name for service in services if not self._is_paused(service.name)]
        files, dumps = self._dumper.apart(self._context, names)
        self._capturing, done = True, True
        try:
            if files:
                done = all(one.outcome != "failed" for one in self._take(files, "shutdown").services)
        except Exception as error:
            self._tell_failure(files, error)
            done = False
        if dumps:  # once all else is safe
            done = self._dumper.finish(self._context, dumps, within_s=self._timings.last_dumps_s) and done
        return 0 if done else 1

    def _is_alive(self) -> bool:
        """For the watchdog, from its thread: the loop turns, or a capture takes its time but not for ever."""
        patience_s = self._timings.longest_capture_s if self._capturing else 3 * self._timings.tick_s
        return clock.monotonic_s() - self._turned_s <= patience_s


def _on_shutdown(services: Iterable[Service]) -> list[Service]:
    return [service for service in services if service.enabled and service.state and service.autosave.on_shutdown]


def _offset_s() -> float:
    return clock.now_ns() / 1e9 - clock.monotonic_s()
