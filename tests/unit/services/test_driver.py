"""Which services have a driver."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recoverd.config.model import Place, Run, RunKind, Service
from recoverd.services.command import CommandDriver
from recoverd.services.control import ControlDriver
from recoverd.services.driver import Driver
from recoverd.services.drivers import build_driver
from recoverd.services.systemd import SystemdDriver


class NoLedger:
    def load(self) -> Mapping[str, Any]:
        return {}

    def save(self, process: Mapping[str, Any]) -> None:
        raise AssertionError("building a driver and asking it changes nothing")


def build(run: Run | None, tmp_path: Path) -> Driver | None:
    return build_driver(Service("agent", Place("x", 1, 1), run=run), NoLedger(), log_dir=str(tmp_path / "logs"))


def test_state_only_has_none(tmp_path: Path) -> None:
    """A service without `run` has state only."""
    assert build(None, tmp_path) is None


def test_command_has_one(tmp_path: Path) -> None:
    """Building a driver and asking for the status has no side effect."""
    driver = build(Run(RunKind.COMMAND, command=("/bin/true",)), tmp_path)
    assert isinstance(driver, CommandDriver)
    assert not driver.status().running
    assert not (tmp_path / "logs").exists()


def test_systemd_has_one(tmp_path: Path) -> None:
    """Building it asks nobody: there may be no systemd."""
    assert isinstance(build(Run(RunKind.SYSTEMD, unit="x.service"), tmp_path), SystemdDriver)


def test_control_has_one(tmp_path: Path) -> None:
    """Asking runs the status command and nothing else."""
    driver = build(Run(RunKind.CONTROL, start=("/nothing",), stop=("/nothing",), status=("/bin/false",)), tmp_path)
    assert isinstance(driver, ControlDriver)
    assert not driver.status().running
    assert not (tmp_path / "logs").exists()
