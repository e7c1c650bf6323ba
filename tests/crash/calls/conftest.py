"""One warm process and one house for all attacks of a worker."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.crash.calls.actions import ACTIONS, SAMPLE
from tests.crash.calls.house import House, Warm


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "action_name" in metafunc.fixturenames:
        metafunc.parametrize("action_name", ACTIONS if os.environ.get("RECOVERD_TORTURE") else SAMPLE)


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    one = Warm()
    yield one
    one.close()


@pytest.fixture(scope="session")
def house(warm: Warm, tmp_path_factory: pytest.TempPathFactory) -> House:
    """One house with its history; each point begins with a copy of a template."""
    return House(tmp_path_factory.mktemp("house"), warm)
