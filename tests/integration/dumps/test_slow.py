"""A `save` that takes its time holds nobody: the real `recoverd`, and a tool that ends when the test lets it go."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from recoverd.system import mounts

RECOVERD = str(Path(sys.executable).with_name("recoverd"))
PATIENCE_S = 60.0  # nobody waits this long when all is well
_SAVE = """\
mkdir "{base}/alone" 2>/dev/null || echo overlap >> "{base}/overlaps"
echo $$ >> "{base}/asked"
cat "{base}/rows"
while [ ! -e "{base}/go" ]; do sleep 0.05; done
rmdir "{base}/alone"
echo END
"""
_CONFIG = """\
version: 1
state_dir: {root}/recoverd
repository: {{path: {repository}}}
services:
  db:
    state:
      database:
        dump: {{save: [/bin/sh, "{root}/save.sh"], load: ["true"], timeout: 10m}}
        validate: {{command: [grep, -q, END, "{{path}}"]}}
    autosave: {{every: 1h}}
  app:
    state: {{main: {{file: "{root}/app.json", format: json}}}}
    autosave: {{every: 1s}}
    retention: {{last: 1000}}
"""


@dataclass
class World:
    """`db` is saved by the slow tool, `app` is a file that is saved each second."""

    root: Path
    children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        return self.root / "recoverd"

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        with (self.root / "log").open("ab") as log:
            child = subprocess.Popen(
                [RECOVERD, "--config", str(self.root / "recoverd.yaml"), *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        self.children.append(child)
        return child

    def call(self, *words: str) -> int:
        return self.start(*words).wait(PATIENCE_S)

    @property
    def environment(self) -> dict[str, str]:
        run, copies = self.root / "run", self.root / "copies"
        return os.environ | {"RUNTIME_DIRECTORY": str(run), "XDG_RUNTIME_DIR": str(run), "TMPDIR": str(copies)}

    def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{(self.root / 'log').read_text()}"
            time.sleep(0.02)

    def asked(self) -> list[int]:
        """The tool's processes, so far."""
        path = self.root / "asked"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def until_asked(self, times: int = 1) -> None:
        self.until(lambda: len(self.asked()) >= times, "the tool")

    def let_go(self) -> None:
        (self.root / "go").touch()

    def snapshots(self, name: str) -> list[dict[str, Any]]:
        directory = self.root / "repository" / "snapshots" / name
        return [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]

    def has_saved(self, snapshots: int) -> bool:
        return len(self.snapshots("app")) >= snapshots

    def save(self, number: int) -> None:
        temporary = self.root / "app.new"
        temporary.write_text(json.dumps({"counter": number}))
        temporary.replace(self.root / "app.json")

    def names(self) -> set[str]:
        """All files, without what any command leaves."""
        places = (self.state_dir, self.root / "repository" / "packs", self.root / "copies")
        found = {str(path.relative_to(self.root)) for place in places for path in place.rglob("*") if path.is_file()}
        return {path for path in found if not path.endswith((".lock", "-wal", "-shm"))}

    def is_gone(self, pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for name in ("copies", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "save.sh").write_text(_SAVE.format(base=tmp_path))
    (tmp_path / "rows").write_text("row\n" * 100_000)
    (tmp_path / "recoverd.yaml").write_text(_CONFIG.format(root=tmp_path, repository=tmp_path / "repository"))
    made.save(0)
    yield made
    made.let_go()  # whatever still waits for it ends
    for child in made.children:
        if child.poll() is None:
            child.kill()
        child.wait(PATIENCE_S)
    made.until(lambda: all(made.is_gone(pid) for pid in made.asked()), "the end of the tools")


def test_the_scheduler_saves_others_meanwhile(world: World) -> None:
    """product.md, the one job: `app` is saved on time for as long as the dump of `db` takes, which nobody dumps twice
    at once; then the dump lands, whole."""
    run = world.start("run")
    world.until_asked()
    for number in range(1, 4):
        snapshots = len(world.snapshots("app")) + 1
        world.save(number)
        world.until(partial(world.has_saved, snapshots), f"snapshot {number} of app")
    assert world.snapshots("db") == []
    assert world.call("--wait", "100ms", "snapshot", "db") == 75
    world.let_go()
    world.until(lambda: world.snapshots("db"), "the dump")
    assert int(world.snapshots("db")[0]["items"]["database"]["bytes"]) == 400_004
    assert len(world.asked()) == 1
    run.terminate()
    assert run.wait(PATIENCE_S) == 0
    assert not (world.root / "overlaps").exists()


def test_a_scheduler_that_is_to_stop_ends_the_tool(world: World) -> None:
    """SIGTERM does not wait for the tool: it ends, with all that it has started, and nothing is left."""
    assert world.call("snapshot", "app") == 0
    before = world.names()
    run = world.start("run")
    world.until_asked()
    run.terminate()
    assert run.wait(PATIENCE_S) == 0
    assert not (world.root / "go").exists()
    world.until(lambda: world.is_gone(world.asked()[0]), "the end of the tool")
    assert world.snapshots("db") == []
    assert [path for path in world.names() - before if ".tmp-" in path or path.startswith("copies/")] == []


def test_the_last_capture_of_others_does_not_wait_for_the_tool(world: World) -> None:
    """`on_shutdown`: all that lies on the disk is safe before a server is asked, also of the service that is asked."""
    text = (world.root / "recoverd.yaml").read_text().replace("every: 1h", "on_shutdown: true")
    settings = f'      settings: {{file: "{world.root}/settings.json", format: json}}\n'
    text = text.replace("every: 1s", "every: 1h, on_shutdown: true")
    (world.root / "settings.json").write_text("{}")
    (world.root / "recoverd.yaml").write_text(text.replace("      database:\n", settings + "      database:\n"))
    run = world.start("run")
    world.until(lambda: world.snapshots("app"), "the first snapshot of app")
    world.save(1)
    run.terminate()
    world.until_asked()
    assert world.snapshots("app")[-1]["reason"] == "shutdown"
    assert world.snapshots("db")[-1]["items"]["settings"]["verdict"] == "ok"
    assert run.poll() is None
    world.let_go()
    assert run.wait(PATIENCE_S) == 0
    newest = world.snapshots("db")[-1]
    assert newest["reason"] == "shutdown" and newest["items"]["database"]["verdict"] == "ok"
    assert len(world.asked()) == 1


def test_by_hand_others_are_saved_meanwhile(world: World) -> None:
    """The repository's lock is not held while the tool works: neither against another command, nor for those that are
    to be saved by the same one."""
    everything = world.start("snapshot")
    world.until_asked()
    assert len(world.snapshots("app")) == 1  # the quick one came first
    world.save(1)
    assert world.call("--wait", "0s", "snapshot", "app") == 0
    assert len(world.snapshots("app")) == 2
    assert everything.poll() is None
    world.let_go()
    assert everything.wait(PATIENCE_S) == 0
    assert len(world.snapshots("db")) == 1


def test_killed_meanwhile_it_leaves_nothing_behind(world: World) -> None:
    """Promises 6 and 9: what was dumped by then goes with the process, as do its locks; the next one has no trouble."""
    assert world.call("snapshot", "app") == 0
    before = world.names()
    one = world.start("snapshot", "db")
    world.until_asked()
    world.until(lambda: _waits_in_a_file(one.pid, world.state_dir), "the dump in a file")
    assert world.names() == before
    one.send_signal(signal.SIGKILL)
    one.wait(PATIENCE_S)
    assert world.names() == before
    world.let_go()
    world.until(lambda: world.is_gone(world.asked()[0]), "the end of the tool")
    assert world.call("snapshot", "db") == 0
    assert len(world.snapshots("db")) == 1


def test_a_killed_scheduler_dumps_nothing_twice_at_once(world: World) -> None:
    """Promise 9: `kill -9` of the scheduler, and another one right after it: the service has one capture at a time."""
    run = world.start("run")
    world.until_asked()
    run.kill()
    run.wait(PATIENCE_S)
    again = world.start("run")
    before = len(world.snapshots("app"))
    world.save(1)
    world.until(lambda: len(world.snapshots("app")) > before, "a snapshot of app")
    world.let_go()
    world.until(lambda: world.snapshots("db"), "the dump")
    again.terminate()
    assert again.wait(PATIENCE_S) == 0
    assert not (world.root / "overlaps").exists()


def test_a_full_state_directory_fails_only_the_dump(world: World, small_disk: Callable[[Path], None]) -> None:
    """It is told, the file beside it is saved, other services too, and the room is there again at once."""
    world.state_dir.mkdir()
    small_disk(world.state_dir)
    text = (world.root / "recoverd.yaml").read_text()
    settings = f'      settings: {{file: "{world.root}/settings.json", format: json}}\n'
    (world.root / "settings.json").write_text("{}")
    (world.root / "recoverd.yaml").write_text(text.replace("      database:\n", settings + "      database:\n"))
    world.let_go()
    (world.root / "rows").write_bytes(os.urandom(24 << 20))
    free_bytes = mounts.writable_bytes(str(world.state_dir))
    assert world.call("snapshot") == 1
    assert "database can't be dumped: it can't be put into" in (world.root / "log").read_text()
    assert len(world.snapshots("app")) == 1
    (made,) = world.snapshots("db")
    assert (made["items"]["settings"]["verdict"], made["items"]["database"]["verdict"]) == ("ok", "unreadable")
    assert free_bytes - mounts.writable_bytes(str(world.state_dir)) < 4 << 20
    (world.root / "rows").write_text("a row\n")
    assert world.call("snapshot") == 0
    assert world.snapshots("db")[-1]["items"]["database"]["verdict"] == "ok"


def _waits_in_a_file(pid: int, directory: Path) -> bool:
    """Whether a process has a file of that directory open that has content and no name."""
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target, status = os.readlink(link), link.stat()
        except OSError:
            continue
        if target.startswith(str(directory)) and status.st_nlink == 0 and status.st_size > 0:
            return True
    return False
