"""What this process does to a directory, replayed on a `Disk` while it happens: much faster than a recording.

Seen are the calls that Python code makes through `os`, not those of SQLite: the catalog is left out, as it is
expendable. Whoever writes by another way is found out by `compare`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash.lost_writes.disk import Disk
from tests.crash.lost_writes.recording import Recorder


def watch(
    root: Path, patch: pytest.MonkeyPatch, seen: Callable[[str, str], None], before: Callable[[], None]
) -> Recorder:
    """Replays from now on what lies below `root`, which is durable as it is. `seen` is told each call and its path.
    What `before` raises keeps the call from being made, as if the process were dead."""
    recorder = Recorder(root, lambda path: path.startswith("catalog.sqlite"), seen)
    recorder.adopt()
    _Watch(recorder, patch, before)
    return recorder


class _Watch:
    def __init__(self, recorder: Recorder, patch: pytest.MonkeyPatch, before: Callable[[], None]) -> None:
        self._recorder = recorder
        self._before = before
        self._places: dict[int, int] = {}  # descriptor -> offset
        for name in (
            "write",
            "fsync",
            "fdatasync",
            "ftruncate",
            "rename",
            "replace",
            "unlink",
            "mkdir",
            "rmdir",
            "open",
        ):
            patch.setattr(os, name, self._around(getattr(os, name), getattr(self, f"_{name}")))
        patch.setattr(os, "posix_fallocate", self._around(os.posix_fallocate, self._fallocate))

    @property
    def _disk(self) -> Disk:
        return self._recorder.disk

    def _around(self, real: Callable[..., Any], replay: Callable[..., str | None]) -> Callable[..., Any]:
        name = real.__name__

        def call(*words: Any, **options: Any) -> Any:
            self._before()
            result = real(*words, **options)
            path = replay(result, *words, **options)
            if path is not None:
                self._recorder.seen(name, path)
            return result

        return call

    def _of(self, fd: int) -> str | None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        return None if path.endswith(" (deleted)") else self._recorder.below(path)

    def _at(self, path: str, dir_fd: int | None) -> str | None:
        above = os.getcwd() if dir_fd is None else os.readlink(f"/proc/self/fd/{dir_fd}")
        return self._recorder.below(os.path.join(above, os.fspath(path)))

    def _open(self, fd: int, path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> str | None:
        found = self._at(path, dir_fd)
        self._places[fd] = 0
        if found is not None and flags & os.O_CREAT and not self._disk.exists(found):
            self._disk.create(found, mode)
            return found
        return None

    def _write(self, count: int, fd: int, data: bytes) -> str | None:
        path = self._of(fd)
        if path is not None:
            self._disk.write(path, self._places[fd], bytes(data)[:count])
            self._places[fd] += count
        return path

    def _fsync(self, _: None, fd: int) -> str | None:
        path = self._of(fd)
        if path is not None:
            self._disk.sync(path)
        return path

    _fdatasync = _fsync

    def _ftruncate(self, _: None, fd: int, size: int) -> str | None:
        path = self._of(fd)
        if path is not None:
            self._disk.truncate(path, size)
        return path

    def _fallocate(self, _: None, fd: int, offset: int, length: int) -> str | None:
        path = self._of(fd)
        if path is not None:
            self._disk.truncate(path, max(offset + length, self._disk.size(path)))
        return path

    def _rename(
        self, _: None, old: str, new: str, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None
    ) -> str | None:
        one, other = self._at(old, src_dir_fd), self._at(new, dst_dir_fd)
        if one is not None and other is not None:
            self._disk.rename(one, other)
        return other

    _replace = _rename

    def _unlink(self, _: None, path: str, *, dir_fd: int | None = None) -> str | None:
        found = self._at(path, dir_fd)
        if found is not None:
            self._disk.remove(found)
        return found

    _rmdir = _unlink

    def _mkdir(self, _: None, path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> str | None:
        found = self._at(path, dir_fd)
        if found is not None:
            self._disk.make_directory(found, mode)
        return found
