"""What holds for every test: the same examples in each run, however slow; the log of one does not silence the next."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# A sample with one seed in the gate, other examples each time under torture.
settings.register_profile("house", deadline=None, derandomize=os.environ.get("RECOVERD_TORTURE") is None)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """Commands that run inside the test process set up recoverd's log; it is put back as it was."""
    root = logging.getLogger("recoverd")
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    yield
    root.handlers[:], root.propagate = handlers, propagate
    root.setLevel(level)
