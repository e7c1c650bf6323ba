"""Scheduled captures of services that have dumps: a server's own tool may take long, and the loop waits for nobody.

Each is made by a process of its own, for one service, so that one that is slow holds no other.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence

from recoverd.errors import LockHeld, RecoverdError
from recoverd.events.text import duration
from recoverd.operations.capture_notes import note_failure
from recoverd.operations.context import Context
from recoverd.operations.dump_asking import SHUTDOWN
from recoverd.scheduler.changes import on_change
from recoverd.system import clock
from recoverd.values import dataclass

_LOG = logging.getLogger("recoverd.scheduler")
_BEGUN = frozenset({0, 1, 3})  # what became of it is told by the process itself
_DONE = frozenset({0, 3})
_PATIENCE_S = 5.0
_GLANCE_S = 0.05
_MOST_OUTPUT_BYTES = 1 << 20


@dataclass(slots=True)
class _Work:
    process: subprocess.Popen[bytes]
    output_fd: int
    why: str


class Dumper:
    """Starts and ends the processes, at most `most` at a time. `command`: how to call recoverd with the same
    configuration; empty: never, and the loop captures such services itself."""

    def __init__(
        self, command: Sequence[str], *, most: int = 4, retry_first_s: float = 1.0, retry_most_s: float = 60.0
    ) -> None:
        self._command = tuple(command)
        self._most, self._retry_first_s, self._retry_most_s = most, retry_first_s, retry_most_s
        self._waiting: dict[str, str] = {}  # service -> why
        self._at_work: dict[str, _Work] = {}
        self._again: dict[str, tuple[float, str]] = {}  # not before, monotonic; why
        self._failures: dict[str, int] = {}  # in a row, of captures that could not even begin

    @property
    def is_active(self) -> bool:
        return bool(self._command)

    def take(self, context: Context, due: Mapping[str, str], changed: Collection[str]) -> set[str]:
        """Which of those that are due are captured here, or are under way here and are looked at when that has ended;
        `changed`: due only because of changes, of which no dump is made."""
        if not self._command:
            return set()
        dumping = {name for name in due if context.config.services[name].dumps and name not in changed}
        self._waiting.update({name: due[name] for name in dumping if name not in self._at_work})
        for name in dumping:
            self._again.pop(name, None)
        return dumping | (due.keys() & self._at_work.keys())

    def tend(self, context: Context) -> tuple[dict[str, str], dict[str, str]]:
        """Start what waits, and notice the end of what was started. Which services are due again, as their captures
        could not begin; and which are to be looked at, as they are watched and others captured them; with reasons."""
        watched = {service.name for service in on_change(context.config.services.values())}
        changed = {}
        for name in [name for name, work in self._at_work.items() if work.process.poll() is not None]:
            self._ended(context, name, self._at_work.pop(name))
            if name in watched:
                changed[name] = "it was captured with its dumps"
        for name in list(self._waiting):
            if len(self._at_work) >= self._most:
                break
            self._start(context, name, self._waiting.pop(name))
        now_s = clock.monotonic_s()
        due = {name: why for name, (after_s, why) in self._again.items() if after_s <= now_s}
        for name in due:
            del self._again[name]
        return due, changed

    def apart(self, context: Context, names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """For the last capture: those that have more than dumps, which the caller captures without them, at once; and
        those that have any, for `finish`."""
        if not self._command:
            return tuple(names), ()
        services = context.config.services
        more = tuple(name for name in names if len(services[name].dumps) < len(services[name].state))
        return more, tuple(name for name in names if services[name].dumps)

    def finish(self, context: Context, names: Sequence[str], *, within_s: float) -> bool:
        """Have the last dumps taken, all side by side, so that none waits for another; whether all were.

        What is not done by then is ended, and told: whoever asked to stop waits for us.
        """
        deadline_s = clock.monotonic_s() + within_s
        for name in names:
            self._start(context, name, "recoverd is to stop", reason=SHUTDOWN)
        done = set(names) <= self._at_work.keys()
        while self._at_work and clock.monotonic_s() < deadline_s:
            for name in [name for name, work in self._at_work.items() if work.process.poll() is not None]:
                work = self._at_work.pop(name)
                self._ended(context, name, work)
                done = done and work.process.returncode in _DONE
            time.sleep(_GLANCE_S if self._at_work else 0.0)
        late = list(self._at_work)
        self.stop()
        for name in late:
            sentence = f"the last dump was not done within {duration(within_s)} of the stop, and was ended"
            try:
                note_failure(context, context.repository(), name, sentence)
            except (RecoverdError, OSError):  # where nothing can be noted, it is told all the same
                context.events.emit("snapshot.failed", service=name, message=sentence)
        return done and not late

    def stop(self) -> None:
        """End what is under way, and the tools that it has started. Harmless when done twice."""
        at_work, self._at_work = self._at_work, {}
        self._waiting.clear()
        for work in at_work.values():
            work.process.send_signal(signal.SIGINT)  # on which it ends what it has started
        deadline_s = clock.monotonic_s() + _PATIENCE_S
        for work in at_work.values():
            try:
                work.process.wait(max(0.0, deadline_s - clock.monotonic_s()))
            except subprocess.TimeoutExpired:
                work.process.kill()
                work.process.wait()
            os.close(work.output_fd)

    def _start(self, context: Context, name: str, why: str, *, reason: str = "scheduled") -> None:
        if name not in context.config.services:
            return  # not any more
        output_fd = os.memfd_create("captured", os.MFD_CLOEXEC)
        try:
            process = subprocess.Popen(
                [*self._command, "-v", "--json", "--wait", "2s", "snapshot", "--reason", reason, name],
                stdin=subprocess.DEVNULL,
                stdout=output_fd,
                start_new_session=True,  # a Ctrl-C is meant for the scheduler
            )
        except OSError as error:
            os.close(output_fd)
            self._not_begun(context, name, why, str(error))
            return
        self._at_work[name] = _Work(process, output_fd, why)

    def _ended(self, context: Context, name: str, work: _Work) -> None:
        status = work.process.returncode
        fault = _fault_in(work.output_fd)
        os.close(work.output_fd)
        if status in _BEGUN and fault is None:
            self._failures.pop(name, None)
        elif status == LockHeld.exit_status:
            _LOG.info("autosave of %s waits: another recoverd is at it", name)
            self._try_again(name, work.why, self._retry_most_s)
        else:
            self._not_begun(context, name, work.why, fault or f"recoverd snapshot {name} ended with status {status}")

    def _not_begun(self, context: Context, name: str, why: str, sentence: str) -> None:
        self._failures[name] = failures = self._failures.get(name, 0) + 1
        pause_s = min(self._retry_first_s * 2 ** min(failures - 1, 30), self._retry_most_s)
        more = f"; next try in {duration(pause_s)}"
        context.events.emit("snapshot.failed", service=name, message=sentence + more)
        self._try_again(name, why, pause_s)

    def _try_again(self, name: str, why: str, pause_s: float) -> None:
        self._again[name] = (clock.monotonic_s() + pause_s, why)


def _fault_in(output_fd: int) -> str | None:
    """What kept `recoverd snapshot` from beginning, as its document on stdout tells; None when it has begun."""
    try:
        document = json.loads(os.pread(output_fd, _MOST_OUTPUT_BYTES, 0))
        return str(document["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return None
