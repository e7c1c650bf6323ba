"""Letting the disk begin while files are still being written, so that the sync at the end has less to wait for.

This promises nothing and fails silently: what counts is the sync at the end. A write error is told once to each open
file description, so this one has a description of its own, and the sync at the end still hears of all of them.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress

from recoverd.system.durable import syncfs

_STEP_BYTES = 6 << 20  # written since the disk was told last; less is not worth a thread


class EarlySync:
    """For one file system. A context manager: at its end no thread is left."""

    def __init__(self, dir_fd: int) -> None:
        self._dir_fd = dir_fd
        self._bytes = 0
        self._thread: threading.Thread | None = None

    def __enter__(self) -> EarlySync:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.join()

    def wrote(self, size_bytes: int) -> None:
        """So much has been written."""
        self._bytes += size_bytes
        if self._bytes >= _STEP_BYTES and (self._thread is None or not self._thread.is_alive()):
            self._bytes = 0
            self._thread = threading.Thread(target=self._sync, name="recoverd-sync")
            with suppress(RuntimeError):  # no more threads can be started
                self._thread.start()
                return
            self._thread = None

    def _sync(self) -> None:
        with suppress(OSError):
            fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._dir_fd)
            try:
                syncfs(fd)
            finally:
                os.close(fd)
