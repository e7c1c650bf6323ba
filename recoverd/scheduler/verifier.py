"""`verify` of the configuration: a sample of the repository is read now and then, by a process of its own.

Its own, because it takes as long as it takes: captures go on meanwhile, and it gives way to all others. It takes no
lock that a capture waits for, and may be ended at any time: the next one goes on from where it was.
"""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence

from recoverd.config.units import format_percentage
from recoverd.errors import LockHeld, RecoverdError
from recoverd.operations.context import Context
from recoverd.operations.verify_due import is_due
from recoverd.system import clock

_LOG = logging.getLogger("recoverd.scheduler")
_FINE = frozenset({0, 1, LockHeld.exit_status})  # damage is told by the verify itself
_PATIENCE_S = 5.0


class Verifier:
    """Starts and ends the processes. `command`: how to call recoverd with the same configuration; empty: never."""

    def __init__(self, command: Sequence[str], *, look_every_s: float = 60.0, rest_s: float = 3600.0) -> None:
        self._command = tuple(command)
        self._look_every_s, self._rest_s = look_every_s, rest_s
        self._look_at_s = 0.0  # monotonic
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_at_work(self) -> bool:
        return self._process is not None

    def tend(self, context: Context) -> None:
        """Start a verify that is due, and notice the end of one. Cheap: most of the time it does nothing."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._process = None
            if status not in _FINE:
                _LOG.error("the verify of the repository ended with status %d", status)
            # one that could not be done is not repeated at once
            self._look_at_s = clock.monotonic_s() + min(self._rest_s, context.config.verify.every_s)
        if not self._command or clock.monotonic_s() < self._look_at_s:
            return
        self._look_at_s = clock.monotonic_s() + self._look_every_s
        try:
            repository = context.repository_if_any()
            if repository is not None and is_due(context, repository):
                sample = format_percentage(context.config.verify.sample)
                self._process = subprocess.Popen(
                    [*self._command, "-v", "--json", "verify", "--sample", sample],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # what it finds is in its log and in its record
                )
        except (RecoverdError, OSError) as error:
            _LOG.warning("the repository can't be verified now: %s", error)

    def stop(self) -> None:
        """End a verify under way. Harmless when done twice."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
