"""start, stop, restart, status and logs, as typed: real processes, in order, with errors that stop no other."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

HEALTH = "health: {within: 5s, stable_for: 100ms}"
FOUR = f"""\
services:
  db: {{run: {{command: [/bin/sh, -c, "echo db >>ORDER; exec sleep 1000"]}}, {HEALTH}}}
  web: {{run: {{command: [/bin/sh, -c, "echo web >>ORDER; exec sleep 1000"]}}, after: [db], {HEALTH}}}
  pod:
    run: {{control: {{start: [/bin/touch, UP], stop: [/bin/rm, UP], status: [/usr/bin/test, -e, UP]}}}}
    after: [web]
    {HEALTH}
  notes: {{state: {{m: {{file: ORDER.json}}}}}}
"""
KEYS = ["service", "outcome", "running", "pid", "since", "restarts", "wanted", "detail"]


@pytest.fixture
def four(world: Any) -> Any:
    """db <- web <- pod, and notes, which is state only."""
    world.declare(FOUR.replace("ORDER", f"{world.root}/order").replace("UP", f"{world.root}/up"))
    return world


def services(document: Any) -> dict[str, Any]:
    return {one["service"]: one for one in document["services"]}


def outcomes(document: Any) -> dict[str, str]:
    return {name: one["outcome"] for name, one in services(document).items()}


def test_all_come_up_in_order_and_go_down_in_reverse(four: Any) -> None:
    """Each after what it names in `after`; state-only services are left out of what can't concern them."""
    started = four.run("--json", "start").fine().json
    assert outcomes(started) == {"db": "started", "pod": "started", "web": "started"}
    assert all(one["healthy"] for one in started["services"])
    assert (four.root / "order").read_text() == "db\nweb\n"
    again = services(four.run("--json", "start").fine().json)
    assert {one["outcome"] for one in again.values()} == {"running"}
    assert again["db"]["pid"] == services(started)["db"]["pid"]
    seen = four.run("--json", "status").fine().json
    assert outcomes(seen) == {"db": "running", "notes": "state only", "pod": "running", "web": "running"}
    for one in seen["services"]:
        assert [key for key in one if key in KEYS] == KEYS
    assert services(four.run("--json", "restart", "db").fine().json)["db"]["pid"] != again["db"]["pid"]
    assert set(outcomes(four.run("--json", "stop").fine().json).values()) == {"stopped"}
    assert not (four.root / "up").exists()
    assert set(outcomes(four.run("--json", "stop").fine().json).values()) == {"stopped"}


def test_what_was_stopped_on_purpose_stays_down_until_it_is_started(four: Any) -> None:
    """recovery.md: durable, across restores; `status` calls it as it should be."""
    four.run("start", "db").fine()
    four.run("stop", "db").fine()
    assert "not started: it was stopped at " in four.run("restore", "db").fine().out
    db = services(four.run("--json", "status", "db").fine().json)["db"]
    assert (db["running"], db["wanted"]) == (False, "stopped")
    four.run("start", "db").fine()
    db = services(four.run("--json", "status", "db").fine().json)["db"]
    assert (db["running"], db["wanted"]) == (True, "running")
    os.kill(db["pid"], signal.SIGKILL)
    done = four.run("status", "db").fine(1)
    assert "recoverd restore db" in done.out


def test_four_clear_errors_none_of_which_stops_the_others(world: Any) -> None:
    """A missing executable, a failed spawn, an unknown session and one that runs already."""
    world.declare(
        f"""\
        services:
          fine: {{run: {{command: [/bin/sleep, "1000"]}}, {HEALTH}}}
          absent: {{run: {{command: [/not/there]}}, {HEALTH}}}
          spawn: {{run: {{command: [/bin/sh, -c, "echo the port is taken >&2; exit 3"]}}, {HEALTH}}}
          killed: {{run: {{command: [/bin/sh, -c, "kill -SEGV $$"]}}, {HEALTH}}}
          later: {{run: {{command: [/bin/sleep, "1000"]}}, after: [spawn], {HEALTH}}}
          state: {{state: {{m: {{file: /srv/nowhere/m.json}}}}}}
        """
    )
    world.run("start", "fine").fine()
    done = world.run("start", "fine", "absent", "spawn", "killed", "later", "state", "fien").fine(1)
    lines = done.out.splitlines()

    def line(name: str) -> str:
        number = next(number for number, text in enumerate(lines) if text.startswith(f"{name}: "))
        return " ".join(lines[number : number + 2])

    assert "already running, process " in line("fine")
    assert "/not/there can't be executed: No such file or directory" in line("absent")
    assert "hint: install it, or correct run.command" in line("absent")
    assert "its process exited with status 3; it said: the port is taken" in line("spawn")
    assert "hint: `recoverd logs spawn`" in line("spawn")
    assert "its process was ended by SIGSEGV" in line("killed")
    assert "blocked: it comes after spawn" in line("later")
    assert "it declares no `run`" in line("state")
    assert "there is no service 'fien'" in line("fien")
    assert "did you mean fine?" in line("fien")
    world.run("start", "fien").fine(64)
    quick = world.run("start", "--no-wait", "spawn").fine(1)
    assert "exited with status 3" in quick.out


def test_a_service_that_is_not_healthy_is_not_up(world: Any) -> None:
    """product.md 10: exit status 0 means proven; --no-wait leaves that out, and says nothing of health."""
    health = "health: {within: 300ms, stable_for: 100ms, probes: [{tcp: '127.0.0.1:1'}]}"
    world.declare(f"services: {{deaf: {{run: {{command: [/bin/sleep, '1000']}}, {health}}}}}\n")
    done = world.run("--json", "start").fine(1).json["services"][0]
    assert (done["outcome"], done["running"], done["healthy"]) == ("failed", True, False)
    assert "not healthy within" in done["detail"]
    quick = world.run("--json", "restart", "--no-wait").fine().json["services"][0]
    assert (quick["outcome"], quick["healthy"]) == ("restarted", None)


def test_a_service_whose_state_is_blocked_is_not_started(saved: Any) -> None:
    """recovery.md: a blocked service does not start, whoever asks; the way out is named."""
    text = (saved.conf / "conf.d" / "notes.yaml").read_text()
    saved.declare(text.replace("retention:", f"run: {{command: [/bin/sleep, '1000']}}\n    {HEALTH}\n    retention:"))
    saved.main.write_text("")
    for record in (saved.repository / "packs").rglob("*.zst"):
        record.unlink()
    saved.run("restore").fine(1)
    done = saved.run("start", "notes").fine(1)
    assert "blocked" in done.out
    assert "recoverd restore notes" in done.out
    assert services(saved.run("--json", "status").json)["notes"]["running"] is False


def test_a_broken_drop_in_costs_only_its_own_services(four: Any) -> None:
    four.declare("services: {bad: {run: {comand: [x]}}}\n", "bad")
    done = four.run("--json", "start", "db", "bad").fine(1).json
    assert outcomes(done) == {"db": "started", "bad": "failed"}
    assert "comand" in services(done)["bad"]["detail"]


def test_status_changes_nothing(world: Any, files: Any) -> None:
    """Looking creates neither repository nor record."""
    world.declare("services: {one: {run: {command: [/bin/sleep, '9']}}}\n")
    before = files(world.root / "conf")
    done = world.run("status").fine()
    assert "it was never started" in done.out
    assert not world.state_dir.exists()
    assert files(world.root / "conf") == before


def test_logs(four: Any) -> None:
    """The newest lines, as they are through a pipe; -n bounds them; what has none says why."""
    four.declare("services: {one: {run: {command: [/bin/sh, -c, 'seq 100; exec sleep 1000']}}}\n", "one")
    four.run("logs", "one").refused(1, "there is no log", "yet")
    four.run("start", "--no-wait", "one").fine()
    assert four.run("logs", "one").fine().out.split() == [str(number) for number in range(51, 101)]
    assert four.run("logs", "-n", "2", "one").fine().out == "99\n100\n"
    assert four.run("--json", "logs", "-n", "1", "one").fine().json["lines"] == ["100"]
    four.run("logs", "-n", "x", "one").refused(64, "--lines")
    four.run("logs", "notes").refused(64, "state only")
    four.run("logs", "pod").refused(1, "kept by whatever runs it")
    four.run("logs", "ome").refused(64, "did you mean one?")
    four.run("--json", "logs", "-f", "one").refused(64, "never ends")


def test_logs_follow_a_restart(four: Any) -> None:
    """-f goes on through the service's next run, until it is interrupted."""
    four.declare("services: {one: {run: {command: [/bin/sh, -c, 'echo up; exec sleep 1000']}}}\n", "one")
    four.run("start", "--no-wait", "one").fine()
    path, complaints = four.root / "followed", four.root / "complaints"
    with open(path, "wb") as file, open(complaints, "wb") as errors:
        follower = four.spawn("logs", "-f", "one", stdout=file, stderr=errors)
    four.wait_for(lambda: path.read_bytes() == b"up\n", "the first line")
    four.run("restart", "--no-wait", "one").fine()
    four.wait_for(lambda: path.read_bytes() == b"up\nup\n", "the second line")
    follower.send_signal(signal.SIGINT)
    assert follower.wait(10) == 130
    assert complaints.read_bytes() == b""


def test_another_recoverd_is_at_it(four: Any) -> None:
    """Under the service's lock: 75 after --wait, and only that service."""
    four.run("start", "db", "pod").fine()
    lock = four.repository / "services" / "db.lock"
    import fcntl

    with open(lock, "rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        began = time.monotonic()
        done = four.run("--json", "--wait", "200ms", "restart", "db", "pod").fine(75).json
        assert time.monotonic() - began < 10
    assert outcomes(done)["db"] == "failed"
    assert outcomes(done)["pod"] == "restarted"
