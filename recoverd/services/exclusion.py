"""One start or stop of a service at a time, whatever locks the caller holds."""

from __future__ import annotations

import os

from recoverd.errors import StartError
from recoverd.system import locks
from recoverd.system.durable import make_directories


def exclusively(name: str, log_dir: str, *, wait_s: float) -> locks.FileLock:
    """The kernel's lock on LOG_DIR/NAME.lock. Raises LockHeld after `wait_s` seconds, StartError."""
    path = os.path.join(log_dir, f"{name}.lock")
    try:
        make_directories(log_dir, mode=0o750)
        return locks.acquire(path, wait_s=wait_s, what=f"the process of {name}")
    except OSError as error:
        raise StartError(
            f"{name}: the lock {path} can't be taken: {error.strerror}",
            hint="let recoverd's user write to its state directory",
        ) from error
