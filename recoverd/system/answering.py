"""Whether the file systems of paths answer: a dead one (a network mount, FUSE, a dying disk) hangs whoever touches it.

So a thread that can be spared touches it first. One that hangs is left behind: the kernel ends it with the process.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress

from recoverd.errors import StateError
from recoverd.system.clock import monotonic_s
from recoverd.system.mounts import mount_points
from recoverd.system.walk import lstat_at, open_declared_directory, open_parent

_hanging: dict[str, threading.Thread] = {}  # mount point -> who hangs in it
_guard = threading.Lock()


def silent(paths: Sequence[str], *, within_s: float) -> frozenset[str]:
    """Those of the absolute paths of which a file system, at or below them, does not answer within so many seconds.

    All are asked at the same time. Where a thread of this process still hangs, nobody is asked or waits again.
    """
    asked = _by_mount(paths)
    threads: dict[str, threading.Thread] = {}
    with _guard:
        for mount, places in asked.items():
            known = _hanging.get(mount)
            if known is None or not known.is_alive():
                threads[mount] = threading.Thread(
                    target=_touch, args=(tuple(places.values()),), name=f"asking {mount}", daemon=True
                )
            else:
                threads[mount] = known
    fresh = {mount: thread for mount, thread in threads.items() if thread.ident is None}
    for thread in fresh.values():
        thread.start()
    until = monotonic_s() + within_s
    for thread in fresh.values():
        thread.join(max(0.0, until - monotonic_s()))
    dead = {mount for mount, thread in threads.items() if thread.is_alive()}
    with _guard:
        for mount, thread in threads.items():
            if mount in dead:
                _hanging[mount] = thread
            else:
                _hanging.pop(mount, None)
    return frozenset(path for mount in dead for path in asked[mount])


def _by_mount(paths: Sequence[str]) -> dict[str, dict[str, str]]:
    """Mount point -> path -> what of it is to be touched there: itself, or what is mounted below it."""
    points = mount_points()
    found: dict[str, dict[str, str]] = {}
    for path in paths:
        inside = path.rstrip("/") + "/"
        above = max((point for point in points if inside.startswith(point.rstrip("/") + "/")), key=len, default="/")
        found.setdefault(above, {})[path] = path
        for point in points:
            if point.startswith(inside):
                found.setdefault(point, {})[path] = point
    return found


def _touch(places: Sequence[str]) -> None:
    """Whatever comes back is an answer, also an error."""
    for place in dict.fromkeys(places):
        with suppress(OSError, ValueError, StateError):
            fd, name = open_parent(place)
            try:
                lstat_at(fd, name)
            finally:
                os.close(fd)
        with suppress(OSError, ValueError, StateError):
            fd = open_declared_directory(place)
            try:
                os.fstatvfs(fd)
            finally:
                os.close(fd)
