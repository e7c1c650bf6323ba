"""A plain user's units, under the service manager of that user, which lingering starts without a login."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

Machine = Any  # of conftest.py, which test files can't import
HOME = "/home/two"
UNITS = f"{HOME}/.config/systemd/user"
CONFIG = f"{HOME}/.config/recoverd/recoverd.yaml"
MANAGER = "user@1235.service"
CONFIGURATION = """\
version: 1
services:
  app:
    run: {systemd: mine}
    root: ~/data
    state: {main: {file: state.json, format: json, schema: {type: object, required: [counter]}}}
    autosave: {every: 1h, on_shutdown: true}
    health: {within: 20s, stable_for: 300ms}
"""
UNIT = f"""\
[Service]
ExecStart=/usr/local/bin/two {HOME}/data/state.json
Restart=on-failure
RestartSec=50ms
[Install]
WantedBy=default.target
"""


class User:
    """What this user runs has no more in its environment than a job of cron."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def run(self, *words: str, timeout: float = 60) -> Any:
        become = ["setpriv", "--reuid=1235", "--regid=1235", "--init-groups", "env", f"HOME={HOME}"]
        return self.machine.run([*become, *words], timeout)

    def systemctl(self, *words: str, timeout: float = 60) -> Any:
        return self.run("env", "XDG_RUNTIME_DIR=/run/user/1235", "systemctl", "--user", *words, timeout=timeout)

    def show(self, unit: str, name: str) -> str:
        return str(self.systemctl("show", "--value", "--property", name, unit).fine().out.strip())

    def write(self, path: str, text: str) -> None:
        self.run(
            "sh", "-euc", 'mkdir -p "$(dirname "$1")"; printf %s "$2" >"$1.new"; mv "$1.new" "$1"', "-", path, text
        )

    def state(self) -> Any:
        return json.loads(self.machine.read(f"{HOME}/data/state.json"))

    def check(self, name: str) -> dict[str, Any]:
        """One result of `check` about the host."""
        results = json.loads(self.run("recoverd", "--json", "check").out)["results"]
        found: dict[str, Any] = next(one for one in results if one["name"] == name)
        return found

    def settled(self) -> None:
        self.machine.wait_for(
            lambda: self.show("recoverd-confirm.service", "ActiveState") in {"active", "failed"}, "confirm", 60
        )


@pytest.fixture(scope="module")
def user(machine: Machine) -> Iterator[User]:
    """A user with a unit that has state, and a snapshot of it; without a login, and so without a manager."""
    machine.run(["useradd", "--create-home", "--uid", "1235", "two"]).fine()
    one = User(machine)
    machine.write("/usr/local/bin/two", APP, mode="755")
    one.write(CONFIG, CONFIGURATION)
    one.write(f"{UNITS}/mine.service", UNIT)
    one.write(f"{HOME}/data/state.json", '{"counter": 7}')
    one.run("recoverd", "snapshot").fine()
    yield one
    machine.run(["loginctl", "disable-linger", "two"])
    machine.run(["systemctl", "stop", MANAGER], 120)
    machine.run(["userdel", "--remove", "two"])


APP = """\
#!/bin/sh
# A service that counts its starts, and refuses to start on an empty file.
test -s "$1" || exit 3
counter=$(sed 's/[^0-9]//g' "$1")
echo "{\\"counter\\": $((counter + 1))}" >"$1.new" && mv "$1.new" "$1"
exec sleep 1000
"""


def test_units_are_installed_before_the_manager_runs(user: User) -> None:
    """From a shell without a session: files are written and enabled, and that lingering is missing is said."""
    shown = user.run("recoverd", "units", "--user").fine()
    assert "recoverd-confirm.service" in shown.out and "loginctl enable-linger" in shown.err
    done = user.run("recoverd", "units", "--user", "--install").fine()
    assert "systemd does not run here" in done.out and "loginctl enable-linger" in done.err
    assert user.machine.exists(f"{UNITS}/default.target.wants/recoverd.service")
    text = user.machine.read(f"{UNITS}/mine.service.d/50-recoverd.conf")
    assert "AssertPathExists=!/run/user/1235/recoverd-blocked/app" in text
    found = user.check("lingering")
    assert (found["status"], found["hint"]) == ("WARNING", "`loginctl enable-linger` allows it")
    root = user.machine.run(["recoverd", "units", "--user"]).fine(64)
    assert "--user is for plain users" in root.err


def test_damaged_state_is_repaired_when_the_manager_starts(user: User) -> None:
    """Without a login: restore before the unit, the scheduler ready, then the proof."""
    user.run("sh", "-c", f"ln -s ../mine.service {UNITS}/default.target.wants/").fine()
    user.write(f"{HOME}/data/state.json", "")
    user.machine.run(["loginctl", "enable-linger", "two"]).fine()
    user.machine.wait_for(lambda: user.machine.is_active(MANAGER), "the manager", 60)
    user.settled()
    for unit in ("recoverd.service", "recoverd-restore.service", "mine.service"):
        assert user.show(unit, "ActiveState") == "active", user.machine.journal()
    assert user.state() == {"counter": 8} and user.show("mine.service", "NRestarts") == "0"
    assert user.show("recoverd-confirm.service", "Result") == "success"
    assert user.check("lingering")["status"] == "OK"
    assert user.run("recoverd", "units", "--user").fine().err == ""
    seen = json.loads(user.run("recoverd", "--json", "status").fine().out)["services"][0]
    assert (seen["outcome"], seen["wanted"]) == ("running", "running")
    assert user.machine.run(["stat", "-c", "%u", f"/proc/{seen['pid']}"]).fine().out == "1235\n"


def test_systemd_finds_nothing_wrong(user: User) -> None:
    """`systemd-analyze verify` is silent for every unit and drop-in of a user too."""
    names = user.run("sh", "-c", f"cd {UNITS}; ls -d recoverd*.service recoverd*.timer mine.service").fine().out.split()
    names = [f"{UNITS}/{name.replace('@.', '@app.service.')}" for name in names]
    analyze = ("env", "XDG_RUNTIME_DIR=/run/user/1235", "systemd-analyze", "--user")
    done = user.run(*analyze, "verify", "--recursive-errors=no", *names)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert len(names) == 9


def test_a_blocked_service_does_not_start(user: User) -> None:
    """The flag is where the user's units look for it, whoever sets it."""
    user.write(CONFIG, CONFIGURATION.replace("required: [counter]", "required: [counter, never]"))
    user.systemctl("stop", "mine.service").fine()
    assert user.run("recoverd", "restore").status == 1
    assert user.systemctl("start", "mine.service").status != 0
    user.write(CONFIG, CONFIGURATION)
    user.run("recoverd", "restore").fine()
    user.systemctl("start", "mine.service").fine()
    assert user.show("mine.service", "ActiveState") == "active"


def test_what_the_user_stopped_stays_down(user: User) -> None:
    """`systemctl --user stop` is told from a crash by what the user's own manager wrote into the journal."""
    user.systemctl("stop", "mine.service").fine()
    user.run("recoverd", "restore").fine()
    assert user.show("mine.service", "ActiveState") == "inactive"
    user.systemctl("start", "mine.service").fine()
    user.systemctl("kill", "--signal=KILL", "mine.service").fine()
    user.run("recoverd", "restore").fine()
    assert user.show("mine.service", "ActiveState") == "active"


def test_the_timer_saves_what_is_due(user: User) -> None:
    """Instead of the scheduler, as for the whole system."""
    user.systemctl("stop", "recoverd.service").fine()
    user.write(CONFIG, CONFIGURATION.replace("every: 1h", "every: 1s"))
    user.write(f"{UNITS}/recoverd-snapshot.timer.d/often.conf", "[Timer]\nOnCalendar=\nOnCalendar=*:*:*\n")
    user.systemctl("daemon-reload").fine()
    user.write(f"{HOME}/data/state.json", '{"counter": 500}')
    user.systemctl("start", "recoverd-snapshot.timer").fine()
    try:
        user.machine.wait_for(
            lambda: '"counter": 500' in user.run("recoverd", "show", "app/latest", "main").out, "the timer", 60
        )
    finally:
        user.write(CONFIG, CONFIGURATION)
        user.systemctl("stop", "recoverd-snapshot.timer")
        user.run("rm", "-r", f"{UNITS}/recoverd-snapshot.timer.d")


def test_removing_leaves_nothing_but_the_users_own(user: User) -> None:
    """What was written and enabled goes; the user's unit starts as before."""
    user.run("recoverd", "units", "--user", "--remove").fine()
    left = user.run("find", f"{HOME}/.config/systemd", "-not", "-type", "d").fine().out.split()
    assert sorted(left) == [f"{UNITS}/default.target.wants/mine.service", f"{UNITS}/mine.service"]
    user.systemctl("restart", "mine.service").fine()
    assert user.show("mine.service", "ActiveState") == "active"
