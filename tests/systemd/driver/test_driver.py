"""Services that are units of a real systemd: started, stopped, proven and left alone by the real command."""

from __future__ import annotations

import json
from typing import Any

import pytest

Bench = Any  # of conftest.py, which test files can't import
ROOT = "/srv/units"
PLAIN = "[Service]\nExecStart=/bin/sleep 1000\n"
WANTED = "[Install]\nWantedBy=multi-user.target\n"


def test_start_status_restart_stop(bench: Bench) -> None:
    """Idempotent, with the identity that systemd gives, and what was stopped on purpose stays down."""
    bench.unit("t-plain.service", PLAIN + WANTED)
    bench.systemctl("enable", "t-plain.service")
    bench.declare("app", "t-plain")
    first = bench.one("start", "app")
    assert (first["outcome"], first["running"], first["healthy"], first["exit"]) == ("started", True, True, 0)
    assert first["pid"] == int(bench.machine.show("t-plain.service", "MainPID")) > 0
    again = bench.one("start", "app")
    assert (again["outcome"], again["pid"], again["exit"]) == ("running", first["pid"], 0)
    seen = bench.one("status", "app")
    assert (seen["outcome"], seen["pid"], seen["wanted"]) == ("running", first["pid"], "running")
    assert seen["since"].startswith(bench.machine.run(["date", "-u", "+%Y-%m-%dT"]).out.strip())
    assert bench.one("restart", "app")["pid"] != first["pid"]
    stopped = bench.one("stop", "app")
    assert (stopped["outcome"], stopped["running"], stopped["wanted"]) == ("stopped", False, "stopped")
    assert bench.one("restore", "app")["outcome"] == "untouched"
    assert bench.state("t-plain.service") == "inactive"
    assert bench.one("start", "app")["exit"] == 0
    assert bench.one("status", "app")["wanted"] == "running"


def test_a_restore_stops_starts_and_proves_the_unit(bench: Bench) -> None:
    """recovery.md: stop, swap, start, prove; what recoverd itself stopped is no operator's wish."""
    bench.unit("t-plain.service", PLAIN)
    bench.declare("app", "t-plain")
    before = bench.one("start", "app")["pid"]
    bench.run("snapshot").fine()
    bench.damage("app")
    restored = bench.one("restore", "app")
    assert (restored["outcome"], restored["healthy"], restored["started"]) == ("restored", True, True)
    assert restored["pid"] not in {None, before}
    bench.damage("app")
    assert bench.one("restore", "--no-start", "app")["outcome"] == "restored"
    assert bench.state("t-plain.service") == "inactive"
    assert bench.one("status", "app")["wanted"] == "running"
    assert bench.one("restore", "app")["healthy"] is True
    assert bench.state("t-plain.service") == "active"


@pytest.mark.parametrize("how", ["stopped", "disabled", "masked"])
def test_what_its_operator_took_down_is_not_started(bench: Bench, how: str) -> None:
    """recovery.md: what was stopped or masked on purpose is not started. By hand, behind recoverd's back."""
    bench.unit("t-plain.service", PLAIN + WANTED)
    bench.systemctl("enable", "t-plain.service")
    bench.declare("app", "t-plain")
    bench.one("start", "app")
    bench.run("snapshot").fine()
    bench.systemctl("stop", "t-plain.service")
    if how == "disabled":
        bench.systemctl("disable", "t-plain.service")
    elif how == "masked":
        # a link in /run does it where the unit's own file is in /etc
        bench.machine.run(["rm", "/etc/systemd/system/t-plain.service"]).fine()
        bench.systemctl("mask", "t-plain.service")
    bench.damage("app")
    restored = bench.one("restore", "app")
    assert (restored["outcome"], restored["started"]) == ("restored", False)
    assert bench.state("t-plain.service") == "inactive"
    seen = bench.one("status", "app")
    assert (seen["wanted"], seen["exit"]) == ("stopped", 0)
    if how == "masked":
        started = bench.one("start", "app")
        assert (started["outcome"], started["exit"]) == ("failed", 1)
        assert "is masked" in started["detail"]
        assert "systemctl unmask t-plain.service" in started["hint"]


def test_before_its_first_start_being_enabled_tells(bench: Bench) -> None:
    """A unit that is disabled and never ran is left down; one that is enabled comes up, as at boot."""
    bench.unit("t-on.service", PLAIN + WANTED)
    bench.unit("t-off.service", PLAIN + WANTED)
    bench.systemctl("enable", "t-on.service")
    bench.declare("on", "t-on")
    bench.declare("off", "t-off")
    bench.run("restore").fine()
    assert (bench.state("t-on.service"), bench.state("t-off.service")) == ("active", "inactive")


# what the unit says -> words of the error
FAILING: dict[str, tuple[str, tuple[str, ...]]] = {
    "missing program": (
        "[Service]\nExecStart=/usr/bin/nothere\n",
        ("can't be executed", "nothere: No such file"),
    ),
    "exits": (
        "[Service]\nExecStart=/bin/sh -c 'echo the port is taken >&2; exit 3'\n",
        ("status 3", "the port is taken"),
    ),
    "fails before": (
        "[Service]\nType=notify\nExecStart=/bin/sh -c 'echo no licence; exit 7'\n",
        ("status 7", "no licence"),
    ),
    "no such user": ("[Service]\nUser=nobodyknows\nExecStart=/bin/sleep 9\n", ("user does not exist",)),
    "condition": (
        f"[Unit]\nConditionPathExists=/not/there\n{PLAIN}",
        ("Condition…= of it does not hold", "ConditionPathExists=/not/there"),
    ),
    "assertion": (f"[Unit]\nAssertPathExists=/not/there\n{PLAIN}", ("Assertion failed",)),
    "killed": ("[Service]\nExecStart=/bin/sh -c 'kill -SEGV $$$$'\n", ("SIGSEGV",)),
    "bad file": ("[Service]\nType=simple\n", ("can't be loaded",)),
    "too slow": (
        "[Service]\nType=notify\nTimeoutStartSec=1\nExecStart=/bin/sleep 99\n",
        ("longer than systemd allows",),
    ),
}


def test_every_way_to_fail_is_told_and_stops_no_other(bench: Bench) -> None:
    """A start that fails says why, with the service's last words; an unknown unit gets a suggestion."""
    bench.unit("t-plain.service", PLAIN)
    bench.declare("fine", "t-plain")
    bench.declare("misspelt", "t-plian")
    for number, text in enumerate(text for text, _ in FAILING.values()):
        bench.unit(f"t-bad{number}.service", text)
        bench.declare(f"bad{number}", f"t-bad{number}")
    done = bench.run("--json", "start")
    assert done.status == 1
    found = {one["service"]: one for one in json.loads(done.out)["services"]}
    assert found["fine"]["outcome"] == "started"
    assert found["misspelt"]["hint"] == "did you mean t-plain.service?"
    assert "systemd knows no unit t-plian.service" in found["misspelt"]["detail"]
    for number, (case, (_, words)) in enumerate(FAILING.items()):
        one = found[f"bad{number}"]
        assert (one["outcome"], one["running"]) in {("failed", False), ("failed", None)}, (case, one)
        assert all(word in one["detail"] for word in words), (case, one)
        assert one["hint"], (case, one)


def test_last_words_that_the_journal_can_not_place(bench: Bench) -> None:
    """What can't be executed is told by a process that may be gone when journald asks whose it was: 5 of 60 lost
    their unit that way. What says so itself counts, if the manager's user says it."""
    said = (
        "printf 'MESSAGE=%s\\nMESSAGE_ID=641257651c1b4ec9a8624d7a40a9e1e7\\nINVOCATION_ID=%s\\n' "
        '"$2" "$INVOCATION_ID" | systemd-run --quiet --pipe --wait --collect --uid="$1" logger --journald'
    )
    bench.machine.write("/usr/local/bin/t-says", f"#!/bin/sh\n{said}\n", mode="755")
    script = "t-says root 'no such program'; t-says nobody 'give me your password'; exit 203"
    bench.unit("t-lost.service", f'[Service]\nType=oneshot\nExecStart=/bin/sh -c "{script}"\n')
    bench.declare("app", "t-lost")
    done = bench.one("start", "app")
    assert done["detail"].endswith("it said: no such program"), done


def test_a_start_limit_does_not_hold_against_a_restored_service(bench: Bench) -> None:
    """recovery.md: `reset-failed` comes before the start."""
    bench.unit("t-limit.service", "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=600\n" + PLAIN)
    bench.declare("app", "t-limit")
    for _ in range(4):
        assert bench.one("start", "app")["exit"] == 0
        bench.machine.run(["systemctl", "kill", "--signal=KILL", "t-limit.service"]).fine()
        bench.machine.wait_for(lambda: bench.state("t-limit.service") == "failed")
    assert bench.one("status", "app")["detail"] == "its process was ended by SIGKILL"


def test_a_proof_waits_for_a_unit_that_systemd_starts_again(bench: Bench) -> None:
    """A process that comes up at the third try is healthy; one that never does is not, and restarts are counted."""
    again = "Restart=on-failure\nRestartSec=200ms\n"
    third = "test -e /run/t-two && exec sleep 1000; test -e /run/t-one && touch /run/t-two; touch /run/t-one; exit 1"
    limit = "[Unit]\nStartLimitBurst=3\n"
    bench.unit("t-third.service", f"[Service]\nExecStart=/bin/sh -c '{third}'\n{again}")
    bench.unit("t-loop.service", f"{limit}[Service]\nExecStart=/bin/sh -c 'sleep 0.1; exit 1'\n{again}")
    bench.declare("third", "t-third")
    bench.declare("loop", "t-loop")
    try:
        assert bench.one("start", "third")["healthy"] is True
        assert bench.one("status", "third")["restarts"] == 2
        loop = bench.one("start", "loop")
        assert (loop["outcome"], loop["healthy"]) == ("failed", False)
    finally:
        bench.machine.run(["rm", "-f", "/run/t-one", "/run/t-two"])


def test_sockets_go_down_with_their_service_and_come_back_before_it(bench: Bench) -> None:
    """recovery.md: sockets and timers that trigger it are stopped first, or a client would start it in the middle."""
    bench.unit("t-sock.socket", "[Socket]\nListenStream=/run/t-sock\n")
    bench.unit("t-sock.service", "[Service]\nExecStart=/bin/sleep 1000\n")
    bench.systemctl("start", "t-sock.socket")
    bench.declare("app", "t-sock")
    seen = bench.one("status", "app")
    assert (seen["running"], seen["wanted"], seen["detail"]) == (True, "running", "it waits for t-sock.socket")
    assert bench.one("start", "app")["pid"] is not None
    bench.run("snapshot").fine()
    bench.damage("app")
    bench.run("restore", "--no-start", "app").fine()
    assert (bench.state("t-sock.socket"), bench.state("t-sock.service")) == ("inactive", "inactive")
    bench.run("restore", "app").fine()
    assert (bench.state("t-sock.socket"), bench.state("t-sock.service")) == ("active", "active")
    bench.one("stop", "app")
    assert (bench.state("t-sock.socket"), bench.state("t-sock.service")) == ("inactive", "inactive")
    bench.one("start", "app")
    assert (bench.state("t-sock.socket"), bench.state("t-sock.service")) == ("active", "active")


def test_a_timer_is_held_while_state_is_restored(bench: Bench) -> None:
    """A oneshot unit runs when its timer says so: the timer is stopped and started again, the unit never is."""
    bench.unit("t-job.timer", "[Timer]\nOnCalendar=*-*-* 03:00:00\n[Install]\nWantedBy=timers.target\n")
    bench.unit("t-job.service", "[Service]\nType=oneshot\nExecStart=/bin/touch /run/t-job-ran\n")
    bench.systemctl("start", "t-job.timer")
    bench.declare("job", "t-job")
    bench.run("snapshot").fine()
    bench.damage("job")
    bench.run("restore", "--no-start", "job").fine()
    assert bench.state("t-job.timer") == "inactive"
    restored = bench.one("restore", "job")
    assert restored["healthy"] is True
    assert bench.state("t-job.timer") == "active"
    assert not bench.machine.exists("/run/t-job-ran")


def test_a_queued_start_is_not_cancelled_by_a_restore(bench: Bench) -> None:
    """recovery.md: never stop an inactive unit: that cancels its queued start. Its operator may."""
    bench.unit("t-slow.service", "[Service]\nType=oneshot\nTimeoutStartSec=60\nExecStart=/bin/sleep 50\n")
    bench.unit("t-queued.service", "[Unit]\nAfter=t-slow.service\n" + PLAIN)
    bench.declare("app", "t-queued")
    bench.run("snapshot").fine()
    bench.machine.run(["systemctl", "start", "--no-block", "t-slow.service", "t-queued.service"]).fine()
    bench.machine.wait_for(lambda: bench.machine.show("t-queued.service", "Job") not in {"", "0"}, "the job")
    bench.damage("app")
    assert bench.one("status", "app")["detail"] == "its start is queued"
    assert bench.one("restore", "--no-start", "app")["outcome"] == "restored"
    assert bench.machine.show("t-queued.service", "Job") not in {"", "0"}
    bench.one("stop", "app")
    assert bench.machine.show("t-queued.service", "Job") in {"", "0"}


def test_a_process_that_outlives_its_unit_blocks_the_restore(bench: Bench) -> None:
    """A service that can't be stopped blocks its restore: what lives on could write over what is restored."""
    bench.unit("t-leaves.service", "[Service]\nKillMode=process\nExecStart=/bin/sh -c 'sleep 900 & exec sleep 901'\n")
    bench.declare("app", "t-leaves")
    bench.one("start", "app")
    bench.run("snapshot").fine()
    bench.damage("app")
    try:
        restored = bench.one("restore", "app")
        assert restored["outcome"] == "blocked"
        assert "lives on" in restored["reasons"][0]
        assert bench.machine.read(f"{ROOT}/data/app.json") == ""
    finally:
        bench.machine.run(["systemctl", "kill", "--kill-who=all", "--signal=KILL", "t-leaves.service"])


def test_check_asks_once_for_all_units(bench: Bench) -> None:
    """A hundred services cost `check` a question or two, not a hundred; it sees each as `status` does."""
    bench.unit("t-plain@.service", PLAIN)
    for number in range(6):
        bench.declare(f"app{number}", f"t-plain@{number}")
    bench.systemctl("start", "t-plain@0.service", "t-plain@1.service")
    bench.run("snapshot").fine()
    try:
        script = f'#!/bin/sh\necho asked >>{ROOT}/asked\nexec /usr/bin/systemctl "$@"\n'
        bench.machine.write(f"{ROOT}/bin/systemctl", script, mode="755")
        path = {"PATH": f"{ROOT}/bin:/usr/bin:/bin"}
        command = ["recoverd", "--config", f"{ROOT}/recoverd.yaml", "--json", "check"]
        results = json.loads(bench.machine.run(command, env=path).out)["results"]
        running = {one["service"]: one["message"] for one in results if one["name"] == "process"}
        assert running["app0"].startswith("running")
        assert running["app5"].startswith("not started")
        assert len(running) == 6
        assert bench.machine.read(f"{ROOT}/asked").count("asked") <= 2
    finally:
        bench.systemctl("stop", "t-plain@0.service", "t-plain@1.service")


def test_logs_are_the_units_journal(bench: Bench) -> None:
    """`logs` shows what the unit said, from all its runs, and `-n` bounds it."""
    bench.unit("t-talks.service", "[Service]\nExecStart=/bin/sh -c 'echo one; echo two; exec sleep 1000'\n")
    bench.declare("app", "t-talks")
    bench.one("start", "app")
    bench.machine.wait_for(lambda: "two" in bench.run("logs", "app").out, "the journal")
    assert len(bench.run("logs", "-n", "1", "app").out.splitlines()) == 1
    followed = bench.machine.run(["timeout", "2", "recoverd", "--config", f"{ROOT}/recoverd.yaml", "logs", "-f", "app"])
    assert "two" in followed.out


def test_a_plain_users_units_are_those_of_their_own_manager(bench: Bench) -> None:
    """run.systemd as a plain user means `systemctl --user`; without a manager that is said."""
    machine = bench.machine
    machine.sh("id one >/dev/null 2>&1 || useradd --create-home --uid 1234 one")
    config = "version: 1\nservices:\n  app: {run: {systemd: mine}, health: {stable_for: 100ms}}\n"
    machine.write("/home/one/recoverd.yaml", config)
    machine.write("/home/one/.config/systemd/user/mine.service", PLAIN)
    machine.sh("chown -R one: /home/one")
    become = ["setpriv", "--reuid=1234", "--regid=1234", "--init-groups", "env", "HOME=/home/one"]
    command = [*become, "recoverd", "--config", "/home/one/recoverd.yaml", "--json"]
    alone = machine.run([*command, "start", "app"])
    assert alone.status == 1
    (service,) = json.loads(alone.out)["services"]
    assert service["detail"] == "the systemd of this user does not run"
    assert "enable-linger" in service["hint"]
    # what logging in does, on a machine that has no login
    manager = "User=one\nEnvironment=XDG_RUNTIME_DIR=/run/user/1234\nDelegate=yes\nType=notify\n"
    machine.sh("install -d -o one -m 700 /run/user/1234")
    bench.unit("t-user.service", f"[Service]\n{manager}ExecStart=/usr/lib/systemd/systemd --user\n")
    bench.systemctl("start", "t-user.service")
    try:
        done = machine.run([*command, "start", "app"])
        (service,) = json.loads(done.out)["services"]
        assert (service["outcome"], service["healthy"]) == ("started", True), service
        assert machine.run(["stat", "-c", "%u", f"/proc/{service['pid']}"]).fine().out == "1234\n"
        machine.run([*command, "stop", "app"]).fine()
    finally:
        machine.run(["systemctl", "stop", "t-user.service"])
        machine.run(["userdel", "--remove", "one"])
        machine.run(["rm", "-rf", "/run/user/1234"])
