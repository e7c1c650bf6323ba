"""The machine itself: what the other tests build on is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import recoverd

Machine = Any  # of conftest.py, which test files can't import


def test_recoverd_runs_under_a_real_systemd(machine: Machine) -> None:
    """The package under test is installed: its version is what this interpreter imports."""
    assert machine.run(["ps", "-o", "comm=", "-p", "1"]).out == "systemd\n"
    assert machine.run(["recoverd", "--version"]).fine().out == f"recoverd {recoverd.__version__}\n"
    assert machine.run(["systemctl", "--failed", "--plain", "--no-legend"]).out == ""


def test_a_reboot_keeps_the_disk_and_changes_the_boot_id(machine: Machine) -> None:
    """What is told by boot id (process identity, leftovers) sees a new boot; /run is empty, /var is not."""
    before = machine.read("/proc/sys/kernel/random/boot_id")
    machine.write("/var/lib/kept", "here\n")
    machine.write("/run/lost", "gone\n")
    machine.reboot()
    assert machine.read("/var/lib/kept") == "here\n"
    assert not machine.exists("/run/lost")
    assert machine.read("/proc/sys/kernel/random/boot_id") != before
    machine.run(["rm", "/var/lib/kept"]).fine()


def test_a_machine_ends_when_its_first_process_is_killed_or_powers_off(fresh_machine: Callable[[], Machine]) -> None:
    """Nothing is left behind: no process, no cgroup."""
    first, second = fresh_machine(), fresh_machine()
    first.kill_pid1()
    second.poweroff()
    for one in (first, second):
        one.end()
        assert not one.group.exists()
