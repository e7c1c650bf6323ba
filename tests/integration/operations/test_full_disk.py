"""A disk that really is full: an ext4 of 64 MiB on a loop device, and a tmpfs; the real `recoverd` as a child process.

Promise 3: the last known-good snapshot survives a full disk; and a full disk can be pruned, restored from and checked.
"""

from __future__ import annotations

import base64
import errno
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recoverd.operations.context import Context
from recoverd.operations.opening import open_context
from recoverd.operations.prune import PruneRequest, prune
from recoverd.operations.snapshot import SnapshotRequest, snapshot
from recoverd.system.mounts import writable_bytes

CONFIG = """\
version: 1
state_dir: {state_dir}
repository: {repository}
services:
  app:
    state: {{main: {{file: {app}/state.json, format: json}}}}
    retention: {{last: {last}}}
"""
DISKS = ("ext4", "tmpfs")
SIZE_BYTES = 64 * 1024**2
Mount = Callable[[str, str], Path]


@dataclass
class Done:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Machine:
    """One service, its state and a repository on disks of their own; the configuration lies elsewhere."""

    root: Path
    state_dir: Path
    repository: Path
    app: Path

    @property
    def state(self) -> Path:
        return self.app / "state.json"

    def configure(self, last: int, **repository: Any) -> None:
        keys = json.dumps({"path": str(self.repository)} | repository)
        text = CONFIG.format(state_dir=self.state_dir, repository=keys, app=self.app, last=last)
        (self.root / "recoverd.yaml").write_text(text)

    def write(self, number: int) -> bytes:
        """About a megabyte that no other version has."""
        data = json.dumps({"number": number, "payload": random.Random(number).randbytes(500_000).hex()}).encode()
        self.state.write_bytes(data)
        return data

    def run(self, *words: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "recoverd", "--config", str(self.root / "recoverd.yaml"), "--json", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "RUNTIME_DIRECTORY": str(self.root / "run")},
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    def context(self) -> Context:
        return open_context([str(self.root / "recoverd.yaml")], environ={"RUNTIME_DIRECTORY": str(self.root / "run")})

    def save(self, first: int, last: int) -> None:
        context = self.context()
        with context.repository(create=True):
            for number in range(first, last + 1):
                self.write(number)
                assert snapshot(context, SnapshotRequest()).services[0].outcome == "saved"

    def kept(self) -> list[str]:
        return sorted(one["id"] for one in self.run("list").json["snapshots"])

    def check(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.run("check").json["results"] if one["service"] is None}

    def shown(self) -> bytes:
        """The document of the newest snapshot, read back through its hashes."""
        done = self.run("show", "app/latest", "main")
        assert done.status == 0, done.out
        return base64.b64decode(done.json["content_base64"])

    def restored(self) -> bytes:
        """What comes back once the live state is damaged."""
        self.state.write_bytes(b"")
        done = self.run("restore")
        assert done.status == 0, done
        return self.state.read_bytes()


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a fresh file system of 64 MiB, given its type and a name."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a disk that can be filled")
    mounted: list[Path] = []

    def mount(kind: str, name: str) -> Path:
        place = tmp_path / name
        place.mkdir()
        if kind == "tmpfs":
            command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES},mode=700", "none", str(place)]
        else:
            image = tmp_path / f"{name}.img"
            os.truncate(os.open(image, os.O_CREAT | os.O_WRONLY), SIZE_BYTES)
            subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True, capture_output=True)
            command = ["mount", "-o", "loop", str(image), str(place)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            pytest.skip(f"no {kind} can be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    if shutil.which("mkfs.ext4") is None:
        pytest.skip("there is no mkfs.ext4")
    yield mount
    for place in reversed(mounted):
        subprocess.run(["umount", str(place)], check=True)


def fill(place: Path, name: str = "filler") -> None:
    """Leave no byte: blocks first, then single bytes, until not even a new file gets one."""
    directory = place / name
    directory.mkdir(exist_ok=True)
    size = 4 * 1024**2
    count = 0
    while size:
        count += 1
        fd = os.open(directory / f"{count}", os.O_CREAT | os.O_WRONLY)
        try:
            if os.write(fd, b"x" * size) < size:
                size //= 4
            os.fsync(fd)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            size //= 4
        finally:
            os.close(fd)


@pytest.fixture(params=DISKS)
def machine(request: pytest.FixtureRequest, mount: Mount, tmp_path: Path) -> Machine:
    """Everything on one disk, with eight versions saved; state on another, so that it can go on changing."""
    disk = mount(request.param, "disk")
    (tmp_path / "app").mkdir()
    made = Machine(tmp_path, disk / "recoverd", disk / "recoverd" / "repository", tmp_path / "app")
    made.configure(last=100)
    made.save(1, 8)
    return made


def test_a_full_disk_can_be_checked_pruned_and_restored_from(machine: Machine) -> None:
    """At 0 bytes free: `check` says what is wrong, `prune` works, and then there is room for everything again."""
    disk = machine.root / "disk"
    reserve = machine.state_dir / "reserve"
    assert reserve.stat().st_blocks * 512 >= 2 * 1024**2
    fill(disk)
    assert writable_bytes(str(disk)) == 0
    found = machine.check()["repository-space"]
    assert (found["status"], bool(found["hint"])) == ("CRITICAL", True)
    assert found["figures"]["free_bytes"]["value"] == 0
    assert machine.run("check").status == 2

    machine.configure(last=2)
    foreseen = machine.run("prune", "--dry-run")
    assert (foreseen.status, len(foreseen.json["removed"])) == (0, 6)
    done = machine.run("prune")
    assert (done.status, len(done.json["removed"])) == (0, 6), done
    assert done.json["freed_bytes"] > 3_000_000
    assert machine.kept() == ["app/7", "app/8"]
    assert writable_bytes(str(disk)) > 1_000_000

    assert json.loads(machine.restored())["number"] == 8
    machine.save(9, 9)
    shutil.rmtree(disk / "filler")
    machine.save(10, 10)
    assert reserve.stat().st_blocks * 512 >= 2 * 1024**2  # set up again, now that there is room
    assert machine.check()["repository-space"]["status"] in {"OK", "WARNING"}


def test_state_on_the_full_disk_itself_is_restored_after_a_prune(machine: Machine) -> None:
    """The live state lies on the same disk, as it does on most machines."""
    disk = machine.root / "disk"
    machine.app = disk / "app"
    machine.app.mkdir()
    machine.configure(last=100)
    machine.save(9, 10)
    data = machine.state.read_bytes()
    fill(disk)
    machine.configure(last=1)
    assert machine.run("prune").status == 0
    assert machine.restored() == data


def test_a_capture_that_finds_the_disk_full_prunes_and_is_tried_again(machine: Machine) -> None:
    """What retention lets go makes the room; the capture is saved, and says nothing of it but in the log."""
    fill(machine.root / "disk")
    machine.configure(last=2)
    data = machine.write(9)
    done = machine.run("snapshot")
    assert done.status == 0, done
    assert done.json["snapshots"][0]["id"] == "app/9"
    assert "disk.low" in done.err
    assert machine.kept() == ["app/8", "app/9"]
    assert machine.restored() == data


def test_with_min_free_history_gives_way_to_a_full_disk(machine: Machine) -> None:
    """`min_free`: nobody changed retention; the oldest go until there is room."""
    fill(machine.root / "disk")
    machine.configure(last=100, min_free="2MiB")
    data = machine.write(9)
    done = machine.run("snapshot")
    assert done.status == 0, done
    kept = machine.kept()
    assert "app/9" in kept
    assert 1 < len(kept) < 8
    assert kept == [f"app/{number}" for number in range(10 - len(kept), 10)]
    assert writable_bytes(str(machine.root / "disk")) > 1_000_000
    assert machine.restored() == data


def test_where_nothing_may_go_the_capture_fails_clearly_and_nothing_is_lost(machine: Machine) -> None:
    """Every snapshot is as it was, no leftover stays, and once there is room the next capture is as good as any."""
    disk = machine.root / "disk"
    before = machine.kept()
    fill(disk)
    machine.write(9)
    for _ in range(2):
        done = machine.run("snapshot")
        assert done.status == 1
        (failed,) = done.json["snapshots"]
        assert failed["outcome"] == "failed"
        assert "No space left on device" in failed["error"]
    assert machine.kept() == before
    assert list(machine.repository.rglob(".tmp-*")) == []
    assert json.loads(machine.shown())["number"] == 8
    shutil.rmtree(disk / "filler")
    machine.save(9, 9)
    assert machine.kept() == [*before, "app/9"]


def test_the_last_good_snapshot_stays_where_even_bounds_find_no_room(machine: Machine) -> None:
    """Promise 3. `prune` says loudly that the bound can't be met: exit status 1 and a note; `check` agrees."""
    assert machine.run("pin", *(f"app/{number}" for number in range(2, 7))).status == 0
    fill(machine.root / "disk")
    machine.configure(last=100, min_free="3MiB")
    done = machine.run("prune")
    assert done.status == 1
    assert machine.kept() == [f"app/{number}" for number in (2, 3, 4, 5, 6, 8)]
    assert [one["bound"] for one in done.json["unmet"]] == ["min_free"]
    assert {one["because"][0] for one in done.json["removed"]} == {"min_free"}
    assert "no more snapshots may go" in done.json["notes"][-1]
    assert "min_free asks for 3.0 MiB" in machine.check()["repository-space"]["message"]
    assert json.loads(machine.restored())["number"] == 8


def test_history_is_not_given_up_for_a_disk_that_others_have_filled(machine: Machine) -> None:
    """Half of the disk should be free, and all snapshots take 4 MiB of it."""
    fill(machine.root / "disk")
    machine.configure(last=100, min_free="50%")
    done = machine.run("prune")
    assert (done.status, done.json["removed"], len(machine.kept())) == (1, [], 8)
    assert "min_free asks for" in machine.check()["repository-space"]["message"]
    assert json.loads(machine.shown())["number"] == 8


@pytest.mark.parametrize("kind", DISKS)
def test_a_full_state_directory_beside_a_repository_with_room(kind: str, mount: Mount, tmp_path: Path) -> None:
    """The catalog can't be written, and believes in packs that are gone: still nothing that is not stored is taken for
    stored. Each of the two file systems has a reserve of its own."""
    state_dir, repository = mount(kind, "small"), mount("tmpfs", "large")
    (tmp_path / "app").mkdir()
    machine = Machine(tmp_path, state_dir / "recoverd", repository / "repository", tmp_path / "app")
    machine.configure(last=100)
    machine.save(1, 4)
    assert (state_dir / "recoverd" / "reserve").exists()
    assert (machine.repository / "reserve").exists()
    fill(state_dir)
    machine.configure(last=1)
    assert machine.run("prune").status == 0
    (state_dir / "recoverd" / "reserve").unlink(missing_ok=True)
    fill(state_dir, "more")
    for number in (1, 2, 5, 3):  # whose packs are gone, and one that is new
        data = machine.write(number)
        done = machine.run("snapshot")
        assert done.status == 0, done
        assert machine.shown() == data
    assert machine.run("prune").status == 0
    assert machine.shown() == data


@pytest.mark.parametrize("kind", DISKS)
def test_a_catalog_that_is_open_and_can_not_be_written(kind: str, mount: Mount, tmp_path: Path) -> None:
    """The same in `recoverd run`, which has the catalog open when its disk fills up."""
    state_dir, repository = mount(kind, "small"), mount("tmpfs", "large")
    (tmp_path / "app").mkdir()
    machine = Machine(tmp_path, state_dir / "recoverd", repository / "repository", tmp_path / "app")
    machine.configure(last=1)
    (state_dir / "recoverd").mkdir()
    machine.save(1, 3)
    context = machine.context()
    assert context.repository().snapshots("app")  # the catalog is open
    fill(state_dir)
    (state_dir / "recoverd" / "reserve").unlink()
    fill(state_dir, "more")
    with context.repository():
        for number in (4, 5, 3, 4, 1, 5):
            data = machine.write(number)
            result = snapshot(context, SnapshotRequest(full_read=True))
            prune(context, PruneRequest())
            assert result.services[0].outcome == "saved", result
            assert machine.shown() == data


def test_without_its_reserve_a_full_disk_is_still_pruned(machine: Machine) -> None:
    """The reserve is for the worst case; most prunes begin with names that go, which takes no room."""
    disk = machine.root / "disk"
    (machine.state_dir / "reserve").unlink()
    fill(disk)
    assert "no space reserve" in machine.check()["repository-space"]["message"]
    machine.configure(last=2)
    assert machine.run("prune").status == 0
    assert machine.kept() == ["app/7", "app/8"]
    assert json.loads(machine.restored())["number"] == 8


def test_deleting_the_newest_record_at_zero_bytes_takes_the_reserve(machine: Machine) -> None:
    """Its sequence must be remembered before it goes: a service's record is replaced, and that takes room."""
    disk = machine.root / "disk"
    for content in (b"[1", b"[2"):  # evidence, of which none is kept below
        machine.state.write_bytes(content)
        assert machine.run("snapshot").status == 1
    newest = machine.kept()[-1]
    fill(disk)
    done = machine.run("clear", "app", "--snapshots", "--yes")
    assert done.status == 0, done
    assert newest not in machine.kept()
    shutil.rmtree(disk / "filler")
    machine.write(20)
    (made,) = machine.run("snapshot").json["snapshots"]
    assert made["id"] == "app/11"  # never one that was used before
