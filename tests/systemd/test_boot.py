"""A boot with damaged state: repaired before services start, blocked where it must be, proven afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

Machine = Any  # of conftest.py, which test files can't import
RECOVERY = "recoverd-recover@app.service.service"


def state(machine: Machine, name: str) -> Any:
    return json.loads(machine.read(f"/srv/{name}/state.json"))


def settled(machine: Machine) -> None:
    """confirm has come to its end, whatever that is."""
    machine.wait_for(lambda: machine.show("recoverd-confirm.service", "ActiveState") in {"active", "failed"}, "confirm")


@pytest.fixture(scope="module")
def booted(house: Machine) -> Iterator[Machine]:
    """All services ran once under the units, and are saved."""
    house.reboot()
    settled(house)
    house.run(["recoverd", "snapshot"]).fine()
    yield house


def damage(machine: Machine, *names: str) -> None:
    """What a power cut leaves: services are down, and their files are empty."""
    for name in names:
        machine.run(["systemctl", "stop", f"{name}.service"]).fine()
        machine.write(f"/srv/{name}/state.json", "")


def test_the_scheduler_is_ready_and_fed_to_the_watchdog(booted: Machine) -> None:
    """Type=notify with READY, WatchdogSec served, confined and able to save all the same; HUP reloads."""
    assert booted.is_active("recoverd.service")
    assert booted.show("recoverd.service", "WatchdogUSec") == "1min"
    before = booted.show("recoverd.service", "WatchdogTimestampMonotonic")
    assert int(before) > 0
    pid = booted.show("recoverd.service", "MainPID")
    booted.run(["systemctl", "reload", "recoverd.service"]).fine()
    booted.wait_for(lambda: "configuration loaded again" in booted.journal("-u", "recoverd.service"), "the reload")
    assert booted.show("recoverd.service", "MainPID") == pid


def test_a_daemon_that_hangs_is_killed_and_started_again(booted: Machine) -> None:
    """WatchdogSec: one that answers no more is ended by systemd, and saves what is due when it is back."""
    drop_in = "/run/systemd/system/recoverd.service.d/patience.conf"
    booted.write(drop_in, "[Service]\nWatchdogSec=5s\nRestartSec=100ms\n")
    kept = booted.read("/etc/recoverd/conf.d/test.yaml")
    booted.write("/etc/recoverd/conf.d/test.yaml", kept.replace("every: 1h", "every: 1s"))
    booted.sh("systemctl daemon-reload; systemctl restart recoverd.service", timeout=60)
    pid = booted.show("recoverd.service", "MainPID")

    def newest() -> int:
        found = json.loads(booted.run(["recoverd", "--json", "list", "app"]).fine().out)["snapshots"]
        return max(int(one["sequence"]) for one in found)

    try:
        booted.run(["systemctl", "kill", "--kill-who=main", "--signal=STOP", "recoverd.service"]).fine()
        before = newest()
        booted.write("/srv/app/state.json", json.dumps({**state(booted, "app"), "hung": True}))
        booted.wait_for(lambda: booted.show("recoverd.service", "NRestarts") == "1", "the watchdog", 60)
        assert "Watchdog timeout" in booted.journal("-u", "recoverd.service")
        booted.wait_for(lambda: newest() > before, "the snapshot", 60)
        assert booted.is_active("recoverd.service")
        assert booted.show("recoverd.service", "MainPID") != pid
        assert '"hung": true' in booted.run(["recoverd", "show", "app/latest", "main"]).fine().out
    finally:
        booted.write("/etc/recoverd/conf.d/test.yaml", kept)
        booted.sh(f"rm -r {drop_in.rpartition('/')[0]}; systemctl daemon-reload; systemctl restart recoverd.service")


def test_every_service_comes_up_and_is_proven(booted: Machine) -> None:
    """Units by systemd, the `command` by confirm in a unit of its own, which outlives confirm."""
    assert booted.show("recoverd-restore.service", "Result") == "success"
    assert booted.show("recoverd-confirm.service", "Result") == "success"
    for unit in ("app.service", "other.service", "recoverd-run-detached.service"):
        assert booted.is_active(unit), booted.journal()
    assert booted.show("recoverd-run-detached.service", "CapabilityBoundingSet") == booted.show(
        "app.service", "CapabilityBoundingSet"
    )


def test_the_last_capture_comes_after_the_service_has_stopped(booted: Machine) -> None:
    """At shutdown, what the service writes when it is told to stop is in the shutdown snapshot."""
    booted.reboot()
    settled(booted)
    found = json.loads(booted.run(["recoverd", "--json", "list", "app"]).fine().out)["snapshots"]
    last = max((one for one in found if one["reason"] == "shutdown"), key=lambda one: int(one["sequence"]))
    assert json.loads(booted.run(["recoverd", "show", last["id"], "main"]).fine().out)["stopped"] is True


def test_damaged_state_is_repaired_before_the_service_starts(booted: Machine) -> None:
    """The unit starts once, on good state: it never sees the empty file, and is proven afterwards."""
    counter = state(booted, "app")["counter"]
    damage(booted, "app")
    booted.reboot()
    settled(booted)
    assert state(booted, "app")["counter"] == counter
    assert booted.is_active("app.service") and booted.is_active("other.service")
    assert booted.show("app.service", "NRestarts") == "0"
    assert "restored" in booted.journal("-u", "recoverd-restore.service")
    newest = json.loads(booted.run(["recoverd", "--json", "list", "app"]).fine().out)["snapshots"]
    assert any(one["proven"] for one in newest)


def test_what_does_not_work_is_taken_back_and_the_older_one_tried(booted: Machine) -> None:
    """confirm: the newest candidate validates but kills the service; the one before it is restored, and proven."""
    booted.run(["systemctl", "stop", "other.service", "app.service"]).fine()
    good = state(booted, "app")["counter"]
    booted.write("/srv/app/state.json", json.dumps({"counter": good + 1, "poison": True}))
    booted.run(["recoverd", "snapshot", "app"]).fine()
    poisoned = json.loads(booted.run(["recoverd", "--json", "list", "app"]).fine().out)["snapshots"]
    newest = max(poisoned, key=lambda one: int(one["sequence"]))
    booted.write("/srv/app/state.json", "")
    booted.reboot()
    settled(booted)
    booted.wait_for(lambda: booted.is_active("app.service"), "app")
    now = state(booted, "app")
    assert now["counter"] == good and "poison" not in now, booted.journal()
    after = json.loads(booted.run(["recoverd", "--json", "list", "app"]).fine().out)["snapshots"]
    assert next(one for one in after if one["id"] == newest["id"])["rejected"]


def test_a_blocked_service_does_not_start_and_what_requires_it_is_refused(booted: Machine) -> None:
    """No snapshot helps: the unit is refused, by whomever it is started, and its dependant with it; others run."""
    kept = booted.read("/etc/recoverd/conf.d/test.yaml")
    before = booted.read("/srv/app/state.json")
    booted.write(
        "/etc/recoverd/conf.d/test.yaml",
        kept.replace("required: [counter]", "required: [counter, never]", 1),
    )
    booted.reboot()
    settled(booted)
    assert not booted.is_active("app.service") and not booted.is_active("other.service")
    assert booted.exists("/run/recoverd-blocked/app") and booted.exists("/run/recoverd-blocked/other")
    assert booted.run(["systemctl", "start", "app.service"]).status != 0
    assert booted.run(["systemctl", "start", "other.service"]).status != 0
    assert booted.is_active("recoverd-run-detached.service")
    assert booted.read("/srv/app/state.json") != "" and json.loads(before)["counter"] == state(booted, "app")["counter"]
    booted.write("/etc/recoverd/conf.d/test.yaml", kept)
    booted.run(["recoverd", "restore"]).fine()
    assert booted.is_active("app.service") and booted.is_active("other.service")
    assert booted.sh("ls /run/recoverd-blocked").out == ""


def test_an_open_intent_keeps_the_service_down(booted: Machine) -> None:
    """Half a restore is never started on, also when recoverd can't finish it."""
    booted.run(["systemctl", "reset-failed"]).fine()  # the start limit counts the starts of other tests too
    booted.run(["systemctl", "stop", "other.service", "app.service"]).fine()
    booted.write("/var/lib/recoverd/intents/app.json", "no intent")
    assert booted.run(["systemctl", "start", "app.service"]).status != 0
    booted.run(["rm", "/var/lib/recoverd/intents/app.json"]).fine()
    booted.run(["systemctl", "start", "other.service"]).fine()
    assert booted.is_active("app.service")


def test_a_unit_that_gives_up_is_recovered(booted: Machine) -> None:
    """OnFailure: state breaks while the service runs; after its start limit recover@ restores it and starts it."""
    booted.run(["recoverd", "snapshot", "app"]).fine()
    booted.write("/srv/app/state.json", "{")
    booted.run(["systemctl", "kill", "--signal=KILL", "app.service"]).fine()
    booted.wait_for(lambda: "counter" in booted.read("/srv/app/state.json"), "the restore", 30)
    booted.wait_for(lambda: booted.show(RECOVERY, "ActiveState") in {"inactive", "failed"}, "the recovery", 30)
    assert booted.is_active("app.service")
    assert "restored, healthy" in booted.journal("-u", RECOVERY)


def test_recovery_without_end_is_given_up(booted: Machine) -> None:
    """recover@ has a limit: a service that fails for another reason is blocked with that reason, its state stays."""
    booted.sh("rm -f /run/recoverd/recovered-*; systemctl reset-failed")
    before = state(booted, "app")["counter"]
    booted.write("/run/never-healthy", "")
    booted.run(["systemctl", "kill", "--signal=KILL", "app.service"]).fine()
    booted.wait_for(lambda: booted.show(RECOVERY, "ActiveState") == "failed", "the end of the recovery", 30)
    for _ in range(4):  # further failures, each with its recovery
        if not booted.exists("/run/recoverd-blocked/app"):
            booted.run(["systemctl", "start", RECOVERY])
    booted.wait_for(lambda: booted.show(RECOVERY, "ActiveState") == "failed", "the last recovery", 30)
    assert "failed again after 3 recoveries" in booted.read("/run/recoverd-blocked/app")
    assert booted.run(["systemctl", "start", "app.service"]).status != 0
    assert state(booted, "app")["counter"] == before
    booted.sh("rm /run/never-healthy /run/recoverd/recovered-*")
    done = booted.run(["recoverd", "restore"]).fine()
    # systemd had stopped the other one together with app
    assert booted.is_active("app.service") and booted.is_active("other.service"), done.out
    booted.sh("systemctl reset-failed")


def test_the_timer_saves_what_is_due(booted: Machine) -> None:
    """Instead of the daemon: snapshot.timer fires on the minute, within a second; its unit may write only its own."""
    booted.run(["systemctl", "stop", "recoverd.service"]).fine()
    drop_in = "/run/systemd/system/recoverd-snapshot.timer.d/often.conf"
    booted.write(drop_in, "[Timer]\nOnCalendar=\nOnCalendar=*:*:*\n")
    kept = booted.read("/etc/recoverd/conf.d/test.yaml")
    booted.write("/etc/recoverd/conf.d/test.yaml", kept.replace("every: 1h", "every: 1s"))
    booted.write("/srv/app/state.json", json.dumps({**state(booted, "app"), "timer": True}))
    booted.sh("systemctl daemon-reload; systemctl start recoverd-snapshot.timer")
    try:
        booted.wait_for(
            lambda: '"timer": true' in booted.run(["recoverd", "show", "app/latest", "main"]).out, "the timer"
        )
    finally:
        booted.write("/etc/recoverd/conf.d/test.yaml", kept)
        booted.sh(f"systemctl stop recoverd-snapshot.timer; rm {drop_in}; systemctl daemon-reload")
        booted.run(["systemctl", "start", "recoverd.service"]).fine()


def test_services_start_when_the_check_crashes_or_recoverd_is_gone(booted: Machine) -> None:
    """Fail open: without recoverd, services start as if it had never been there."""
    booted.sh("mv /usr/bin/recoverd /usr/bin/recoverd.gone")
    booted.reboot()
    assert booted.show("recoverd-restore.service", "ActiveState") == "failed"
    booted.wait_for(lambda: booted.is_active("app.service") and booted.is_active("other.service"), "the services")
    booted.sh("mv /usr/bin/recoverd.gone /usr/bin/recoverd")
