"""`recoverd run`: what is due is captured, until somebody asks to stop.

What runs is in `loop`; here it gets its lock, its signals and its configuration.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence

from recoverd.errors import LockHeld
from recoverd.operations import hooks, lifetimes
from recoverd.operations.context import Context
from recoverd.operations.due import last_captures as recorded_captures
from recoverd.operations.snapshot import snapshot as take_snapshot
from recoverd.scheduler.alone import alone
from recoverd.scheduler.chores import CHORES, Chores
from recoverd.scheduler.driller import Driller
from recoverd.scheduler.dumper import Dumper
from recoverd.scheduler.keeper import Keeper
from recoverd.scheduler.loop import Capture, LastCaptures, Loop, Timings
from recoverd.scheduler.signals import AskedTwice, Mailbox, Signals
from recoverd.scheduler.verifier import Verifier

INTERRUPTED = 130
_LOG = logging.getLogger("recoverd.scheduler")


def run(
    open_context: Callable[[], Context],
    *,
    snapshot: Capture | None = None,
    last_captures: LastCaptures | None = None,
    chores: Chores = CHORES,
    announce: Callable[[str], None] = _LOG.info,
    timings: Timings = Timings(),
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = (),
) -> int:
    """Autosave until SIGTERM or SIGINT; the exit status. Must be called on the main thread.

    `open_context` reads the configuration and opens the repository: at the start, and again on SIGHUP. At the
    start its errors go through; later they are logged and the old configuration stays. `snapshot` and
    `last_captures` are those of `recoverd.operations`, `chores` those of `scheduler.chores`. `announce` gets the
    one line that says what is watched, `command` is how to call recoverd for what a process of its own does.

    Returns 0 after a stop that was asked for, 1 when a shutdown snapshot failed, 130 when a second signal cut
    it short. Raises LockHeld when another `run` works in this state directory, and what `open_context` raises.
    """
    mailbox = Mailbox()
    with Signals(mailbox, same_s=timings.same_signal_s) as signals:
        try:
            context = open_context()
            with alone(context):
                loop = Loop(
                    context,
                    open_context,
                    mailbox,
                    capture=snapshot or take_snapshot,
                    last_captures=last_captures or recorded_captures,
                    chores=chores,
                    timings=timings,
                    environment=os.environ if environment is None else environment,
                    asides=(Verifier(command), Driller(command)),
                    keeper=Keeper(command),
                    dumper=Dumper(command),
                )
                lifetimes.begin(context)
                status = loop.serve(announce)
                lifetimes.end(loop.context)
            if loop.context.hooks is not None:
                hooks.finish(loop.context, most_s=hooks.SHUTDOWN_S)
            signals.disarm()
            return status
        except LockHeld as error:
            error.hint = "one scheduler is enough: stop that one first, or reload it with SIGHUP"
            raise
        except AskedTwice:
            _LOG.warning("asked twice to stop: ending at once, shutdown snapshots may be missing")
            return INTERRUPTED
