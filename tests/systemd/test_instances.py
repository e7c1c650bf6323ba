"""Processes that a document lists under a real systemd: none ends with what started it, none is started twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

Machine = Any  # of conftest.py, which test files can't import
CONFIGURATION = """\
services:
  desk:
    state: {main: {file: /srv/desk/sessions.json, format: json, schema: {type: object, required: [sessions]}}}
    instances: {item: main, select: /sessions, where: {status: Active}, command: [/bin/sleep, "{seconds}"]}
    health: {within: 10s, stable_for: 0s}
    watch: {every: 200ms, backoff: {first: 100ms, most: 1s}}
    limits: {memory: 128MiB, tasks: 17}
  plain:
    run: {command: [/bin/sleep, "3003"]}
    health: {within: 10s, stable_for: 0s}
"""


@pytest.fixture
def desk(machine: Machine) -> Iterator[Machine]:
    """Two sessions are listed, one of them under a name that is no plain file name; units are installed."""
    machine.write("/etc/recoverd/conf.d/test.yaml", CONFIGURATION)
    listed(machine, a="3001", **{"fix the build": "3002"})
    machine.run(["recoverd", "units", "--install"]).fine()
    # these mount a fresh /proc over the boot id that this machine was given for itself
    seen = "[Service]\nProtectKernelTunables=no\nProtectControlGroups=no\n"
    for unit in ("recoverd", "recoverd-confirm"):
        machine.write(f"/run/systemd/system/{unit}.service.d/boot-id.conf", seen)
    machine.sh("systemctl daemon-reload; systemctl stop recoverd.service recoverd-confirm.service")
    yield machine
    machine.run(["systemctl", "stop", "recoverd.service", "recoverd-confirm.service"])
    machine.run(["recoverd", "stop"])
    machine.run(["recoverd", "units", "--remove"])
    machine.sh("rm -rf /run/systemd/system/recoverd*.d /etc/recoverd /srv/* /var/lib/recoverd")
    machine.sh("systemctl daemon-reload; systemctl reset-failed")


def listed(machine: Machine, **sessions: str) -> None:
    entries = [{"id": name, "status": "Active", "seconds": seconds} for name, seconds in sessions.items()]
    machine.write("/srv/desk/sessions.json", json.dumps({"sessions": entries}))


def real(machine: Machine) -> dict[str, list[str]]:
    """What the kernel runs: seconds of a sleep -> its processes."""
    found: dict[str, list[str]] = {}
    for line in machine.run(["ps", "-eo", "pid=,args="]).fine().out.splitlines():
        pid, program, *words = line.split()
        if program == "/bin/sleep":
            found.setdefault(words[0], []).append(pid)
    return found


def units(machine: Machine, pids: dict[str, list[str]]) -> dict[str, tuple[str, str, str]]:
    """By seconds, the unit that has the process, and the limits that systemd holds it to."""
    found = {}
    for seconds, (pid,) in pids.items():
        unit = machine.run(["ps", "-o", "unit=", "-p", pid]).fine().out.strip()
        found[seconds] = (unit, machine.show(unit, "MemoryMax"), machine.show(unit, "TasksMax"))
    return found


def kill(machine: Machine, pids: dict[str, list[str]]) -> None:
    everybody = [pid for few in pids.values() for pid in few]
    machine.run(["kill", "-9", *everybody]).fine()
    machine.wait_for(
        lambda: not {pid for few in real(machine).values() for pid in few} & {*everybody}, "the end of what was killed"
    )


def test_they_have_units_of_their_own_with_their_limits(desk: Machine) -> None:
    """recovery.md, "Processes": transient units where systemd runs. What confirm, the second phase of a boot, has
    started outlives it; the scheduler finds it again, brings back what dies, and its end is nobody else's."""
    limits = (str(128 << 20), "17")
    desk.run(["systemctl", "start", "recoverd-confirm.service"]).fine()
    first = real(desk)
    assert sorted(first) == ["3001", "3002", "3003"]
    assert units(desk, first) == {
        "3001": ("recoverd-run-desk:a.service", *limits),
        "3002": ("recoverd-run-desk:fix-the-build:1f2da61bf1.service", *limits),
        "3003": (
            "recoverd-run-plain.service",
            desk.show("recoverd-run-plain.service", "MemoryMax"),
            desk.show("recoverd-run-plain.service", "TasksMax"),
        ),
    }
    assert "limited by its unit" in desk.run(["recoverd", "status", "desk@a"]).fine().out
    desk.run(["systemctl", "restart", "recoverd-confirm.service"]).fine()
    desk.run(["systemctl", "stop", "recoverd-confirm.service"]).fine()
    desk.run(["systemctl", "start", "recoverd.service"]).fine()
    kill(desk, {"3001": first["3001"]})
    desk.wait_for(lambda: "3001" in real(desk), "its return")
    second = real(desk)
    assert second == first | {"3001": second["3001"]}
    assert units(desk, second)["3001"] == ("recoverd-run-desk:a.service", *limits)

    listed(desk, a="3001", b="3004", **{"fix the build": "3002"})
    desk.wait_for(lambda: "3004" in real(desk), "the one that is listed from now on")
    third = real(desk)
    desk.run(["systemctl", "restart", "recoverd.service"]).fine()
    desk.run(["systemctl", "stop", "recoverd.service"]).fine()
    assert third == second | {"3004": third["3004"]} == real(desk)
    assert all(len(pids) == 1 for pids in third.values())

    # by hand, what a shell starts gets a scope where it has limits
    kill(desk, {"3004": third["3004"]})
    desk.run(["recoverd", "restore", "desk"]).fine()
    last = real(desk)
    (unit, *given) = units(desk, {"3004": last["3004"]})["3004"]
    assert (unit.endswith(".scope"), *given) == (True, *limits)
    assert {seconds: pids for seconds, pids in last.items() if seconds != "3004"} == {
        seconds: pids for seconds, pids in third.items() if seconds != "3004"
    }
    desk.run(["recoverd", "stop"]).fine()
    assert real(desk) == {}
