"""What holds for every test: the log of one does not silence the next one's."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def fresh_log() -> Iterator[None]:
    """Commands that run inside the test process set up recoverd's log; it is put back as it was."""
    root = logging.getLogger("recoverd")
    handlers, level, propagate = root.handlers[:], root.level, root.propagate
    yield
    root.handlers[:], root.propagate = handlers, propagate
    root.setLevel(level)
