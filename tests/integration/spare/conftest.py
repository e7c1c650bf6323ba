"""A house with a spare: real state, two places, and disks that can be filled, frozen and unmounted."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from recoverd.config.model import (
    Config,
    Format,
    ItemKind,
    Place,
    RepositoryConfig,
    Restore,
    Retention,
    SchemaSource,
    Service,
    StateItem,
)
from recoverd.events.stream import Event, Events
from recoverd.health.results import Result
from recoverd.operations.check import CheckRequest, check
from recoverd.operations.context import Context
from recoverd.operations.listing import list_snapshots
from recoverd.operations.prune import PruneRequest, PruneResult, prune
from recoverd.operations.restore import restore
from recoverd.operations.restore_results import RestoreRequest, ServiceRestore
from recoverd.operations.snapshot import ServiceSnapshot, SnapshotRequest, snapshot
from recoverd.repository.records import Marks, Snapshot
from recoverd.repository.store import Repository

PLACE = Place("test.yaml", 1, 1)
STATE_SCHEMA = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
_SHUTDOWN = 0x8004587D  # FS_IOC_SHUTDOWN of ext4 and xfs: from then on everything is an I/O error
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass
class Home:
    """One service `app`: a state file and a directory of tasks."""

    root: Path
    first: Path  # the repository
    spare: Path
    state_dir: Path
    retention: Retention = field(default_factory=lambda: Retention(last=10))
    io_timeout_s: float = 30.0
    events: list[Event] = field(default_factory=list)
    _context: Context | None = None

    @property
    def state(self) -> Path:
        return self.root / "state" / "state.json"

    @property
    def tasks(self) -> Path:
        return self.root / "state" / "tasks"

    @property
    def service(self) -> Service:
        schema = SchemaSource(STATE_SCHEMA, None, (), PLACE)
        state = {
            "main": StateItem("main", ItemKind.FILE, str(self.state), Format.JSON, schema),
            "tasks": StateItem("tasks", ItemKind.DIRECTORY, str(self.tasks), Format.JSON, include=("*.json",)),
        }
        return Service("app", PLACE, state=state, retention=self.retention, restore=Restore())

    @property
    def context(self) -> Context:
        """As one process has it until `reopen`."""
        if self._context is None:
            config = Config(
                str(self.state_dir),
                RepositoryConfig(str(self.first), spare=str(self.spare)),
                {"app": self.service},
                io_timeout_s=self.io_timeout_s,
            )
            self._context = Context(config, Events([self.events.append]), str(self.root / "runtime"), wait_s=5)
        return self._context

    def reopen(self) -> None:
        self._context = None

    def write(self, n: int) -> bytes:
        data = json.dumps({"n": n}).encode()
        self.state.write_bytes(data)
        return data

    def snapshot(self, **request: Any) -> ServiceSnapshot:
        time.sleep(0.025)  # what was just written counts as still being written
        return snapshot(self.context, SnapshotRequest(**request)).services[0]

    def capture(self, n: int, **request: Any) -> str:
        """Write state and capture it; the snapshot's id."""
        self.write(n)
        done = self.snapshot(**request)
        assert done.id is not None, done
        return done.id

    def restore(self, **request: Any) -> ServiceRestore:
        time.sleep(0.025)
        return restore(self.context, RestoreRequest(**request)).services[0]

    def prune(self) -> PruneResult:
        return prune(self.context, PruneRequest())

    def check(self) -> dict[str, Result]:
        found = check(self.context, CheckRequest()).results
        return {one.name: one for one in found if one.service is None}

    def ids(self) -> list[str]:
        """Newest first."""
        return [one.snapshot.id for one in list_snapshots(self.context).snapshots]

    def held_by(self, place: Path) -> dict[int, Snapshot]:
        """The snapshots that one place holds by itself, each of which reads back whole from there alone."""
        repository = Repository.open(str(place), state_dir=str(self.root / f"look-{os.urandom(4).hex()}"))
        with repository.reader() as reader:
            found = {one.sequence: one for one in repository.snapshots("app")}
            assert not repository.unreadable_records("app")
            for one in found.values():
                for item in one.items.values():
                    for tree in {item.root, item.good}:
                        _read_all(reader, tree)
        repository.close()
        return found

    def marks_in(self, place: Path) -> dict[int, Marks]:
        repository = Repository.open(str(place), state_dir=str(self.root / "look"))
        return repository.all_marks("app")

    def state_of(self, sequence: int) -> int:
        """What `n` is in the known-good version of a snapshot."""
        repository = self.context.repository()
        item = repository.snapshot("app", sequence).items["main"]
        assert item.good is not None
        with repository.reader() as reader:
            (entry,) = reader.tree(item.good)
            return int(json.loads(reader.contents([entry])[0])["n"])


def _read_all(reader: Any, tree: str | None) -> None:
    for entry in reader.tree(tree) if tree is not None else ():
        if entry.type == "dir":
            _read_all(reader, entry.hash)
        for _ in reader.file_chunks(entry) if entry.type == "file" else ():
            pass


def _built(root: Path, *, first: Path, spare: Path, state_dir: Path) -> Home:
    home = Home(root, first, spare, state_dir)
    home.tasks.mkdir(parents=True)
    home.write(0)
    for number in range(20):
        (home.tasks / f"{number}.json").write_text(json.dumps({"id": number, "text": "x" * 300}))
    return home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Both places are directories; nothing is captured yet."""
    return _built(
        tmp_path, first=tmp_path / "recoverd" / "repository", spare=tmp_path / "spare", state_dir=tmp_path / "recoverd"
    )


class Disk:
    """An ext4 file system in a file, mounted."""

    def __init__(self, image: Path, path: Path, megabytes: int) -> None:
        self.image, self.path = image, path
        path.mkdir(parents=True, exist_ok=True)
        with image.open("wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(image)], check=True)
        self.mount()

    def mount(self, *options: str) -> None:
        command = ["mount", "-o", ",".join(("loop", *options)), str(self.image), str(self.path)]
        deadline = time.monotonic() + 60
        while True:
            subprocess.run(command, check=True, capture_output=True)
            if not self._is_dead():
                return
            # whoever has a copy of the mount (a namespace) or a file open keeps the old file system, which failed
            assert time.monotonic() < deadline, "another process keeps the failed file system"
            self.unmount()
            time.sleep(0.05)

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.path)], check=True, capture_output=True)

    def _is_dead(self) -> bool:
        lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
        return any("shutdown" in line[3].split(",") for line in lines if line[1] == str(self.path))

    def read_only(self, *, on: bool = True) -> None:
        subprocess.run(["mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.path)], check=True)

    def fill(self) -> None:
        """Until not even an empty file's first byte finds room."""
        with (self.path / "filler").open("wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    pass

    def free(self) -> None:
        (self.path / "filler").unlink()

    def fail(self) -> None:
        """From now on every access is an I/O error, until it is mounted again."""
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, _SHUTDOWN, struct.pack("I", 0))
        finally:
            os.close(fd)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Disk]]:
    """Makes disks. Skips where none can be."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("mkfs.ext4 is not installed")
    made: list[Disk] = []

    def make(name: str, *, megabytes: int = 24) -> Disk:
        try:
            one = Disk(tmp_path / f"{name}.img", tmp_path / name, megabytes)
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no loop device can be mounted here: {error.stderr!r}")
        made.append(one)
        return one

    yield make
    for one in made:
        subprocess.run(["umount", "-l", str(one.path)], check=False, capture_output=True)


@pytest.fixture
def house_on(tmp_path: Path) -> Callable[..., Home]:
    """A house whose repository (and with `all_of_it` its state directory) is on a disk."""

    def build(one: Disk, *, all_of_it: bool = False) -> Home:
        state_dir = one.path / "recoverd" if all_of_it else tmp_path / "recoverd"
        return _built(
            tmp_path, first=one.path / "recoverd" / "repository", spare=tmp_path / "spare", state_dir=state_dir
        )

    return build


@pytest.fixture
def with_retention() -> Callable[[Home, Retention], Home]:
    def change(home: Home, retention: Retention) -> Home:
        return replace(home, retention=retention, _context=None)

    return change


class DeadMount:
    """FUSE whose server never answers: whoever touches `path` waits until `end`."""

    def __init__(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._fd},rootmode=40000,user_id=0,group_id=0".encode()
        if _LIBC.mount(b"dead", os.fsencode(path), b"fuse", 0, options) != 0:
            os.close(self._fd)
            raise OSError(ctypes.get_errno(), "can't mount")

    def end(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            _LIBC.umount2(os.fsencode(self.path), 3)  # MNT_FORCE | MNT_DETACH


@pytest.fixture
def hang() -> Iterator[Callable[[Path], DeadMount]]:
    """Mounts a file system that hangs over a directory. Skips where that can't be."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts file systems")
    if not Path("/dev/fuse").exists():
        pytest.skip("this kernel has no FUSE")
    made: list[DeadMount] = []

    def make(path: Path) -> DeadMount:
        try:
            made.append(DeadMount(path))
        except OSError as error:
            pytest.skip(f"FUSE can't be mounted here: {error}")
        return made[-1]

    yield make
    for one in made:
        one.end()
