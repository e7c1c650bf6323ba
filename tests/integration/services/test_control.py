"""The `control` driver over real scripts."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Health, Run, RunKind
from recoverd.errors import ServiceError
from recoverd.services.control import ControlDriver
from recoverd.services.probes import wait_until_healthy

Make = Callable[..., ControlDriver]


@pytest.fixture
def make(tmp_path: Path, mark: str) -> Make:
    """make(start="shell text", …): a service that is up while the file `up` exists, unless told otherwise."""

    class Ledger:
        def __init__(self) -> None:
            self.saved: dict[str, Any] = {}

        def load(self) -> dict[str, Any]:
            return self.saved

        def save(self, process: Any) -> None:
            self.saved = dict(process)

    ledger = Ledger()
    texts = {"start": "touch up; echo started", "stop": "rm up; echo stopped", "status": "echo asked; test -e up"}

    def make(**keys: Any) -> ControlDriver:
        commands: dict[str, Any] = {
            key: ("/bin/sh", "-c", f"RECOVERD_TEST={mark}; export RECOVERD_TEST; cd {tmp_path}; {keys.pop(key, text)}")
            for key, text in texts.items()
        }
        commands |= keys.pop("commands", {})
        return ControlDriver("pod", Run(RunKind.CONTROL, **commands), ledger, log_dir=str(tmp_path / "logs"), **keys)

    return make


def log(tmp_path: Path) -> str:
    return (tmp_path / "logs" / "pod.log").read_text()


def test_start_and_stop_are_idempotent_and_run_only_when_needed(make: Make, tmp_path: Path) -> None:
    """driver.Driver: a service that runs is left alone, one that is down is not stopped."""
    driver = make()
    assert not driver.stop().was_running
    assert not driver.start().already
    assert driver.start().already
    assert (driver.status().running, driver.status().wanted, driver.status().restarts) == (True, "running", 0)
    assert driver.stop().was_running
    assert driver.stop().how == "not running"
    assert log(tmp_path) == "started\nstopped\n"
    assert (driver.status().running, driver.status().wanted) == (False, "running")
    assert driver.status().detail.startswith("it was stopped at ")


def test_what_its_operator_wants_outlives_the_driver(make: Make) -> None:
    """`wanted` is durable, and a start clears it; also where nothing had to be stopped."""
    make().stop(by_operator=True)
    assert make().status().wanted == "stopped"
    make().start()
    assert make().status().wanted == "running"
    make().stop()
    assert make().status().wanted == "running"


def test_an_end_nobody_asked_for_is_counted(make: Make, tmp_path: Path) -> None:
    driver = make()
    driver.start()
    (tmp_path / "up").unlink()
    driver.start()
    assert driver.status().restarts == 1
    driver.stop()
    driver.start()
    assert driver.status().restarts == 1


def test_one_that_somebody_else_started_is_left_alone(make: Make, tmp_path: Path) -> None:
    (tmp_path / "up").touch()
    driver = make()
    assert driver.status().detail == "runs; recoverd did not start it"
    assert driver.status().since_ns is None
    assert driver.start().already
    assert not (tmp_path / "logs" / "pod.log").exists()


def test_a_failed_start_says_its_status_and_last_words(make: Make) -> None:
    driver = make(start="echo pulling; echo no such image >&2; exit 125")
    with pytest.raises(ServiceError, match=r"pod can't be started: .* exited with status 125: no such image"):
        driver.start()
    assert "its last start failed" in driver.status().detail
    assert driver.status().wanted == "running"
    assert driver.complaint() == "no such image"


@pytest.mark.parametrize("key", ["start", "stop", "status"])
def test_a_missing_program_is_told_with_its_key(make: Make, tmp_path: Path, key: str) -> None:
    """The hint names what to correct."""
    if key == "stop":
        (tmp_path / "up").touch()
    driver = make(commands={key: ("/not/there",)})
    with pytest.raises(ServiceError, match="/not/there can't be executed: No such file") as caught:
        driver.stop() if key == "stop" else driver.start()
    assert f"run.control.{key}" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "words"), [("sleep 99", "did not end within"), ("kill -9 $$", "was ended by SIGKILL")]
)
def test_a_status_without_an_answer_is_no_answer(make: Make, text: str, words: str) -> None:
    """Neither "runs" nor "is down": starting a second one, or swapping state below a live one, would be worse."""
    driver = make(status=text, status_within_s=0.3)
    for ask in (driver.status, driver.start, driver.stop):
        with pytest.raises(ServiceError, match=words):
            ask()


def test_commands_that_hang_are_ended_at_the_deadline(make: Make, marked: Callable[[], list[int]]) -> None:
    """With all that they started."""
    driver = make(start="sleep 99 & sleep 99", act_within_s=0.3)
    began = time.monotonic()
    with pytest.raises(ServiceError, match=r"did not end within 0\.3 s"):
        driver.start()
    assert time.monotonic() - began < 5
    while marked() and time.monotonic() - began < 10:
        time.sleep(0.05)  # killed, and not yet buried on a busy machine
    assert marked() == []


def test_what_start_leaves_running_lives_on(make: Make, tmp_path: Path) -> None:
    """A start script may put a daemon into the background: it is not killed, its output has a place to go."""
    driver = make(start="(while sleep 0.05; do echo tick; done) & touch up", stop="rm up", status="echo x; test -e up")
    driver.start()
    before = log(tmp_path).count("tick")
    deadline = time.monotonic() + 60
    while log(tmp_path).count("tick") < before + 2:  # said after the start was over
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_stop_that_stopped_nothing_is_an_error(make: Make) -> None:
    """A service that can't be stopped blocks its restore."""
    driver = make(stop="true")
    driver.start()
    with pytest.raises(ServiceError, match="succeeded, but `status` says that it still runs"):
        driver.stop()


def test_starts_exclude_each_other(make: Make, tmp_path: Path) -> None:
    """Concurrent starts start one."""
    started: list[bool] = []

    def begin() -> None:
        started.append(make(start="sleep 0.1; touch up; echo started").start().already)

    threads = [threading.Thread(target=begin) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [False, True, True, True]
    assert log(tmp_path).count("started") == 1


def test_noise_is_bounded(make: Make) -> None:
    """A status command that prints for ever costs no memory, and the last line is what is shown, shortened."""
    driver = make(status="head -c 3000000 /dev/zero | tr '\\0' x; echo; echo last; exit 1")
    assert driver.status().detail.endswith("exited with status 1: last")


def test_the_log_belongs_to_somebody_else(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="kept by whatever runs it") as caught:
        make().log(10)
    assert str(tmp_path / "logs" / "pod.log") in str(caught.value.hint)


def test_it_can_be_proven(make: Make, tmp_path: Path) -> None:
    """A proof needs no identity; a manager that restarts its container in between only begins the time anew."""
    driver = make()
    driver.start()
    assert wait_until_healthy(Health(within_s=2, stable_for_s=0.2), driver).healthy
    os.unlink(tmp_path / "up")
    assert not wait_until_healthy(Health(within_s=2, stable_for_s=0.2), driver).healthy


def test_what_takes_a_moment_to_come_up_is_waited_for(make: Make) -> None:
    """`start` may return before `status` says yes, as those of containers do: `within` is how long that may take."""
    driver = make(
        start="touch began; (until test -e asked-twice; do sleep 0.01; done; touch up) >/dev/null 2>&1 &",
        status="test -e began && (test -e asked && touch asked-twice; touch asked); test -e up",
    )
    driver.start()
    proof = wait_until_healthy(Health(within_s=20, stable_for_s=0.1), driver)
    assert proof.healthy, proof.reason
