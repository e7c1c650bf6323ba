"""Several recoverd at once: whoever comes second waits, or says who is first. Nothing is damaged."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SECONDS = 20 if os.environ.get("RECOVERD_TORTURE") else 4


@contextmanager
def held(world: Any) -> Iterator[None]:
    """The lock of service notes, as another recoverd holds it."""
    with next(world.repository.rglob("notes.lock")).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def test_a_second_run_is_refused(world: Any) -> None:
    """cli.md: 75, another recoverd is at it; the sentence names its pid. The first one goes on."""
    first = world.spawn("run")
    world.wait_for(lambda: (world.state_dir / "scheduler.lock").exists() and scheduler_pid(world), "the first to run")
    done = world.run("run").refused(75, str(first.pid), "scheduler", "stop that one first")
    assert "--wait" not in done.err  # it never ends by itself
    assert done.out == ""
    assert world.run("run", "--json").json["error"]["exit_status"] == 75
    assert first.poll() is None
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0


def scheduler_pid(world: Any) -> bool:
    results = world.json("check")["results"]
    return any(one["name"] == "scheduler" and "running as process" in one["message"] for one in results)


@pytest.mark.parametrize("command", ["snapshot", "restore", "undo"])
def test_a_held_service(saved: Any, command: str) -> None:
    """75 after --wait, with who holds it; nothing was changed."""
    saved.main.write_bytes(b"")
    saved.run("restore").fine()
    saved.main.write_bytes(b"")
    with held(saved):
        started = time.monotonic()
        done = saved.run("--wait", "200ms", command)
        assert done.status == 75, done
        assert str(os.getpid()) in done.out + done.err
        assert "service notes is in use by process" in done.out + done.err
        assert "--wait" in done.out + done.err
        assert time.monotonic() - started < 15
        assert saved.main.read_bytes() == b""
        saved.run("list").fine()
        saved.run("assess").fine(1)
        saved.run("check").fine(2)


def test_many_at_once(saved: Any) -> None:
    """snapshot, restore, prune, list and a service that writes: no status but those of the contract."""
    path = saved.conf / "conf.d" / "notes.yaml"
    saved.declare(path.read_text().replace("last: 50", "last: 3"))
    end = time.monotonic() + SECONDS
    wrong: list[Any] = []
    allowed = {
        ("snapshot",): {0, 1, 3, 75},
        ("restore",): {0, 75},
        ("--wait", "0ms", "prune"): {0, 75},
        ("list", "--json"): {0},
        ("check", "--json"): {0, 1, 2},
    }

    def again_and_again(words: tuple[str, ...], statuses: set[int]) -> None:
        while time.monotonic() < end:
            done = saved.run(*words)
            if done.status not in statuses or "Traceback" in done.err:
                wrong.append((words, done))

    def service() -> None:
        number = 0
        while time.monotonic() < end:
            number += 1
            saved.write(number)
            if number % 7 == 0:
                saved.main.write_bytes(b"")
            time.sleep(0.05)

    threads = [threading.Thread(target=again_and_again, args=pair) for pair in allowed.items()]
    threads.append(threading.Thread(target=service))
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert wrong == []
    saved.run("restore").fine()
    json.loads(saved.main.read_bytes())
    saved.run("snapshot").fine()  # the last one of the crowd may have caught the service on an empty file
    for one in saved.json("list")["snapshots"]:
        saved.run("show", one["id"], "--json").fine()
    check = saved.json("check")
    assert check["status"] in {"OK", "WARNING"}, [one for one in check["results"] if one["status"] == "CRITICAL"]


def test_restore_twice_at_once(saved: Any) -> None:
    """One of them restores, the other finds good state; both are right to say 0."""
    for _ in range(3):
        saved.main.write_bytes(b"")
        both = [saved.spawn("restore", "--json", stdout=subprocess.PIPE) for _ in range(2)]
        outcomes = []
        for one in both:
            out, _ = one.communicate(timeout=60)
            assert one.returncode == 0
            outcomes.append(json.loads(out)["services"][0]["outcome"])
        assert sorted(outcomes) == ["restored", "untouched"]
        assert saved.main.read_text() == '{"counter": 1}'
