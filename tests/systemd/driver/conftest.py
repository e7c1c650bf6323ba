"""A bench for units of a real systemd: what a test puts there is removed at its end."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

Machine = Any  # of the conftest.py above, which other files can't import
ROOT = "/srv/units"


class Bench:
    """Units and a configuration of this test's own, removed at its end."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.units: list[str] = []
        self.services: list[str] = []

    def unit(self, name: str, text: str) -> None:
        self.machine.write(f"/etc/systemd/system/{name}", text)
        self.units.append(name)
        self.systemctl("daemon-reload")

    def declare(self, name: str, unit: str, more: str = "") -> None:
        """A service with one JSON document, which is proven after 100 ms. `more`: further lines of YAML."""
        self.machine.write(f"{ROOT}/data/{name}.json", '{"n": 1}\n')
        item = f"{{file: {ROOT}/data/{name}.json, format: json}}"
        self.services.append(
            f"  {name}:\n    run: {{systemd: {unit}}}\n    state: {{main: {item}}}\n"
            f"    health: {{within: 8s, stable_for: 100ms}}\n    restore: {{attempts: 1}}\n{more}"
        )
        text = f"version: 1\nstate_dir: {ROOT}/state\nservices:\n" + "".join(self.services)
        self.machine.write(f"{ROOT}/recoverd.yaml", text)

    def systemctl(self, *words: str) -> None:
        self.machine.run(["systemctl", *words]).fine()

    def run(self, *words: str, timeout: float = 60) -> Any:
        return self.machine.run(["recoverd", "--config", f"{ROOT}/recoverd.yaml", *words], timeout)

    def one(self, command: str, *words: str) -> dict[str, Any]:
        """The only service in the answer to a command."""
        done = self.run("--json", command, *words)
        (service,) = self.answered(done)
        return {**service, "exit": done.status}

    def answered(self, done: Any) -> list[dict[str, Any]]:
        """Those in the answer of a command that was run with --json."""
        found: list[dict[str, Any]] = json.loads(done.out)["services"]
        return found

    def damage(self, name: str) -> None:
        self.machine.write(f"{ROOT}/data/{name}.json", "")

    def state(self, unit: str) -> str:
        return str(self.machine.show(unit, "ActiveState"))

    def end(self) -> None:
        for unit in self.units:
            self.machine.run(["systemctl", "unmask", unit])
            self.machine.run(["systemctl", "disable", "--now", unit])
            self.machine.run(["systemctl", "kill", "--signal=KILL", unit])
            self.machine.run(["rm", "-f", f"/etc/systemd/system/{unit}"])
            self.machine.run(["systemctl", "reset-failed", unit])
        self.machine.run(["rm", "-rf", ROOT])
        self.machine.run(["systemctl", "daemon-reload"])


@pytest.fixture
def bench(machine: Machine) -> Iterator[Bench]:
    one = Bench(machine)
    yield one
    one.end()
