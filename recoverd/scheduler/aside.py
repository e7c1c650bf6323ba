"""Long work that the scheduler has done by a process of its own: captures go on meanwhile, and it gives way to all.

It takes no lock that a capture waits for, and may be ended at any time.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence

from recoverd.errors import LockHeld, RecoverdError
from recoverd.operations.context import Context
from recoverd.system import clock

_LOG = logging.getLogger("recoverd.scheduler")
_FINE = frozenset({0, 1, LockHeld.exit_status})  # what was found is told by the process itself
_PATIENCE_S = 5.0


class Aside:
    """Starts and ends the processes, one at a time. `command`: how to call recoverd with the same configuration;
    empty: never."""

    what = "the work aside"  # for sentences

    def __init__(self, command: Sequence[str], *, look_every_s: float = 60.0, rest_s: float = 3600.0) -> None:
        self._command = tuple(command)
        self._look_every_s, self._rest_s = look_every_s, rest_s
        self._look_at_s = 0.0  # monotonic
        self._process: subprocess.Popen[bytes] | None = None

    def due(self, context: Context) -> Sequence[str]:
        """The arguments of what is to be done now; none when nothing is. Raises RecoverdError, OSError."""
        raise NotImplementedError

    def rest_s(self, context: Context) -> float:  # noqa: ARG002 - others ask the configuration
        """How long after the end of one that could not be done the next may begin."""
        return self._rest_s

    @property
    def is_at_work(self) -> bool:
        return self._process is not None

    def tend(self, context: Context) -> None:
        """Start what is due, and notice the end of what was. Cheap: most of the time it does nothing."""
        ended = False
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._process, ended = None, True
            if status not in _FINE:
                _LOG.error("%s ended with status %d", self.what, status)
        if not self._command or (not ended and clock.monotonic_s() < self._look_at_s):
            return
        self._look_at_s = clock.monotonic_s() + self._look_every_s
        try:
            if ended and (rest_s := self.rest_s(context)):
                self._look_at_s = clock.monotonic_s() + rest_s
            elif arguments := self.due(context):
                self._process = subprocess.Popen(
                    [*self._command, "-v", "--json", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # what it finds is in its log and in its record
                )
        except (RecoverdError, OSError) as error:
            _LOG.warning("%s can't be done now: %s", self.what, error)

    def stop(self) -> None:
        """End what is under way. Harmless when done twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
