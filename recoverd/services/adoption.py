"""How a process that was just started ended: told to this process alone, while it adopts the orphans of its children.

A service that recoverd starts is nobody's child, so its exit status would go to init. For as long as somebody waits for
it to come up, recoverd can be the one to ask (PR_SET_CHILD_SUBREAPER, prctl(2)). Only for commands that end soon: what
else is orphaned below them meanwhile stays a zombie until they do.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from recoverd.services.commands import ending
from recoverd.system.processes import ProcessIdentity

_PR_SET_CHILD_SUBREAPER = 36


@contextmanager
def adopting() -> Iterator[None]:
    """Be the parent of what is orphaned below this process, where the kernel allows it."""
    _set(1)
    try:
        yield
    finally:
        _set(0)


def ending_of(identity: ProcessIdentity) -> str:
    """How an adopted process ended, as a clause: "exited with status 3"; "" when it runs or is not ours to ask."""
    try:
        pid, status = os.waitpid(identity.pid, os.WNOHANG)
    except ChildProcessError:
        return ""
    return ending(os.waitstatus_to_exitcode(status)) if pid else ""


def _set(value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, value, 0, 0, 0)
