"""The tool that loads a dump item, run on a dump that was checked, one at a time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from recoverd.config.dump_model import Dump
from recoverd.config.model import Service
from recoverd.errors import DamagedObject, ServiceError
from recoverd.operations.context import Context
from recoverd.recovery.aside import Kept
from recoverd.recovery.dump_saving import said
from recoverd.recovery.quarantine_removing import finish_removals
from recoverd.services import streaming
from recoverd.system import durable, locks
from recoverd.values import dataclass


@dataclass(frozen=True, slots=True)
class Loader:
    """Called with a dump: why it was not loaded, None where it was."""

    item: str
    dump: Dump
    lock: locks.FileLock

    def __call__(self, kept: Kept) -> str | None:
        command = self.dump.load
        try:
            kept.verify()
            fd = durable.open_own_fd(kept.path)
            try:
                done = streaming.read_into(
                    command, fd, timeout_s=self.dump.timeout_s, user=self.dump.user, hold_fd=self.lock.fileno()
                )
            finally:
                os.close(fd)
        except (ServiceError, DamagedObject) as error:
            return error.message
        except (OSError, ValueError) as error:
            return f"{command[0]} can't be run: {getattr(error, 'strerror', None) or error}"
        if done.ran.status != 0:
            return f"{command[0]} {said(done.ran)}"
        return None if done.whole else f"{command[0]} succeeded without reading any of the dump"


@contextmanager
def loader(context: Context, service: Service, item: str) -> Iterator[Loader]:
    """The loader of one dump item, while nobody else loads it.

    A loader that outlived its recoverd still holds the lock, and is waited for. Raises LockHeld, OSError.
    """
    dump = service.state[item].dump
    assert dump is not None, "a dump item has its commands"
    directory = os.path.join(context.state_dir, "loads")
    durable.make_directories(directory)
    what = f"the load of {service.name}: {item}"
    with locks.acquire(f"{directory}/{service.name}+{item}.lock", wait_s=context.wait_s, what=what) as lock:
        finish_removals(context.state_dir, service.name)  # also what was staged by one that was killed
        yield Loader(item, dump, lock)
