"""A house in memory, where writing and deleting many small disks costs little."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.crash.lost_writes.house import House
from tests.crash.lost_writes.recording import available


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    if not available():
        pytest.skip("needs strace, which may trace, to record what a process does")
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else str(tmp_path)
    root = Path(tempfile.mkdtemp(prefix="recoverd-", dir=memory))
    yield House(root)
    shutil.rmtree(root, ignore_errors=True)
