"""What is seen of services beside restores: snapshots on which they are healthy are proven, captures of services that
are not healthy are marked so.

Looks run in threads of their own, one for each service at most; what follows from them happens on the thread that
calls `observe`, which never waits. A quiet service costs nothing: what is proven is not looked at again, and marks
reach the disk once an hour.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping

from recoverd.config.model import Service
from recoverd.errors import LockHeld, RecoverdError
from recoverd.operations import restore_records, unproven
from recoverd.operations.context import Context
from recoverd.operations.observing import Observed, Seen, judged
from recoverd.operations.processes import looking_driver_of
from recoverd.repository.records import SnapshotVerdict
from recoverd.repository.store import Repository
from recoverd.services.driver import Driver
from recoverd.system import clock
from recoverd.values import dataclass, field, replace

EVERY_S = 5.0  # between two looks at a service while there is something to prove
REST_S = 60.0  # while there is nothing
FRESH_S = 10.0  # so young a look stands for another one at a capture
GLANCE_S = 1.0  # so long a capture waits for probes; what they say later counts for the next one
HOUR_NS = 3600 * 1_000_000_000
_MOST_LOOKS = 8  # at the same time
SHUTDOWN = "shutdown"  # why a capture is made
_LOG = logging.getLogger("recoverd.operations")


@dataclass(slots=True)
class Look:
    """One look under way; `seen` is there once it has ended. `marks`: unhealthy, these captures are to be marked."""

    thread: threading.Thread | None = None
    seen: Seen | None = None
    marks: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Watch:
    """One service as it was seen since this process runs."""

    observed: Observed = Observed()
    look: Look | None = None
    not_before_s: float = 0.0  # monotonic: of the next look
    proven_ns: int | None = None  # when a mark was written last, by wall clock; None: never
    knows_marks: bool = False  # whether `proven_ns` was read
    is_slow: bool = False  # its probes were not done within GLANCE_S


def observe_all(context: Context) -> None:
    """`observe` of all enabled services."""
    for service in context.config.services.values():
        if service.enabled:
            observe(context, service)


def observe(context: Context, service: Service) -> None:
    """Take what was seen of a service, and have it looked at again when that is due. Called every few seconds by
    whoever runs for long; never waits for a service, and raises nothing."""
    if not _is_provable(service):
        return
    watch = context.observing.setdefault(service.name, Watch())
    try:
        _take_in(context, service, watch)
        if watch.look is not None or clock.monotonic_s() < watch.not_before_s:
            return
        if sum(one.look is not None for one in context.observing.values()) >= _MOST_LOOKS:
            return
        sequence = _to_prove(context, service, watch)
        watch.not_before_s = clock.monotonic_s() + (EVERY_S if sequence is not None else REST_S)
        if sequence is not None:
            watch.observed = watch.observed.waiting_for(sequence)
            _begin(context, service, watch)
    except (RecoverdError, OSError) as error:
        watch.not_before_s = clock.monotonic_s() + REST_S
        _LOG.debug("whether %s is healthy is not noted: %s", service.name, error)


def at_capture(context: Context, made: Mapping[str, int], reason: str) -> dict[str, bool | None]:
    """Whether services were healthy when they were captured just now, by name; None where nobody can tell.

    `made`: their new snapshots; those of services that are not healthy get marked. What was seen lately counts; the
    others are looked at all at once, within GLANCE_S. Best effort: a mark that can't be written is only logged.
    """
    if reason == SHUTDOWN:  # services go down then, as they should
        return {}
    looking: dict[str, Watch] = {}
    asked: dict[str, Watch] = {}
    for name, sequence in made.items():
        service = context.config.services.get(name)
        if service is None or not _is_provable(service):
            continue
        watch = asked[name] = context.observing.setdefault(name, Watch())
        try:
            _take_in(context, service, watch)
            last = watch.observed.last
            if watch.look is None and (last is None or clock.monotonic_s() - last.at_s > FRESH_S):
                _begin(context, service, watch)
        except (RecoverdError, OSError) as error:
            _LOG.debug("whether %s is healthy is not known: %s", name, error)
        if watch.look is not None:
            watch.look.marks.add(sequence)
            looking[name] = watch
    until_s = clock.monotonic_s() + GLANCE_S
    for watch in looking.values():
        if not watch.is_slow and watch.look is not None and watch.look.thread is not None:
            watch.look.thread.join(max(0.0, until_s - clock.monotonic_s()))
    return {name: _captured(context, name, watch, made[name], looking) for name, watch in asked.items()}


def _captured(context: Context, name: str, watch: Watch, sequence: int, looking: Mapping[str, Watch]) -> bool | None:
    """Whether a service was healthy at its capture, which is marked where it was not."""
    try:
        _take_in(context, context.config.services[name], watch)
        last = watch.observed.last
        if watch.look is not None:  # not done yet: where it always takes so long, it is as it was the time before
            late, watch.is_slow = watch.is_slow, True
            healthy = last.healthy if late and last is not None else None
        else:
            healthy = last.healthy if last is not None else None
        if healthy is False and (name not in looking or watch.look is not None):
            _mark_unhealthy(context.repository(), name, {sequence})
    except (RecoverdError, OSError) as error:
        _LOG.warning("whether %s was healthy when it was captured is not noted: %s", name, error)
        return None
    return healthy


def _is_provable(service: Service) -> bool:
    return bool(service.state) and (service.run is not None or bool(service.health.probes))


def _to_prove(context: Context, service: Service, watch: Watch) -> int | None:
    """The snapshot that looks are worth it for: the newest, if it is ok and not proven, and its mark may be written."""
    repository = context.repository_if_any()
    newest = repository.newest(service.name) if repository is not None else None
    if repository is None or newest is None or newest.verdict is not SnapshotVerdict.OK:
        return None
    if unproven.waiting(context.state_dir, service.name, repository.record(service.name)) is not None:
        watch.observed = replace(watch.observed, proven=None)
        return newest.sequence
    if newest.sequence == watch.observed.proven or repository.marks(service.name, newest.sequence).is_proven:
        return None
    if not watch.knows_marks:
        times = [marks.proven_ns for marks in repository.all_marks(service.name).values() if marks.proven_ns]
        watch.proven_ns, watch.knows_marks = max(times, default=None), True
    # a mark from the future is of a clock that was wrong
    if watch.proven_ns is not None and 0 <= clock.now_ns() - watch.proven_ns < HOUR_NS:
        return None
    return newest.sequence


def _begin(context: Context, service: Service, watch: Watch) -> None:
    """Have it looked at by a thread. Raises RecoverdError when its driver can't be had."""
    driver = looking_driver_of(context, service) if service.run is not None else None
    look = watch.look = Look()

    def work() -> None:
        began_s = clock.monotonic_s()
        try:
            look.seen = glance(service, driver)
        except Exception as error:  # a fault of recoverd's own: nobody can tell, and the next look may
            _LOG.exception("a look at %s ended in a fault", service.name)
            look.seen = Seen(began_s, clock.monotonic_s(), None, f"{type(error).__name__}: {error}")

    look.thread = threading.Thread(target=work, name=f"observe {service.name}", daemon=True)
    look.thread.start()


def glance(service: Service, driver: Driver | None, *, now_s: Callable[[], float] = clock.monotonic_s) -> Seen:
    """One look at a service's process and probes; raises nothing."""
    from recoverd.services.probes import run_probe

    began_s = now_s()
    try:
        status = driver.status() if driver is not None else None
        results = []
        if status is None or status.running:
            results = [run_probe(probe, driver=driver) for probe in service.health.probes]
        if driver is not None:
            status = driver.status()  # last: what answered before must be what is there now
    except (RecoverdError, OSError) as error:
        return Seen(began_s, now_s(), None, str(error))
    healthy, why = judged(status, results, stable_for_s=service.health.stable_for_s, now_ns=clock.now_ns())
    return Seen(began_s, now_s(), healthy, why, status.identity if status is not None else None)


def _take_in(context: Context, service: Service, watch: Watch) -> None:
    """What follows from a look that has ended."""
    look = watch.look
    if look is None or look.seen is None:
        return
    watch.look = None
    watch.is_slow = look.seen.at_s - look.seen.began_s > GLANCE_S
    before = watch.observed
    watch.observed = before.after(look.seen, service.health.stable_for_s)
    if look.seen.healthy is False and look.marks:
        _mark_unhealthy(context.repository(), service.name, look.marks)
    if watch.observed.proven != before.proven and watch.observed.proven is not None:
        try:
            _prove(context, service, watch.observed.proven)
            watch.proven_ns = clock.now_ns()
        except (RecoverdError, OSError):
            watch.observed = replace(watch.observed, proven=before.proven)
            raise


def _prove(context: Context, service: Service, sequence: int | None) -> None:
    """Mark the snapshot, or what a restore wrote and nobody has proven. Raises RepositoryError, LockHeld."""
    repository, name = context.repository(), service.name
    try:
        with repository.service_lock(name, wait_s=0.0, what=f"service {name}"):  # no restore is under way
            note = unproven.load(repository, name)
            if note is not None and any(part.item in service.dumps for part in note.parts):
                return  # a part of the whole is still to be loaded: whoever does that proves it
            # what a restore wrote and did not capture is not what the newest snapshot holds
            found = [sequence] if note is None else [part.sequence for part in note.parts]
            restore_records.mark_proven(context, name, {one for one in found if one}, clock.now_ns())
            unproven.save(repository, name, None)
    except LockHeld as error:
        _LOG.debug("%s", error.message)
        raise


def settle(context: Context, service: Service) -> None:
    """The service was just proven to be healthy: so is what a restore wrote and nobody had proven yet. Best effort."""
    repository, name = context.repository(), service.name
    try:
        if unproven.waiting(context.state_dir, name, repository.record(name)) is not None:
            _prove(context, service, None)
    except (RecoverdError, OSError) as error:
        _LOG.warning("that %s is healthy is not noted: %s", name, error)


def _mark_unhealthy(repository: Repository, service: str, sequences: set[int]) -> None:
    for sequence in sorted(sequences.intersection(repository.sequences(service))):  # some may be gone by now
        repository.set_marks(service, sequence, lambda marks: replace(marks, unhealthy=True))
