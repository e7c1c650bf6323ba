"""A file system that hangs, as a dead network mount does: FUSE whose server never answers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_LIBC = ctypes.CDLL(None, use_errno=True)
_FORCE_AND_DETACH = 3


class DeadMount:
    """Whoever touches `path` waits until `end`."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0".encode()
        if _LIBC.mount(b"dead", os.fsencode(path), b"fuse", 0, options) != 0:
            os.close(self._fd)
            raise OSError(ctypes.get_errno(), "can't mount")

    def end(self) -> None:
        """Everybody who waits gets an error, and the mount is gone."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            _LIBC.umount2(os.fsencode(self.path), _FORCE_AND_DETACH)


@pytest.fixture
def dead_mount(tmp_path: Path) -> Iterator[DeadMount]:
    """Mounted on the directory `dead`. Skips where that can't be."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this kernel has no FUSE")
    try:
        mount = DeadMount(tmp_path / "dead")
    except OSError as error:
        pytest.skip(f"FUSE can't be mounted here: {error}")
    yield mount
    mount.end()
