"""`autosave.on_change` under the real `recoverd run`, with real writers and a real repository."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from recoverd.repository.store import Repository

if TYPE_CHECKING:
    from .conftest import Run, World

CONFIGURATION = """\
version: 1
state_dir: {directory}/state
services:
  app:
    state:
      items: {{directory: {directory}/items, format: json, exclude: ["*.log"]}}
      main: {{file: {directory}/main.json, format: json, optional: true}}
    autosave: {{on_change: {{quiet: 50ms, at_most: 1s}}}}
    retention: {{last: 1000}}
"""


class Watched:
    """A house whose service is saved on change."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.items = world.directory / "items"
        self.configuration = world.directory / "recoverd.yaml"
        self.configuration.write_text(CONFIGURATION.format(directory=world.directory))
        script = world.directory / "run.py"
        script.write_text(
            "import sys\nfrom recoverd.cli.main import main\n"
            f"sys.exit(main(['--config', {str(self.configuration)!r}, '-v', 'run']))\n"
        )
        world.script = script
        world.environment = {"RUNTIME_DIRECTORY": str(world.directory / "run")}
        for number in range(20):
            (self.items / f"{number:02}").mkdir(parents=True)
            self.write(f"{number:02}/x.json", 0)

    def write(self, path: str, value: Any) -> None:
        """As a careful service does."""
        temporary = self.items / f"{path}.log"
        temporary.write_text(json.dumps(value))
        temporary.replace(self.items / path)

    def repository(self) -> Repository:
        state_dir = str(self.world.directory / "state")
        return Repository.open(f"{state_dir}/repository", state_dir=state_dir)

    def saved(self) -> dict[str, Any]:
        """What the newest snapshot holds, document by document; nothing before the first one."""
        try:
            repository = self.repository()
        except Exception:
            return {}
        snapshot = repository.newest("app")
        if snapshot is None:
            return {}
        found: dict[str, Any] = {}
        with repository.reader() as reader:

            def collect(tree: str, path: str) -> None:
                for entry in reader.tree(tree):
                    if entry.type == "dir":
                        collect(entry.hash or "", f"{path}{entry.name}/")
                    elif entry.type == "file":
                        parts = [part for part in reader.file_chunks(entry) if isinstance(part, bytes)]
                        found[path + entry.name] = json.loads(b"".join(parts))

            for item in snapshot.items.values():
                collect(item.root, "")
        return found

    def live(self) -> dict[str, Any]:
        """What is on disk, in the same form."""
        paths = [*self.items.rglob("*.json"), self.world.directory / "main.json"]
        return {
            str(path.relative_to(self.world.directory)): json.loads(path.read_text()) for path in paths if path.exists()
        }

    def start(self) -> Run:
        run = self.world.start()
        self.until_saved(run)
        return run

    def until_saved(self, run: Run) -> None:
        run.until(lambda: self.saved() == self.live(), "the live state in the newest snapshot")

    def cli(self, *arguments: str) -> dict[str, Any]:
        command = [sys.executable, "-m", "recoverd", "--config", str(self.configuration), "--json", *arguments]
        done = subprocess.run(command, env=os.environ | self.world.environment, capture_output=True, check=False)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def check(self, name: str) -> dict[str, Any]:
        (found,) = [one for one in self.cli("check")["results"] if one["name"] == name and one["service"] == "app"]
        return dict(found)


@pytest.fixture
def watched(world: World) -> Watched:
    return Watched(world)


def test_each_change_reaches_the_repository(watched: Watched) -> None:
    """config.md, `on_change`: documents made, replaced, moved and deleted, directories too, and a file item."""
    run = watched.start()
    watched.write("07/x.json", 1)
    watched.until_saved(run)
    (watched.items / "new" / "deep").mkdir(parents=True)
    watched.write("new/deep/y.json", [2])
    watched.until_saved(run)
    (watched.items / "new").rename(watched.items / "03" / "moved")
    watched.until_saved(run)
    watched.write("03/moved/deep/y.json", [3])
    (watched.items / "05" / "x.json").unlink()
    shutil.rmtree(watched.items / "06")
    watched.until_saved(run)
    watched.world.write("main.json", '{"n": 1}')
    watched.until_saved(run)
    assert run.stop() == 0
    assert "snapshot.failed" not in run.log()
    records = watched.repository().snapshots("app")
    assert [one.reason for one in records] == ["scheduled"] + ["change"] * (len(records) - 1)
    assert "autosave.triggered app: its state changed" in run.log()


def test_a_change_costs_its_directory(watched: Watched) -> None:
    """Promise 11: of 21 directories the one that changed is listed."""
    run = watched.start()
    watched.write("07/x.json", 1)
    watched.until_saved(run)
    run.until_logged("items is ok: 20 files, 20 bytes, 0 damaged; 1 directories listed")
    assert run.stop() == 0


def test_killed_and_started_again(watched: Watched) -> None:
    """What changed while nobody watched is found at the start; the kill leaves nothing behind."""
    run = watched.start()
    run.signal(signal.SIGKILL)
    run.ended()
    watched.write("07/x.json", "while nobody watched")
    (watched.items / "08" / "x.json").unlink()
    run = watched.start()
    watched.write("07/x.json", "and then")
    watched.until_saved(run)
    assert run.stop() == 0


def test_what_changed_just_before_the_stop_is_saved(watched: Watched) -> None:
    """A change that is not due yet when the scheduler is told to stop is not left to the next start."""
    text = watched.configuration.read_text().replace("quiet: 50ms, at_most: 1s", "quiet: 10m, at_most: 10m")
    watched.configuration.write_text(text)
    run = watched.start()
    watched.write("07/x.json", "last words")
    assert run.stop() == 0
    assert watched.saved() == watched.live()


def test_paused_and_resumed(watched: Watched) -> None:
    """`pause` holds changes too; nothing of them is forgotten until `resume`."""
    run = watched.start()
    watched.cli("pause", "app")
    watched.write("07/x.json", "paused")
    watched.write("09/x.json", "paused")
    count = len(watched.repository().snapshots("app"))
    run.until(lambda: watched.cli("check")["status"] == "WARNING", "the pause")
    assert len(watched.repository().snapshots("app")) == count
    watched.cli("resume", "app")
    watched.until_saved(run)
    assert run.stop() == 0


def test_a_restore_is_followed_by_a_look_at_everything(watched: Watched) -> None:
    """What recoverd itself swaps is state like any other: what follows a restore is captured as it is."""
    run = watched.start()
    (watched.items / "07" / "x.json").write_text('{"torn')
    run.until_logged("state.corrupt app")
    restored = watched.cli("restore", "app")
    assert [one["outcome"] for one in restored["services"]] == ["restored"]
    watched.until_saved(run)
    watched.write("07/x.json", "after")
    watched.until_saved(run)
    assert run.stop() == 0


def test_an_idle_service_is_not_stale(watched: Watched) -> None:
    """`max_age` holds for what is watched too: that nothing changed is noted all the time, until nobody watches."""
    text = watched.configuration.read_text() + "    check: {max_age: 2s}\n"
    watched.configuration.write_text(text)
    run = watched.start()
    first = watched.check("snapshot-age")
    assert first["figures"]["age_seconds"]["warn"] == 2
    run.until(lambda: "unchanged" in watched.check("snapshot-age")["message"], "a confirmation")
    assert watched.check("on-change")["message"] == "watched: 22 directories"
    assert len(watched.repository().snapshots("app")) == 1
    run.signal(signal.SIGKILL)
    run.ended()
    run.until(lambda: watched.check("snapshot-age")["status"] != "OK", "the age to tell that nobody watches")


def test_reloaded(watched: Watched) -> None:
    """SIGHUP: another path is watched from then on."""
    run = watched.start()
    text = watched.configuration.read_text()
    watched.items.rename(watched.items.with_name("others"))
    watched.items = watched.items.with_name("others")
    watched.configuration.write_text(text.replace("/items,", "/others,"))
    run.signal(signal.SIGHUP)
    run.until_logged("configuration loaded again: watching 1 service")
    watched.until_saved(run)
    watched.write("07/x.json", 1)
    watched.until_saved(run)
    assert run.stop() == 0


def test_the_kernels_limit(watched: Watched) -> None:
    """Too few watches are allowed: everything is looked at instead, and `check` says so and what helps."""
    inside = ["unshare", "--user", "--map-root-user"]
    limit = "/proc/sys/user/max_inotify_watches"
    probe = subprocess.run([*inside, "sh", "-c", f"echo 5 > {limit}"], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip("no user namespaces here, in which the limit can be lowered")
    lowered = [*inside, "sh", "-c", f'echo 5 > {limit}; exec "$0" "$@"', sys.executable, str(watched.world.script)]
    watched.world.script = watched.world.directory / "limited.py"
    watched.world.script.write_text(f"import os\nos.execvp('unshare', {lowered!r})\n")
    run = watched.start()
    assert "app can't be watched and is looked at every 1 min: the kernel allows no more watches" in run.log()
    assert "hint: `sysctl -w fs.inotify.max_user_watches" in run.log()
    run.until(lambda: watched.check("on-change")["status"] == "WARNING", "the warning")
    assert "fs.inotify.max_user_watches" in watched.check("on-change")["hint"]
    assert run.stop() == 0
