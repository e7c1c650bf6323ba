"""Proof over real services: healthy means that the service was, with one process, for the whole window (promise 10)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import Health, Probe, ProbeKind
from recoverd.services.command import CommandDriver
from recoverd.services.probes import wait_until_healthy

Make = Callable[..., CommandDriver]
SUBJECTS = Path(__file__).parents[2] / "subjects"


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


def health(port: int, within_s: float = 10.0, stable_for_s: float = 0.3) -> Health:
    return Health(within_s, stable_for_s, (Probe(ProbeKind.HTTP, f"http://127.0.0.1:{port}/health"),))


def test_healthy_after_a_while(make_driver: Make) -> None:
    """A service that first answers 503 is waited for; the result tells what each probe saw last."""
    port = free_port()
    driver = make_driver("unhealthy_http.py", str(port), "503", "3")
    started = driver.start()
    proof = wait_until_healthy(health(port), driver)
    assert proof.healthy
    assert proof.seconds >= 0.3
    assert proof.reason == "healthy for 0.3 s without a break"
    assert [result.message for result in proof.results] == [f"http://127.0.0.1:{port}/health answered 200 OK"]
    assert proof.identity == started.identity


def test_never_healthy(make_driver: Make) -> None:
    """A service that runs and answers 503 is given up at the deadline, with the reason."""
    port = free_port()
    driver = make_driver("unhealthy_http.py", str(port), "503")
    driver.start()
    proof = wait_until_healthy(health(port, within_s=0.6), driver)
    assert not proof.healthy
    assert 0.6 <= proof.seconds < 2
    assert proof.reason.startswith("not healthy within 0.6 s: http://127.0.0.1:")
    assert driver.status().running, "a proof only looks"


def test_dies_in_the_window(make_driver: Make) -> None:
    """A process that comes up and dies is detected, long before the deadline."""
    driver = make_driver("dies_after.py", "0.3")
    pid = driver.start().pid
    proof = wait_until_healthy(Health(within_s=20, stable_for_s=10), driver)
    assert not proof.healthy
    assert proof.reason == f"it does not run: process {pid} ended by itself"
    assert proof.seconds < 5


def test_replaced_in_the_window(make_driver: Make) -> None:
    """A process that is not the one that was healthy proves nothing, although every probe passes."""
    driver = make_driver("/bin/sleep", "600")
    driver.start()

    class Restarting(CommandDriver):
        """Somebody else restarts the service between two looks."""

        looks = 0

        def status(self) -> Any:
            self.looks += 1
            if self.looks == 3:
                driver.stop()
                driver.start()
            return super().status()

    watched = Restarting("agent", driver._run, driver._ledger, log_dir=driver._log_dir)
    proof = wait_until_healthy(Health(within_s=10, stable_for_s=5), watched)
    assert not proof.healthy
    assert proof.reason == "its process was replaced by another while it was watched"


def test_a_probe_can_not_outlast_the_deadline(make_driver: Make) -> None:
    """A probe that hangs is cut at the end of `within`, however long its own timeout is."""
    probes = (Probe(ProbeKind.COMMAND, command=("/bin/sleep", "60"), timeout_s=60),)
    proof = wait_until_healthy(Health(0.5, 0.1, probes), None)
    assert not proof.healthy
    assert proof.seconds < 2


def test_pauses_grow_and_end_on_time() -> None:
    """Looks come every 50 ms at first and every 500 ms at most, and the last one is when it can be decided."""
    time_s = [100.0]
    pauses: list[float] = []

    def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        time_s[0] += pause_s

    probes = (Probe(ProbeKind.COMMAND, command=("/bin/true",)),)
    proof = wait_until_healthy(Health(30, 5, probes), None, clock=lambda: time_s[0], sleep=sleep)
    assert proof.healthy
    assert pauses[0] == pytest.approx(0.05)
    assert max(pauses) == pytest.approx(0.5)
    assert proof.seconds == pytest.approx(5)
    assert pauses[:-1] == sorted(pauses[:-1])


# --- the coding agent, the service that others are tested with -------------------------------------------


@contextmanager
def agent(state: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The agent and the URL of its health endpoint."""
    command = [sys.executable, str(SUBJECTS / "coding_agent.py"), "--state", str(state), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


def ask(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=5) as answer:
        facts: dict[str, Any] = json.load(answer)
    return facts


def wait_for(condition: Callable[[], object], within_s: float = 10.0) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            if condition():
                return
        except (OSError, ValueError, KeyError):
            pass
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_agent_keeps_its_layout(tmp_path: Path) -> None:
    """The layout is whole, everything is counted, ten backups are kept; a stop saves; work goes on after."""
    with agent(tmp_path, "--pace", "0.002", "--save-every", "0.02") as (process, url):
        wait_for(lambda: ask(url)["completed_tasks"] >= 8)
        wait_for(lambda: len(list(tmp_path.glob("state.backup.*.json"))) == 10)
        process.terminate()
        assert process.wait(10) == 0
    state = json.loads((tmp_path / "state.json").read_bytes())
    assert state["version"] == "1.0.0"
    assert state["last_saved"].endswith("Z")
    tasks = {task["id"]: task for task in state["tasks"]}
    files = {json.loads(path.read_bytes())["id"]: path for path in (tmp_path / "tasks").iterdir()}
    assert set(files) == set(tasks)
    for name, path in files.items():
        assert path.name == f"task_{name}.json"
        assert json.loads(path.read_bytes()) == tasks[name]
        assert set(tasks[name]) == {
            *("id", "description", "status", "tool", "created_at", "updated_at", "started_at", "completed_at"),
            *("logs", "result"),
        }
        assert all(set(entry) == {"timestamp", "level", "type", "message"} for entry in tasks[name]["logs"])
    metrics = state["metrics"]
    assert metrics["total_tasks"] == len(tasks)
    assert metrics["completed_tasks"] == sum(task["status"] == "completed" for task in tasks.values())
    assert metrics["failed_tasks"] == sum(task["status"] == "failed" for task in tasks.values())
    assert metrics["average_completion_time"] > 0
    (session,) = state["sessions"]
    assert json.loads((tmp_path / "sessions" / f"session_{session}.json").read_bytes())["ended_at"]
    assert (tmp_path / "logs" / f"session_{session}.log").read_text()
    assert json.loads((tmp_path / "reports" / f"report_{session}.json").read_bytes()) == metrics
    with agent(tmp_path) as (_, url):
        wait_for(lambda: ask(url)["completed_tasks"] >= metrics["completed_tasks"])


def test_agent_saves_in_time_without_a_change(tmp_path: Path) -> None:
    """first-systems.md no. 2: saved at once when a task changes, now and then all the same, and on shutdown."""

    seen: set[str] = set()

    def last_saved() -> str:
        found = str(json.loads((tmp_path / "state.json").read_bytes())["last_saved"])
        seen.add(found)
        return found

    with agent(tmp_path, "--pace", "0.01", "--changes", "2", "--save-every", "0.1") as (process, url):
        wait_for(lambda: ask(url)["total_tasks"] == 2 and len(list((tmp_path / "tasks").iterdir())) == 2)
        wait_for(lambda: len(list(tmp_path.glob("state.backup.*.json"))) >= 2)
        assert ask(url)["total_tasks"] == 2, "no more changes than were asked for"
        wait_for(lambda: last_saved() and len(seen) >= 2)
        process.terminate()
        assert process.wait(10) == 0
    assert max(seen) < last_saved()


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.json", b""),
        ("state.json", b"\0" * 500),
        ("state.json", b'{"version": "2.0.0", "tasks": [], "sessions": [], "metrics": {}, "last_saved": ""}'),
        ("tasks/task_t0001.json", b"\0" * 500),
        ("tasks/task_t0001.json", b"[]"),
        ("tasks/task_t0001.json", b"{}"),
    ],
)
def test_agent_refuses_damaged_state(name: str, damage: bytes, tmp_path: Path) -> None:
    """Like many real programs it does not start on damage: exit status 1 and a word on stderr."""
    with agent(tmp_path, "--pace", "0.01") as (process, _):
        wait_for(lambda: (tmp_path / "tasks" / "task_t0001.json").exists() and (tmp_path / "state.json").exists())
        process.terminate()
        assert process.wait(10) == 0
    (tmp_path / name).write_bytes(damage)
    with agent(tmp_path) as (process, _):
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert f"the state is damaged: {tmp_path / name}" in process.stderr.read()
    assert (tmp_path / name).read_bytes() == damage


def test_agent_can_be_torn(tmp_path: Path) -> None:
    """Killed in the middle of a write it really leaves a torn file: what recoverd is for."""

    def torn() -> bool:
        for path in [tmp_path / "state.json", *(tmp_path / "tasks").glob("*")]:
            try:
                json.loads(path.read_bytes())
            except FileNotFoundError:
                continue
            except ValueError:
                return True
        return False

    with agent(tmp_path, "--pace", "0.01", "--slow-write", "60") as (process, _):
        for _ in range(50):
            wait_for(torn)
            os.kill(process.pid, signal.SIGSTOP)  # so that the look and the kill are about the same instant
            if torn():
                break
            os.kill(process.pid, signal.SIGCONT)
        process.kill()
        process.wait()
    assert torn()


def test_agent_is_not_healthy_before_its_state_is_loaded(tmp_path: Path) -> None:
    """/health asks for data, not only for a port: 503 until the state is there; other paths are not found."""
    (tmp_path / "tasks").mkdir()
    os.mkfifo(tmp_path / "state.json")  # reading it waits until somebody writes
    with agent(tmp_path) as (_, url):
        with pytest.raises(urllib.error.HTTPError, match="503"):
            ask(url)
        with pytest.raises(urllib.error.HTTPError, match="404"):
            ask(url.replace("health", "other"))
        metrics = dict.fromkeys(("total_tasks", "completed_tasks", "failed_tasks", "average_completion_time"), 0)
        state = {"version": "1.0.0", "tasks": [], "sessions": [], "metrics": metrics, "last_saved": ""}
        writer = threading.Thread(target=(tmp_path / "state.json").write_text, args=(json.dumps(state),))
        writer.start()
        wait_for(lambda: ask(url)["loaded"])
        writer.join()


def test_agent_is_proven(make_driver: Make, tmp_path: Path) -> None:
    """The main job in small: on good state the agent is proven; on torn state it is not, and the reason is told."""
    port, state = free_port(), tmp_path / "state"
    driver = make_driver("coding_agent.py", "--port", str(port), "--state", str(state), "--pace", "0.05")
    driver.start()
    assert wait_until_healthy(health(port), driver).healthy
    pid = driver.start().pid
    os.kill(pid, signal.SIGKILL)
    driver.stop()
    (state / "state.json").write_bytes(b"")
    driver.start()
    proof = wait_until_healthy(health(port), driver)
    assert not proof.healthy
    assert "ended by itself" in proof.reason
    assert "can't start, the state is damaged" in (tmp_path / "logs" / "agent.log").read_text()
