"""The process runner of a plain user: first-systems.md no. 1 whole, in XDG directories of his own, without --config.

Run by root it is nobody's, else of whoever runs the tests. The interpreter must be one that the user may start: root's
own may lie where only root can look, then the machine's of the same version takes its place, with the same packages.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "tests" / "subjects" / "process_runner.py"
HERE = """\
services:
  locald:
    run: {{command: [{python}, {runner}, --state, "{state}", --add, web], stop_timeout: 5s}}
    health: {{within: 30s, stable_for: 300ms}}
"""


class User:
    """A user with a home, who has installed the sample; all that recoverd does is asked of the command line."""

    def __init__(self, root: Path, python: str, uid: int, prefix: list[str]) -> None:
        self.root, self.python, self.uid, self.prefix = root, python, uid, prefix
        self.data, self.config, self.runtime = root / "my data", root / "my config", root / "my runtime"
        self.state = self.data / "locald" / "state.json"
        packages = f"{ROOT}:{sysconfig.get_path('purelib')}"
        self.env = {
            "HOME": str(root / "home"),
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": packages,
            "PYTHONDONTWRITEBYTECODE": "1",
            "XDG_CONFIG_HOME": str(self.config),
            "XDG_DATA_HOME": str(self.data),
            "XDG_RUNTIME_DIR": str(self.runtime),
        }
        self.children: list[subprocess.Popen[bytes]] = []

    def install(self) -> None:
        conf = self.config / "recoverd" / "conf.d"
        (conf / "process-runner.yaml.d").mkdir(parents=True)
        for directory in (self.state.parent, self.root / "home"):
            directory.mkdir(parents=True)
        self.runtime.mkdir(mode=0o700)
        shutil.copytree(
            ROOT / "config" / "schemas", self.config / "recoverd" / "schemas", copy_function=shutil.copyfile
        )
        shutil.copyfile(ROOT / "config" / "conf.d" / "process-runner.yaml", conf / "process-runner.yaml")
        text = HERE.format(python=self.python, runner=RUNNER, state=self.state)
        (conf / "process-runner.yaml.d" / "here.yaml").write_text(text)
        for one in (self.root, *self.root.rglob("*")):
            os.chown(one, self.uid, -1)

    def command(self, *words: str) -> list[str]:
        return [*self.prefix, self.python, "-m", "recoverd", *words]

    def run(self, *words: str, status: int = 0) -> str:
        time.sleep(0.03)  # what was just written counts as still being written for 20 ms
        done = subprocess.run(
            self.command(*words), env=self.env, cwd="/", capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == status, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def scheduler(self) -> subprocess.Popen[bytes]:
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.children.append(subprocess.Popen(self.command("run"), env=self.env, cwd="/", **quiet))
        return self.children[-1]

    def document(self) -> dict[str, Any]:
        """The runner's one service; empty while the state is being written."""
        with contextlib.suppress(OSError, ValueError, LookupError):
            found: dict[str, Any] = json.loads(self.state.read_bytes())["services"][0]
            return found
        return {}

    def runner(self) -> int:
        return int(json.loads(self.run("--json", "status"))["services"][0]["pid"])

    def child(self, *former: int) -> int:
        """The process of the runner's service, once the state names another than the former ones."""
        self.until(lambda: self.document().get("pid") not in {None, *former}, "a new child")
        return int(self.document()["pid"])

    def record(self) -> Path:
        return self.data / "recoverd" / "services" / "locald.json"

    def noted(self) -> list[int]:
        return [one["pid"] for one in json.loads(self.record().read_bytes()).get("children", ())]

    def until(self, true: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + 60
        while not true():
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.02)

    def end(self) -> None:
        for child in self.children:
            child.kill()
            child.wait()
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.run("stop")


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid: int) -> bool:
    return not lives(pid)


def interpreter(prefix: list[str]) -> str | None:
    """One that the user may start, and start again from there, with all that recoverd needs."""
    imports = "import subprocess, sys, recoverd.cli.main, blake3, yaml"
    code = f"{imports}; subprocess.run([sys.executable, '-c', ''], check=True)"
    path = f"{ROOT}:{sysconfig.get_path('purelib')}"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for one in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        environment = {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        with contextlib.suppress(OSError):
            done = subprocess.run(
                [*prefix, one, "-c", code], env=environment, cwd="/", capture_output=True, check=False, timeout=60
            )
            if done.returncode == 0:
                return one
    return None


@pytest.fixture
def user() -> Iterator[User]:
    uid, prefix = os.getuid(), []
    if uid == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv is not installed, so nobody else can be made to run it")
        nobody = pwd.getpwnam("nobody")
        uid = nobody.pw_uid
        prefix = ["setpriv", f"--reuid={uid}", f"--regid={nobody.pw_gid}", "--clear-groups", "--inh-caps=-all"]
    python = interpreter(prefix)
    if python is None:
        pytest.skip("no interpreter here is one that a plain user may start with recoverd's packages")
    with tempfile.TemporaryDirectory(prefix="recoverd-user-") as scratch:  # below root's own he could not look
        one = User(Path(scratch), python, uid, prefix)
        one.install()
        yield one
        one.end()


def test_a_plain_user_gets_his_runner_back(user: User) -> None:
    """Show: the runner is killed while its child lives, state.json is torn; `restore` ends the lingering child and no
    foreign process, restores state.json, starts the runner, which starts the child anew; its words are in the log. What
    starts and stops is saved by itself. All of it belongs to the user and lies in his own directories."""
    assert "healthy" in user.run("restore")
    scheduler = user.scheduler()
    runner, child = user.runner(), user.child()
    user.until(lambda: user.record().exists() and user.noted() == [child], "the save after the start")
    scheduler.send_signal(signal.SIGTERM)
    assert scheduler.wait(60) == 0
    assert {os.stat(f"/proc/{pid}").st_uid for pid in (runner, child)} == {user.uid}

    os.kill(runner, signal.SIGKILL)
    user.until(partial(gone, runner), "the end of the runner")
    assert lives(child)
    whole = user.state.read_bytes()
    user.state.write_bytes(whole[: len(whole) // 2])
    (done,) = json.loads(user.run("--json", "restore"))["services"]
    assert (done["outcome"], done["healthy"], done["items"][0]["source"]) == ("restored", True, "snapshot")
    assert f"of its former run process {child} had to be ended" in done["reasons"][0]
    assert not lives(child)
    again = user.child(child)
    assert lives(again)
    user.until(lambda: f"web is process {again} in {user.state.parent}" in user.run("logs", "locald"), "its words")
    assert "healthy" in user.run("restore")  # nothing is started twice
    assert (user.child(child), user.runner() == runner) == (again, False)

    # the pid that was noted is another process's by now: as the kernel would have given it, by the record
    user.run("snapshot")
    assert user.noted() == [again]
    runner = user.runner()
    for pid in (runner, again):
        os.kill(pid, signal.SIGKILL)
        user.until(partial(gone, pid), "its end")
    foreign = subprocess.Popen([*user.prefix, "/bin/sleep", "600"])  # of the same user: he could end it
    user.children.append(foreign)
    record = json.loads(user.record().read_bytes())
    record["children"][0]["pid"] = foreign.pid
    user.record().write_text(json.dumps(record))
    user.run("start")
    assert foreign.poll() is None
    last = user.child(child, again)
    user.run("stop")
    assert not lives(last)
    assert user.document()["pid"] is None  # it ended in order
    assert foreign.poll() is None

    everything = [user.root, *user.root.rglob("*")]
    assert {one.lstat().st_uid for one in everything} == {user.uid}
    assert {one.name for one in user.root.iterdir()} == {"home", "my data", "my config", "my runtime"}
    assert list((user.root / "home").iterdir()) == []  # XDG directories were his own choice
    assert (user.data / "recoverd" / "logs" / "locald.log").is_file()
