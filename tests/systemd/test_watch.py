"""`watch` and `limits` under a real systemd: the scheduler is a unit, and what it brings back must not end with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

Machine = Any  # of conftest.py, which test files can't import
CONFIGURATION = """\
services:
  kept:
    run: {command: [/bin/sleep, infinity]}
    state: {main: {file: /srv/kept/state.json, format: json, schema: {type: object, required: [counter]}}}
    health: {within: 3s, stable_for: 0s, probes: [{command: [/bin/true]}]}
    watch: {every: 200ms, backoff: {first: 100ms, most: 1s}}
    limits: {memory: 128MiB, tasks: 17}
    drill: {cron: "0 4 * * 0"}
"""


@pytest.fixture
def watched(machine: Machine) -> Iterator[Machine]:
    machine.write("/etc/recoverd/conf.d/test.yaml", CONFIGURATION)
    machine.write("/srv/kept/state.json", '{"counter": 1}')
    machine.run(["recoverd", "units", "--install"]).fine()
    # these mount a fresh /proc over the boot id that this machine was given for itself
    seen = "[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n"
    machine.write("/run/systemd/system/recoverd.service.d/boot-id.conf", seen)
    machine.run(["systemctl", "daemon-reload"]).fine()
    yield machine
    machine.run(["systemctl", "stop", "recoverd.service"])
    machine.run(["recoverd", "stop"])
    machine.run(["recoverd", "units", "--remove"])
    machine.sh("rm -rf /run/systemd/system/recoverd.service.d /etc/recoverd /srv/* /var/lib/recoverd")
    machine.sh("systemctl daemon-reload; systemctl reset-failed")


def status(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(machine.run(["recoverd", "--json", "status", "kept"]).out)["services"][0]
    return found


def limits(machine: Machine, pid: int) -> tuple[str, str, str]:
    """The unit that has a process, and the limits that the kernel holds it to."""
    unit = machine.run(["ps", "-o", "unit=", "-p", str(pid)]).fine().out.strip()
    return unit, machine.show(unit, "MemoryMax"), machine.show(unit, "TasksMax")


def test_it_is_brought_back_within_its_limits_and_outlives_the_scheduler(watched: Machine) -> None:
    watched.run(["recoverd", "start", "kept"]).fine()
    watched.run(["recoverd", "snapshot"]).fine()
    first = status(watched)
    assert "limited by a scope of systemd" in first["detail"]
    unit, *given = limits(watched, first["pid"])
    assert unit.endswith(".scope")
    assert given == [str(128 << 20), "17"]

    watched.run(["systemctl", "restart", "recoverd.service"]).fine()
    watched.write("/srv/kept/state.json", "")
    watched.run(["kill", "-9", str(first["pid"])]).fine()
    watched.wait_for(lambda: status(watched)["running"], "its return")
    second = status(watched)
    assert second["pid"] != first["pid"]
    assert "limited by its unit" in second["detail"]
    assert limits(watched, second["pid"]) == ("recoverd-run-kept.service", str(128 << 20), "17")
    assert json.loads(watched.read("/srv/kept/state.json")) == {"counter": 1}

    watched.run(["systemctl", "restart", "recoverd.service"]).fine()
    third = status(watched)
    assert (third["pid"], third["running"]) == (second["pid"], True)
    watched.run(["kill", "-9", str(second["pid"])]).fine()
    watched.wait_for(lambda: status(watched)["running"] and status(watched)["pid"] != second["pid"], "its next return")
    watched.run(["recoverd", "stop", "kept"]).fine()


def test_a_scheduler_that_restores_is_confined_as_what_restores(watched: Machine) -> None:
    """Exposure below 4, as systemd itself counts it; and nothing to be said against the unit."""
    path = "/etc/systemd/system/recoverd.service"
    done = watched.run(["systemd-analyze", "security", "--offline=true", "--no-pager", path]).fine()
    line = next(line for line in done.out.splitlines() if "exposure level" in line)
    assert float(line.split(": ")[1].split()[0]) < 4.0
    found = watched.run(["systemd-analyze", "verify", "--recursive-errors=no", "recoverd.service"])
    assert (found.status, found.out, found.err) == (0, "", "")
