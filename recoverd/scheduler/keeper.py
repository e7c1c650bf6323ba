"""`watch` of services: looks at each now and then, and has those brought back that failed (`keeping` decides).

Looks are taken by threads, since a status command or a probe may take its time; what is brought back is so by a process
of its own, `recoverd restore --revive`. So no capture waits for either. Locks are those of any restore: while somebody
else works on a service, it is looked at again later. `listed_keeper` watches what documents list, in the same way.
"""

from __future__ import annotations

import logging
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence

from recoverd.config.keeping import Watch
from recoverd.config.model import RunKind, Service
from recoverd.errors import LockHeld, RecoverdError
from recoverd.events.text import duration
from recoverd.operations.context import Context
from recoverd.operations.processes import looking_driver_of
from recoverd.scheduler import remembering
from recoverd.scheduler.keeping import Act, Decision, History, Look, Seen, decide
from recoverd.scheduler.listed_keeper import ListedKeeper, listing_services
from recoverd.services.driver import Driver, ServiceStatus
from recoverd.services.systemctl import is_shutting_down
from recoverd.system import clock
from recoverd.values import dataclass, replace

_PATIENCE_S = 5.0  # with what is under way when the scheduler stops
_MODES = {Act.BRING_BACK: "ended", Act.REPLACE: "unhealthy"}
_LOG = logging.getLogger("recoverd.scheduler")

_LISTED = "@"  # behind the name of a service: what its document lists

Revive = Callable[[Sequence[str], Act], int]
"""Brings a service back, or processes that its document lists; the exit status of `recoverd restore`."""


def watched_services(services: Mapping[str, Service]) -> dict[str, Watch]:
    """Those that recoverd watches itself: units are watched by systemd."""
    return {
        name: one.watch
        for name, one in services.items()
        if one.enabled and one.watch is not None and one.run is not None and one.run.kind is not RunKind.SYSTEMD
    }


@dataclass(slots=True)
class _Kept:
    """One watched service. Only one thread at a time has to do with it: whoever took it as due."""

    name: str
    watch: Watch
    history: History
    due_s: float  # monotonic
    is_at_work: bool = False
    is_missed: bool = False  # it was wanted and down when it was looked at last
    listed: ListedKeeper | None = None  # of what a document lists


class Keeper:
    """Lives as long as the loop. `command`: how to call recoverd with the same configuration; empty: only look."""

    def __init__(self, command: Sequence[str], *, revive: Revive | None = None) -> None:
        self._command = tuple(command)
        self._revive = revive or self._call
        self._context: Context | None = None
        self._reading: Context | None = None  # for documents: captures judge them on another thread
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._calls: set[subprocess.Popen[bytes]] = set()

    def plan(self, context: Context) -> None:
        """Watch what this configuration says. What is known of services that were watched before stays."""
        watches = watched_services(context.config.services)
        listing = listing_services(context.config)
        watches |= {name + _LISTED: watch for name, watch in listing.items()}
        now_s = clock.monotonic_s()
        with self._lock:
            self._context = context
            if listing:
                self._reading = Context(context.config, context.events, context.runtime_dir, context.wait_s)
            for name in self._kept.keys() - watches.keys():
                del self._kept[name]
            for name, watch in watches.items():
                known = self._kept.get(name)
                if known is None:
                    # not at once: at a boot, whoever starts services has the first turn
                    self._kept[name] = self._new(context, name, watch, now_s + watch.every_s)
                else:
                    known.watch, known.due_s = watch, min(known.due_s, now_s + watch.every_s)
                    if known.listed is not None:
                        known.listed.configuration_changed()
        if watches and self._thread is None and not self._end.is_set():
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()
        self._wake.set()

    def _new(self, context: Context, name: str, watch: Watch, due_s: float) -> _Kept:
        if not name.endswith(_LISTED):
            return _Kept(name, watch, remembering.remembered(context, name), due_s)
        listed = ListedKeeper(
            lambda names: self._revive(names, Act.BRING_BACK),
            lambda other: other in self._kept and self._kept[other].is_missed,
            lambda: not self._end.is_set() and not is_shutting_down(),
        )
        return _Kept(name, watch, History(), due_s, listed=listed)

    def stop(self) -> None:
        """Look at nothing any more. A restore under way has a moment to end; then it goes on without us: its locks
        are its own. Harmless when done twice."""
        self._end.set()
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join(_PATIENCE_S)

    def _run(self) -> None:
        while not self._end.is_set():
            now_s = clock.monotonic_s()
            with self._lock:
                due = [one for one in self._kept.values() if not one.is_at_work and one.due_s <= now_s]
                for one in due:
                    one.is_at_work = True
                waits = [one.due_s - now_s for one in self._kept.values() if not one.is_at_work]
            for one in due:  # a thread that hangs with its service holds up nobody, nor the end of this process
                threading.Thread(target=self._tend, args=(one,), name=f"watch {one.name}", daemon=True).start()
            self._wake.wait(max(0.0, min(waits, default=60.0)))
            self._wake.clear()
        self._wait_for_calls()

    def _wait_for_calls(self) -> None:
        deadline_s = clock.monotonic_s() + _PATIENCE_S / 2
        for process in tuple(self._calls):
            try:
                process.wait(max(0.0, deadline_s - clock.monotonic_s()))
            except subprocess.TimeoutExpired:
                _LOG.info("process %d goes on bringing a service back", process.pid)

    def _tend(self, one: _Kept) -> None:
        context = self._context if one.listed is None else self._reading
        again_s = one.watch.every_s
        try:
            service = context.config.services.get(one.name.removesuffix(_LISTED)) if context is not None else None
            if context is not None and service is not None:
                tend = one.listed.tend if one.listed is not None else None
                again_s = self._one(context, service, one) if tend is None else tend(context, service, one.watch)
        except (RecoverdError, OSError) as error:
            _LOG.warning("%s can't be looked after now: %s", one.name, error)
        except Exception as error:  # what watches must go on
            _LOG.error("this is a mistake in recoverd; please report it", exc_info=error)
        finally:
            with self._lock:
                one.due_s = clock.monotonic_s() + again_s
                one.is_at_work = False
            self._wake.set()

    def _one(self, context: Context, service: Service, one: _Kept) -> float:
        """Look, decide, act; in how many seconds to look again."""
        look = self._look(context, service, one)
        one.is_missed = look.wanted and look.seen is Seen.DOWN
        decision = decide(one.watch, service.health.within_s, one.history, look)
        if self._end.is_set():
            return one.watch.every_s
        if decision.act is not Act.NOTHING and is_shutting_down():
            return one.watch.every_s  # what goes down now does so in order
        remembering.settle(context, service, one.history, decision, running=look.seen is Seen.UP)
        if decision.act in _MODES:
            return self._bring_back(one, decision)
        one.history = decision.history
        return decision.again_s

    def _bring_back(self, one: _Kept, decision: Decision) -> float:
        status = self._revive((one.name,), decision.act)
        if status == LockHeld.exit_status:
            _LOG.info("%s is brought back later: another recoverd is at it", one.name)
            one.history = replace(decision.history, failures=decision.history.failures - 1)
            return decision.again_s
        one.history = decision.history
        if status not in {0, 3}:
            left = one.watch.give_up_after - decision.history.failures
            if one.watch.restart != "always":
                _LOG.warning("%s could not be brought back; tries left: %d", one.name, max(0, left))
            return min(decision.again_s, one.watch.backoff_first_s)
        return decision.again_s

    def _look(self, context: Context, service: Service, one: _Kept) -> Look:
        driver = looking_driver_of(context, service)
        assert driver is not None  # only services with a process are watched
        seen, status, detail = _status(driver)
        wanted = status is not None and status.wanted == "running"
        healthy = None
        if seen is Seen.UP and wanted and service.health.probes:
            healthy, detail = _probed(service, driver)
        with self._lock:
            others = [self._kept[name] for name in service.after if name in self._kept]
        return Look(
            at_s=clock.monotonic_s(),
            seen=seen,
            wanted=wanted or seen is Seen.UNKNOWN,
            healthy=healthy,
            detail=detail,
            waits_for=next((other.name for other in others if other.is_missed), None),
            anew=one.history.gave_up and remembering.is_anew(context, service),
        )

    def _call(self, names: Sequence[str], act: Act) -> int:
        """Have another process do it: this one only waits."""
        if not self._command:
            return LockHeld.exit_status
        began_s = clock.monotonic_s()
        process = subprocess.Popen(
            [*self._command, "-v", "--json", "--wait", "2s", "restore", "--revive", _MODES[act], *names],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what it does is in its log and in the history of restores
            start_new_session=True,  # a Ctrl-C is meant for the scheduler
        )
        self._calls.add(process)
        try:
            status = process.wait()
        finally:
            self._calls.discard(process)
        took = duration(clock.monotonic_s() - began_s)
        _LOG.debug("bringing %s back ended with status %d after %s", ", ".join(names), status, took)
        return status


def _status(driver: Driver) -> tuple[Seen, ServiceStatus | None, str]:
    try:
        status = driver.status()
    except (RecoverdError, OSError) as error:
        return Seen.UNKNOWN, None, str(error)
    if not status.settled:
        return Seen.UNKNOWN, status, status.detail
    return (Seen.UP if status.running else Seen.DOWN), status, status.detail


def _probed(service: Service, driver: Driver) -> tuple[bool, str]:
    """Whether all probes pass, and what the first that does not has said."""
    from recoverd.services.probes import run_probe

    for probe in service.health.probes:
        result = run_probe(probe, driver=driver)
        if not result.healthy:
            return False, result.message
    return True, ""
