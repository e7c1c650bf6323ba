"""The developer of product.md, "Who uses it": everything in his home, no root, no --config."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups", "--inh-caps=-all"]


class Home:
    """A home directory, and recoverd run as its owner."""

    def __init__(self, world: Any, path: Path) -> None:
        self.world, self.path, self.done = world, path, type(world.run("--version"))
        self.starts = False
        self.prefix = AS_NOBODY if os.geteuid() == 0 else []
        self.env = {
            "HOME": str(path),
            "XDG_RUNTIME_DIR": str(path / "runtime"),
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
        }

    def can_start(self) -> bool:
        """Whether the user may run this interpreter: it may lie in root's own home, and then it has no service."""
        code = "import subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
        command = [*self.prefix, sys.executable, "-c", code]
        return subprocess.run(command, env=self.env, cwd="/", capture_output=True, check=False).returncode == 0

    def run(self, *words: str) -> Any:
        done = subprocess.run(
            [*self.prefix, *self.world.command(*words, config=False)],
            env=self.env,
            cwd=self.path,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return self.done(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def home(world: Any) -> Iterator[Home]:
    path = Path(tempfile.mkdtemp(prefix="recoverd-home-"))
    one = Home(world, path)
    conf = path / ".config" / "recoverd" / "conf.d"
    (path / "app").mkdir()
    (path / "runtime").mkdir(mode=0o700)
    conf.mkdir(parents=True)
    (path / "app" / "state.json").write_text('{"counter": 1}')
    (conf / "notes.yaml").write_text(
        "services:\n  notes:\n    root: ~/app\n    state: {main: {file: state.json, format: json}}\n"
    )
    one.starts = one.can_start()
    if one.starts:
        with (conf / "notes.yaml").open("a") as file:
            file.write(f"    run: {{command: [{sys.executable}, -c, 'import time; time.sleep(600)']}}\n")
            file.write("    health: {stable_for: 0s}\n")
    if one.prefix:
        for item in (path, *path.rglob("*")):
            os.chown(item, NOBODY.pw_uid, NOBODY.pw_gid)
        if shutil.which("setpriv") is None or one.run("--version").status != 0:
            shutil.rmtree(path)
            pytest.skip("nobody can't run this installation")
    yield one
    log = f"{path}/.local/share/recoverd/logs/notes.log"
    for pid in [int(process.name) for process in Path("/proc").iterdir() if process.name.isdecimal()]:
        if pid != os.getpid() and _stdout(pid) == log:
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(path)


def _stdout(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/fd/1")
    except OSError:
        return ""


def test_the_main_job_without_root(home: Home) -> None:
    """config.md, places of a plain user: ~/.config/recoverd, $XDG_DATA_HOME, $XDG_RUNTIME_DIR."""
    assert ".config/recoverd/conf.d/notes.yaml" in home.run("config", "paths").fine().out
    home.run("config", "validate").fine()
    started = home.run("restore").fine()
    assert ("healthy" in started.out) == home.starts
    home.run("snapshot").fine()
    state = home.path / "app" / "state.json"
    state.write_bytes(b"")
    assert home.run("check").fine(2)
    assert "restored" in home.run("restore").fine().out
    assert state.read_text() == '{"counter": 1}'
    assert state.stat().st_uid == home.path.stat().st_uid
    home.run("undo").fine()
    assert state.read_bytes() == b""
    home.run("restore", "--snapshot", "notes/1").fine()
    home.run("prune").fine()
    assert "notes/1" in home.run("list").fine().out
    below = {one.name for one in (home.path / ".local" / "share" / "recoverd").iterdir()}
    assert {"repository", "quarantine"} <= below
    assert {one.name for one in home.path.iterdir()} <= {"app", ".config", ".local", ".cache", "runtime"}
    if home.prefix:
        assert {one.stat().st_uid for one in home.path.rglob("*")} == {NOBODY.pw_uid}


def test_a_foreign_configuration_is_told(home: Home) -> None:
    """What he may not read is an error with a hint, not silence."""
    if not home.prefix:
        pytest.skip("needs another user")
    path = home.path / ".config" / "recoverd" / "conf.d" / "notes.yaml"
    os.chown(path, 0, 0)
    path.chmod(0o600)
    done = home.run("list")
    if done.status == 0:
        pytest.skip("file modes are not enforced here")
    done.refused(78, str(path))
