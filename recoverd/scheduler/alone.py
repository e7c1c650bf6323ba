"""One scheduler for each state directory: the lock that says so, and where it is when that directory fails."""

from __future__ import annotations

import logging
import os

from recoverd.operations.context import Context
from recoverd.system import durable, locks
from recoverd.system.locks import FileLock

LOCK_NAME = "scheduler.lock"
_LOG = logging.getLogger("recoverd.scheduler")


def alone(context: Context) -> FileLock:
    """The lock, in the state directory, else in the spare: there is something to save also when that is lost.

    Raises LockHeld when another scheduler has it, OSError, and RepositoryError when the spare can't be used either.
    """
    what = f"the scheduler of {context.state_dir}"
    try:
        durable.make_directories(context.state_dir)
        return locks.acquire(os.path.join(context.state_dir, LOCK_NAME), what=what)
    except OSError as error:
        if context.config.repository.spare is None:
            raise
        from recoverd.operations.spare import state_of

        _LOG.warning("the state directory %s can't be used: %s", context.state_dir, error)
        context.repository(create=True)
        return locks.acquire(os.path.join(state_of(context.config.repository.spare), LOCK_NAME), what=what)
