"""A machine with the agent, for each test anew."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests.end_to_end.coding_agent.agency import Agency


@pytest.fixture
def agency(world: Any) -> Iterator[Agency]:
    """No agent outlives its test."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    made = Agency(world, port)
    made.install()
    yield made
    for pid in world.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def working(agency: Agency) -> Agency:
    """The agent was started by recoverd, has done some work, and was killed."""
    agency.restore(0)
    agency.worked()
    agency.kill()
    return agency
