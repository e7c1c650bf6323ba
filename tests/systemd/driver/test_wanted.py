"""Whether a unit that is down is meant to be: told by how it went down, by systemd's own properties and journal."""

from __future__ import annotations

from typing import Any

import pytest

Bench = Any  # of conftest.py, which test files can't import
PLAIN = "[Service]\nExecStart=/bin/sleep 1000\n"
WANTED = "[Install]\nWantedBy=multi-user.target\n"
BASE = "t-base.service"
# needs the base in the way that is written in
NEEDS = "[Unit]\n{key}=t-base.service\nAfter=t-base.service\n" + PLAIN
KEYS = ("Requires", "BindsTo", "PartOf")


def based(bench: Bench, *, enabled: bool = True) -> list[str]:
    """A base, and units that go down with it: names of the latter. All run, and have a snapshot."""
    bench.unit(BASE, PLAIN + WANTED)
    names = []
    for key in KEYS:
        bench.unit(f"t-{key.lower()}.service", NEEDS.format(key=key) + (WANTED if enabled else ""))
        names.append(key.lower())
    units = [f"t-{name}.service" for name in names]
    bench.systemctl("enable", BASE, *(units if enabled else []))
    bench.declare("base", "t-base")
    for name in names:
        bench.declare(name, f"t-{name}", "    after: [base]\n")
    bench.run("start").fine()
    bench.run("snapshot").fine()
    return names


def up(bench: Bench, *names: str) -> list[str]:
    return [name for name in names if bench.state(f"t-{name}.service") == "active"]


def test_what_went_down_with_a_restored_unit_comes_back_with_it(bench: Bench) -> None:
    """A restore stops a unit, and systemd stops with it what requires it: that was no operator's wish, and what was
    up before is up after, declared or not, but for what its operator had stopped before.
    """
    names = based(bench, enabled=False)
    bench.unit("t-foreign.service", NEEDS.format(key="Requires"))
    bench.unit("t-stopped.service", NEEDS.format(key="Requires"))
    bench.systemctl("start", "t-foreign.service", "t-stopped.service")
    bench.systemctl("stop", "t-stopped.service")
    bench.damage("base")
    assert bench.one("restore", "base")["outcome"] == "restored"
    assert up(bench, "base", *names, "foreign", "stopped") == ["base", *names, "foreign"]


def test_what_went_down_stays_remembered_until_it_is_up_again(bench: Bench) -> None:
    """`restore --no-start` leaves it all down; the next start brings it all back."""
    names = based(bench, enabled=False)
    bench.damage("base")
    bench.run("restore", "--no-start", "base").fine()
    assert up(bench, "base", *names) == []
    assert bench.one("start", "base")["exit"] == 0
    assert up(bench, "base", *names) == ["base", *names]


def test_a_damaged_dependant_is_not_started_on_its_damage(bench: Bench) -> None:
    """What comes back with another must be fit to run: else its own restore sees to it."""
    bench.unit(BASE, PLAIN)
    bench.unit("t-needs.service", NEEDS.format(key="Requires"))
    bench.declare("base", "t-base")
    bench.declare("needs", "t-needs")
    bench.run("start").fine()
    bench.run("snapshot").fine()
    bench.damage("base")
    bench.damage("needs")
    bench.run("restore", "base").fine()
    assert up(bench, "base", "needs") == ["base"]
    bench.run("restore").fine()
    assert up(bench, "base", "needs") == ["base", "needs"]


@pytest.mark.parametrize("enabled", [True, False], ids=["enabled", "not enabled"])
def test_what_its_operator_took_down_with_another_is_wanted_again(bench: Bench, enabled: bool) -> None:
    """`systemctl stop base` takes its dependants along, one of them slowly; once the base is up they are missed. While
    the base is down on purpose, they are not: starting one would start the base.
    """
    names = based(bench, enabled=enabled)
    bench.unit(
        "t-slow.service",
        "[Unit]\nRequires=t-base.service\nAfter=t-base.service\n[Service]\n"
        "ExecStart=/bin/sh -c 'trap \"sleep 2; exit 0\" TERM; while :; do sleep 0.1; done'\n",
    )
    bench.systemctl("start", "t-slow.service")
    bench.systemctl("stop", BASE)
    bench.run("restore").fine()
    assert up(bench, "base", *names) == []
    bench.systemctl("start", BASE)
    seen = bench.one("status", names[0])
    assert (seen["wanted"], seen["outcome"], seen["exit"]) == ("running", "stopped", 1)
    assert seen["detail"].startswith("it went down with t-base.service at ")
    bench.run("restore").fine()
    assert up(bench, "base", *names) == ["base", *names]


def test_what_was_stopped_before_another_stays_down(bench: Bench) -> None:
    """Its own stop counts, also when what it requires is stopped and started later."""
    names = based(bench)
    bench.systemctl("stop", f"t-{names[0]}.service")
    bench.systemctl("stop", BASE)
    bench.systemctl("start", BASE)
    bench.run("restore").fine()
    assert up(bench, *names) == names[1:]
    assert bench.one("status", names[0])["wanted"] == "stopped"


def test_what_is_bound_to_a_unit_that_crashed_comes_back_with_it(bench: Bench) -> None:
    """BindsTo= stops a unit when the other one ends, which nobody asked for."""
    based(bench)
    bench.systemctl("kill", "--signal=KILL", BASE)
    bench.machine.wait_for(lambda: bench.state("t-bindsto.service") == "inactive", "the bound unit's end")
    bench.run("restore").fine()
    assert up(bench, "base", "bindsto") == ["base", "bindsto"]


@pytest.mark.parametrize("enabled", [True, False], ids=["enabled", "not enabled"])
def test_a_crash_that_was_cleared_is_a_crash(bench: Bench, enabled: bool) -> None:
    """`systemctl reset-failed` makes a unit that failed inactive, as if it had been stopped."""
    bench.unit("t-plain.service", PLAIN + WANTED)
    if enabled:
        bench.systemctl("enable", "t-plain.service")
    bench.declare("app", "t-plain")
    bench.one("start", "app")
    bench.systemctl("kill", "--signal=KILL", "t-plain.service")
    bench.machine.wait_for(lambda: bench.state("t-plain.service") == "failed", "the crash")
    bench.systemctl("reset-failed", "t-plain.service")
    assert bench.one("status", "app")["wanted"] == "running"
    assert bench.one("restore", "app")["healthy"] is True
    assert bench.state("t-plain.service") == "active"


STUBBORN = "[Service]\nTimeoutStopSec=1\nExecStart=/bin/sh -c 'trap \"{trap}\" TERM; while :; do sleep 0.1; done'\n"


@pytest.mark.parametrize("cleared", [False, True], ids=["failed", "reset"])
@pytest.mark.parametrize("trap", ["exit 3", ""], ids=["exits with 3", "has to be killed"])
def test_a_stop_is_a_stop_however_the_process_ends(bench: Bench, trap: str, cleared: bool) -> None:
    """A process that its operator stopped and that ends with an error leaves its unit failed: it is down on purpose."""
    bench.unit("t-stubborn.service", STUBBORN.format(trap=trap) + WANTED)
    bench.systemctl("enable", "t-stubborn.service")
    bench.declare("app", "t-stubborn")
    bench.one("start", "app")
    bench.machine.wait_for(lambda: bench.machine.run(["pgrep", "-f", "^sleep 0.1"]).status == 0, "its trap")
    bench.systemctl("stop", "t-stubborn.service")
    assert bench.state("t-stubborn.service") == "failed"
    if cleared:
        bench.systemctl("reset-failed", "t-stubborn.service")
    seen = bench.one("status", "app")
    assert (seen["wanted"], seen["exit"]) == ("stopped", 0), seen
    assert bench.one("restore", "app")["started"] is False
    assert bench.state("t-stubborn.service") == ("inactive" if cleared else "failed")


def test_a_crash_loop_that_was_stopped_stays_down(bench: Bench) -> None:
    """Between two tries there is no process to stop, and systemd says `failed` of the last one."""
    bench.unit("t-loop.service", "[Service]\nRestart=always\nRestartSec=60\nExecStart=/bin/false\n" + WANTED)
    bench.systemctl("enable", "t-loop.service")
    bench.declare("app", "t-loop")
    bench.systemctl("start", "t-loop.service")
    bench.machine.wait_for(lambda: bench.machine.show("t-loop.service", "SubState") == "auto-restart", "the crash")
    assert bench.one("status", "app")["wanted"] == "running"
    bench.systemctl("stop", "t-loop.service")
    assert bench.one("status", "app")["wanted"] == "stopped"


def test_a_restart_that_fails_is_no_stop(bench: Bench) -> None:
    """`systemctl restart` stops the unit first; where it does not come up again, it is wanted all the same."""
    bench.unit("t-once.service", "[Service]\nExecCondition=/bin/sh -c '! test -e /run/t-not'\n" + PLAIN[10:] + WANTED)
    bench.systemctl("enable", "t-once.service")
    bench.declare("app", "t-once")
    bench.one("start", "app")
    bench.machine.write("/run/t-not", "")
    bench.machine.run(["systemctl", "restart", "t-once.service"])
    bench.machine.run(["rm", "/run/t-not"]).fine()
    assert bench.state("t-once.service") == "inactive"
    assert bench.one("status", "app")["wanted"] == "running"
    assert bench.one("restore", "app")["healthy"] is True


def test_what_ends_by_itself_is_missed_but_for_what_is_done(bench: Bench) -> None:
    """A daemon that ends with success was not stopped by anybody; a oneshot unit has done its work."""
    bench.unit("t-ends.service", "[Service]\nExecStart=/bin/sh -c 'test -e /run/t-stays || exit 0; exec sleep 1000'\n")
    bench.unit("t-done.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n" + WANTED)
    bench.systemctl("enable", "t-done.service")
    bench.declare("ends", "t-ends")
    bench.declare("done", "t-done")
    bench.machine.write("/run/t-stays", "")
    bench.one("start", "ends")
    bench.machine.run(["rm", "/run/t-stays"]).fine()
    bench.systemctl("kill", "t-ends.service")
    bench.systemctl("start", "t-done.service")
    bench.machine.wait_for(lambda: bench.state("t-ends.service") == "inactive", "its end")
    assert bench.one("status", "ends")["wanted"] == "running"
    assert bench.one("status", "done")["wanted"] == "stopped"


@pytest.mark.parametrize("kind", ["timer", "socket", "path"])
def test_what_would_start_a_failed_unit_is_held_while_its_state_is_restored(bench: Bench, kind: str) -> None:
    """recovery.md: sockets, timers and paths that trigger it are stopped first, also where the unit has failed: its
    timer would start it in the middle of the swap.
    """
    triggers = {
        "timer": "[Timer]\nOnCalendar=*-*-* 03:00:00\n",
        "socket": "[Socket]\nListenStream=/run/t-fails.sock\n",
        "path": "[Path]\nPathExists=/run/t-fails-now\n",
    }
    bench.unit(f"t-fails.{kind}", triggers[kind])
    bench.unit("t-fails.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
    bench.systemctl("start", f"t-fails.{kind}")
    bench.declare("app", "t-fails")
    bench.run("snapshot").fine()
    bench.machine.run(["systemctl", "start", "t-fails.service"])
    assert bench.state("t-fails.service") == "failed"
    bench.damage("app")
    bench.run("restore", "--no-start", "app").fine()
    assert bench.state(f"t-fails.{kind}") == "inactive"
    bench.run("restore", "app")
    assert bench.state(f"t-fails.{kind}") == "active"


def test_the_journal_is_believed_only_where_systemd_wrote_it(bench: Bench) -> None:
    """Service users are not trusted: what they write into the journal in systemd's words says nothing."""
    bench.unit("t-plain.service", PLAIN + WANTED)
    bench.systemctl("enable", "t-plain.service")
    bench.declare("app", "t-plain")
    bench.one("start", "app")
    run = bench.machine.show("t-plain.service", "InvocationID")
    lines = ("MESSAGE=Stopped", "JOB_TYPE=stop", "JOB_ID=1", "JOB_RESULT=done")
    said = "\n".join([*lines, "UNIT=t-plain.service", f"INVOCATION_ID={run}"]) + "\n"
    bench.machine.run(["logger", "--journald"], data=said).fine()
    bench.systemctl("kill", "--signal=KILL", "t-plain.service")
    bench.machine.wait_for(lambda: bench.state("t-plain.service") == "failed", "the crash")
    assert bench.one("status", "app")["wanted"] == "running"


def test_without_a_journal_the_times_of_a_unit_tell(bench: Bench) -> None:
    """A unit that was told to stop ended after that; one that crashed, before. `journalctl` can't be run here."""
    bench.unit("t-plain.service", PLAIN + WANTED)
    bench.systemctl("enable", "t-plain.service")
    bench.declare("app", "t-plain")
    bench.machine.write("/srv/units/bin/journalctl", "#!/bin/sh\nexit 1\n", mode="755")
    command = ["recoverd", "--config", "/srv/units/recoverd.yaml", "--json", "status", "app"]

    def wanted() -> str:
        done = bench.machine.run(command, env={"PATH": "/srv/units/bin:/usr/sbin:/usr/bin:/sbin:/bin"})
        return str(bench.answered(done)[0]["wanted"])

    bench.one("start", "app")
    bench.systemctl("kill", "--signal=KILL", "t-plain.service")
    bench.machine.wait_for(lambda: bench.state("t-plain.service") == "failed", "the crash")
    assert wanted() == "running"
    bench.one("start", "app")
    bench.systemctl("stop", "t-plain.service")
    assert wanted() == "stopped"
